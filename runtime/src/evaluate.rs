//! Running a program once, with arrays by name in and out: inputs by name and parameters by path in,
//! outputs by name and gradients as `grad/PATH` out.

use std::sync::Arc;

use fgi_compiler::ir::Verified;
use fgi_compiler::ir::graph::interpret::{Results, Tensor, Values, footprint, interpret};
use fgi_compiler::ir::graph::{Bindings, Dim, Elem, Graph, Input, Param, Role, Symbol};
use fgi_compiler::ir::kernel::Program;

use crate::array::shape_name;
use crate::npz::Arrays;
use crate::{Array, Data, Device, Error, Session, init, memory, shapes};

/// Runs a compiled program on a device. Parameters that `arrays` does not have start from their
/// initialisers with the seed. Results are f32, i32 and bool.
pub fn evaluate(
    program: Arc<Verified<Program>>,
    device: &Device,
    arrays: &Arrays,
    seed: u64,
) -> Result<(Arrays, Session), Error> {
    let given =
        Given { inputs: &program.inputs, params: &program.params, time: program.time.as_ref() };
    let bindings = given.check(arrays)?;
    let mut session = Session::without_values(program.clone(), device)?;
    session.initialise_others(seed, arrays)?;
    session.bind(bindings)?;
    for param in &program.params {
        if let Some(array) = arrays.get(&param.path) {
            session.set_param(&param.path, array)?;
        }
    }
    let inputs = program.inputs.iter().map(|input| (input.name.as_str(), &arrays[&input.name]));
    session.set_inputs(inputs)?;
    session.run_gradients()?;
    let mut results = Arrays::new();
    for (role, name, _) in &program.results {
        match role {
            Role::Output => results.insert(name.clone(), session.output(name)?),
            Role::Gradient => results.insert(gradient_name(name), session.gradient(name)?),
            Role::Update | Role::Next => None,
        };
    }
    Ok((results, session))
}

/// Runs a graph by the interpreter, in f64. Results are f64, i32 and bool.
pub fn evaluate_reference(
    graph: &Verified<Graph>,
    arrays: &Arrays,
    seed: u64,
) -> Result<Arrays, Error> {
    let (bindings, values) = reference_values(graph, arrays, seed)?;
    let results = interpret(graph, &bindings, &values);
    let Results(results) = results.map_err(|error| Error::Reference(error.to_string()))?;
    let named = results.into_iter().filter_map(|(root, tensor)| {
        let name = match root.role {
            Role::Output => root.name,
            Role::Gradient => gradient_name(&root.name),
            Role::Update | Role::Next => return None,
        };
        let data: Data = match graph.ty(root.node).elem {
            Elem::F32 => tensor.data.into(),
            Elem::I32 => tensor.data.iter().map(|v| *v as i32).collect::<Vec<_>>().into(),
            Elem::Bool => tensor.data.iter().map(|v| *v != 0.0).collect::<Vec<_>>().into(),
        };
        Some((name, Array::new(tensor.dims, data)))
    });
    Ok(named.collect())
}

/// What the interpreter takes: open dimensions from the shapes, and a value for every input and
/// parameter, from `arrays` or an initialiser.
pub fn reference_values(
    graph: &Verified<Graph>,
    arrays: &Arrays,
    seed: u64,
) -> Result<(Bindings, Values), Error> {
    let given = Given { inputs: &graph.inputs, params: &graph.params, time: graph.time.as_ref() };
    let bindings = given.check(arrays)?;
    let needed = footprint(graph, &bindings).map_err(|e| Error::Reference(e.to_string()))?;
    memory::check(needed)?;
    let tensor = |array: &Array| Tensor::new(array.shape.clone(), array.to_f64());
    let mut values: Values =
        arrays.iter().map(|(name, array)| (name.clone(), tensor(array))).collect();
    for param in &graph.params {
        if !values.contains_key(&param.path) {
            let array = init::initial(param, &bindings, seed)?;
            values.insert(param.path.clone(), tensor(&array));
        }
    }
    Ok((bindings, values))
}

/// Random inputs for a graph: floats in [0, 1), integers and booleans 0 or 1. Open dimensions take
/// `size`, those of time `steps`.
pub fn random_inputs(graph: &Graph, size: i64, steps: i64, seed: u64) -> Result<Arrays, Error> {
    let time = graph.time.as_ref();
    let is_time = |symbol: &Symbol| time.is_some_and(|time| time.symbols().any(|s| s == symbol));
    let size = |symbol: &Symbol| if is_time(symbol) { steps } else { size };
    let bindings: Bindings =
        graph.symbols().into_iter().map(|symbol| (symbol.clone(), size(&symbol))).collect();
    let mut needed = 0u128;
    for input in &graph.inputs {
        let shape = shapes::shape(&input.ty, time, &bindings)?;
        needed = needed.saturating_add(memory::bytes(input.ty.elem, &shape));
    }
    memory::check(needed)?;
    let random = |input: &Input| {
        let shape = shapes::shape(&input.ty, time, &bindings)?;
        let mut random = init::stream(seed, &format!("input {}", input.name));
        let numbers = (0..shape.iter().product()).map(|_| init::unit(&mut random));
        let data: Data = match input.ty.elem {
            Elem::F32 => numbers.map(|number| number as f32).collect::<Vec<_>>().into(),
            Elem::I32 => numbers.map(|number| i32::from(number < 0.5)).collect::<Vec<_>>().into(),
            Elem::Bool => numbers.map(|number| number < 0.5).collect::<Vec<_>>().into(),
        };
        Ok((input.name.clone(), Array::new(shape, data)))
    };
    graph.inputs.iter().map(random).collect()
}

fn gradient_name(path: &str) -> String {
    format!("grad/{path}")
}

/// What a program can be given.
struct Given<'a> {
    inputs: &'a [Input],
    params: &'a [Param],
    time: Option<&'a Dim>,
}

impl Given<'_> {
    /// Every array is one of an input or parameter, of its type; no input is missing. The dimensions
    /// that the shapes of inputs decide.
    fn check(&self, arrays: &Arrays) -> Result<Bindings, Error> {
        let names = self.inputs.iter().map(|input| &input.name);
        let names = names.chain(self.params.iter().map(|param| &param.path)).map(String::as_str);
        if let Some(name) = arrays.keys().find(|name| !names.clone().any(|known| known == **name)) {
            return Err(Error::unknown("input or parameter", name, names));
        }
        let mut shapes = Vec::new();
        for input in self.inputs {
            let array = arrays
                .get(&input.name)
                .ok_or_else(|| Error::Missing { what: "input", name: input.name.clone() })?;
            array.convert(&input.name, input.ty.elem)?;
            shapes.push((input, array.shape.as_slice()));
        }
        let bindings = shapes::bind(shapes, self.time, &Bindings::new())?;
        for param in self.params {
            let Some(array) = arrays.get(&param.path) else { continue };
            array.convert(&param.path, param.elem)?;
            let expected = init::shape(param, &bindings)?;
            if array.shape != expected {
                return Err(Error::Shape {
                    name: param.path.clone(),
                    expected: format!("an array of shape {}", shape_name(&expected)),
                    found: shape_name(&array.shape),
                });
            }
        }
        Ok(bindings)
    }
}
