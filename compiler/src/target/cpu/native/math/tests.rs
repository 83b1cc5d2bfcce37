//! All functions over all of f32, against f64.

use cranelift::codegen::ir::UserExternalName;
use cranelift::jit::{JITBuilder, JITModule};

use cranelift::module::{Linkage, Module, default_libcall_names};
use cranelift::prelude::*;

use crate::ir::graph::pointwise::{Signature, TABLE};
use crate::ir::graph::{Clock, Dim, Elem, Input, Pointwise, Type};
use crate::ir::kernel::{
    Affine, Buffer, BufferId, BufferSource, Inst, Kernel, Program, Stage, Storage, Store, Val,
};
use crate::target::cpu::native::{Frame, Products, Target, Vectors, emit_kernel};

/// The operation on arrays of one length.
fn program(op: Pointwise) -> Program {
    let n = Dim::symbol("N");
    let arity = op.row().arity;
    let buffer = |at: usize| Buffer {
        name: format!("v{at}"),
        elem: Elem::F32,
        dims: vec![n.clone()],
        stream: false,
        source: if at < arity { BufferSource::Input(at) } else { BufferSource::Kernel },
        binary: false,
        storage: Storage::F32,
    };
    let at = Affine { terms: vec![(Val(0), Dim::one())], constant: Dim::zero() };
    let mut insts = vec![Inst::Axis(0)];
    insts.extend((0..arity).map(|at_buffer| Inst::Load(BufferId(at_buffer as u32), at.clone())));
    insts.push(Inst::Map(op, (1..=arity as u32).map(Val).collect()));
    let value = Val(arity as u32 + 1);
    let stage = Stage {
        axes: vec![n.clone()],
        body: (0..insts.len() as u32).map(Val).collect(),
        insts,
        stores: vec![Store { buffer: BufferId(arity as u32), at, value }],
        ..Stage::default()
    };
    let kernel = Kernel {
        name: "kernel".into(),
        recurrence: None,
        local_axes: 1,
        stages: vec![stage],
        span: None,
    };
    let ty = Type::new(Elem::F32, vec![n.clone()], Clock::Static);
    let input = |at: usize| Input { name: format!("v{at}"), ty: ty.clone(), docs: String::new() };
    Program {
        inputs: (0..arity).map(input).collect(),
        buffers: (0..=arity).map(buffer).collect(),
        forward: vec![kernel],
        ..Program::default()
    }
}

extern "C" fn no_product(
    _: *const std::ffi::c_void,
    _: i64,
    _: i64,
    _: i64,
    _: i64,
    _: i64,
    _: i64,
    _: i64,
) {
}

/// What code may be made of, where the machine has it.
#[derive(Clone, Copy)]
struct Allowed {
    wide: Option<Vectors>,
    fma: bool,
}

const FOUR_LANES: Allowed = Allowed { wide: None, fma: true };

/// Eight lanes and sixteen, where the machine has them.
fn wide() -> Vec<Allowed> {
    #[cfg(all(target_arch = "x86_64", unix))]
    let all = [
        (Vectors::Avx2, is_x86_feature_detected!("avx2")),
        (Vectors::Avx512, is_x86_feature_detected!("avx512dq")),
    ];
    #[cfg(not(all(target_arch = "x86_64", unix)))]
    let all: [(Vectors, bool); 0] = [];
    let there = all.into_iter().filter(|(_, is_there)| *is_there);
    there.map(|(vectors, _)| Allowed { wide: Some(vectors), ..FOUR_LANES }).collect()
}

/// And four.
fn all_lanes() -> impl Iterator<Item = Allowed> {
    std::iter::once(FOUR_LANES).chain(wide())
}

