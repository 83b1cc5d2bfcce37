//! Counts that can be done by hand, and how they grow.

use super::*;
use crate::source::NoFiles;
use crate::target::gpu::{Limits, emit};
use crate::{Compiled, Gradients, Options, compile};

fn compiled(text: &str, dims: &[(&str, i64)], gradients: bool) -> Compiled {
    let gradients = gradients.then(|| Gradients { output: "loss".into(), wrt: None });
    let dims = dims.iter().map(|(name, size)| (name.to_string(), *size)).collect();
    let options = Options { gradients, dims, ..Options::default() };
    compile("test.fgi", text, &NoFiles, &options, &mut |_| {}).unwrap()
}

fn costs_of(compiled: &Compiled, bindings: &[(&str, i64)]) -> Vec<KernelCost> {
    let bindings = bindings.iter().map(|(name, size)| ((*name).into(), *size)).collect();
    let shaders = emit(&compiled.program, &Limits::default()).unwrap();
    costs(&compiled.program, &shaders, &bindings).unwrap()
}

const HAND: &str = "\
graph hand[T = 5](x: [T; B, 3]) -> y {
    param w: [3, 2] = ones();
    let product = x @ w;
    let u = 0.5 * prev(u) + product;
    let y = last(exp(u));
}
";

/// B = 4: 40 elements in 5 steps, 8 of them in the last.
#[test]
fn counts_are_exact() {
    let costs = costs_of(&compiled(HAND, &[], false), &[("B", 4)]);
    let counted = costs.iter().map(|cost| {
        let KernelCost { name, operations, .. } = cost;
        let bytes = [cost.read_bytes, cost.written_bytes, cost.accessed_bytes];
        let operations = operations.all().map(|number| *number);
        (name.as_str(), operations, bytes, cost.dispatches, cost.steps)
    });
    let product = (
        "kernel_product",
        // A product and a sum for each of 3 terms.
        [120, 120, 0, 0, 0],
        // x is 60 elements and w 6; 120 terms read two elements each.
        [4 * 66, 4 * 40, 4 * (240 + 40)],
        1,
        0,
    );
    let recurrence = (
        "kernel_u_forward",
        // The sum, the product; at the first step 0 is chosen instead of the step before.
        [40, 40, 0, 0, 40],
        // Its own state does not come from memory.
        [4 * 40, 4 * 40, 4 * (40 + 40 + 40)],
        1,
        5,
    );
    let exp = ("kernel_exp", [0, 0, 0, 40, 0], [4 * 40, 4 * 40, 4 * 80], 1, 0);
    let last = ("kernel_y", [0; 5], [4 * 8, 4 * 8, 4 * 16], 1, 0);
    assert_eq!(counted.collect::<Vec<_>>(), [product, recurrence, exp, last]);
}

#[test]
fn every_count_is_linear_in_time() {
    let text = include_str!("../../../../dsl-examples/smnist/smnist.fgi").replace("T = 28, ", "");
    let text = text.replace("K = 784 / T", "K = 8");
    let compiled = compiled(&text, &[], true);
    let at = |steps| costs_of(&compiled, &[("T", steps), ("B", 16)]);
    let counts = |cost: &KernelCost| {
        let bytes = [cost.read_bytes, cost.written_bytes, cost.accessed_bytes, cost.steps];
        [cost.operations.all().map(|number| *number).as_slice(), bytes.as_slice()].concat()
    };
    let (once, twice, thrice) = (at(50), at(100), at(150));
    assert!(once.len() > 10);
    let mut grows = 0;
    for ((once, twice), thrice) in once.iter().zip(&twice).zip(&thrice) {
        let counts = [once, twice, thrice].map(counts);
        for ((once, twice), thrice) in counts[0].iter().zip(&counts[1]).zip(&counts[2]) {
            assert_eq!(thrice - twice, twice - once, "{counts:?}");
            grows += i32::from(twice > once);
        }
    }
    assert!(grows > 50);
}

#[test]
fn the_operations_are_those_of_the_manifest() {
    let compiled = compiled(HAND, &[], false);
    let costs = costs_of(&compiled, &[("B", 4)]);
    let bindings: Bindings = [("B".into(), 4)].into();
    for (kernel, cost) in compiled.program.kernels().zip(costs) {
        let sum: i64 = cost.operations.all().into_iter().sum();
        assert_eq!(kernel.operations(&compiled.program).eval(&bindings), Ok(sum));
    }
}

const DEVICE: &str = r#"{
    "name": "test", "about": "A test", "flops": 100, "transcendentals": 10,
    "memory_bandwidth": 8, "dispatch_latency": 0.5, "step_latency": 0.25
}"#;

#[test]
fn the_longest_part_counts() {
    let device = Device::parse(DEVICE).unwrap();
    let operations = Operations { adds: 100, multiplies: 100, others: 50, ..Default::default() };
    let mut cost = KernelCost {
        name: "k".into(),
        pass: Pass::Forward,
        operations: Operations { divisions: 5, transcendentals: 5, ..operations },
        read_bytes: 10,
        written_bytes: 6,
        accessed_bytes: 1 << 40,
        dispatches: 3,
        steps: 8,
    };
    // 300 / 100 and 10 / 10; 16 / 8; no rate of the cache; 8 / 4.
    let prediction = device.predict(&cost);
    assert_eq!((prediction.bound(), prediction.total()), (("compute", 4.0), 5.5));
    cost.read_bytes = 74;
    assert_eq!(device.predict(&cost).bound(), ("memory", 10.0));
    cost.steps = 48;
    assert_eq!(device.predict(&cost).bound(), ("steps", 12.0));
    cost.dispatches = 100;
    assert_eq!(device.predict(&cost).bound(), ("dispatch", 12.0));
    assert_eq!(device.predict(&cost).total(), 62.0);
    let with_cache = DEVICE.replace("\"memory", "\"cache_bandwidth\": 1024, \"memory");
    let device = Device::parse(&with_cache).unwrap();
    assert_eq!(device.predict(&cost).bound().0, "cache");
}

#[test]
fn the_table_says_where_figures_are_from() {
    let devices = Device::all().unwrap();
    assert!(devices.len() >= 5);
    for device in devices {
        let json = serde_json::to_value(&device).unwrap();
        let figures = json.as_object().unwrap().iter().filter(|(_, value)| value.is_number());
        let figures: Vec<&String> = figures.map(|(field, _)| field).collect();
        assert_eq!(device.sources.keys().collect::<Vec<_>>(), figures, "{}", device.name);
    }
}

#[test]
fn wrong_devices_are_refused() {
    for (from, to, message) in [
        ("\"flops\": 100", "\"flops\": 0", "`flops` is 0: it must be positive"),
        ("\"flops\": 100", "\"flops\": -1e9", "must be positive"),
        ("0.5", "-1", "`dispatch_latency` is -1: it must be 0 or more"),
        ("\"memory", "\"speed\": 1, \"memory", "unknown field `speed`"),
        ("\"flops\": 100,", "", "missing field `flops`"),
        ("8,", "\"fast\",", "invalid type"),
        ("}", "", "EOF"),
    ] {
        let error = Device::parse(&DEVICE.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
