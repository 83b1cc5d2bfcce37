//! The list of passes, to the end: from the text to kernels, and from kernels to what each target runs.

use super::{CompileError, Options, with_gradients};
use crate::ir::Verified;
use crate::ir::graph::Graph;
use crate::ir::kernel::Program;
use crate::middle::schedule::{Schedule, schedule};
use crate::middle::{autodiff, lower, optimizer, simplify, surrogate};
use crate::target;

/// A step of the compiler, from a form of a program to the next.
pub struct CompilerPass {
    /// In one word: what `--emit` takes.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    pub(super) run: Run,
}

/// What a pass takes and makes. Graphs are verified after each, kernels at the end.
pub(super) enum Run {
    Graph(fn(&Verified<Graph>, &Options) -> Result<Passed, CompileError>),
    Schedule(fn(&Verified<Graph>) -> Schedule),
    Kernels(fn(&Schedule) -> Program),
}

/// The graph, and what the calculus says of its search.
pub(super) type Passed = (Graph, Option<surrogate::Report>);

/// The steps from the checked program to kernels, in their order: the same for all targets.
pub const PASSES: [CompilerPass; 7] = [
    CompilerPass {
        name: "calculus",
        about: "Every surrogate, however spelt, becomes one bypass node.",
        run: Run::Graph(|graph, _| {
            let (graph, report) = surrogate::simplify(graph);
            Ok((graph, Some(report)))
        }),
    },
    CompilerPass {
        name: "autodiff",
        about: "The gradients are appended, with the backward pass through time.",
        run: Run::Graph(|graph, options| Ok((with_gradients(graph, options)?, None))),
    },
    CompilerPass {
        name: "erase",
        about: "What only served derivatives is gone; sg(x) is x.",
        run: Run::Graph(|graph, _| Ok((autodiff::erase(graph.clone().into_inner()), None))),
    },
    CompilerPass {
        name: "joint",
        about: "Values and gradients are simplified together and share what they can.",
        run: Run::Graph(|graph, options| {
            let (graph, report) = simplify::simplify(graph, options.fast_math);
            Ok((graph, Some(report)))
        }),
    },
    CompilerPass {
        name: "optimizer",
        about: "The updates of parameters are appended.",
        run: Run::Graph(|graph, options| match &options.optimizer {
            Some(optimizer) => {
                Ok((optimizer::attach(graph, optimizer, options.clip, &options.groups)?, None))
            }
            None => Ok((graph.compact(), None)),
        }),
    },
    CompilerPass {
        name: "schedule",
        about: "Which values are stored, and in which order the kernels run.",
        run: Run::Schedule(|graph| schedule(graph)),
    },
    CompilerPass {
        name: "lower",
        about: "The loops and bodies of the kernels.",
        run: Run::Kernels(lower::lower),
    },
];

/// The steps after [`PASSES`] for each target, by its name: name and sentence.
pub fn target_passes() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    use target::cpu::plan;
    let cpu = |passes: &'static [plan::PlanPass]| {
        let passes = passes.iter().map(|pass| (pass.name, pass.about));
        #[cfg(feature = "clif")]
        let passes = passes.chain([target::cpu::native::PASS]);
        passes.collect()
    };
    let targets = [("cpu", cpu(&plan::TILED)), ("cpu-in-order", cpu(&plan::IN_ORDER))].into_iter();
    #[cfg(feature = "wgsl")]
    let shaders = target::gpu::PASSES.iter().map(|pass| (pass.name, pass.about));
    #[cfg(feature = "wgsl")]
    let targets = targets.chain([("gpu", shaders.collect())]);
    targets.collect()
}
