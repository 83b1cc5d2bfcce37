//! Programs as the command line names them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use fgi::Device;
use fgi_compiler::front::check::{self, GraphHead};
use fgi_compiler::middle::optimizer::Optimizer;
use fgi_compiler::source::Loader;
use fgi_compiler::{Gradients, Options};

use crate::failure::Failure;
use crate::{numbers, paper};

/// The program, the graph and its dimensions.
#[derive(clap::Args)]
pub struct ProgramArgs {
    /// The program, or - for standard input
    #[arg(value_name = "PROGRAM.fgi")]
    pub file: PathBuf,
    #[command(flatten)]
    pub taken: GraphArgs,
}

/// The graph of a program and its dimensions.
#[derive(Clone, clap::Args)]
pub struct GraphArgs {
    /// The graph to take, where the program has several
    #[arg(long, value_name = "NAME")]
    pub graph: Option<String>,
    /// Gives a dimension its value (repeatable)
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = numbers::dimension)]
    dims: Vec<(String, i64)>,
}

/// How numbers may be rounded.
#[derive(clap::Args)]
pub struct NumericArgs {
    /// Lets sums and products be rounded in another order than written, where that is cheaper
    #[arg(long)]
    pub fast_math: bool,
}

/// What a device may use.
#[derive(clap::Args)]
pub struct LimitArgs {
    /// How many threads the CPU device uses; as many as the machine has if not given
    #[arg(long, value_parser = numbers::threads)]
    pub threads: Option<usize>,
    /// The most memory that inputs, parameters, results and all that is kept between may take together,
    /// as 256MB or 1GiB; what this machine has if not given. Where all steps of time do not fit, the CPU keeps some and computes the others
    /// again, with the same bits
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<ByteSize>,
}

impl LimitArgs {
    /// In bytes.
    pub fn memory(&self) -> Option<usize> {
        self.memory_limit.map(|size| usize::try_from(size.as_u64()).unwrap_or(usize::MAX))
    }

    pub fn on(&self, device: &Device) -> Device {
        let device = device.clone();
        let device = self.memory().into_iter().fold(device, Device::memory_limit);
        self.threads.into_iter().fold(device, Device::threads)
    }
}

impl ProgramArgs {
    pub fn read(&self) -> Result<ProgramText, Failure> {
        match self.file.to_str() {
            Some(paper::NO_FILE) => Ok(ProgramText::alone("smnist.fgi", paper::NETWORK)),
            _ => ProgramText::read(&self.file),
        }
    }

    /// What to check of a program: all its graphs, each with the dimensions that it has. What is meant for one
    /// graph, or for none, is reported if that one does not have it.
    pub fn of_each_graph(&self, program: &ProgramText) -> Result<Vec<check::Options>, Failure> {
        let heads = check::heads(&program.name, &program.text, program).graphs;
        let (asked, given) = (self.graph(), self.dims()?);
        let takes = |graph: &GraphHead, dim: &str| {
            graph.has_dim(dim)
                || asked == Some(&graph.name)
                || asked.is_none() && heads.iter().all(|other| !other.has_dim(dim))
        };
        let options = |graph: &GraphHead| {
            let dims = given.clone().into_iter().filter(|(dim, _)| takes(graph, dim));
            check::Options {
                graph: Some(graph.name.clone()),
                dims: dims.collect(),
                ..Default::default()
            }
        };
        let mut all: Vec<check::Options> = heads.iter().map(options).collect();
        if all.is_empty() || asked.is_some_and(|name| heads.iter().all(|graph| graph.name != *name))
        {
            all.push(check::Options {
                graph: asked.cloned(),
                dims: given.clone(),
                ..Default::default()
            });
        }
        Ok(all)
    }

    /// The graph that is asked for.
    pub fn graph(&self) -> Option<&String> {
        self.taken.graph.as_ref()
    }

    pub fn dims(&self) -> Result<BTreeMap<String, i64>, Failure> {
        self.taken.dims()
    }
}

impl GraphArgs {
    /// The dimensions by name; the same one twice is an error.
    pub fn dims(&self) -> Result<BTreeMap<String, i64>, Failure> {
        let mut dims = BTreeMap::new();
        for (name, value) in &self.dims {
            if dims.insert(name.clone(), *value).is_some_and(|old| old != *value) {
                return Err(Failure::Usage(format!("-D {name} is given twice")));
            }
        }
        Ok(dims)
    }
}

/// A program's text, and where to find the files that it uses.
pub struct ProgramText {
    pub name: String,
    pub text: String,
    directory: Option<PathBuf>,
}

impl ProgramText {
    pub fn read(file: &Path) -> Result<ProgramText, Failure> {
        let directory = file.parent().unwrap_or(Path::new("")).to_path_buf();
        let is_stdin = file == Path::new("-");
        let name = if is_stdin { "<stdin>".into() } else { file.display().to_string() };
        let text = if is_stdin { read_stdin() } else { std::fs::read_to_string(file) };
        let text = text.map_err(|error| Failure::Run(format!("{name}: {error}")))?;
        Ok(ProgramText { name, text, directory: Some(directory) })
    }

    /// The graph of this name, or the only one.
    pub fn head(&self, graph: Option<&str>) -> Option<GraphHead> {
        let mut heads = check::heads(&self.name, &self.text, self).graphs;
        match graph {
            None if heads.len() > 1 => None,
            None => heads.pop(),
            Some(name) => heads.into_iter().find(|head| head.name == name),
        }
    }

    /// A text that uses no files.
    pub fn alone(name: &str, text: &str) -> ProgramText {
        ProgramText { name: name.into(), text: text.into(), directory: None }
    }
}

/// What training needs: the gradients of an output, of `loss` if there is one, and Adam.
pub fn train(head: &GraphHead, output: Option<&String>, options: &mut Options) {
    let has_loss = || head.outputs.iter().any(|output| output.name == "loss");
    let output = output.cloned().or_else(|| has_loss().then(|| "loss".into()));
    options.gradients = output.map(|output| Gradients { output, wrt: None });
    options.optimizer = options.gradients.is_some().then_some(Optimizer::ADAM);
}

impl Loader for ProgramText {
    fn load(&self, name: &str) -> Option<(String, String)> {
        let path = self.directory.as_ref()?.join(format!("{name}.fgi"));
        let text = std::fs::read_to_string(&path).ok()?;
        Some((path.display().to_string(), text))
    }
}

fn read_stdin() -> std::io::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// What to say where the standard library has no such module.
pub fn unknown_module(module: &str) -> Failure {
    let hint = match check::closest(module, check::standard_modules()) {
        Some(likely) => format!("did you mean `std:{likely}`?"),
        None => format!("it has {}", check::standard_modules().collect::<Vec<_>>().join(", ")),
    };
    Failure::Usage(format!("the standard library has no module `{module}`; {hint}"))
}
