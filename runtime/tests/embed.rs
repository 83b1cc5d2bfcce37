//! Programs compiled by the macros: the same numbers as by the library, and errors for what types
//! cannot catch.

use std::collections::BTreeMap;
use std::path::Path;

use fgi::checkpoint::Checkpoint;
use fgi::{Array, Data, Device, Gradients, Options, Pass, Session};

#[path = "../examples/digits.rs"]
#[allow(dead_code)]
mod digits;

use digits::smnist;

/// A batch of three images, with labels.
fn batch() -> (Vec<f32>, Vec<i32>) {
    ((0..8 * 3 * 8).map(|i| (i * 37 % 16) as f32 / 16.0).collect(), vec![3, 0, 9])
}

#[test]
fn the_example_learns_the_digits() {
    let mut reached = Vec::new();
    digits::train(6, |_, accuracy| reached.push(accuracy)).unwrap();
    assert!(reached.iter().any(|accuracy| *accuracy > 0.8), "{reached:?}");
}

#[test]
fn the_macro_and_the_library_agree_to_the_bit() {
    let (pixels, label) = batch();
    let options = Options {
        dims: BTreeMap::from([("T".into(), 8), ("K".into(), 8)]),
        gradients: Some(Gradients { output: "loss".into(), wrt: None }),
        ..Options::default()
    };
    let program =
        fgi::compile(include_str!("../../dsl-examples/smnist/smnist.fgi"), &options).unwrap();
    let mut session = Session::new(program, &Device::cpu()).unwrap();
    let arrays = [
        ("pixels", Array::new([8, 3, 8], pixels.clone())),
        ("label", Array::new([3], label.clone())),
    ];
    session.set_inputs(arrays.iter().map(|(name, array)| (*name, array))).unwrap();
    session.run(Pass::Forward).unwrap();
    session.run(Pass::Backward).unwrap();

    let mut model = smnist::Model::new(&Device::cpu()).unwrap();
    let outputs = model.forward(&smnist::Inputs { pixels: &pixels, label: &label }).unwrap();
    let gradients = model.backward().unwrap();
    assert_eq!(session.output("loss").unwrap().scalar(), Some(outputs.loss));
    assert_eq!(session.output("logits").unwrap().data, Data::F32(outputs.logits));
    let expected = session.gradient("h.w_rec").unwrap();
    assert_eq!(expected.shape, smnist::grads::H::W_REC);
    assert_eq!(expected.data, Data::F32(gradients.h.w_rec.to_vec()));
    let expected = session.gradient("readout_1.b").unwrap();
    assert_eq!(expected.data, Data::F32(gradients.readout_1.b.to_vec()));
}

#[test]
fn lengths_that_do_not_fit_are_errors() {
    let mut model = smnist::Model::new(&Device::cpu()).unwrap();
    let (pixels, label) = batch();
    let mut message = |pixels: &[f32], label: &[i32]| {
        model.forward(&smnist::Inputs { pixels, label }).unwrap_err().to_string()
    };
    assert_eq!(
        message(&pixels, &label[..2]),
        "`label`: expected 3 numbers, for an array of shape [3], found 2"
    );
    assert_eq!(
        message(&pixels[1..], &label),
        "`pixels`: expected 192 numbers, for an array of shape [8, 3, 8], found 191"
    );
    assert!(model.backward().is_err());
    model.forward(&smnist::Inputs { pixels: &pixels, label: &label }).unwrap();
    model.backward().unwrap();
    let params = model.params().unwrap();
    model.set_params(&params).unwrap();
    assert!(model.backward().is_err(), "the forward pass was with other parameters");
}

