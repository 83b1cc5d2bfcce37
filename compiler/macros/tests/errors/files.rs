fgi_macros::include_program!("broken.fgi");

fgi_macros::include_program!("missing.fgi", dim(N = 2));

fgi_macros::program! {
    use broken::dense;

    graph net(x: [B, 4]) -> (y) {
        let y = dense[2](x);
    }
}
