//! Instructions: each value once, literals folded, places as affine expressions.

use std::collections::BTreeMap;

use super::{BodyBuilder, REWRITES};
use crate::ir::graph::{Dim, Elem, Number, Pointwise, constants};
use crate::ir::kernel::{Affine, Inst, Val};

impl BodyBuilder<'_, '_> {
    pub(super) fn inst(&mut self, inst: Inst) -> Val {
        if let Some(&known) = self.known.get(&inst) {
            return known;
        }
        let scope = match &inst {
            Inst::LoopAxis(index, _) | Inst::LoopTime(index) => Some(*index),
            Inst::Quotient(arg, _) | Inst::Remainder(arg, _) => self.scope.get(arg).copied(),
            Inst::Affine(at) | Inst::Load(_, at) => {
                at.terms.iter().find_map(|(val, _)| self.scope.get(val).copied())
            }
            Inst::Map(_, args) => args.iter().find_map(|arg| self.scope.get(arg).copied()),
            Inst::F32(_)
            | Inst::I32(_)
            | Inst::Bool(_)
            | Inst::Dim(_)
            | Inst::Axis(_)
            | Inst::Time
            | Inst::Reduce(_) => None,
        };
        let val = self.push(inst.clone());
        match scope {
            Some(index) => {
                self.scope.insert(val, index);
                self.stage.loops[index].body.push(val);
            }
            None => self.stage.body.push(val),
        }
        self.known.insert(inst, val);
        val
    }

    pub(super) fn push(&mut self, inst: Inst) -> Val {
        self.stage.insts.push(inst);
        self.stage.spans.push(self.span);
        Val(self.stage.insts.len() as u32 - 1)
    }

    pub(super) fn int(&mut self, value: i32) -> Val {
        self.inst(Inst::I32(value))
    }

    pub(super) fn dim(&mut self, dim: &Dim) -> Val {
        match dim.as_const().and_then(|value| i32::try_from(value).ok()) {
            Some(value) => self.int(value),
            None => self.inst(Inst::Dim(dim.clone())),
        }
    }

    pub(super) fn float(&mut self, value: f64) -> Val {
        self.inst(Inst::F32((value as f32).to_bits()))
    }

    pub(super) fn literal(&mut self, Number(value): Number, elem: Elem) -> Val {
        match elem {
            Elem::F32 => self.float(value),
            Elem::I32 => self.int(value as i32),
            Elem::Bool => self.inst(Inst::Bool(value != 0.0)),
        }
    }

    /// An i32 value as an affine expression.
    fn affine_of(&self, val: Val) -> Affine {
        let inst = self.stage.inst(val);
        if let Inst::Affine(affine) = inst {
            affine.clone()
        } else if let Inst::I32(value) = inst {
            Affine { terms: vec![], constant: Dim::constant(i64::from(*value)) }
        } else if let Inst::Dim(dim) = inst {
            Affine { terms: vec![], constant: dim.clone() }
        } else {
            Affine { terms: vec![(val, Dim::one())], constant: Dim::zero() }
        }
    }

    /// The sum of values with coefficients, and a constant.
    fn affine(&self, parts: &[(Val, Dim)], constant: Dim) -> Affine {
        let mut terms: BTreeMap<Val, Dim> = BTreeMap::new();
        let mut sum = constant;
        for (val, factor) in parts {
            let part = self.affine_of(*val);
            sum = &sum + &(&part.constant * factor);
            for (val, coefficient) in part.terms {
                let term = terms.entry(val).or_insert_with(Dim::zero);
                *term = &*term + &(&coefficient * factor);
            }
        }
        terms.retain(|_, coefficient| !coefficient.is_zero());
        match self.put_together(&terms) {
            Some(parts) => self.affine(&parts, sum),
            None => Affine { terms: terms.into_iter().collect(), constant: sum },
        }
    }

    /// The terms with `(x / n) · n + x mod n` as x, if that is among them: an index that was taken apart
    /// for axes that follow each other in memory.
    fn put_together(&self, terms: &BTreeMap<Val, Dim>) -> Option<Vec<(Val, Dim)>> {
        let (quotient, remainder, whole) = terms.iter().find_map(|(val, by)| {
            let Inst::Remainder(whole, n) = self.stage.inst(*val) else { return None };
            let quotient = self.known.get(&Inst::Quotient(*whole, n.clone()))?;
            (terms.get(quotient)? == &(by * n)).then_some((*quotient, *val, *whole))
        })?;
        let others = terms.iter().filter(|(val, _)| ![quotient, remainder].contains(val));
        let whole = (whole, terms[&remainder].clone());
        Some(others.map(|(val, by)| (*val, by.clone())).chain([whole]).collect())
    }

    pub(super) fn affine_val(&mut self, parts: &[(Val, Dim)], constant: Dim) -> Val {
        let affine = self.affine(parts, constant);
        match affine.terms.as_slice() {
            [] => self.dim(&affine.constant),
            [(val, coefficient)] if coefficient.is_one() && affine.constant.is_zero() => *val,
            _ => self.inst(Inst::Affine(affine)),
        }
    }