#[test]
fn training_goes_on_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.safetensors");
    let (pixels, label) = batch();
    let inputs = smnist::Inputs { pixels: &pixels, label: &label };
    let optimizer = smnist::Optimizer::new(0.01);
    let mut model = smnist::Model::new(&Device::cpu()).unwrap();
    model.initialise(7).unwrap();
    for _ in 0..3 {
        model.step(&optimizer, &inputs).unwrap();
    }
    model.save(&path).unwrap();
    let mut other = smnist::Model::new(&Device::cpu()).unwrap();
    other.load(&path).unwrap();
    for _ in 0..2 {
        assert_eq!(
            model.step(&optimizer, &inputs).unwrap(),
            other.step(&optimizer, &inputs).unwrap()
        );
    }
    assert_eq!(model.params().unwrap(), other.params().unwrap());

    // The parameters alone are enough, and begin anew.
    let mut saved = Checkpoint::load(&path).unwrap();
    saved.params.retain(|path, _| !path.contains('/'));
    saved.save(&path).unwrap();
    other.load(&path).unwrap();
    let before = other.params().unwrap();
    for (path, damage) in [
        ("h.w_in", Box::new(|p: &mut fgi::npz::Arrays| drop(p.remove("h.w_in"))) as Damage),
        ("h.w", Box::new(|p| drop(p.insert("h.w".into(), Array::new([], vec![0f32]))))),
        ("h.tau_m", Box::new(|p| drop(p.insert("h.tau_m".into(), Array::new([1], vec![9f32]))))),
    ] {
        let mut saved = saved.clone();
        damage(&mut saved.params);
        let file = directory.path().join("damaged.safetensors");
        saved.save(&file).unwrap();
        let message = other.load(&file).unwrap_err().to_string();
        assert!(message.contains(&format!("`{path}`")), "{message}");
        assert_eq!(other.params().unwrap(), before);
    }
    assert!(other.load(Path::new("missing.safetensors")).is_err());
}

type Damage = Box<dyn Fn(&mut fgi::npz::Arrays)>;

#[test]
fn a_loss_that_is_not_finite_changes_nothing() {
    let mut model = smnist::Model::new(&Device::cpu()).unwrap();
    let mut before = model.params().unwrap();
    before.readout_1.tau[0] = f32::INFINITY;
    before.readout_1.b[0] = f32::INFINITY;
    model.set_params(&before).unwrap();
    let (pixels, label) = batch();
    let inputs = smnist::Inputs { pixels: &pixels, label: &label };
    let message = model.step(&smnist::Optimizer::new(0.01), &inputs).unwrap_err().to_string();
    assert!(message.starts_with("the loss is NaN at step 1"), "{message}");
    assert_eq!(model.params().unwrap(), before);
}

fgi::program! {
    graph kink(x: [B]) -> loss {
        param w: [] = zeros();
        let loss = mean(sqrt(w * w) * x);
    }
}

/// The derivative of the root at 0 is infinite, though the loss is a number.
#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let mut model = kink::Model::new(&Device::cpu()).unwrap();
    let inputs = kink::Inputs { x: &[1.0, 2.0] };
    let message = model.step(&kink::Optimizer::new(0.01), &inputs).unwrap_err().to_string();
    assert!(message.starts_with("the gradient of `w` is NaN at step 1, which was not done"));
    assert_eq!(model.params().unwrap().w, 0.0);
}

mod names {
    fgi::program! {
        #![grad(loss, wrt(type.inner.w, type.inner1.w, self))]

        layer inner(x: [B, 2]) {
            param w: [2] = constant(3);
            x * w
        }

        layer outer(x: [B, 2]) {
            param w: [] = constant(2);
            param W: [1, 1] = constant(1);
            let inner = inner(x);
            let inner1 = inner(inner);
            w * W * inner1
        }

        /// Names that Rust keeps for itself, and lengths that say too little.
        graph match(
            /// What it is `about`.
            self: [T; B, 2],
            fixed: [2],
            scale: [],
            count: i32[],
        ) -> (loss, type, fires) {
            param bias: [2] = zeros();
            let type = outer(self + fixed + bias);
            /// Whether any of it is positive.
            let fires = type > 0;
            let loss = scale * f32(count) * sum(time_sum(type));
        }
    }
}

