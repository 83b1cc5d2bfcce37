fgi_macros::program! {
    layer dense[N](x: [B, K]) {
        param w: [K, N] = xavier_uniform();
        x @ w
    }

    graph net(x: [B, 4], target: [B, 3]) -> (loss) {
        let y    = dense[2](x);
        let loss = mean((y - target)^2);
    }
}