/// Runs a program of one kernel on all elements of the arrays: the result, and how many loops were made
/// wide.
fn run(program: &Program, inputs: &[Vec<f32>], allowed: Allowed) -> (Vec<f32>, usize) {
    let flags = [("opt_level", "speed")];
    let builder = JITBuilder::with_flags(&flags, default_libcall_names()).unwrap();
    let mut module = JITModule::new(builder);
    let mut target = Target::new(module.isa());
    target.has_fma &= allowed.fma;
    let windows = vec![None; program.buffers.len()];
    target.widest = allowed.wide;
    let mut native = emit_kernel(program, &program.forward[0], &windows, target, Products::Called);
    assert!(native.dims.is_empty() && native.products.is_empty());
    let loops = native.loops.len();
    for (at, wide) in native.loops.iter().enumerate() {
        let name = format!("loop_{at}");
        let id = module.declare_function(&name, Linkage::Local, &wide.signature).unwrap();
        module.define_function_bytes(id, 64, &wide.code, &[]).unwrap();
        let name = UserExternalName::new(0, id.as_u32());
        native.function.params.reset_user_func_name(wide.name, name);
    }
    let id =
        module.declare_function("kernel", Linkage::Export, &native.function.signature).unwrap();
    module.define_function(id, &mut codegen::Context::for_function(native.function)).unwrap();
    module.finalize_definitions().unwrap();
    let count = inputs[0].len();
    let row = Dim::product(&program.forward[0].stages[0].axes[1..]).as_const().unwrap();
    let mut result = vec![0f32; count];
    let mut buffers: Vec<*mut u8> =
        inputs.iter().map(|input| input.as_ptr().cast_mut().cast()).collect();
    buffers.push(result.as_mut_ptr().cast());
    let frame = Frame {
        buffers: buffers.as_ptr(),
        dims: std::ptr::null(),
        scratch: std::ptr::null(),
        multiply: no_product,
        context: std::ptr::null(),
    };
    let code = module.get_finalized_function(id);
    // SAFETY: the function has this signature; its buffers have `count` elements and are not used
    // otherwise meanwhile; it is not called after its memory is freed.
    unsafe {
        let code: unsafe extern "C" fn(*const Frame, i64, i64, i64, i64) =
            std::mem::transmute(code);
        code(&frame, 0, count as i64 / row, 0, 1);
        module.free_memory();
    }
    (result, loops)
}

/// The error in units of the last place of the f32 nearest to `exact`.
fn ulps(found: f32, exact: f64) -> f64 {
    let nearest = exact as f32;
    if found.to_bits() == nearest.to_bits() || found.is_nan() && exact.is_nan() {
        return 0.0;
    }
    if exact == 0.0 || !exact.is_finite() || !found.is_finite() || found.is_nan() {
        // Near the greatest f32, infinity is one unit away.
        let top = f64::from(f32::MAX) * (1.0 + f64::from(f32::EPSILON));
        let both_large = found.abs() >= f32::MAX && exact.abs() >= f64::from(f32::MAX);
        return if both_large && exact.abs() <= top { 1.0 } else { f64::INFINITY };
    }
    let exponent = exact.abs().log2().floor().max(-126.0) as i32;
    (f64::from(found) - exact).abs() / 2f64.powi(exponent - 23)
}

/// The greatest error of an operation on these operands.
fn worst(op: Pointwise, inputs: &[Vec<f32>], allowed: Allowed) -> (f64, String) {
    let (found, _) = run(&program(op), inputs, allowed);
    let mut worst = (0.0, String::new());
    for (at, found) in found.into_iter().enumerate() {
        let args: Vec<f64> = inputs.iter().map(|input| f64::from(input[at])).collect();
        let exact = (op.row().value)(&args);
        let error = ulps(found, exact);
        if error > worst.0 {
            worst = (error, format!("{}{args:?} = {found:e}, exactly {exact:e}", op.row().name));
        }
    }
    worst
}

const SPECIAL: [f32; 20] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    3.0,
    -3.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    1e-45,
    -1e-45,
    16777217.0,
];

/// Bits that look random.
fn scramble(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 31)).wrapping_mul(0x9e3779b97f4a7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58476d1ce4e5b9);
    mixed ^ (mixed >> 32)
}

