//! The Rust type of a tensor: its size is a part of the type where it is fixed.

use fgi_compiler::ir::graph::{Dim, Elem};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};

/// | tensor | owned | borrowed |
/// |---|---|---|
/// | scalar | `f32` | `f32` |
/// | of N elements | `Box<[f32; N]>` | `&[f32; N]` |
/// | with open dimensions | `Vec<f32>` | `&[f32]` |
pub struct Value {
    elem: Elem,
    axes: Vec<Dim>,
}

impl Value {
    /// Axes from the slowest to the fastest, time included.
    pub fn new(elem: Elem, axes: Vec<Dim>) -> Value {
        Value { elem, axes }
    }

    pub fn owned(&self) -> TokenStream {
        let elem = self.elem();
        match self.len() {
            _ if self.axes.is_empty() => elem,
            Some(len) => quote!(::std::boxed::Box<[#elem; #len]>),
            None => quote!(::std::vec::Vec<#elem>),
        }
    }

    pub fn borrowed(&self) -> TokenStream {
        let elem = self.elem();
        match self.len() {
            _ if self.axes.is_empty() => elem,
            Some(len) => quote!(&'a [#elem; #len]),
            None => quote!(&'a [#elem]),
        }
    }

    /// A field of either type as the runtime takes it.
    pub fn slice(&self, field: &TokenStream) -> TokenStream {
        let variant = match self.elem {
            Elem::F32 => quote!(F32),
            Elem::I32 => quote!(I32),
            Elem::Bool => quote!(Bool),
        };
        let slice = match self.axes.is_empty() {
            true => quote!(::core::slice::from_ref(&#field)),
            false => quote!(&#field[..]),
        };
        quote!(::fgi::embed::Slice::#variant(#slice))
    }

    /// The sizes of the axes, if all are fixed.
    pub fn shape(&self) -> Option<Vec<usize>> {
        self.axes.iter().map(|dim| usize::try_from(dim.as_const()?).ok()).collect()
    }

    /// What is written about it in the program, and its shape.
    pub fn docs(&self, written: &str) -> TokenStream {
        let axes = self.axes.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
        let shape = match self.axes.is_empty() {
            true => "A scalar.".to_string(),
            false => format!("Shape `[{axes}]`."),
        };
        match written.is_empty() {
            true => quote!(#[doc = #shape]),
            false => quote!(#[doc = #written] #[doc = ""] #[doc = #shape]),
        }
    }

    /// The number of elements, where it is fixed and can be a size.
    fn len(&self) -> Option<usize> {
        let sizes = self.shape()?;
        let len = sizes.into_iter().try_fold(1usize, usize::checked_mul)?;
        (len <= isize::MAX as usize / 4).then_some(len)
    }

    fn elem(&self) -> TokenStream {
        let name = format_ident!("{}", self.elem.name());
        quote!(::core::primitive::#name)
    }
}