    pub(super) fn flat_index(&self, dims: &[Dim], index: &[Val], time: Option<Val>) -> Affine {
        let mut parts = Vec::new();
        let mut stride = Dim::one();
        for (dim, val) in dims.iter().zip(index).rev() {
            parts.push((*val, stride.clone()));
            stride = &stride * dim;
        }
        parts.extend(time.map(|time| (time, stride)));
        self.affine(&parts, Dim::zero())
    }

    /// A pointwise operation on values, after all that can be rewritten is.
    pub(super) fn map(&mut self, op: Pointwise, args: Vec<Val>) -> Val {
        let mut rewrites = REWRITES.iter();
        let found = rewrites.find_map(|(_, apply)| apply(self, op, &args));
        found.unwrap_or_else(|| self.inst(Inst::Map(op, args)))
    }

    pub(super) fn is_float(&self, val: Val, number: f64) -> bool {
        self.float_of(val).is_some_and(|value| f64::from(value) == number)
    }

    fn float_of(&self, val: Val) -> Option<f32> {
        let Inst::F32(bits) = self.stage.inst(val) else { return None };
        Some(f32::from_bits(*bits))
    }

    /// The result as a literal, if the operands are literals and the result is a number.
    pub(super) fn fold(&mut self, op: Pointwise, args: &[Val]) -> Option<Val> {
        let literal = |val: &Val| match self.stage.inst(*val) {
            Inst::F32(bits) => Some(f64::from(f32::from_bits(*bits))),
            Inst::I32(value) => Some(f64::from(*value)),
            Inst::Bool(value) => Some(f64::from(u8::from(*value))),
            Inst::Dim(_)
            | Inst::Axis(_)
            | Inst::Time
            | Inst::LoopAxis(..)
            | Inst::LoopTime(_)
            | Inst::Quotient(..)
            | Inst::Remainder(..)
            | Inst::Affine(_)
            | Inst::Load(..)
            | Inst::Map(..)
            | Inst::Reduce(_) => None,
        };
        let numbers: Vec<f64> = args.iter().map(literal).collect::<Option<_>>()?;
        // The result's type: make the instruction to ask, without keeping it.
        self.stage.insts.push(Inst::Map(op, args.to_vec()));
        let elem = self.stage.elem(Val(self.stage.insts.len() as u32 - 1), &self.lowering.program);
        self.stage.insts.pop();
        let value = constants::literal(op, elem, &numbers)?;
        Some(self.literal(Number(value), elem))
    }

    /// The branch of a choice that is known.
    pub(super) fn branch(&self, op: Pointwise, args: &[Val]) -> Option<Val> {
        let [condition, then, otherwise] = *args else { return None };
        if op != Pointwise::Select {
            return None;
        }
        if let Inst::Bool(condition) = self.stage.inst(condition) {
            return Some(if *condition { then } else { otherwise });
        }
        (then == otherwise).then_some(then)
    }

    pub(super) fn by_inverse(&mut self, op: Pointwise, args: &[Val]) -> Option<Val> {
        let [dividend, divisor] = *args else { return None };
        let inverse = (op == Pointwise::Div).then(|| self.exact_inverse(divisor))??;
        Some(self.map(Pointwise::Mul, vec![dividend, inverse]))
    }

    pub(super) fn power(&mut self, op: Pointwise, args: &[Val]) -> Option<Val> {
        let [base, exponent] = *args else { return None };
        let exponent = (op == Pointwise::Pow).then(|| self.float_of(exponent))??;
        let is_short = exponent.fract() == 0.0 && exponent.abs() <= 16.0;
        is_short.then(|| self.integer_power(base, exponent as i32))
    }

    /// The inverse of a literal that is a power of two: multiplying with it is the same, but faster.
    fn exact_inverse(&mut self, val: Val) -> Option<Val> {
        let number = self.float_of(val)?;
        let inverse = 1.0 / number;
        let is_power = number.to_bits() & 0x007f_ffff == 0 && number.is_normal();
        (is_power && inverse.is_normal()).then(|| self.float(f64::from(inverse)))
    }

    /// x^n by squaring: exact powers of negative numbers, and faster.
    fn integer_power(&mut self, base: Val, exponent: i32) -> Val {
        let one = self.float(1.0);
        if exponent == 0 {
            return one;
        }
        let mut result = None;
        let (mut square, mut rest) = (base, exponent.unsigned_abs());
        loop {
            if rest & 1 == 1 {
                result = Some(match result {
                    None => square,
                    Some(result) => self.map(Pointwise::Mul, vec![result, square]),
                });
            }
            rest >>= 1;
            if rest == 0 {
                break;
            }
            square = self.map(Pointwise::Mul, vec![square, square]);
        }
        let power = result.unwrap_or(one);
        if exponent < 0 { self.map(Pointwise::Div, vec![one, power]) } else { power }
    }
}
