//! The macros of the crate `fgi`, which documents them: programs compiled with the Rust code around
//! them.

#![warn(missing_docs)]

mod expand;
mod settings;
mod text;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use fgi_compiler::artifact::embedded::Embedded;
use fgi_compiler::diagnostic::Diagnostic;
use fgi_compiler::front::check::{self, GraphHead};
use fgi_compiler::middle::optimizer::Optimizer;
use fgi_compiler::source::{Loader, NoFiles, Sources, Span as Place};
use fgi_compiler::{CompileError, Compiled, Gradients, Options};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use settings::{Asked, Settings};
use syn::parse::Parser;
use syn::{Error, LitStr};
use text::Text;

/// Compiles the program between the braces.
#[proc_macro]
pub fn program(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expanded(
        settings::inline.parse(input).and_then(|(settings, program)| inline(program, settings)),
    )
}

/// Compiles the program of a file.
#[proc_macro]
pub fn include_program(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expanded(settings::file.parse(input).and_then(|(path, settings)| file(&path, settings)))
}

fn expanded(result: Result<TokenStream, Error>) -> proc_macro::TokenStream {
    result.unwrap_or_else(|error| error.to_compile_error()).into()
}

fn inline(program: TokenStream, settings: Settings) -> Result<TokenStream, Error> {
    // This `unwrap` gives the compiler's span, which is there in every macro call.
    let here = Span::call_site().unwrap();
    let written = Text::new(program);
    let text = written.text.clone();
    let source = Source {
        name: here.file(),
        written: Written::Here(written),
        files: Files::beside(here.local_file().as_deref()),
    };
    source.compile(&text, settings)
}

fn file(path: &LitStr, settings: Settings) -> Result<TokenStream, Error> {
    let refuse =
        |error: std::io::Error| Error::new(path.span(), format!("{}: {error}", path.value()));
    // The compiler's span, as above.
    let rust_file = Span::call_site().unwrap().local_file();
    let file = find(&path.value(), rust_file.as_deref());
    let text = std::fs::read_to_string(&file).map_err(refuse)?;
    let files = Files::beside(Some(&file));
    files.read.borrow_mut().push(file);
    let source = Source { name: path.value(), written: Written::InFile(path.span()), files };
    source.compile(&text, settings)
}

/// The file of this name beside the Rust file, as for `include_str!`, else in the package's folder.
fn find(name: &str, rust_file: Option<&Path>) -> PathBuf {
    let beside = rust_file.and_then(Path::parent).map(|folder| folder.join(name));
    let package =
        || Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join(name);
    beside.filter(|file| file.is_file()).unwrap_or_else(package)
}

/// A program, and where it is written.
struct Source {
    /// Of the file, for messages.
    name: String,
    written: Written,
    files: Files,
}

enum Written {
    Here(Text),
    /// In a file of its own, whose name stands here.
    InFile(Span),
}

