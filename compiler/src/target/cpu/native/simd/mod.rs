//! Vector loops in eight lanes instead of four, for machines with AVX2, or in sixteen with AVX-512.
//!
//! Cranelift has no vectors of more than 128 bits. A loop over an axis whose body is the same for
//! every lane ([`Body`]) can as well run for more lanes at once: [`widen`] has the body assembled as a
//! function of its own ([`x86`]) and calls it before the loop, which is left with what remains. The
//! lanes are computed by the same operations in the same order, so results are the same to the bit (of
//! two NaN, an addition may give the other).

mod body;
mod x86;

use cranelift::codegen::cursor::{Cursor, FuncCursor};
use cranelift::codegen::flowgraph::ControlFlowGraph;
use cranelift::codegen::ir::{
    BlockArg, BlockCall, FuncRef, Function, Inst, InstructionData, Opcode, ValueDef,
};
use cranelift::prelude::*;

use super::{memory, signature};
use body::{Body, Conditions};

/// How many lanes of a loop there were.
const NARROW: i64 = 4;

/// Vectors that are wider than Cranelift's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vectors {
    /// Of 256 bits: AVX2 and FMA.
    Avx2,
    /// Of 512 bits: AVX-512 F and DQ.
    Avx512,
}

impl Vectors {
    /// Of 32 bits.
    fn lanes(self) -> i64 {
        self.bytes() as i64 / 4
    }

    fn bytes(self) -> usize {
        match self {
            Vectors::Avx2 => 32,
            Vectors::Avx512 => 64,
        }
    }

    fn registers(self) -> usize {
        match self {
            Vectors::Avx2 => 16,
            Vectors::Avx512 => 32,
        }
    }
}

/// Has every loop that can be run in more lanes call a function that does so, which also fetches what
/// is at the addresses `ahead` ([`NativeKernel::ahead`](super::NativeKernel::ahead)). `widest` is what
/// the machine has; whatever has AVX-512 has AVX2. `define` makes a function of machine code with a
/// signature, to be called from `function`; it must be aligned to 64 bytes.
pub fn widen<E>(
    function: &mut Function,
    ahead: &[Value],
    widest: Vectors,
    mut define: impl FnMut(&mut Function, &Signature, &[u8]) -> Result<FuncRef, E>,
) -> Result<(), E> {
    let flow = ControlFlowGraph::with_function(function);
    let blocks: Vec<Block> = function.layout.blocks().collect();
    for block in blocks {
        let Some(found) = Loop::find(function, &flow, block, widest) else { continue };
        found.hoist(function);
        let outer = Outer::find(function, &flow, &found);
        let extent = found.extent(function);
        if outer.is_none() && extent.is_some_and(|extent| extent < 2 * found.vectors.lanes()) {
            // One vector is not worth a call.
            continue;
        }
        let Some(bodies) = Bodies::new(function, &found, ahead) else { continue };
        found.replace(function, &bodies, outer.as_ref(), &mut define)?;
    }
    Ok(())
}

/// What runs instead of a loop.
struct Bodies {
    always: Body,
    /// Where none of the conditions holds, that it has selections by.
    mostly: Option<Body>,
    conditions: Vec<Value>,
}

impl Bodies {
    fn new(function: &mut Function, found: &Loop, ahead: &[Value]) -> Option<Bodies> {
        let mut conditions = Vec::new();
        let always = Body::new(function, found, ahead, Conditions::Found(&mut conditions))?;
        let mostly = match conditions.is_empty() {
            true => None,
            false => Body::new(function, found, ahead, Conditions::False),
        };
        Some(Bodies { always, mostly, conditions })
    }
}

/// A loop of one block over an index, four at a time: `while index < end { …; index += 4 }`.
#[derive(Clone, Copy)]
struct Loop {
    block: Block,
    index: Value,
    start: Value,
    end: Value,
    /// The last instruction before the loop, which branches to it if there is anything to do.
    entry: Inst,
    /// Where it goes on.
    after: Block,
    /// What it is to run in: the widest vectors, unless narrower ones leave nothing.
    vectors: Vectors,
}

