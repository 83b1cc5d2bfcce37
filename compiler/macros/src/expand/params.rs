//! Values by path as nested structs: `h.w_in` is a field of a field.

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

use super::ident;
use super::value::Value;

/// The values below a path, in the order in which they were added.
#[derive(Default)]
pub struct Tree {
    fields: Vec<(String, Node)>,
}

enum Node {
    Value { path: String, value: Value, docs: String },
    Tree(Tree),
}

impl Tree {
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub fn add(&mut self, path: &str, value: Value, docs: &str) {
        let node = Node::Value { path: path.into(), value, docs: docs.into() };
        self.insert(path, node);
    }

    fn insert(&mut self, path: &str, node: Node) {
        let Some((first, rest)) = path.split_once('.') else {
            return self.fields.push((path.into(), node));
        };
        let known = self.fields.iter().position(|(name, _)| name == first);
        let at = known.unwrap_or_else(|| {
            self.fields.push((first.into(), Node::Tree(Tree::default())));
            self.fields.len() - 1
        });
        if let Node::Tree(tree) = &mut self.fields[at].1 {
            tree.insert(rest, node);
        }
    }

    /// The struct, and a module with the structs of its fields.
    pub fn structs(&self, name: &str, module: &str, docs: &str) -> TokenStream {
        let (name, module) = (ident(name, Span::call_site()), ident(module, Span::call_site()));
        let (mut fields, mut below) = (TokenStream::new(), TokenStream::new());
        let (mut shapes, mut constants) = (TokenStream::new(), BTreeSet::new());
        for ((field, node), inner) in self.fields.iter().zip(self.names()) {
            let field_name = ident(field, Span::call_site());
            match node {
                Node::Value { value, docs, .. } => {
                    let (docs, ty) = (value.docs(docs), value.owned());
                    fields.extend(quote!(#docs pub #field_name: #ty,));
                    let Some(shape) = value.shape() else { continue };
                    let constant = unique(field.to_uppercase(), &mut constants);
                    let (docs, axes) = (format!("The shape of `{field}`."), shape.len());
                    shapes.extend(quote! {
                        #[doc = #docs]
                        pub const #constant: [usize; #axes] = [#(#shape),*];
                    });
                }
                Node::Tree(tree) => {
                    let docs = format!("Those of `{field}`.");
                    fields.extend(quote!(#[doc = #docs] pub #field_name: #module::#inner,));
                    below.extend(tree.structs(&inner.to_string(), field, &docs));
                }
            }
        }
        let module = (!below.is_empty()).then(|| {
            let docs = format!("What [`{name}`] is made of.");
            quote!(#[doc = #docs] pub mod #module { #below })
        });
        quote! {
            #[doc = #docs]
            #[derive(Clone, Debug, PartialEq)]
            pub struct #name { #fields }

            impl #name { #shapes }

            #module
        }
    }

    /// An instance of the struct `name`, whose fields' structs are in `module`, with every value read
    /// by a method of the model.
    pub fn read(&self, name: &TokenStream, module: &TokenStream, method: &Ident) -> TokenStream {
        let fields = self.fields.iter().zip(self.names()).map(|((field, node), inner)| {
            let field = ident(field, Span::call_site());
            let read = match node {
                Node::Value { path, .. } => quote!(model.#method(#path)?),
                Node::Tree(tree) => {
                    tree.read(&quote!(#module::#inner), &quote!(#module::#field), method)
                }
            };
            quote!(#field: #read)
        });
        quote!(#name { #(#fields),* })
    }

    /// Each path with its value in `whole`, as the runtime takes it.
    pub fn writes(&self, whole: &TokenStream) -> Vec<TokenStream> {
        let of_field = |(field, node): &(String, Node)| {
            let field = ident(field, Span::call_site());
            let field = quote!(#whole.#field);
            match node {
                Node::Value { path, value, .. } => {
                    let slice = value.slice(&field);
                    vec![quote!((#path, #slice))]
                }
                Node::Tree(tree) => tree.writes(&field),
            }
        };
        self.fields.iter().flat_map(of_field).collect()
    }

    /// What the struct of each field is called, where it has one.
    fn names(&self) -> Vec<Ident> {
        let mut taken: BTreeSet<String> =
            self.fields.iter().map(|(name, _)| name.clone()).collect();
        self.fields.iter().map(|(name, _)| unique(camel_case(name), &mut taken)).collect()
    }
}

/// `alif_1` is `Alif1`.
fn camel_case(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let first = word.chars().next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(word.chars().skip(1)).collect::<String>()
    });
    let joined: String = words.collect();
    match joined.starts_with(|first: char| first.is_ascii_alphabetic()) {
        true => joined,
        false => format!("_{joined}"),
    }
}

/// A name that is not taken yet.
fn unique(mut name: String, taken: &mut BTreeSet<String>) -> Ident {
    while !taken.insert(name.clone()) {
        name.push('_');
    }
    ident(&name, Span::call_site())
}
