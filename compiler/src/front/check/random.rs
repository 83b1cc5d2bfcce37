//! Random numbers: words of Philox, by the seed, the number of the run, the place in the program, the step and the
//! element.

use super::emit::Emitter;
use super::term::Draw;
use crate::ir::graph::{
    Dim, Elem, NodeId, Number, Op, Pointwise, RANDOM_RUN, RANDOM_SEED, Role, Root, Type,
};

/// The seed and the number of the run.
#[derive(Clone, Copy)]
pub struct Random {
    seed: NodeId,
    run: NodeId,
}

impl Emitter<'_, '_> {
    /// Numbers of the dimensions of an operand, without a derivative to it. `place` is the draw's in the text.
    pub fn random(&mut self, draw: Draw, place: i32, like: NodeId) -> NodeId {
        let ty = self.builder.ty(like).clone();
        match draw {
            Draw::Uniform => self.uniform(&ty, place),
            Draw::Bernoulli => {
                let uniform = self.uniform(&ty, place);
                let is_below = self.builder.binary(Pointwise::Lt, uniform, like);
                self.builder.unary(Pointwise::ToF32, is_below)
            }
            Draw::Normal => {
                let word = self.word(&ty, place);
                self.builder.unary(Pointwise::Normal, word)
            }
        }
    }

    fn uniform(&mut self, ty: &Type, place: i32) -> NodeId {
        let word = self.word(ty, place);
        self.builder.unary(Pointwise::Unit, word)
    }

    /// Random bits for each element and step.
    fn word(&mut self, ty: &Type, place: i32) -> NodeId {
        let random = self.random_state();
        let number = |this: &mut Self, value: i32| {
            let op = Op::Const(Number(f64::from(value)), Elem::I32);
            this.builder.push(op, vec![])
        };
        let place = number(self, place);
        let key = self.builder.map(Pointwise::Philox, &[random.seed, random.run, place]);
        let step = match ty.is_stream() {
            true => {
                let step = self.builder.push(Op::TimeIndex, vec![]);
                let step = if self.carry.is_some() { self.carried_step(step) } else { step };
                self.builder.unary(Pointwise::ToI32, step)
            }
            false => number(self, 0),
        };
        let index = self.element(&ty.dims);
        let [key, step] = [key, step].map(|x| self.builder.broadcast(x, &ty.dims));
        self.builder.map(Pointwise::Philox, &[key, step, index])
    }

    /// The number of each element of a tensor, row by row.
    fn element(&mut self, dims: &[Dim]) -> NodeId {
        let mut index = None;
        for axis in 0..dims.len() {
            let own = self.builder.push(Op::Iota { axis, dims: dims.to_vec() }, vec![]);
            index = Some(match index {
                None => own,
                Some(outer) => {
                    let length = self.builder.size(dims[axis].clone(), Elem::I32);
                    let length = self.builder.broadcast(length, dims);
                    let start = self.builder.mul(outer, length);
                    self.builder.add(start, own)
                }
            });
        }
        index.unwrap_or_else(|| self.builder.size(Dim::zero(), Elem::I32))
    }

    fn random_state(&mut self) -> Random {
        if let Some(random) = self.random {
            return random;
        }
        let seed = self.state(RANDOM_SEED, Elem::I32, &[]);
        let run = self.state(RANDOM_RUN, Elem::I32, &[]);
        *self.random.insert(Random { seed, run })
    }

    /// The number of the next run. What is carried goes on with the numbers of one run.
    pub fn next_run(&mut self) -> Option<Root> {
        let run = self.random.filter(|_| self.carry.is_none())?.run;
        let one = self.builder.full_like(1.0, run);
        let node = self.builder.add(run, one);
        Some(Root { name: RANDOM_RUN.into(), role: Role::Next, node })
    }
}