impl Source {
    fn compile(&self, text: &str, settings: Settings) -> Result<TokenStream, Error> {
        let heads = check::heads(&self.name, text, &NoFiles);
        let graph = graph(&heads.graphs, settings.graph.as_deref());
        let asked = settings.place();
        let options = options(settings, graph)?;
        let compiled = fgi_compiler::compile(&self.name, text, &self.files, &options, &mut |_| {});
        let compiled = compiled.map_err(|error| self.error(error, asked))?;
        let Some(graph) = graph else {
            return Err(Error::new(self.whole(), "the program has no graph"));
        };
        let span = |place: Place| self.tokens(place).0;
        let embedded = Embedded { program: compiled.program.clone() };
        let bytes = embedded.to_bytes().map_err(|error| Error::new(span(graph.span), error))?;
        let warnings = self.warnings(&compiled);
        let files = self.files.read.borrow();
        let module = expand::Module {
            program: &compiled.program,
            graph,
            optimizer: options.optimizer.as_ref(),
            loss: options.gradients.as_ref().map(|gradients| gradients.output.as_str()),
            bytes: &bytes,
            files: &files,
            span: &span,
        };
        let module = module.expand();
        Ok(quote!(#warnings #module))
    }

    /// The first and the last token of a place in the program; the file's name if it has one.
    fn tokens(&self, place: Place) -> (Span, Span) {
        match &self.written {
            Written::Here(text) => text.spans(place.start as usize..place.end as usize),
            Written::InFile(span) => (*span, *span),
        }
    }

    /// What stands for the program as a whole.
    fn whole(&self) -> Span {
        match &self.written {
            Written::Here(_) => Span::call_site(),
            Written::InFile(span) => *span,
        }
    }

    /// All errors of a program, each where it is; what is wrong with what was asked for, there.
    fn error(&self, error: CompileError, asked: Option<Span>) -> Error {
        let CompileError::Program { sources, diagnostics } = error else {
            return Error::new(asked.unwrap_or_else(|| self.whole()), error);
        };
        let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
        let errors = errors.map(|error| {
            let (first, last) = self.primary(&sources, error);
            let tokens = [Ident::new("first", first), Ident::new("last", last)];
            Error::new_spanned(quote!(#(#tokens)*), settings::spelt(&error.to_text(&sources)))
        });
        let joined = errors.reduce(|mut all, error| {
            all.combine(error);
            all
        });
        joined.unwrap_or_else(|| Error::new(self.whole(), "the program does not compile"))
    }

    fn primary(&self, sources: &Sources, diagnostic: &Diagnostic) -> (Span, Span) {
        let is_here =
            |place: &Place| sources.get(place.file).is_some_and(|source| source.name == self.name);
        // What is wrong in a file that the program uses is shown where the program has to do with it.
        let mut places = diagnostic.labels.iter().map(|label| label.span);
        places.find(is_here).map_or((self.whole(), self.whole()), |place| self.tokens(place))
    }

    /// Macros have no warnings of their own: a use of something deprecated carries the text.
    fn warnings(&self, compiled: &Compiled) -> TokenStream {
        let warnings = compiled.warnings.iter().map(|warning| {
            let span = self.primary(&compiled.sources, warning).0;
            let text = settings::spelt(&warning.to_text(&compiled.sources));
            quote_spanned! { span =>
                const _: () = {
                    #[deprecated(note = #text)]
                    #[allow(non_upper_case_globals)]
                    const program: () = ();
                    program
                };
            }
        });
        warnings.collect()
    }
}

/// The graph of a name, or the first one.
fn graph<'a>(graphs: &'a [GraphHead], name: Option<&str>) -> Option<&'a GraphHead> {
    graphs.iter().find(|graph| name.is_none_or(|name| graph.name == name))
}

/// The gradient of `loss`, if there is such an output, and Adam, unless something else is asked for.
fn options(settings: Settings, graph: Option<&GraphHead>) -> Result<Options, Error> {
    let has_loss =
        graph.is_some_and(|graph| graph.outputs.iter().any(|output| output.name == LOSS));
    let gradients = match settings.gradients {
        Asked::Default => has_loss.then(|| Gradients { output: LOSS.into(), wrt: None }),
        Asked::None => None,
        Asked::Some(gradients, _) => Some(gradients),
    };
    let (optimizer, clip) = match settings.optimizer {
        Asked::Default => (gradients.is_some().then_some(Optimizer::ADAM), None),
        Asked::None => (None, None),
        Asked::Some(_, span) if gradients.is_none() => {
            let message = "there is no gradient to follow: name the output in `grad(…)`";
            return Err(Error::new(span, message));
        }
        Asked::Some((optimizer, clip), _) => (Some(optimizer), clip),
    };
    Ok(Options {
        graph: settings.graph,
        dims: settings.dims,
        gradients,
        optimizer,
        clip,
        carry: settings.carry,
        ..Options::default()
    })
}

const LOSS: &str = "loss";

/// The files of a folder, and which were read.
struct Files {
    folder: PathBuf,
    read: RefCell<Vec<PathBuf>>,
}

impl Files {
    fn beside(file: Option<&Path>) -> Files {
        let folder = file.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
        Files { folder, read: RefCell::default() }
    }
}

impl Loader for Files {
    fn load(&self, name: &str) -> Option<(String, String)> {
        let path = self.folder.join(format!("{name}.fgi"));
        let text = std::fs::read_to_string(&path).ok()?;
        let shown = path.display().to_string();
        self.read.borrow_mut().push(path);
        Some((shown, text))
    }
}
