//! What a program asks of its training: whether it is trained, and how far.

use crate::front::check::elaborate::{Arguments, Value};
use crate::front::check::term::{InputDecl, Kind};
use crate::ir::graph::Elem;

/// The input of a program in training that says how far it has come, a scalar from 0 to 1.
pub const PROGRESS: &str = "train.progress";

/// `training()`: 1 or 0.
pub fn training(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let is_training = call.elaborator.ask_training();
    Some(call.literal(i64::from(is_training)).into())
}

/// `progress()`: while training it is an input of its own, elsewhere 1.
pub fn progress(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    if !call.elaborator.ask_training() {
        return Some(call.make(Kind::Literal { value: 1.0, integer: false }).into());
    }
    let inputs = &mut call.elaborator.program.inputs;
    let known = inputs.iter().position(|input| input.name == PROGRESS);
    let index = known.unwrap_or_else(|| {
        inputs.push(InputDecl {
            name: PROGRESS.into(),
            docs: "How far training has come, from 0 to 1.".into(),
            elem: Elem::F32,
            dims: Vec::new(),
            is_stream: false,
        });
        inputs.len() - 1
    });
    Some(call.make(Kind::Input(index)).into())
}
