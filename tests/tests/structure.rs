//! The form of what is compiled: a lost optimisation leaves the results right, so it is looked for here.

use fgi_compiler::ir::graph::{Graph, Operations, Pointwise, Role};
use fgi_compiler::ir::kernel::{BufferId, Direction, Inst, Kernel, Program, Stage, Val};
use fgi_compiler::ir::{Verified, verify};
use fgi_compiler::middle::lower::lower;
use fgi_compiler::middle::schedule::schedule;
use fgi_compiler::report::op_counts::OpCounts;
use fgi_compiler::target::cpu::native;
use fgi_compiler::target::gpu::{self, Limits, Shaders, emit_with_sources};
use fgi_compiler::{Compiled, Gradients, Options};
use fgi_tests::{compiled, graphs, options, workspace};

/// One recurrent layer, spiking with a surrogate that is no part of its values, and a readout.
const NET: &str = "
layer lif[N](x: [B, K]) {
    param w:     [K, N] = kaiming_uniform();
    param w_rec: [N, N] = orthogonal();
    let u = 0.9 * prev(u) + x @ w + prev(z) @ w_rec - prev(z);
    let z = bypass(step(u - 1), sigmoid(4 * (u - 1)));
    z
}
graph net(x: [T; B, K], target: [B, 10]) -> (loss, rate) {
    let h    = lif[10](x);
    let rate = 0.1 * time_sum(h);
    let loss = mean((rate - target)^2);
}";

fn net() -> Verified<Program> {
    compiled(NET, &options(None, &[("K", 8)])).program
}

fn recurrences(kernels: &[Kernel], direction: Direction) -> usize {
    kernels.iter().filter(|kernel| kernel.recurrence == Some(direction)).count()
}

fn insts(kernels: &[Kernel]) -> impl Iterator<Item = &Inst> {
    kernels.iter().flat_map(|kernel| &kernel.stages).flat_map(|stage| &stage.insts)
}

fn uses(kernels: &[Kernel], op: Pointwise) -> bool {
    insts(kernels).any(|inst| matches!(inst, Inst::Map(found, _) if *found == op))
}

fn shaders(compiled: &Compiled) -> Shaders {
    emit_with_sources(&compiled.program, &Limits::default(), &compiled.sources).unwrap()
}

#[test]
fn a_recurrent_layer_is_one_kernel_forward_and_one_backward() {
    let program = net();
    assert_eq!(recurrences(&program.forward, Direction::Forward), 1, "{program}");
    assert_eq!(recurrences(&program.forward, Direction::Backward), 0, "{program}");
    assert_eq!(recurrences(&program.backward, Direction::Forward), 0, "{program}");
    assert_eq!(recurrences(&program.backward, Direction::Backward), 1, "{program}");
}

/// The input's product is before the loop; in the loop is the product of the spikes alone.
#[test]
fn what_does_not_depend_on_the_loop_is_outside_of_it() {
    let program = net();
    for kernel in program.kernels().filter(|kernel| kernel.recurrence.is_some()) {
        let loops: usize = kernel.stages.iter().map(|stage| stage.loops.len()).sum();
        assert_eq!(loops, 1, "{}\n{program}", kernel.name);
    }
}

#[test]
fn a_spike_is_decided_once() {
    let program = net();
    let decisions = |kernels: &[Kernel]| {
        insts(kernels).filter(|inst| matches!(inst, Inst::Map(Pointwise::Gt, _))).count()
    };
    assert_eq!(decisions(&program.forward), 1, "{program}");
    assert_eq!(decisions(&program.backward), 0, "{program}");
}

#[test]
fn the_surrogate_is_in_the_backward_pass_alone() {
    let program = net();
    assert!(!uses(&program.forward, Pointwise::Sigmoid), "{program}");
    assert!(uses(&program.backward, Pointwise::Sigmoid), "{program}");
}

/// Spellings of one injection, with the paper's double Gaussian, of v.
const INJECTIONS: [&str; 8] = [
    "let z = inject(v, step(v), dblgaussian(v));",
    "let h = v * sg(dblgaussian(v)); let z = h - sg(h) + sg(step(v));",
    "let h = sg(dblgaussian(v)) * v; let z = sg(step(v)) + h - sg(h);",
    "let h = v * sg(dblgaussian(v)); let z = sg(step(v)) - (sg(h) - h);",
    "let h = v * dblgaussian(sg(v)); let z = h + sg(step(v) - h);",
    "let h = v * sg(dblgaussian(v)); let t = h - sg(h); let z = step(v) + t;",
    "let z = bypass(step(v), v * sg(dblgaussian(v)));",
    "let z = bypass(bypass(step(v), tanh(v)), bypass(exp(v), v * sg(dblgaussian(v))));",
];

