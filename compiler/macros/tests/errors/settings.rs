fgi_macros::program! {
    #![dims(N = 2)]
    graph net(x: [N]) -> (y) { let y = x; }
}

fgi_macros::program! {
    #![optimizer(adam, momentum = 0.9)]
    graph net(x: [2]) -> (loss) { let loss = sum(x); }
}

fgi_macros::program! {
    #![optimizer(adam)]
    graph net(x: [2]) -> (y) { let y = sum(x); }
}

fgi_macros::program! {
    #![grad(y)]
    graph net(x: [2]) -> (y) { let y = 2 * x; }
}

fgi_macros::program! {
    graph net(x: [B, K]) -> (y) {
        param w: [K] = zeros();
        let y = x * w;
    }
}

fgi_macros::program! {}