fn check(op: Pointwise, inputs: &[Vec<f32>], limit: f64) {
    for fma in [true, false] {
        let (error, what) = worst(op, inputs, Allowed { fma, ..FOUR_LANES });
        println!("{:10} {error:.3} ulp, fma {fma}: {what}", op.row().name);
        assert!(error <= limit, "{error} ulp, fma {fma}: {what}");
    }
}

#[test]
fn functions_of_one_operand() {
    use Pointwise::*;
    // All exponents and signs, each with the ends and 1700 mantissas.
    let mut x: Vec<f32> = SPECIAL.to_vec();
    for high in 0..512u32 {
        x.extend([0, 1, 0x7fffff].map(|low| f32::from_bits(high << 23 | low)));
        let low = |at: u32| scramble(u64::from(high << 16 | at)) as u32 & 0x7fffff;
        x.extend((0..1700).map(|at| f32::from_bits(high << 23 | low(at))));
    }
    // Where it matters: between -100 and 100.
    x.extend((0..200_000).map(|at| (scramble(at) as u32 as f32 / 2f32.powi(31) - 1.0) * 100.0));
    for op in [
        Exp, Log, Sqrt, Rsqrt, Sin, Cos, Tan, Asin, Acos, Atan, Sinh, Cosh, Tanh, Sigmoid,
        Softplus, Erf, Abs, Floor, Ceil, Round, Sign, Relu, Neg,
    ] {
        check(op, std::slice::from_ref(&x), 2.0);
    }
}

#[test]
fn functions_of_two_operands() {
    let mut pairs: Vec<(f32, f32)> = Vec::new();
    pairs.extend(SPECIAL.iter().flat_map(|x| SPECIAL.iter().map(|y| (*x, *y))));
    pairs.extend((0..500_000).map(|at| {
        let bits = scramble(at);
        (f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32))
    }));
    // Powers that are numbers.
    pairs.extend((0..500_000).map(|at| {
        let bits = scramble(at);
        let [low, high] = [bits as u32, (bits >> 32) as u32].map(|b| b as f32 / 2f32.powi(32));
        ((low * 20.0 - 10.0).exp2(), high * 30.0 - 15.0)
    }));
    pairs.extend(
        (0..1000).flat_map(|at| (-20..20).map(move |y| (at as f32 / 100.0 - 5.0, y as f32))),
    );
    let (x, y): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
    for op in [Pointwise::Pow, Pointwise::Atan2, Pointwise::Div, Pointwise::Min, Pointwise::Max] {
        check(op, &[x.clone(), y.clone()], 2.0);
    }
}

#[test]
fn more_lanes_give_the_bits_of_four() {
    let operand = |seed: u64| {
        let bits = (0..40_003).map(|at| scramble(at ^ seed << 40) as u32);
        let numbers = bits.clone().map(|bits| bits as f32 / 2f32.powi(28) - 8.0);
        let special = SPECIAL.iter().cycle().skip(seed as usize).take(400).copied();
        special.chain(bits.map(f32::from_bits)).chain(numbers).collect::<Vec<f32>>()
    };
    let operands = [0, 1, 2].map(operand);
    let is_float = |signature| {
        matches!(signature, Signature::Float | Signature::Numeric | Signature::ToInteger)
    };
    for lanes in wide() {
        let mut narrow = Vec::new();
        for row in TABLE.iter().filter(|row| is_float(row.signature)) {
            let inputs = &operands[..row.arity];
            let (found, loops) = run(&program(row.op), inputs, lanes);
            let (expected, _) = run(&program(row.op), inputs, FOUR_LANES);
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let args: Vec<f32> = inputs.iter().map(|input| input[at]).collect();
                // Which of two NaN an addition gives depends on the order of its operands.
                let is_equal =
                    found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                let (name, wide) = (row.name, lanes.wide);
                assert!(is_equal, "{wide:?}: {name}{args:?} = {found:e}, not {expected:e}");
            }
            if loops == 0 {
                narrow.push(row.name);
            }
        }
        // Their loops have branches: arguments may be too large for the short way.
        assert_eq!(narrow, ["sin", "cos", "tan"]);
    }
}