impl Loop {
    fn find(
        function: &Function,
        flow: &ControlFlowGraph,
        block: Block,
        widest: Vectors,
    ) -> Option<Loop> {
        let dfg = &function.dfg;
        let [index] = *dfg.block_params(block) else { return None };
        let (end, next, after) = loop_branch(function, function.layout.last_inst(block)?, block)?;
        let (Opcode::Iadd, [from, step]) = operation(function, next)? else { return None };
        let is_step = *from == index && constant(function, *step) == Some(NARROW);
        let mut entries = flow.pred_iter(block).filter(|entry| entry.block != block);
        let (entry, None) = (entries.next()?, entries.next()) else { return None };
        let (entry_end, start, entry_after) = loop_branch(function, entry.inst, block)?;
        let is_whole =
            (entry_end, entry_after) == (end, after) && dfg.block_params(after).is_empty();
        let found = Loop { block, index, start, end, entry: entry.inst, after, vectors: widest };
        let narrower = Loop { vectors: Vectors::Avx2, ..found };
        let is_better = !found.is_whole(function) && narrower.is_whole(function);
        (is_step && is_whole).then_some(if is_better { narrower } else { found })
    }

    /// How many lanes there are in all, if that is known.
    fn extent(&self, function: &Function) -> Option<i64> {
        Some(constant(function, self.end)? - constant(function, self.start)?)
    }

    /// There are whole wide vectors.
    fn is_whole(&self, function: &Function) -> bool {
        self.extent(function).is_some_and(|extent| extent % self.vectors.lanes() == 0)
    }

    fn is_invariant(&self, function: &Function, value: Value) -> bool {
        match function.dfg.value_def(value) {
            ValueDef::Result(inst, _) => function.layout.inst_block(inst) != Some(self.block),
            ValueDef::Param(block, _) => block != self.block,
            ValueDef::Union(..) => false,
        }
    }

    /// Moves what is the same in every iteration before the loop.
    fn hoist(&self, function: &mut Function) {
        let insts: Vec<Inst> = function.layout.block_insts(self.block).collect();
        for inst in insts {
            let args = function.dfg.inst_args(inst);
            let is_same = args.iter().all(|arg| self.is_invariant(function, *arg));
            if is_same && is_pure(function, inst) {
                function.layout.remove_inst(inst);
                function.layout.insert_inst(inst, self.entry);
            }
        }
    }

    /// Runs wide loops first; the loop starts where they stop, or goes if nothing can be left for it.
    fn replace<E>(
        &self,
        function: &mut Function,
        bodies: &Bodies,
        outer: Option<&Outer>,
        mut define: impl FnMut(&mut Function, &Signature, &[u8]) -> Result<FuncRef, E>,
    ) -> Result<(), E> {
        let mut call = |function: &mut Function, body: &Body| {
            let rows = outer.and_then(|outer| {
                Some((outer, outer.strides(function, body, &bodies.conditions)?))
            });
            let strides = rows.as_ref().map(|(_, strides)| strides.as_slice());
            let code = x86::assemble(body, self.vectors, strides);
            let mut signature = signature(function.signature.call_conv, 3);
            signature.returns.push(AbiParam::new(types::I64));
            let callee = define(function, &signature, &code.bytes)?;
            let outer = rows.map(|(outer, _)| outer);
            Ok(self.call(function, body, callee, code.frame, outer))
        };
        let always = call(function, &bodies.always)?;
        let mostly = bodies.mostly.as_ref().map(|body| call(function, body)).transpose()?;
        let mut cursor = FuncCursor::new(function).at_inst(self.entry);
        let conditions = bodies.conditions.iter().copied();
        match conditions.reduce(|a, b| cursor.ins().bor(a, b)).zip(mostly) {
            Some((any, mostly)) => {
                let any = cursor.ins().vany_true(any);
                cursor.ins().brif(any, always, &[], mostly, &[]);
            }
            None => {
                cursor.ins().jump(always, &[]);
            }
        }
        function.layout.remove_inst(self.entry);
        if self.is_whole(function) {
            function.layout.remove_block_and_insts(self.block);
        }
        Ok(())
    }

