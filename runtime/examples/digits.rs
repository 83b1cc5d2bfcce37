//! Learns to read handwritten digits: the rows of an image, from the top, are the steps of time.
//!
//! `cargo run --release -p fgi --example digits`

use fgi::data::{DataSource, Dataset, Samples};
use fgi::{Data, Device, Error};

fgi::include_program!("../../dsl-examples/smnist/smnist.fgi", dim(T = 8, K = 8));

const BATCH: usize = 32;

fn main() -> Result<(), Error> {
    train(80, |epoch, accuracy| println!("epoch {epoch}: {:.2} %", 100.0 * accuracy))
}

/// Trains, and tells after each epoch how much of the test samples is read right.
pub fn train(epochs: usize, mut after: impl FnMut(usize, f64)) -> Result<(), Error> {
    let data = Dataset::load(&DataSource::Digits)?;
    let mut model = smnist::Model::new(&Device::cpu())?;
    let optimizer = smnist::Optimizer::new(0.01);
    // Whatever has no divisor in common with the number of samples visits each of them.
    let order: Vec<usize> = (0..data.train.len()).map(|i| i * 7919 % data.train.len()).collect();
    for epoch in 1..=epochs {
        for chosen in order.chunks(BATCH) {
            let (pixels, label) = batch(&data.train, chosen);
            model.step(&optimizer, &smnist::Inputs { pixels: &pixels, label: &label })?;
        }
        let all: Vec<usize> = (0..data.test.len()).collect();
        let (pixels, label) = batch(&data.test, &all);
        let outputs = model.forward(&smnist::Inputs { pixels: &pixels, label: &label })?;
        let right = outputs.logits.chunks(10).zip(&label).filter(|(scores, label)| {
            let best = (0..10).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
            best == Some(**label as usize)
        });
        after(epoch, right.count() as f64 / all.len() as f64);
    }
    Ok(())
}

/// Some samples as the program takes them: all first rows, then all second rows, and so on.
fn batch(samples: &Samples, chosen: &[usize]) -> (Vec<f32>, Vec<i32>) {
    let fields = samples.fields();
    let (Data::U8(pixels), Data::I32(label)) = (&fields["pixels"].data, &fields["label"].data)
    else {
        unreachable!("the digits have u8 pixels and i32 labels");
    };
    let rows = (0..8).flat_map(|row| chosen.iter().map(move |sample| 64 * sample + 8 * row));
    let pixels = rows
        .flat_map(|start| pixels[start..start + 8].iter().map(|pixel| f32::from(*pixel) / 16.0))
        .collect();
    (pixels, chosen.iter().map(|sample| label[*sample]).collect())
}
