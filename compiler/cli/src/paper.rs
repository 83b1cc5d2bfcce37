//! The benchmark of the paper (Otte 2024, section 3): its network, and what was measured there, on an
//! RTX 4090 with batches of 128.

/// Stands for the network as a file, where no program is named.
pub const NO_FILE: &str = "<smnist.fgi>";

/// The network, for those who name no program.
pub const NETWORK: &str = include_str!("smnist.fgi");

pub const LENGTHS: [i64; 6] = [28, 49, 98, 196, 392, 784];
/// The neurons, if the program has a dimension N that is not given; the batch is 128 by default anyway.
pub const NEURONS: i64 = 128;

/// A row of the paper: what was used to make PyTorch faster, how the gradient was written, the figure
/// at each length.
pub type Published = (&'static str, &'static str, [Option<f64>; 6]);

/// Table 1: training, how many times faster than plain PyTorch on the same RTX 4090.
pub const TRAINING: [Published; 4] = [
    ("TorchScript", "backward()", all([1.2, 1.2, 1.3, 1.3, 1.3, 1.3])),
    ("TorchScript", "FGI", all([1.5, 1.5, 1.5, 1.6, 1.6, 1.6])),
    ("torch.compile", "backward()", [Some(6.3), Some(7.3), Some(6.2), Some(6.7), None, None]),
    ("torch.compile", "FGI", all([6.0, 7.0, 6.5, 6.0, 5.1, 4.3])),
];
/// Table 2: inference, likewise.
pub const INFERENCE: [Published; 4] = [
    ("TorchScript", "backward()", all([1.4, 1.4, 1.5, 1.5, 1.5, 1.5])),
    ("TorchScript", "FGI", all([1.5, 1.6, 1.6, 1.6, 1.6, 1.6])),
    ("torch.compile", "backward()", [Some(12.1), Some(14.9), Some(16.2), Some(15.6), None, None]),
    ("torch.compile", "FGI", all([12.0, 14.8, 16.0, 15.2, 15.1, 15.6])),
];
/// Table 3: seconds of the first three training iterations.
pub const WARM_UP: [Published; 6] = [
    ("PyTorch", "backward()", all([0.6, 0.7, 0.7, 0.8, 1.1, 1.4])),
    ("PyTorch", "FGI", all([0.6, 0.7, 0.7, 0.8, 1.0, 1.5])),
    ("TorchScript", "backward()", all([1.3, 1.3, 1.4, 1.5, 1.6, 2.0])),
    ("TorchScript", "FGI", all([1.2, 1.2, 1.2, 1.3, 1.5, 1.8])),
    ("torch.compile", "backward()", [Some(14.9), Some(25.8), Some(52.9), Some(114.6), None, None]),
    ("torch.compile", "FGI", all([15.3, 26.7, 53.7, 114.4, 258.3, 648.7])),
];

const fn all(figures: [f64; 6]) -> [Option<f64>; 6] {
    let [a, b, c, d, e, f] = figures;
    [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)]
}