    /// A block that calls a wide loop, for all that is left of an outer loop if there is one, and goes on.
    fn call(
        &self,
        function: &mut Function,
        body: &Body,
        callee: FuncRef,
        frame: x86::Frame,
        outer: Option<&Outer>,
    ) -> Block {
        let is_all = self.is_whole(function);
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, frame.size, 6);
        let slot = function.create_sized_stack_slot(slot);
        let block = function.dfg.make_block();
        function.layout.insert_block(block, self.block);
        let mut cursor = FuncCursor::new(function).at_bottom(block);
        let start = cursor.ins().stack_addr(types::I64, slot, 0);
        for (at, pointer) in body.pointers.iter().enumerate() {
            cursor.ins().store(memory(), *pointer, start, x86::Frame::pointer(at));
        }
        for (at, vector) in body.uniforms.iter().enumerate() {
            cursor.ins().store(memory(), *vector, start, frame.uniform(at));
        }
        if let Some(outer) = outer {
            let rows = cursor.ins().isub(outer.end, outer.index);
            cursor.ins().store(memory(), rows, start, frame.rows());
            cursor.ins().store(memory(), self.start, start, frame.first());
        }
        let call = cursor.ins().call(callee, &[start, self.start, self.end]);
        if is_all {
            let next = outer.map_or(self.after, |outer| outer.after);
            cursor.ins().jump(next, &[]);
        } else {
            let rest = cursor.func.dfg.first_result(call);
            let is_more = cursor.ins().icmp(IntCC::SignedLessThan, rest, self.end);
            cursor.ins().brif(is_more, self.block, &[rest.into()], self.after, &[]);
        }
        block
    }
}

/// A loop that does nothing but to run another one in whole wide vectors:
/// `while index < end { …; index += 1 }`.
struct Outer {
    block: Block,
    index: Value,
    end: Value,
    /// Where it goes on.
    after: Block,
}

impl Outer {
    fn find(function: &Function, flow: &ControlFlowGraph, inner: &Loop) -> Option<Outer> {
        if !inner.is_whole(function) {
            return None;
        }
        let block = function.layout.inst_block(inner.entry)?;
        let [index] = *function.dfg.block_params(block) else { return None };
        let latch = function.layout.last_inst(inner.after)?;
        let (end, next, after) = loop_branch(function, latch, block)?;
        let (Opcode::Iadd, [from, step]) = operation(function, next)? else { return None };
        let is_step = *from == index && constant(function, *step) == Some(1);
        let insts = [block, inner.after].into_iter();
        let insts = insts.flat_map(|block| function.layout.block_insts(block));
        let mut rest = insts.filter(|inst| *inst != inner.entry && *inst != latch);
        let is_alone = flow.pred_iter(block).count() == 2
            && flow.pred_iter(inner.after).count() == 2
            && rest.all(|inst| is_pure(function, inst));
        (is_step && is_alone).then_some(Outer { block, index, end, after })
    }

    /// By how many bytes each pointer moves from iteration to iteration; `None` if something else
    /// changes, too.
    fn strides(&self, function: &Function, body: &Body, conditions: &[Value]) -> Option<Vec<i32>> {
        let is_outside = |value: &Value| {
            let inst = function.dfg.value_def(*value).inst();
            inst.is_some_and(|inst| function.layout.inst_block(inst) != Some(self.block))
        };
        let pointers = body.pointers.iter();
        let strides = pointers
            .map(|pointer| i32::try_from(slope(function, *pointer, self.index)?).ok())
            .collect::<Option<Vec<i32>>>()?;
        body.uniforms.iter().chain(conditions).all(is_outside).then_some(strides)
    }
}

