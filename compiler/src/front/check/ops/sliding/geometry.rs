//! What windows, convolutions and pools are told of the axes along which they slide, and how many places there are.

use super::{Attribute, Slide, Sliding};
use crate::diagnostic::Diagnostic;
use crate::front::check::report;
use crate::front::check::term::TermId;
use crate::front::check::{Problem, Rules, Shape};
use crate::ir::graph::{Dim, Windows};

/// What an operation is told of the axes along which it slides.
pub struct Geometry {
    pub axes: Vec<Axis>,
    pub groups: i64,
}

/// What it is told of one of them.
#[derive(Clone, Copy)]
pub struct Axis {
    pub size: i64,
    pub stride: i64,
    pub dilation: i64,
    pub before: i64,
    pub after: i64,
}

impl Axis {
    /// The windows along an axis of a tensor.
    pub fn windows(&self, axis: usize) -> Windows {
        Windows { axis, size: self.size, stride: self.stride, dilation: self.dilation }
    }

    pub fn padding(&self) -> Dim {
        Dim::constant(self.before + self.after)
    }

    /// From the first element of a window to behind the last.
    fn extent(&self) -> Dim {
        Dim::constant((self.size - 1).saturating_mul(self.dilation).saturating_add(1))
    }

    /// How long the axis is that windows at so many places cover, without the padding.
    pub fn covered(&self, places: &Dim) -> Dim {
        let steps = &(places - &Dim::one()) * &Dim::constant(self.stride);
        &(&steps + &self.extent()) - &self.padding()
    }
}

impl Slide {
    /// The dimensions of windows, a convolution or a pool along the last `count` axes.
    pub fn result(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let Slide { op, axes: count, .. } = *self;
        let args = rules.args();
        let weights = match op.tensors() {
            2 => weights(rules, args[1], count)?,
            _ => None,
        };
        let Some(geometry) = self.geometry(rules)? else { return Ok(None) };
        let Some(x) = rules.dims(args[0]) else { return Ok(None) };
        let channels = usize::from(op.tensors() == 2);
        let Some(first) = x.len().checked_sub(count + channels) else {
            let expected = match count + channels {
                1 => "at least one axis".to_string(),
                axes => format!("at least {axes} axes"),
            };
            return Err(rules.rank(args[0], &expected));
        };
        let mut dims = x[..first].to_vec();
        if let Some(weights) = weights {
            dims.push(self.channels(rules, &x[first], weights, geometry.groups)?);
        }
        for (axis, length) in geometry.axes.iter().zip(&x[first + channels..]) {
            dims.push(match length {
                Some(length) => Some(self.places(rules, axis, length)?),
                None => None,
            });
        }
        if op == Sliding::Windows {
            dims.extend(geometry.axes.iter().map(|axis| Some(Dim::constant(axis.size))));
        }
        Ok(Some(dims))
    }

    /// The numbers that an operation is given; `None` as long as they are not known.
    pub fn geometry(&self, rules: &Rules<'_>) -> Result<Option<Geometry>, Problem> {
        let Slide { op, axes: count, same, .. } = *self;
        let args = rules.args();
        let unit = Axis { size: 1, stride: 1, dilation: 1, before: 0, after: 0 };
        let mut geometry = Geometry { axes: vec![unit; count], groups: 1 };
        if op.tensors() == 2 {
            let Some([_, _, sizes @ ..]) = weights(rules, args[1], count)? else {
                return Ok(None);
            };
            for (axis, size) in geometry.axes.iter_mut().zip(sizes) {
                let Some(size) = size else { return Ok(None) };
                axis.size = fixed(rules, args[1], size)?;
            }
        }
        let mut terms = args[op.tensors()..].iter();
        for attribute in op.attributes() {
            if *attribute == Attribute::Groups {
                let Some(groups) = number(rules, terms.next(), *attribute)? else {
                    return Ok(None);
                };
                geometry.groups = groups;
                continue;
            }
            for axis in &mut geometry.axes {
                let Some(number) = number(rules, terms.next(), *attribute)? else {
                    return Ok(None);
                };
                match attribute {
                    Attribute::Size => axis.size = number,
                    Attribute::Stride => axis.stride = number,
                    Attribute::Dilation => axis.dilation = number,
                    Attribute::Pad => (axis.before, axis.after) = (number, number),
                    Attribute::Groups => {}
                }
            }
        }
        if same {
            pad_to_same(rules, &mut geometry)?;
        }
        self.check_pads(rules, &geometry)?;
        Ok(Some(geometry))
    }

    /// No window of a pool sees padding alone: it has no maximum.
    fn check_pads(&self, rules: &Rules<'_>, geometry: &Geometry) -> Result<(), Problem> {
        match geometry.axes.iter().find(|axis| self.op.is_pool() && axis.before > axis.size / 2) {
            Some(Axis { size, before, .. }) => Err(Box::new(
                Diagnostic::error("E044", "the padding of a pool is at most half of its window")
                    .label(rules.span(), format!("a window of {size}, a pad of {before}"))
                    .expected(format!("at most {}", size / 2))
                    .found(before.to_string()),
            )),
            None => Ok(()),
        }
    }

