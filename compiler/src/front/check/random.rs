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
    /// Numbers of the dimensions of an operand, without a derivative to it. A draw has two places of its own.
    pub fn random(&mut self, draw: Draw, number: i32, like: NodeId) -> NodeId {
        let ty = self.builder.ty(like).clone();
        let places = [2 * number, 2 * number + 1];
        match draw {
            Draw::Uniform => self.uniform(&ty, places[0]),
            Draw::Bernoulli => {
                let uniform = self.uniform(&ty, places[0]);
                let is_below = self.builder.binary(Pointwise::Lt, uniform, like);
                self.builder.unary(Pointwise::ToF32, is_below)
            }
            // Box and Muller 1958.
            Draw::Normal => {
                let [radius, angle] = places.map(|place| self.uniform(&ty, place));
                let b = &mut self.builder;
                // In (0, 1].
                let radius = b.one_minus(radius);
                let log = b.unary(Pointwise::Log, radius);
                let square = b.scale(log, -2.0);
                let radius = b.unary(Pointwise::Sqrt, square);
                let angle = b.scale(angle, std::f64::consts::TAU);
                let cosine = b.unary(Pointwise::Cos, angle);
                b.mul(radius, cosine)
            }
        }
    }

    fn uniform(&mut self, ty: &Type, place: i32) -> NodeId {
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
        let word = self.builder.map(Pointwise::Philox, &[key, step, index]);
        self.builder.unary(Pointwise::Unit, word)
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