/// A wide loop runs all rows: it moves the pointers of those, and leaves that of a factor.
#[test]
fn rows() {
    let mut program = program(Pointwise::Mul);
    let (row, column) = (Dim::constant(16), (Val(1), Dim::one()));
    let index = |terms: &[(Val, Dim)]| Affine { terms: terms.to_vec(), constant: Dim::zero() };
    let in_row = index(&[(Val(0), row.clone()), column.clone()]);
    let stage = &mut program.forward[0].stages[0];
    stage.axes.push(row);
    stage.insts = vec![
        Inst::Axis(0),
        Inst::Axis(1),
        Inst::Load(BufferId(0), in_row.clone()),
        Inst::Load(BufferId(1), index(&[column])),
        Inst::Map(Pointwise::Mul, vec![Val(2), Val(3)]),
    ];
    stage.body = (0..5).map(Val).collect();
    stage.stores = vec![Store { buffer: BufferId(2), at: in_row, value: Val(4) }];
    let inputs: [Vec<f32>; 2] = [5 * 16, 16].map(|count| (1..=count).map(|at| at as f32).collect());
    let expected: Vec<f32> = (0..80).map(|at| inputs[0][at] * inputs[1][at % 16]).collect();
    for lanes in all_lanes() {
        let (found, loops) = run(&program, &inputs, lanes);
        assert_eq!((found, loops), (expected.clone(), usize::from(lanes.wide.is_some())));
    }
    // A condition that only one row meets.
    let stage = &mut program.forward[0].stages[0];
    let condition = Inst::Map(Pointwise::Eq, vec![Val(0), Val(5)]);
    let select = Inst::Map(Pointwise::Select, vec![Val(6), Val(2), Val(4)]);
    stage.insts.extend([Inst::I32(2), condition, select]);
    stage.body = (0..8).map(Val).collect();
    stage.stores[0].value = Val(7);
    let of_row = |at: usize| if at / 16 == 2 { inputs[0][at] } else { expected[at] };
    let expected: Vec<f32> = (0..80).map(of_row).collect();
    for lanes in all_lanes() {
        assert_eq!(run(&program, &inputs, lanes).0, expected);
    }
}

/// Bits are written and read by vectors of four lanes and of more.
#[test]
fn bits() {
    let floats: Vec<f32> = (0..40).map(|at| f32::from(at * at % 7 < 3)).collect();
    let copy = |from: Storage, to: Storage| {
        let mut program = program(Pointwise::Relu);
        (program.buffers[0].storage, program.buffers[1].storage) = (from, to);
        program
    };
    for lanes in all_lanes() {
        let is_wide = lanes.wide.is_some();
        let (bits, loops) =
            run(&copy(Storage::F32, Storage::Bit), std::slice::from_ref(&floats), lanes);
        let bytes = floats.chunks(8).map(|chunk| {
            let set = chunk.iter().enumerate().filter(|(_, value)| **value != 0.0);
            set.fold(0, |byte, (bit, _)| byte | 1 << bit)
        });
        let found: Vec<u8> = bits.iter().flat_map(|four| four.to_le_bytes()).collect();
        assert_eq!(found[..5], bytes.collect::<Vec<u8>>());
        let (same, loops_back) =
            run(&copy(Storage::Bit, Storage::Bit), std::slice::from_ref(&bits), lanes);
        assert_eq!(same, bits);
        let (back, _) = run(&copy(Storage::Bit, Storage::F32), &[bits], lanes);
        assert_eq!(back, floats);
        assert_eq!((loops, loops_back), (usize::from(is_wide), usize::from(is_wide)));
    }
}