const SURROGATE: &str = "
fn gaussian(x, sig) = exp(-x^2 / (2 * sig^2));
fn dblgaussian(x) = 1.3 * gaussian(x, 0.5) - 0.3 * gaussian(x, 1.0);
";

/// The kernels' intermediate form, shaders and native code of a graph, without the names that the
/// program gave to its values.
fn code(mut graph: Graph) -> [String; 3] {
    for id in graph.ids() {
        let node = graph.node_mut(id);
        (node.name, node.span) = (None, None);
    }
    let program = verify(lower(&schedule(&graph))).unwrap();
    let shaders = gpu::emit(&program, &Limits::default()).unwrap().shaders;
    let texts: Vec<String> = shaders.into_iter().map(|shader| shader.text).collect();
    [program.to_string(), texts.join("\n"), native::text(&program)]
}

/// After all passes.
fn last_graph(text: &str, options: &Options) -> Graph {
    compiled(text, options).graphs.pop().unwrap().1.into_inner()
}

fn with_gradient_of_x() -> Options {
    let gradients = Some(Gradients { output: "loss".into(), wrt: Some(vec!["x".into()]) });
    Options { gradients, ..Options::default() }
}

/// An injection costs what its value and its gradient cost, written by hand.
#[test]
fn an_injection_in_any_spelling_is_the_pair_of_its_value_and_gradient() {
    let net = |body: &str, outputs: &str| {
        let head = format!("graph net(v: [N], g: [N]) -> ({outputs})");
        format!("{SURROGATE}{head} {{ {body} let loss = sum(z * g); }}").replace("v:", "x:")
    };
    let by_hand = net("let z = step(x); let slope = g * dblgaussian(x);", "loss, z, slope");
    let mut by_hand = last_graph(&by_hand, &Options::default());
    let slope = by_hand.roots.iter_mut().find(|root| root.name == "slope").unwrap();
    (slope.name, slope.role) = ("x".into(), Role::Gradient);
    let by_hand = code(by_hand);
    let forward = net("let z = step(x);", "loss, z");
    let forward = code(last_graph(&forward, &Options::default()));
    assert!(by_hand[1].contains("exp(") && !forward[1].contains("exp("));
    for body in INJECTIONS {
        let text = net(&format!("let v = x; {body}"), "loss, z");
        assert_eq!(code(last_graph(&text, &with_gradient_of_x())), by_hand, "{body}");
        assert_eq!(code(last_graph(&text, &Options::default())), forward, "{body}");
    }
}

#[test]
fn a_recurrent_layer_does_not_depend_on_the_spelling_of_its_injection() {
    let net = |body: &str| {
        format!(
            "{SURROGATE}
            layer lif[N](x: [B, K]) {{
                param w: [K, N] = kaiming_uniform();
                let u = 0.9 * prev(u) + x @ w - prev(z);
                let v = u - 1;
                {body}
                z
            }}
            graph net(x: [T; B, 8]) -> (loss) {{ let loss = sum(time_sum(lif[16](x))^2); }}"
        )
    };
    let training = Options { gradients: options(None, &[]).gradients, ..Options::default() };
    let [injected, inferred] = [&training, &Options::default()]
        .map(|options| code(last_graph(&net(INJECTIONS[0]), options)));
    for body in &INJECTIONS[1..] {
        assert_eq!(code(last_graph(&net(body), &training)), injected, "{body}");
        assert_eq!(code(last_graph(&net(body), &Options::default())), inferred, "{body}");
    }
    let plain = code(last_graph(&net("let z = step(v);"), &Options::default()));
    assert_eq!(inferred, plain);
}

#[test]
fn without_gradients_nothing_serves_them() {
    let dims = [("K".into(), 8)].into();
    let program = compiled(NET, &Options { dims, ..Options::default() }).program;
    assert!(program.backward.is_empty() && program.update.is_empty(), "{program}");
    assert!(!uses(&program.forward, Pointwise::Sigmoid), "{program}");
    let streams = program.buffers.iter().filter(|buffer| buffer.stream).map(|buffer| &buffer.name);
    let streams: Vec<_> = streams.collect();
    assert!(streams.len() <= 4, "{streams:?}\n{program}");
}

#[test]
fn kernels_do_not_grow_with_time() {
    let net = |steps| compiled(NET, &options(None, &[("K", 8), ("T", steps)]));
    // Numbers that follow from the number of steps are in it, nothing else changes.
    let without_numbers = |text: String| text.replace(char::is_numeric, "");
    let kernels = |steps| without_numbers(net(steps).program.to_string());
    assert_eq!(kernels(28), kernels(100_000));
    let texts = |steps| -> Vec<String> {
        let shaders = shaders(&net(steps)).shaders.into_iter();
        shaders.map(|shader| without_numbers(shader.text)).collect()
    };
    // A long reduction is cut into parts, so a short one looks otherwise.
    assert_eq!(texts(10_000), texts(100_000));
}

