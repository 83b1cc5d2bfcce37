//! The C header of an object.

use super::interface::{Argument, Interface, Member};
use crate::ir::graph::{Dim, Elem};
use crate::ir::kernel::{BufferId, Pass, Storage};

/// The text; `has_initial` if the object holds initial parameters.
pub(super) fn text(interface: &Interface, target: &str, has_initial: bool) -> String {
    let name = &interface.program.name;
    let guard = format!("FGI_{}_H", name.to_uppercase());
    let mut parts = vec![
        top(interface, target),
        format!("#ifndef {guard}\n#define {guard}\n\n#include <stddef.h>\n#include <stdint.h>"),
        "#ifdef __cplusplus\nextern \"C\" {\n#endif".to_owned(),
        status(name),
    ];
    if !interface.inputs.is_empty() {
        let fields = interface.inputs.iter().map(|(index, field)| input(interface, *index, field));
        let about = "What the program takes: arrays of the caller.";
        parts.push(structure(name, "inputs", about, fields.collect()));
    }
    let arrays = |what: &str, about: &str, members: &[Member]| {
        let fields = members.iter().map(|member| array(interface, member)).collect();
        (!members.is_empty()).then(|| structure(name, what, about, fields))
    };
    parts.extend(arrays("params", "The parameters.", &interface.params));
    let about = match interface.program.state() {
        Some(_) => "What stays from run to run: states, and what the optimiser remembers.",
        None => "What the optimiser remembers of each parameter: all zero at first.",
    };
    parts.extend(arrays("state", about, &interface.state));
    let pointers = |what: &str, about: &str, results: &[(BufferId, String)]| {
        let fields = results.iter().map(|(buffer, field)| result(interface, *buffer, field));
        structure(name, what, about, fields.collect())
    };
    let about = format!("What {name}_forward computes.");
    parts.push(pointers("outputs", &about, &interface.outputs));
    if !interface.gradients.is_empty() {
        let about = format!("What {name}_backward computes.");
        parts.push(pointers("grads", &about, &interface.gradients));
    }
    if has_initial {
        parts.extend(initial(name, interface));
    }
    parts.push(workspace(interface));
    parts.extend(interface.passes().into_iter().map(|pass| function(interface, pass)));
    parts.push(format!("#ifdef __cplusplus\n}}\n#endif\n\n#endif /* {guard} */"));
    parts.join("\n\n") + "\n"
}

fn top(interface: &Interface, target: &str) -> String {
    let name = &interface.program.name;
    let dims = interface.dims.iter().map(|(symbol, _)| symbol.to_string()).collect::<Vec<_>>();
    let mut lines = vec![
        format!("The program {name}, compiled by fgic {} for", env!("CARGO_PKG_VERSION")),
        format!("{target}, for the instructions of the machine that"),
        format!("compiled it. Link {name}.o."),
        String::new(),
        "Arrays are row-major: the last axis is the fastest. Booleans are 0 or 1.".to_owned(),
    ];
    if !dims.is_empty() {
        let dims = dims.join(", ");
        lines.push(format!("The sizes of open dimensions ({dims}) are arguments."));
    }
    lines.extend([
        "Functions allocate nothing and keep nothing: with a workspace each they may run"
            .to_owned(),
        "in several threads. Sums are in the order of the program, whatever the sizes.".to_owned(),
    ]);
    comment(&lines, "")
}

fn status(name: &str) -> String {
    let upper = name.to_uppercase();
    let about = comment(&["What functions return.".to_owned()], "");
    format!(
        "{about}\nenum {name}_status {{\n    {upper}_OK = 0,\n    \
         /** A size is less than 1 or too large. */\n    {upper}_BAD_SIZE = 1,\n    \
         /** A pointer is null, be it one in a structure. */\n    {upper}_NO_POINTER = 2\n}};"
    )
}

fn structure(name: &str, what: &str, about: &str, fields: Vec<String>) -> String {
    let about = comment(&[about.to_owned()], "");
    format!("{about}\ntypedef struct {name}_{what} {{\n{}\n}} {name}_{what};", fields.join("\n"))
}

fn input(interface: &Interface, index: usize, field: &str) -> String {
    let input = &interface.program.inputs[index];
    let time = interface.program.time.iter().filter(|_| input.ty.is_stream());
    let shape = shape(time.chain(&input.ty.dims));
    let mut lines: Vec<String> = input.docs.lines().map(|line| line.trim().to_owned()).collect();
    lines.push(format!("{}{shape}", scalar(input.ty.elem)));
    if !interface.is_used(index) {
        lines.push("Nothing depends on it: it may be null.".to_owned());
    }
    format!("{}\n    const {} *{field};", comment(&lines, "    "), scalar(input.ty.elem))
}

