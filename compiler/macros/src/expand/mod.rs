//! A compiled program → the Rust module that stands for it.

mod params;
mod value;

use std::path::{Path, PathBuf};

use fgi_compiler::artifact::embedded::VERSION;
use fgi_compiler::front::check::{GraphHead, PROGRESS};
use fgi_compiler::ir::graph::{Dim, Elem, Input, ParamKind, Role, Symbol};
use fgi_compiler::ir::kernel::{BufferId, Program};
use fgi_compiler::middle::optimizer::{LEARNING_RATE, Optimizer, STEP};
use fgi_compiler::source::Span as Place;
use params::Tree;
use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::parse::Parser;
use value::Value;

/// What a module is made of.
pub struct Module<'a> {
    pub program: &'a Program,
    pub graph: &'a GraphHead,
    pub optimizer: Option<&'a Optimizer>,
    /// The output that the gradients are of.
    pub loss: Option<&'a str>,
    /// The embedded program.
    pub bytes: &'a [u8],
    /// The files that it was made from: it is made anew when one changes.
    pub files: &'a [PathBuf],
    /// The token at a place of the program.
    pub span: &'a dyn Fn(Place) -> Span,
}

impl Module<'_> {
    pub fn expand(&self) -> TokenStream {
        let name = ident(&self.program.name, (self.span)(self.graph.span));
        let docs = &self.graph.docs;
        let bytes = Literal::byte_string(self.bytes);
        let files = self.files.iter().map(|file| track(file));
        let inputs = self.inputs();
        let outputs = self.outputs();
        let params = self.params();
        let gradients = self.gradients();
        let optimizer = self.optimizer();
        let model = self.model();
        quote! {
            #[doc = #docs]
            #[allow(unused, nonstandard_style, clippy::all, clippy::pedantic)]
            pub mod #name {
                const _: () = ::fgi::embed::check_version(#VERSION);
                #(#files)*
                static PROGRAM: &[u8] = #bytes;
                #inputs
                #outputs
                #params
                #gradients
                #optimizer
                #model
            }
        }
    }

    fn inputs(&self) -> TokenStream {
        let (mut fields, mut values) = (TokenStream::new(), TokenStream::new());
        let time = self.program.time.as_ref();
        for input in &self.program.inputs {
            let path = &input.name;
            if [LEARNING_RATE, STEP, PROGRESS].contains(&path.as_str()) {
                continue;
            }
            let declared = self.graph.inputs.iter().find(|input| input.name == *path);
            let span = declared.map_or(Span::call_site(), |found| (self.span)(found.span));
            let name = ident(path, span);
            let value = Value::new(input.ty.elem, axes(&input.ty.dims, input.ty.is_stream(), time));
            let docs = value.docs(&input.docs);
            let ty = value.borrowed();
            fields.extend(quote!(#docs pub #name: #ty,));
            let slice = value.slice(&quote!(self.#name));
            values.extend(quote!((#path, #slice),));
        }
        let mut dims = TokenStream::new();
        for symbol in self.undetermined() {
            let name = ident(&symbol, Span::call_site());
            let docs = format!("The dimension `{symbol}`, which no length of an input decides.");
            fields.extend(quote!(#[doc = #docs] pub #name: usize,));
            let symbol = &*symbol;
            dims.extend(quote!((#symbol, self.#name),));
        }
        // There may be scalars only.
        let borrows = self.borrows();
        let (marker, anonymous) = (borrows.then(|| quote!(<'a>)), borrows.then(|| quote!(<'_>)));
        quote! {
            /// What the program is given. Arrays are flat, their last axis the fastest; open
            /// dimensions follow from their lengths.
            #[derive(Clone, Copy, Debug)]
            pub struct Inputs #marker { #fields }

            impl Inputs #anonymous {
                fn give(&self, model: &mut ::fgi::embed::Model, learning_rate: f32)
                    -> ::core::result::Result<(), ::fgi::Error>
                {
                    model.forward(&[#values], &[#dims], learning_rate)
                }
            }
        }
    }

    /// Whether some input is more than a number.
    fn borrows(&self) -> bool {
        let is_array = |input: &Input| input.ty.is_stream() || !input.ty.is_scalar();
        self.program.inputs.iter().any(is_array)
    }

    /// The open dimensions that do not follow from the lengths of the inputs.
    fn undetermined(&self) -> Vec<Symbol> {
        let time = self.program.time.as_ref();
        let lengths = self
            .program
            .inputs
            .iter()
            .map(|input| Dim::product(&axes(&input.ty.dims, input.ty.is_stream(), time)));
        let lengths: Vec<Dim> = lengths.collect();
        let buffers = self.program.buffers.iter().flat_map(|buffer| &buffer.dims);
        let mut open: Vec<Symbol> = buffers.chain(time).flat_map(Dim::symbols).cloned().collect();
        open.sort();
        open.dedup();
        // A length decides the only open dimension that is left in it, if that is no power.
        while let Some(decided) = lengths.iter().find_map(|length| {
            let of_term = |factors: &[Symbol]| -> Vec<Symbol> {
                factors.iter().filter(|symbol| open.contains(symbol)).cloned().collect()
            };
            let mut unknown = length.terms().iter().map(|(factors, _)| of_term(factors));
            let first = unknown.by_ref().find(|factors| !factors.is_empty())?;
            let alike = unknown.all(|factors| factors.is_empty() || factors == first);
            (first.len() == 1 && alike).then(|| first[0].clone())
        }) {
            open.retain(|symbol| *symbol != decided);
        }
        open
    }

    fn outputs(&self) -> TokenStream {
        let (mut fields, mut reads) = (TokenStream::new(), TokenStream::new());
        for (_, path, buffer) in self.results(Role::Output) {
            let declared = self.graph.outputs.iter().find(|output| output.name == *path);
            let span = declared.map_or(Span::call_site(), |found| (self.span)(found.span));
            let name = ident(path, span);
            let value = self.value(buffer);
            let docs = declared.map_or("", |found| &found.docs);
            let (docs, ty) = (value.docs(docs), value.owned());
            fields.extend(quote!(#docs pub #name: #ty,));
            reads.extend(quote!(#name: model.output(#path)?,));
        }
        quote! {
            /// What the program computes.
            #[derive(Clone, Debug, PartialEq)]
            pub struct Outputs { #fields }

            impl Outputs {
                fn read(model: &mut ::fgi::embed::Model)
                    -> ::core::result::Result<Outputs, ::fgi::Error>
                {
                    ::core::result::Result::Ok(Outputs { #reads })
                }
            }
        }
    }

    fn params(&self) -> TokenStream {
        let mut tree = Tree::default();
        let kinds = [ParamKind::Trained, ParamKind::Fixed];
        for param in self.program.params.iter().filter(|param| kinds.contains(&param.kind)) {
            let value = Value::new(Elem::F32, param.dims.clone());
            tree.add(&param.path, value, &param.docs);
        }
        let structs = tree.structs("Params", "params", "The parameters of the program.");
        let read = tree.read(&quote!(Params), &quote!(params), &format_ident!("param"));
        let writes = tree.writes(&quote!(self));
        quote! {
            #structs

            impl Params {
                fn read(model: &mut ::fgi::embed::Model)
                    -> ::core::result::Result<Params, ::fgi::Error>
                {
                    ::core::result::Result::Ok(#read)
                }

                fn write(&self, model: &mut ::fgi::embed::Model)
                    -> ::core::result::Result<(), ::fgi::Error>
                {
                    model.set_params(&[#(#writes),*])
                }
            }
        }
    }

    fn gradients(&self) -> Option<TokenStream> {
        let mut tree = Tree::default();
        for (_, path, buffer) in self.results(Role::Gradient) {
            tree.add(path, self.value(buffer), "");
        }
        if tree.is_empty() {
            return None;
        }
        let structs =
            tree.structs("Grads", "grads", "Gradients, each of the shape of its operand.");
        let read = tree.read(&quote!(Grads), &quote!(grads), &format_ident!("gradient"));
        Some(quote! {
            #structs

            impl Grads {
                fn read(model: &mut ::fgi::embed::Model)
                    -> ::core::result::Result<Grads, ::fgi::Error>
                {
                    ::core::result::Result::Ok(#read)
                }
            }
        })
    }

    fn optimizer(&self) -> Option<TokenStream> {
        let docs = format!("{}: what may change from step to step.", settings(self.optimizer?));
        Some(quote! {
            #[doc = #docs]
            ///
            /// Its memory of each parameter is a part of the model, and is saved and loaded with it.
            #[derive(Clone, Debug, PartialEq)]
            pub struct Optimizer {
                /// How far a step goes.
                pub learning_rate: f32,
            }

            impl Optimizer {
                /// With this learning rate.
                pub fn new(learning_rate: f32) -> Optimizer {
                    Optimizer { learning_rate }
                }
            }
        })
    }

    fn model(&self) -> TokenStream {
        let lifetime = self.borrows().then(|| quote!(<'_>));
        let backward = self.results(Role::Gradient).next().map(|_| {
            quote! {
                /// Runs the backward pass over what [`Model::forward`] has left, and gives the gradients.
                /// Without a forward pass since the last change of the parameters it is an error.
                pub fn backward(&mut self) -> ::core::result::Result<Grads, ::fgi::Error> {
                    self.0.backward()?;
                    Grads::read(&mut self.0)
                }
            }
        });
        let loss = self.loss.map(|loss| ident(loss, Span::call_site()));
        let step = self.optimizer.map(|_| {
            quote! {
                /// Trains with a batch: forward, backward, and the optimiser's update. The outputs are
                /// those before the update. A loss that is not finite is an error, and changes nothing.
                pub fn step(&mut self, optimizer: &Optimizer, inputs: &Inputs #lifetime)
                    -> ::core::result::Result<Outputs, ::fgi::Error>
                {
                    inputs.give(&mut self.0, optimizer.learning_rate)?;
                    let outputs = Outputs::read(&mut self.0)?;
                    self.0.update(outputs.#loss)?;
                    ::core::result::Result::Ok(outputs)
                }
            }
        });
        let asks_progress = self.program.inputs.iter().any(|input| input.name == PROGRESS);
        let progress = asks_progress.then(|| {
            quote! {
                /// Says how far training has come, from 0 to 1, which is what `progress()` is from now on. It
                /// is 1 at first.
                pub fn set_progress(&mut self, progress: f32) {
                    self.0.set_progress(progress);
                }
            }
        });
        quote! {
            /// The program on a device, with its parameters.
            #[derive(Debug)]
            pub struct Model(::fgi::embed::Model);

            impl Model {
                /// Opens the device. The parameters have their initial values for seed 0.
                pub fn new(device: &::fgi::Device) -> ::core::result::Result<Model, ::fgi::Error> {
                    ::fgi::embed::Model::new(PROGRAM, device).map(Model)
                }

                /// Gives the parameters their initial values for a seed, and forgets what the
                /// optimiser knows.
                pub fn initialise(&mut self, seed: u64) -> ::core::result::Result<(), ::fgi::Error> {
                    self.0.initialise(seed)
                }

                /// Runs the forward pass. Lengths that do not fit together are an error.
                pub fn forward(&mut self, inputs: &Inputs #lifetime)
                    -> ::core::result::Result<Outputs, ::fgi::Error>
                {
                    inputs.give(&mut self.0, 0.0)?;
                    Outputs::read(&mut self.0)
                }

                #backward

                #step

                #progress

                /// The parameters as they are.
                pub fn params(&mut self) -> ::core::result::Result<Params, ::fgi::Error> {
                    Params::read(&mut self.0)
                }

                /// Sets all parameters.
                pub fn set_params(&mut self, params: &Params) -> ::core::result::Result<(), ::fgi::Error> {
                    params.write(&mut self.0)
                }

                /// Writes the parameters, and all that training needs to go on, to a safetensors
                /// file: all or nothing.
                pub fn save(&mut self, path: impl ::core::convert::AsRef<::std::path::Path>)
                    -> ::core::result::Result<(), ::fgi::Error>
                {
                    self.0.save(path.as_ref())
                }

                /// Takes over what [`Model::save`] wrote; a file of another program is an error, and
                /// changes nothing.
                pub fn load(&mut self, path: impl ::core::convert::AsRef<::std::path::Path>)
                    -> ::core::result::Result<(), ::fgi::Error>
                {
                    self.0.load(path.as_ref())
                }

                /// The session below: values by name, shapes, the device's name.
                pub fn session(&mut self) -> &mut ::fgi::Session {
                    self.0.session()
                }
            }
        }
    }

    fn results(&self, role: Role) -> impl Iterator<Item = &(Role, String, BufferId)> {
        self.program.results.iter().filter(move |(of, ..)| *of == role)
    }

    fn value(&self, buffer: &BufferId) -> Value {
        let buffer = self.program.buffer(*buffer);
        Value::new(buffer.elem, axes(&buffer.dims, buffer.stream, self.program.time.as_ref()))
    }
}

/// The axes of an array: time in front of a stream.
fn axes(dims: &[Dim], is_stream: bool, time: Option<&Dim>) -> Vec<Dim> {
    time.filter(|_| is_stream).into_iter().chain(dims).cloned().collect()
}

/// Has the module made anew when the file changes.
fn track(file: &Path) -> TokenStream {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let file = file.display().to_string();
    quote!(
        const _: &[u8] = ::core::include_bytes!(#file);
    )
}

/// A name of the language as one of Rust's: `type` is `r#type`, and the few words that cannot be
/// written so get a `_`.
fn ident(name: &str, span: Span) -> Ident {
    let is_plain = syn::parse_str::<Ident>(name).is_ok();
    match name {
        "self" | "Self" | "super" | "crate" | "_" => format_ident!("{name}_", span = span),
        // The blocks of a repetition have numbers.
        _ if name.starts_with(|c: char| c.is_ascii_digit()) => {
            format_ident!("_{name}", span = span)
        }
        _ if is_plain || Ident::parse_any.parse_str(name).is_err() => Ident::new(name, span),
        _ => Ident::new_raw(name, span),
    }
}

/// The optimiser as people name it.
fn settings(optimizer: &Optimizer) -> String {
    match optimizer {
        Optimizer::Sgd { momentum, weight_decay } => {
            format!("SGD with momentum {momentum} and weight decay {weight_decay}")
        }
        Optimizer::Adam { beta1, beta2, eps, weight_decay } => {
            format!("Adam with β₁ {beta1}, β₂ {beta2}, ε {eps} and weight decay {weight_decay}")
        }
        Optimizer::AdamW { beta1, beta2, eps, weight_decay } => {
            format!("AdamW with β₁ {beta1}, β₂ {beta2}, ε {eps} and weight decay {weight_decay}")
        }
        Optimizer::AmsGrad { beta1, beta2, eps, weight_decay } => {
            format!("AMSGrad with β₁ {beta1}, β₂ {beta2}, ε {eps} and weight decay {weight_decay}")
        }
    }
}