/// WGSL lets a driver reassociate sums, so what cancels must not be there at all.
#[test]
fn nothing_cancels_in_any_kernel() {
    for Compiled { program, .. } in graphs() {
        for kernel in program.kernels() {
            for stage in &kernel.stages {
                let found = stage.body.iter().find(|val| cancels(stage, **val));
                assert_eq!(found, None, "{}: {}\n{program}", program.name, kernel.name);
            }
        }
    }
}

/// Whether a sum has a term that is also subtracted.
fn cancels(stage: &Stage, val: Val) -> bool {
    let mut terms = Vec::new();
    sum_terms(stage, val, 1, &mut terms);
    terms.iter().any(|(term, sign)| terms.contains(&(*term, -sign)))
}

fn sum_terms(stage: &Stage, val: Val, sign: i32, terms: &mut Vec<(Val, i32)>) {
    match stage.inst(val) {
        Inst::Map(Pointwise::Add, args) => {
            sum_terms(stage, args[0], sign, terms);
            sum_terms(stage, args[1], sign, terms);
        }
        Inst::Map(Pointwise::Sub, args) => {
            sum_terms(stage, args[0], sign, terms);
            sum_terms(stage, args[1], -sign, terms);
        }
        Inst::Map(Pointwise::Neg, args) => sum_terms(stage, args[0], -sign, terms),
        _ => terms.push((val, sign)),
    }
}

fn smnist(steps: i64) -> Compiled {
    let text = std::fs::read_to_string(workspace().join("dsl-examples/smnist/smnist.fgi")).unwrap();
    compiled(&text, &options(None, &[("T", steps), ("K", 28)]))
}

/// The Gaussian, evaluated backward only: the decays, exp(-1/tau), are the same at every step.
#[test]
fn a_step_of_the_benchmark_takes_one_exponential_forward_and_backward_together() {
    let compiled = smnist(28);
    let counts = OpCounts::of(&compiled.graphs.last().unwrap().1);
    assert_eq!(counts.forward.each_step.transcendentals, 0, "{counts}");
    assert_eq!(counts.backward.each_step.transcendentals, 1, "{counts}");
    assert_eq!(counts.backward.once.transcendentals, 0, "{counts}");
    // And the kernels compute it no more often: once for each step, the decays for none.
    let program = &compiled.program;
    let is_dear = |inst: &Inst| matches!(inst, Inst::Map(op, _) if op.row().cost >= 10);
    let each_step = program
        .kernels()
        .flat_map(|kernel| &kernel.stages)
        .filter(|stage| stage.stores.iter().any(|store| program.buffer(store.buffer).stream));
    let dear: Vec<_> = each_step.flat_map(|stage| &stage.insts).filter(|i| is_dear(i)).collect();
    assert!(matches!(dear[..], [Inst::Map(Pointwise::Exp, _)]), "{dear:?}\n{program}");
}

/// The input current is needed backward for the gradient of its factor alone, which follows from those of
/// the weights; and its cotangent is that of the potential but for that factor.
#[test]
fn neither_the_input_current_nor_its_cotangent_is_kept() {
    let program = smnist(28).program;
    let stored = |kernels: &[Kernel]| -> Vec<BufferId> {
        let stages = kernels.iter().flat_map(|kernel| &kernel.stages);
        stages.flat_map(|stage| &stage.stores).map(|store| store.buffer).collect()
    };
    let is_read_backward = |id: &BufferId| {
        insts(&program.backward).any(|inst| matches!(inst, Inst::Load(read, _) if read == id))
    };
    let streams = |ids: Vec<BufferId>| -> Vec<String> {
        let buffers = ids.into_iter().map(|id| program.buffer(id));
        buffers.filter(|buffer| buffer.stream).map(|buffer| buffer.name.clone()).collect()
    };
    let mut kept = stored(&program.forward);
    kept.retain(is_read_backward);
    assert_eq!(streams(kept), ["h_u", "h_eta", "h_z", "add"], "{program}");
    let names = streams(stored(&program.backward));
    assert!(names.contains(&"grad_h_u".into()) && !names.contains(&"grad_h_i".into()), "{names:?}");
}

