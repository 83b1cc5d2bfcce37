//! What a macro is asked for besides the program: `#![dim(T = 28)]` in front of it, or `dim(T = 28)`
//! after the file.

use std::collections::BTreeMap;

use fgi_compiler::Gradients;
use fgi_compiler::middle::optimizer::Optimizer;
use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Result};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, Lit, LitInt, LitStr, Token, bracketed, parenthesized};

#[derive(Default)]
pub struct Settings {
    pub graph: Option<String>,
    pub dims: BTreeMap<String, i64>,
    pub gradients: Asked<Gradients>,
    /// With the greatest norm of all gradients together, if they are clipped.
    pub optimizer: Asked<(Optimizer, Option<f64>)>,
    /// Memories start where the run before ended.
    pub carry: bool,
}

/// Whether something is asked for, and where.
#[derive(Default)]
pub enum Asked<T> {
    #[default]
    Default,
    None,
    Some(T, Span),
}

/// The attributes in front of a program, and the program.
pub fn inline(input: ParseStream<'_>) -> Result<(Settings, TokenStream)> {
    let mut settings = Settings::default();
    while input.peek(Token![#]) && input.peek2(Token![!]) {
        input.parse::<Token![#]>()?;
        input.parse::<Token![!]>()?;
        let attribute;
        bracketed!(attribute in input);
        if attribute.peek(Ident) && attribute.fork().parse::<Ident>()? == "doc" {
            // `//!` is a comment.
            attribute.parse::<TokenStream>()?;
            continue;
        }
        settings.add(&attribute)?;
    }
    Ok((settings, input.parse()?))
}

/// The name of a file, and what follows it.
pub fn file(input: ParseStream<'_>) -> Result<(LitStr, Settings)> {
    let mut settings = Settings::default();
    let file = input.parse()?;
    while !input.is_empty() {
        input.parse::<Token![,]>()?;
        if !input.is_empty() {
            settings.add(input)?;
        }
    }
    Ok((file, settings))
}

impl Settings {
    /// Where gradients or an optimiser are asked for.
    pub fn place(&self) -> Option<Span> {
        match (&self.gradients, &self.optimizer) {
            (Asked::Some(_, span), _) | (_, Asked::Some(_, span)) => Some(*span),
            _ => None,
        }
    }

    /// Reads `name(…)`, or `carry`.
    fn add(&mut self, input: ParseStream<'_>) -> Result<()> {
        let name: Ident = input.parse()?;
        if name == "carry" {
            self.carry = true;
            return Ok(());
        }
        let content;
        parenthesized!(content in input);
        match name.to_string().as_str() {
            "graph" => self.graph = Some(word(&content)?.to_string()),
            "dim" => self.dims.extend(dims(&content)?),
            "grad" => self.gradients = gradients(&content)?,
            "optimizer" => self.optimizer = optimizer(&content)?,
            _ => {
                let message = format!(
                    "expected `graph`, `dim`, `grad`, `optimizer` or `carry`, not `{name}`"
                );
                return Err(Error::new(name.span(), message));
            }
        }
        match content.is_empty() {
            true => Ok(()),
            false => Err(content.error("expected nothing more")),
        }
    }
}

/// What a diagnostic says, with dimensions given as macros are: `dim(K = 4)` for `-D K=4`.
pub fn spelt(text: &str) -> String {
    let mut parts = text.split("-D ");
    let start = parts.next().unwrap_or_default().to_owned();
    parts.fold(start, |spelt, part| {
        let end = part.find(|c: char| c.is_whitespace() || "`;,.".contains(c));
        let (dim, rest) = part.split_at(end.unwrap_or(part.len()));
        spelt + &format!("dim({}){rest}", dim.replace('=', " = "))
    })
}

/// `T = 28, K = 28`
fn dims(input: ParseStream<'_>) -> Result<Vec<(String, i64)>> {
    let dim = |input: ParseStream<'_>| {
        let name = word(input)?;
        input.parse::<Token![=]>()?;
        let value: LitInt = input.parse()?;
        Ok((name.to_string(), value.base10_parse()?))
    };
    Ok(Punctuated::<_, Token![,]>::parse_terminated_with(input, dim)?.into_iter().collect())
}

/// `loss`, `loss, wrt(h.w_in, pixels)` or `none`
fn gradients(input: ParseStream<'_>) -> Result<Asked<Gradients>> {
    let output = word(input)?;
    if output == NONE {
        return Ok(Asked::None);
    }
    let mut wrt = None;
    if input.peek(Token![,]) {
        input.parse::<Token![,]>()?;
        let name: Ident = input.parse()?;
        if name != "wrt" {
            return Err(Error::new(name.span(), "expected `wrt(…)`"));
        }
        let content;
        parenthesized!(content in input);
        let paths = Punctuated::<_, Token![,]>::parse_terminated_with(&content, path)?;
        wrt = Some(paths.into_iter().collect());
    }
    Ok(Asked::Some(Gradients { output: output.to_string(), wrt }, output.span()))
}

/// `adam`, `sgd, momentum = 0.9, clip = 1` or `none`
fn optimizer(input: ParseStream<'_>) -> Result<Asked<(Optimizer, Option<f64>)>> {
    let name = word(input)?;
    if name == NONE {
        return Ok(Asked::None);
    }
    let mut given = BTreeMap::new();
    while input.peek(Token![,]) {
        input.parse::<Token![,]>()?;
        let setting = word(input)?;
        input.parse::<Token![=]>()?;
        let value = match input.parse()? {
            Lit::Float(value) => value.base10_parse::<f64>()?,
            Lit::Int(value) => value.base10_parse::<f64>()?,
            other => return Err(Error::new(other.span(), "expected a number")),
        };
        given.insert(setting, value);
    }
    let mut given_for = |name: &str| {
        let setting = given.keys().find(|setting| *setting == name).cloned();
        setting.and_then(|setting| given.remove(&setting))
    };
    let clip = given_for("clip");
    let mut take = |name: &str, default: f64| given_for(name).unwrap_or(default);
    let optimizer = match name.to_string().as_str() {
        "sgd" => Optimizer::Sgd {
            momentum: take("momentum", 0.0),
            weight_decay: take("weight_decay", 0.0),
        },
        "adam" => Optimizer::Adam {
            beta1: take("beta1", 0.9),
            beta2: take("beta2", 0.999),
            eps: take("eps", 1e-8),
            weight_decay: take("weight_decay", 0.0),
        },
        "adamw" => Optimizer::AdamW {
            beta1: take("beta1", 0.9),
            beta2: take("beta2", 0.999),
            eps: take("eps", 1e-8),
            weight_decay: take("weight_decay", 0.01),
        },
        "amsgrad" => Optimizer::AmsGrad {
            beta1: take("beta1", 0.9),
            beta2: take("beta2", 0.999),
            eps: take("eps", 1e-8),
            weight_decay: take("weight_decay", 0.0),
        },
        _ => {
            let message = "expected `adam`, `adamw`, `amsgrad`, `sgd` or `none`";
            return Err(Error::new(name.span(), message));
        }
    };
    match given.keys().next() {
        None => Ok(Asked::Some((optimizer, clip), name.span())),
        Some(setting) => {
            Err(Error::new(setting.span(), format!("`{name}` has no setting `{setting}`")))
        }
    }
}

const NONE: &str = "none";

/// `h.w_in`
fn path(input: ParseStream<'_>) -> Result<String> {
    let names =
        Punctuated::<Ident, Token![.]>::parse_separated_nonempty_with(input, Ident::parse_any)?;
    Ok(names.iter().map(Ident::to_string).collect::<Vec<_>>().join("."))
}

/// A name, which may be a word that Rust keeps for itself.
fn word(input: ParseStream<'_>) -> Result<Ident> {
    Ident::parse_any(input)
}

#[cfg(test)]
mod tests {
    use super::spelt;

    #[test]
    fn dimensions_are_spelt_as_settings() {
        assert_eq!(spelt("give it: `-D K=…`"), "give it: `dim(K = …)`");
        assert_eq!(spelt("if it is 4, say so: -D B=4"), "if it is 4, say so: dim(B = 4)");
        assert_eq!(spelt("-D X is given, -D Y=2 too"), "dim(X) is given, dim(Y = 2) too");
        assert_eq!(spelt("x -Dy"), "x -Dy");
    }
}