    /// The channels of the result.
    fn channels(
        &self,
        rules: &Rules<'_>,
        found: &Option<Dim>,
        weights: &[Option<Dim>],
        groups: i64,
    ) -> Result<Option<Dim>, Problem> {
        let groups = Dim::constant(groups);
        let all = |dim: &Option<Dim>| dim.as_ref().map(|dim| dim * &groups);
        let is_conv = self.op == Sliding::Conv;
        // Those that are divided among the groups, those that the input has, those of the result.
        let (divided, expected, result) = match is_conv {
            true => (&weights[0], all(&weights[1]), weights[0].clone()),
            false => (&weights[0], weights[0].clone(), all(&weights[1])),
        };
        let [x, w] = [rules.args()[0], rules.args()[1]];
        if let (Some(found), Some(expected)) = (found, &expected)
            && found != expected
        {
            let what = match groups.is_one() {
                true => String::new(),
                false => format!(" in {groups} groups"),
            };
            let problem = Diagnostic::error(
                "E041",
                format!("weights for {expected} channels{what}, and {found} channels"),
            );
            let problem = rules.labelled(problem, &[x, w]);
            let (first, second) =
                if is_conv { ("out", "in / groups") } else { ("in", "out / groups") };
            return Err(Box::new(
                problem
                    .expected(format!(
                        "{expected} channels: the axis before those that it slides along"
                    ))
                    .found(found.to_string())
                    .hint(format!("the weights are [{first}, {second}, …]")),
            ));
        }
        if let Some(divided) = divided
            && divided.exact_div(&groups).is_none()
        {
            let problem =
                Diagnostic::error("E044", format!("{groups} groups of {divided} channels"));
            let problem = rules.labelled(problem, &[w]);
            return Err(Box::new(problem.expected(format!("a multiple of {groups}"))));
        }
        Ok(result)
    }

    /// How long the axis of the result is.
    fn places(&self, rules: &Rules<'_>, axis: &Axis, length: &Dim) -> Result<Dim, Problem> {
        let size = Dim::constant(axis.size);
        let padded = length + &axis.padding();
        let places = match self.op {
            Sliding::Adaptive => return Ok(size),
            Sliding::Upsample => return Ok(length * &size),
            Sliding::Transposed => axis.covered(length),
            Sliding::Windows | Sliding::Conv | Sliding::Average | Sliding::Maximum => {
                match axis.windows(0).places(&padded) {
                    Some(places) => places,
                    None => {
                        let symbol = length.symbols().next().map_or("", |symbol| symbol);
                        let problem = report::needs(symbol, rules.span());
                        return Err(Box::new(problem.note(format!(
                            "how often a window with stride {} fits into {length}",
                            axis.stride
                        ))));
                    }
                }
            }
        };
        if places.as_const().is_some_and(|places| places < 1) {
            let what = match self.op {
                Sliding::Transposed => format!("a padding of {} of the result", axis.padding()),
                Sliding::Windows
                | Sliding::Conv
                | Sliding::Average
                | Sliding::Maximum
                | Sliding::Adaptive
                | Sliding::Upsample => {
                    format!("a window of {} on an axis of {padded}", axis.extent())
                }
            };
            let problem = Diagnostic::error("E044", what);
            let problem = rules.labelled(problem, &rules.args()[..self.op.tensors()]);
            return Err(Box::new(problem.expected("room for one window at least")));
        }
        Ok(places)
    }
}

/// As many places as there were elements: what is left over of the padding stands behind.
fn pad_to_same(rules: &Rules<'_>, geometry: &mut Geometry) -> Result<(), Problem> {
    for axis in &mut geometry.axes {
        if axis.stride != 1 {
            let problem = Diagnostic::error("E044", "`pad = same` is for stride 1")
                .label(rules.span(), format!("the stride is {}", axis.stride))
                .hint("give the padding as a number");
            return Err(Box::new(problem));
        }
        let all = (axis.size - 1).saturating_mul(axis.dilation);
        (axis.before, axis.after) = (all / 2, all - all / 2);
    }
    Ok(())
}

/// The number that an attribute is; `None` as long as it is not known.
fn number(
    rules: &Rules<'_>,
    term: Option<&TermId>,
    attribute: Attribute,
) -> Result<Option<i64>, Problem> {
    let Some(term) = term else { return Ok(None) };
    let Some(dim) = rules.dim(*term)? else { return Ok(None) };
    let number = fixed(rules, *term, &dim)?;
    if number < attribute.least() {
        let problem = Diagnostic::error("E044", format!("a {} of {number}", attribute.name()))
            .label(rules.terms[*term].span, format!("this is {number}"))
            .expected(format!("at least {}", attribute.least()))
            .found(number.to_string());
        return Err(Box::new(problem));
    }
    Ok(Some(number))
}

/// The number that a dimension must be.
fn fixed(rules: &Rules<'_>, term: TermId, dim: &Dim) -> Result<i64, Problem> {
    let span = rules.terms[term].span;
    dim.as_const().ok_or_else(|| {
        Box::new(report::needs(dim.symbols().next().map_or("", |symbol| symbol), span))
    })
}

/// The dimensions of the weights of a convolution.
fn weights<'a>(
    rules: &'a Rules<'_>,
    w: TermId,
    count: usize,
) -> Result<Option<&'a [Option<Dim>]>, Problem> {
    match rules.dims(w) {
        Some(dims) if dims.len() != count + 2 => {
            let axes = "two axes for channels and one for each that it slides along";
            let problem = rules.rank(w, &format!("{} axes", count + 2));
            Err(Box::new(problem.note(axes)))
        }
        dims => Ok(dims),
    }
}