/// Each phase of the calculus takes operations away, whatever the number of steps.
#[test]
fn both_phases_of_the_calculus_save_operations() {
    let of = |steps| {
        let compiled = smnist(steps);
        assert!(compiled.reports.iter().all(|(_, report)| report.limit.is_none()));
        ["check", "erase", "joint"].map(|pass| {
            OpCounts::of(&compiled.graphs.iter().find(|(name, _)| *name == pass).unwrap().1)
        })
    };
    let [check, erase, joint] = of(28);
    let sum = |operations: Operations| {
        operations.adds + operations.multiplies + 10 * operations.transcendentals
    };
    assert!(sum(erase.forward.each_step) < sum(check.forward.each_step));
    assert_eq!(joint.forward.each_step, erase.forward.each_step);
    assert!(sum(joint.backward.each_step) < sum(erase.backward.each_step));
    assert_eq!(of(100_000)[2], joint);
}

/// A spike whose slope is learned: what the backward pass shares with the forward pass.
#[test]
fn derivatives_reuse_the_values_of_the_forward_pass() {
    for (function, transcendentals) in
        [("tanh(a * x)", 1), ("sigmoid(a * x)", 1), ("exp(-(x / a)^2)", 1), ("erf(a * x)", 2)]
    {
        let text = format!(
            "graph net(x: [T; B, 3]) -> (loss) {{
                param a: [3] = constant(2) in [1, inf];
                let loss = time_sum(sum({function}));
            }}"
        );
        let compiled = compiled(&text, &options(None, &[]));
        let counts = OpCounts::of(&compiled.graphs.last().unwrap().1);
        let OpCounts { forward, backward, .. } = &counts;
        let found = forward.each_step.transcendentals + backward.each_step.transcendentals;
        assert_eq!(found, transcendentals, "{function}: {counts}");
    }
}

#[test]
fn shaders_of_the_examples() {
    let snapshot = |name: &str, file: &str, options: &Options| {
        let text = std::fs::read_to_string(workspace().join("dsl-examples").join(file)).unwrap();
        let compiled = compiled(&text, options);
        let texts: Vec<_> = shaders(&compiled).shaders.into_iter().map(|s| s.text).collect();
        // A product and a sum are rounded separately, as they are written.
        assert!(
            !texts.concat().contains("fma") && !native::text(&compiled.program).contains("fma")
        );
        insta::with_settings!(
            { snapshot_path => "../snapshots", prepend_module_to_snapshot => false },
            { insta::assert_snapshot!(name, texts.join("\n")) }
        );
    };
    snapshot("smnist", "smnist/smnist.fgi", &options(None, &[("T", 28), ("K", 28)]));
    for graph in ["bypassing", "injection", "inline"] {
        let wrt = Some(vec!["x".into()]);
        let gradients = Some(Gradients { output: "loss".into(), wrt });
        snapshot(graph, "fgi/fgi.fgi", &Options { gradients, ..options(Some(graph), &[]) });
    }
}

/// Forward, backward and in a recurrence: what is stored is as large as images with their padding, and what products
/// read is found by affine indices.
#[test]
fn convolutions_store_no_unfolded_matrix() {
    const CONV: &str = "
graph net(x: [T; B, 16, 16, 16], y: [B, 16, 16, 16]) -> (loss) {
    param w: [18, 16, 3, 3] = kaiming_uniform();
    param v: [18, 18, 3, 3] = kaiming_uniform();
    param o: [18, 18, 3, 3] = kaiming_uniform();
    let u = 0.9 * prev(u) + conv2d(x, w, pad = 1) + conv2d(prev(z), v, pad = same);
    let z = bypass(step(u - 1), tanh(u - 1));
    let loss = mean(conv2d(last(z), o)^2) + mean(conv2d(y, w, pad = 1)^2);
}";
    let wrt = Some(["x", "y", "w", "v", "o"].map(str::to_owned).into());
    let gradients = Some(Gradients { output: "loss".into(), wrt });
    let program = compiled(CONV, &Options { gradients, ..Options::default() }).program;
    let image = [("B".into(), 1), ("T".into(), 1)].into();
    for id in program.buffer_ids() {
        let elements = program.elements(id).eval(&image).unwrap();
        assert!(elements <= 18 * 20 * 20, "{}: {elements}", program.buffer(id).name);
    }
    let stages = program.kernels().flat_map(|kernel| &kernel.stages);
    let products = stages.flat_map(|stage| {
        let found = (0..stage.loops.len()).filter_map(|index| stage.contraction(index));
        found.flat_map(move |product| [(stage, product.left.1), (stage, product.right.1)])
    });
    let mut count = 0;
    for (stage, at) in products {
        count += 1;
        let is_index = |inst: &Inst| {
            matches!(inst, Inst::Axis(_) | Inst::LoopAxis(..) | Inst::Time | Inst::LoopTime(_))
        };
        let is_affine = at.terms.iter().all(|(val, _)| is_index(stage.inst(*val)));
        assert!(is_affine, "{at} in\n{program}");
    }
    assert!(count >= 16, "{count}\n{program}");
}
