fgi_macros::program! {
    #![dim(N = 2)]

    /// Both errors are reported.
    graph net(x: [B, N]) -> (y) {
        let a = x +;
        let y = a * sigmod(x);
    }
}