/// How much an integer changes when another one that it is computed from becomes 1 more, if always by as
/// much.
fn slope(function: &Function, value: Value, of: Value) -> Option<i64> {
    if value == of {
        return Some(1);
    }
    let Some((opcode, args)) = operation(function, value) else { return Some(0) };
    let slopes = args.iter().map(|arg| slope(function, *arg, of)).collect::<Option<Vec<i64>>>()?;
    if slopes.iter().all(|slope| *slope == 0) {
        return Some(0);
    }
    let ([a, b], [first, second]) = (args, slopes.as_slice()) else { return None };
    let (a, b) = (constant(function, *a), constant(function, *b));
    match (opcode, a, b) {
        (Opcode::Iadd, ..) => first.checked_add(*second),
        (Opcode::Isub, ..) => first.checked_sub(*second),
        (Opcode::Imul, Some(by), None) => second.checked_mul(by),
        (Opcode::Imul, None, Some(by)) => first.checked_mul(by),
        (Opcode::Ishl, None, Some(bits @ 0..8)) => first.checked_mul(1 << bits),
        (Opcode::Ushr, None, Some(3)) if first % 8 == 0 => Some(first / 8),
        _ => None,
    }
}

/// `brif (icmp slt index, end), block(index), after`: the end, the index, and where it goes on.
fn loop_branch(function: &Function, inst: Inst, block: Block) -> Option<(Value, Value, Block)> {
    let dfg = &function.dfg;
    let InstructionData::Brif { arg, blocks: [inside, outside], .. } = dfg.insts[inst] else {
        return None;
    };
    let ValueDef::Result(compare, _) = dfg.value_def(arg) else { return None };
    let InstructionData::IntCompare { args: [index, end], cond, .. } = dfg.insts[compare] else {
        return None;
    };
    let args = |call: BlockCall| call.args(&dfg.value_lists).collect::<Vec<BlockArg>>();
    let goes = inside.block(&dfg.value_lists) == block
        && args(inside) == [BlockArg::Value(index)]
        && args(outside).is_empty()
        && cond == IntCC::SignedLessThan;
    goes.then(|| (end, index, outside.block(&dfg.value_lists)))
}

/// It may be computed earlier.
fn is_pure(function: &Function, inst: Inst) -> bool {
    let data = &function.dfg.insts[inst];
    if let InstructionData::Load { flags, .. } = data {
        return function.dfg.mem_flags[*flags].readonly();
    }
    let opcode = data.opcode();
    let acts = opcode.can_store() || opcode.other_side_effects() || opcode.is_call();
    !(acts || opcode.can_load() || opcode.can_trap() || opcode.is_terminator())
}

/// What a value is computed from.
fn operation(function: &Function, value: Value) -> Option<(Opcode, &[Value])> {
    let inst = function.dfg.value_def(value).inst()?;
    Some((function.dfg.insts[inst].opcode(), function.dfg.inst_args(inst)))
}

/// Both are computed in the same way from the same values.
fn is_same(function: &Function, a: Value, b: Value) -> bool {
    let inst = |value: Value| function.dfg.value_def(value).inst();
    let Some((at, other)) = inst(a).zip(inst(b)) else { return a == b };
    let data = |inst: Inst| function.dfg.insts[inst];
    use InstructionData::{Binary, Load, UnaryImm};
    let is_alike = match (data(at), data(other)) {
        (UnaryImm { imm, .. }, UnaryImm { imm: other, .. }) => imm == other,
        (Load { offset, .. }, Load { offset: other, .. }) => offset == other,
        (Binary { .. }, Binary { .. }) => true,
        _ => false,
    };
    let args = |inst: Inst| function.dfg.inst_args(inst).iter().copied();
    a == b
        || is_alike
            && data(at).opcode() == data(other).opcode()
            && is_pure(function, at)
            && args(at).zip(args(other)).all(|(a, b)| is_same(function, a, b))
}

/// The value of an integer that is made of constants.
fn constant(function: &Function, value: Value) -> Option<i64> {
    let inst = function.dfg.value_def(value).inst()?;
    if let InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } = function.dfg.insts[inst] {
        return Some(imm.bits());
    }
    let (opcode, [a, b]) = operation(function, value)? else { return None };
    let (a, b) = (constant(function, *a)?, constant(function, *b)?);
    match opcode {
        Opcode::Iadd => Some(a.wrapping_add(b)),
        Opcode::Isub => Some(a.wrapping_sub(b)),
        Opcode::Imul => Some(a.wrapping_mul(b)),
        Opcode::Band => Some(a & b),
        _ => None,
    }
}