fn array(interface: &Interface, member: &Member) -> String {
    let param = &interface.program.params[member.param];
    let mut lines: Vec<String> = param.docs.lines().map(|line| line.trim().to_owned()).collect();
    lines.push(format!("`{}`", param.path));
    let dims: String = member.dims.iter().map(|dim| format!("[{dim}]")).collect();
    format!("{}\n    {} {}{dims};", comment(&lines, "    "), scalar(param.elem), member.name)
}

fn result(interface: &Interface, buffer: BufferId, field: &str) -> String {
    let buffer = interface.program.buffer(buffer);
    let time = interface.program.time.iter().filter(|_| buffer.stream);
    let ty = scalar(buffer.elem);
    let shape = format!("{ty}{}", shape(time.chain(&buffer.dims)));
    format!("{}\n    const {ty} *{field};", comment(&[shape], "    "))
}

fn initial(name: &str, interface: &Interface) -> Vec<String> {
    let declared = |what: &str, members: &[Member], about: &str| {
        let about = comment(&[about.to_owned()], "");
        let text = format!("{about}\nextern const {name}_{what} {name}_initial_{what};");
        (!members.is_empty()).then_some(text)
    };
    let params = declared("params", &interface.params, "The parameters that come with the object.");
    let about = "What stays from run to run, as it is at first.";
    params.into_iter().chain(declared("state", &interface.state, about)).collect()
}

fn workspace(interface: &Interface) -> String {
    let name = &interface.program.name;
    let dims: Vec<Argument> = interface.dim_arguments().collect();
    let arguments = match dims.is_empty() {
        true => "void".to_owned(),
        false => declared(interface, &dims, Pass::Forward),
    };
    let lines = [
        "The bytes of a workspace, or 0 if a size is less than 1 or too large. Its content"
            .to_owned(),
        "at first does not matter.".to_owned(),
    ];
    format!("{}\nsize_t {name}_workspace_bytes({arguments});", comment(&lines, ""))
}

fn function(interface: &Interface, pass: Pass) -> String {
    let name = &interface.program.name;
    let (called, lines): (_, &[&str]) = match pass {
        Pass::Forward => (
            "forward",
            &[
                "Computes the outputs. The pointers that it leaves lead into the workspace, or to what an",
                "output is equal to, and hold until the workspace is used again.",
            ],
        ),
        Pass::Backward => (
            "backward",
            &[
                "Computes the gradients, right after the forward pass with the same arguments. The outputs",
                "stay; the pointers that it leaves are as those of the outputs.",
            ],
        ),
        Pass::Update if interface.arguments(pass).contains(&Argument::LearningRate) => (
            "update",
            &["Writes new parameters, right after the backward pass. Updates are counted from 1."],
        ),
        Pass::Update => ("update", &["Ends a run, right after its last pass."]),
    };
    let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let arguments = interface.arguments(pass);
    if pass == Pass::Update && interface.program.state().is_some() {
        lines.push("The states get their values after the run.".to_owned());
    }
    if arguments.contains(&Argument::Step) {
        lines.push("`step` is the number of the update, from 1.".to_owned());
    }
    let arguments = declared(interface, &arguments, pass);
    format!("{}\nint {name}_{called}({arguments});", comment(&lines, ""))
}

fn declared(interface: &Interface, arguments: &[Argument], pass: Pass) -> String {
    let name = &interface.program.name;
    let params = if pass == Pass::Update { "" } else { "const " };
    let spelt = arguments.iter().map(|argument| match argument {
        Argument::Dim(at) => format!("int64_t {}", interface.dims[*at].1),
        Argument::Inputs => format!("const {name}_inputs *inputs"),
        Argument::Params => format!("{params}{name}_params *params"),
        Argument::State => format!("{name}_state *state"),
        Argument::Outputs => format!("{name}_outputs *outputs"),
        Argument::Gradients => format!("{name}_grads *grads"),
        Argument::LearningRate => "float learning_rate".to_owned(),
        Argument::Step => "int64_t step".to_owned(),
        Argument::Workspace => "void *workspace".to_owned(),
    });
    spelt.collect::<Vec<_>>().join(", ")
}

fn scalar(elem: Elem) -> &'static str {
    match Storage::of(elem) {
        Storage::F32 => "float",
        Storage::I32 => "int32_t",
        // What a caller sees is no bit.
        Storage::U32 | Storage::Bit => "uint32_t",
    }
}

/// `[T][B][8]`
fn shape<'a>(dims: impl Iterator<Item = &'a Dim>) -> String {
    dims.map(|dim| format!("[{dim}]")).collect()
}

/// A comment that nothing in it ends.
fn comment(lines: &[String], indent: &str) -> String {
    let lines = lines.iter().map(|line| line.replace("*/", "* /").replace("/*", "/ *"));
    let lines: Vec<String> = lines.collect();
    match lines.as_slice() {
        [line] => format!("{indent}/** {line} */"),
        _ => {
            let lines = lines.iter().map(|line| format!("{indent} * {line}").trim_end().to_owned());
            format!("{indent}/**\n{}\n{indent} */", lines.collect::<Vec<_>>().join("\n"))
        }
    }
}