#[test]
fn names_and_shapes_of_all_kinds() {
    use names::r#match::{Inputs, Model, Params, params};
    let mut model = Model::new(&Device::cpu()).unwrap();
    let x = [1.0, 2.0, 3.0, 4.0, -5.0, -6.0];
    let inputs = Inputs { self_: &x, fixed: &[1.0, 0.0], scale: 0.5, count: 2, T: 3, B: 1 };
    let outputs = model.forward(&inputs).unwrap();
    let expected: Vec<f32> = vec![36.0, 36.0, 72.0, 72.0, -72.0, -108.0];
    assert_eq!(outputs.r#type, expected);
    assert_eq!(outputs.fires, expected.iter().map(|value| *value > 0.0).collect::<Vec<_>>());
    assert_eq!(outputs.loss, expected.iter().sum::<f32>());
    let gradients = model.backward().unwrap();
    assert_eq!(gradients.self_, [18.0; 6]);
    assert_eq!(*gradients.r#type.inner.w, [12.0, 0.0]);
    assert_eq!(*gradients.r#type.inner1.w, [12.0, 0.0]);
    // The same numbers may be three rows of a single step.
    assert_eq!(model.forward(&Inputs { T: 1, B: 3, ..inputs }).unwrap().r#type, expected);
    assert!(model.forward(&Inputs { T: 2, ..inputs }).is_err());

    assert_eq!(params::Type::W_, [1, 1]);
    let no_shape: [usize; 0] = params::Type::W;
    assert_eq!((no_shape, Params::BIAS, params::r#type::Inner1::W), ([], [2], [2]));
    let mut params = model.params().unwrap();
    params.r#type.w = 0.0;
    *params.bias = [1.0, 1.0];
    model.set_params(&params).unwrap();
    assert_eq!(model.params().unwrap(), params);
    assert_eq!(model.forward(&inputs).unwrap().loss, 0.0);
}

mod inference {
    fgi::program! {
        graph net(x: [2], unused: [2]) -> (y) {
            let y = 2 * x;
        }
    }
}

#[test]
fn a_program_without_gradients_has_no_backward_pass() {
    let mut model = inference::net::Model::new(&Device::cpu()).unwrap();
    let outputs =
        model.forward(&inference::net::Inputs { x: &[1.0, 2.0], unused: &[0.0; 2] }).unwrap();
    assert_eq!(*outputs.y, [2.0, 4.0]);
}

mod scheduled {
    fgi::program! {
        graph net(x: [2]) -> (loss) {
            param w: [2] = ones();
            let loss = progress() * sum(w * x);
        }
    }
}

#[test]
fn a_model_is_told_how_far_training_has_come() {
    use scheduled::net::{Inputs, Model};
    let mut model = Model::new(&Device::cpu()).unwrap();
    let inputs = Inputs { x: &[1.0, 2.0] };
    assert_eq!(model.forward(&inputs).unwrap().loss, 3.0);
    model.set_progress(0.5);
    assert_eq!(model.forward(&inputs).unwrap().loss, 1.5);
    assert_eq!(*model.backward().unwrap().w, [0.5, 1.0]);
}

mod stepwise {
    fgi::program! {
        #![carry]
        graph net(x: [T; B, 2]) -> (y, runs) {
            state before: i32[] = zeros();
            let y    = 0.5 * prev(y, init = 4) + x;
            let runs = before + 1;
            next before = runs;
        }
    }
}

#[test]
fn memories_go_on_from_run_to_run() {
    use stepwise::net::{Inputs, Model};
    let mut model = Model::new(&Device::cpu()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("net.safetensors");
    // Before the first run there is no batch, and nothing of it to save.
    model.save(&file).unwrap();
    model.load(&file).unwrap();
    let mut step = |x: [f32; 2]| {
        let outputs = model.forward(&Inputs { x: &x, T: 1, B: 1 }).unwrap();
        (outputs.y, outputs.runs)
    };
    assert_eq!(step([1.0, 2.0]), (vec![3.0, 4.0], 1));
    assert_eq!(step([0.0, 1.0]), (vec![1.5, 3.0], 2));
    assert_eq!(step([0.0, 0.0]), (vec![0.75, 1.5], 3));
    model.save(&file).unwrap();
    let mut again = Model::new(&Device::cpu()).unwrap();
    again.load(&file).unwrap();
    let outputs = again.forward(&Inputs { x: &[0.0, 0.0], T: 1, B: 1 }).unwrap();
    assert_eq!((outputs.y, outputs.runs), (vec![0.375, 0.75], 4));
    again.initialise(0).unwrap();
    let outputs = again.forward(&Inputs { x: &[1.0, 2.0], T: 1, B: 1 }).unwrap();
    assert_eq!((outputs.y, outputs.runs), (vec![3.0, 4.0], 1));
}
