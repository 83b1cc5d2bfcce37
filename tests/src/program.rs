//! A program with what it needs to run: every engine is compared with the interpreter, and the interpreter's
//! gradients with finite differences.

use std::collections::BTreeMap;
use std::path::Path;

use fgi::Array;
use fgi::npz::Arrays;
use fgi_compiler::front::check::{self, Checked, check};
use fgi_compiler::ir::Verified;
use fgi_compiler::ir::graph::{Elem, Graph, Input, ParamKind};
use fgi_compiler::report::gradcheck::{Precision, Row, Verdict, gradcheck};
use fgi_compiler::source::NoFiles;
use fgi_compiler::{Compiled, Gradients, Options, compile_checked};

use crate::{Engine, closeness, random, run, tensor};

/// A graph of a program, the only one if it has no name, with values for its dimensions, the sizes of the open ones, and
/// the number that its integers are less than.
pub struct Case {
    pub name: String,
    pub text: String,
    pub graph: Option<String>,
    pub dims: BTreeMap<String, i64>,
    pub sizes: BTreeMap<String, i64>,
    pub labels: i64,
}

impl Case {
    /// The comment before the program ends with its sizes: `// B = 2, T = 9, label < 5`.
    pub fn read(path: &Path) -> Case {
        let text = std::fs::read_to_string(path).unwrap();
        let head = text.lines().take_while(|line| line.starts_with("//")).last().unwrap();
        let parts = head.trim_start_matches("//").split(',');
        let (mut sizes, mut labels) = (BTreeMap::new(), 2);
        for part in parts {
            match part.split_whitespace().collect::<Vec<_>>()[..] {
                [name, "=", size] => drop(sizes.insert(name.into(), size.parse().unwrap())),
                ["label", "<", bound] => labels = bound.parse().unwrap(),
                _ => panic!("{}: sizes, not `{head}`", path.display()),
            }
        }
        let name = path.file_stem().unwrap().display().to_string();
        Case { name, text, graph: None, dims: BTreeMap::new(), sizes, labels }
    }

    /// The program with gradients for every parameter and every input that can have one: as it is outside of training
    /// and, if it asks for that, as it is in training.
    fn compiled(&self) -> Vec<Compiled> {
        let plain = self.checked(false);
        let trained = plain.asks_training.then(|| self.checked(true));
        [plain].into_iter().chain(trained).map(|checked| with_gradients(&checked)).collect()
    }

    fn checked(&self, training: bool) -> Checked {
        let (graph, dims) = (self.graph.clone(), self.dims.clone());
        let options = check::Options { graph, dims, sized: true, training, carry: false };
        let checked = check(&self.name, &self.text, &NoFiles, &options);
        assert!(checked.graph.is_some(), "{}: {:#?}", self.name, checked.diagnostics);
        checked
    }

    /// A value for every input: f32 from -1 to 1. Parameters start as the program says.
    fn values(&self, graph: &Graph) -> Arrays {
        let value = |(place, input): (usize, &Input)| {
            let time = graph.time.iter().filter(|_| input.ty.is_stream());
            let size = |symbol: &_| self.sizes.get(&format!("{symbol}")).copied();
            let bindings = graph.symbols().into_iter().filter_map(|s| Some((s.clone(), size(&s)?)));
            let bindings = bindings.collect();
            let shape = time.chain(&input.ty.dims).map(|dim| dim.eval(&bindings).unwrap() as usize);
            let shape: Vec<usize> = shape.collect();
            let bits = (0..shape.iter().product::<usize>() as u64)
                .map(|i| random(i + ((place as u64) << 32)));
            let array = match input.ty.elem {
                Elem::F32 => {
                    let unit = |bits: u64| (bits as f64 / u64::MAX as f64 * 2.0 - 1.0) as f32;
                    Array::new(shape, bits.map(unit).collect::<Vec<_>>())
                }
                _ => Array::new(
                    shape,
                    bits.map(|b| (b % self.labels as u64) as i32).collect::<Vec<_>>(),
                ),
            };
            (input.name.clone(), array)
        };
        graph.inputs.iter().enumerate().map(value).collect()
    }

    /// What differs: an engine from the interpreter, or a gradient from finite differences.
    pub fn faults(&self, engines: &[Engine]) -> Vec<String> {
        let compiled = self.compiled();
        compiled.iter().flat_map(|compiled| self.faults_of(compiled, engines)).collect()
    }

    /// The same, of the program in training alone.
    pub fn faults_in_training(&self, engines: &[Engine]) -> Vec<String> {
        self.faults_of(&with_gradients(&self.checked(true)), engines)
    }

    fn faults_of(&self, compiled: &Compiled, engines: &[Engine]) -> Vec<String> {
        let (_, written) = &compiled.graphs[0];
        let values = self.values(written);
        let expected = run(Engine::Reference, compiled, &values).unwrap();
        let mut faults = Vec::new();
        for engine in engines {
            let found = match run(*engine, compiled, &values) {
                Ok(found) => found,
                Err(error) => {
                    faults.push(format!("{}: {engine:?}: {error}", self.name));
                    continue;
                }
            };
            let differs = expected.iter().filter_map(|(name, expected)| {
                let why = closeness(&found[name], expected, 1e-4, 1e-6).err()?;
                Some(format!("{}: {engine:?}: {name}: {why}", self.name))
            });
            faults.extend(differs);
        }
        // Each difference is a run of its own, which takes too long for many steps.
        if self.sizes.get("T").is_none_or(|steps| *steps <= 50) {
            faults.extend(self.differences(written, &values, &expected));
        }
        faults
    }

    fn differences(
        &self,
        written: &Verified<Graph>,
        values: &Arrays,
        results: &Arrays,
    ) -> Vec<String> {
        let (bindings, values) = fgi::reference_values(written, values, 0).unwrap();
        let gradients = results.iter().filter_map(|(name, array)| {
            let path = name.strip_prefix("grad/")?;
            Some((path.to_string(), tensor(array)))
        });
        let (gradients, precision) = (gradients.collect(), Precision::F64);
        let rows = gradcheck(written, &bindings, &values, "loss", &gradients, precision).unwrap();
        let is_wrong = |row: &Row| matches!(row.verdict, Verdict::Differs | Verdict::NotFinite(_));
        let differ = rows.into_iter().filter(is_wrong);
        differ.map(|row| format!("{}: {row:?}", self.name)).collect()
    }
}

fn with_gradients(checked: &Checked) -> Compiled {
    let graph = checked.graph.as_ref().unwrap();
    let inputs = graph.inputs.iter().filter(|input| input.ty.elem == Elem::F32);
    let params = graph.params.iter().filter(|param| param.kind == ParamKind::Trained);
    let params = params.map(|param| param.path.clone());
    let wrt = inputs.map(|input| input.name.clone()).chain(params).collect();
    let gradients = Some(Gradients { output: "loss".into(), wrt: Some(wrt) });
    let options = Options { gradients, ..Options::default() };
    compile_checked(checked, &options, &mut |_| {}).unwrap()
}
