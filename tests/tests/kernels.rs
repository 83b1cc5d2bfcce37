//! The laws of the kernel form: every program of the compiler keeps them, and a program that keeps them
//! stays inside of its buffers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use fgi::{Device, Session};
use fgi_compiler::ir::graph::{Bindings, Dim};
use fgi_compiler::ir::kernel::evaluate::evaluate;
use fgi_compiler::ir::kernel::{
    Affine, BufferId, BufferSource, Inst, Program, parse_program, verify_sizes,
};
use fgi_compiler::ir::{Laws, Verified, verify};
use fgi_compiler::middle::optimizer::Optimizer;
use fgi_compiler::target::cpu::plan::{Plan, TILED};
use fgi_compiler::{Compiled, Options};
use fgi_tests::program_generator::recipe;
use fgi_tests::{compiled, config, graphs, options, random, workspace};
use proptest::prelude::*;
use serde_json::Value;

/// Every open dimension has the same size.
fn bindings(program: &Program, size: i64) -> Bindings {
    let dims = program.buffers.iter().flat_map(|buffer| &buffer.dims).chain(&program.time);
    dims.flat_map(Dim::symbols).map(|symbol| (symbol.clone(), size)).collect()
}

fn keeps_the_laws(program: &Verified<Program>) {
    for size in [1, 2, 5] {
        verify_sizes(program, &bindings(program, size))
            .unwrap_or_else(|law| panic!("{}, sizes {size}: {law}\n{program}", program.name));
    }
}

#[test]
fn programs_keep_the_laws() {
    graphs().iter().for_each(|compiled| keeps_the_laws(&compiled.program));
    keeps_the_laws(&smnist().program);
}

#[track_caller]
fn reads_back(program: &Program) {
    let text = program.to_string();
    let read = parse_program(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(read.to_string(), text);
    assert_eq!(read, *program, "{text}");
}

#[test]
fn programs_read_back() {
    graphs().iter().for_each(|compiled| reads_back(&compiled.program));
    let program = smnist().program;
    reads_back(&program);
    // What only a plan has is printed too.
    reads_back(Plan::new(&program, &TILED, &mut |_, _| {}).program());
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn random_programs_keep_the_laws_and_read_back(recipe in recipe()) {
        let program = compiled(&recipe.program(), &options(None, &[])).program;
        keeps_the_laws(&program);
        reads_back(&program);
    }
}

fn smnist() -> Compiled {
    let text = std::fs::read_to_string(workspace().join("dsl-examples/smnist/smnist.fgi")).unwrap();
    let options = options(None, &[("T", 4), ("K", 5), ("N", 6)]);
    compiled(&text, &Options { optimizer: Some(Optimizer::ADAM), ..options })
}

#[test]
fn verifying_takes_little_time() {
    let program = smnist().program;
    let bindings = bindings(&program, 3);
    let times = (0..9).map(|_| {
        let start = Instant::now();
        program.check().unwrap();
        verify_sizes(&program, &bindings).unwrap();
        start.elapsed()
    });
    let least = times.min().unwrap();
    println!("verified in {least:?}");
    // A millisecond where it is optimised.
    assert!(least.as_millis() < if cfg!(debug_assertions) { 50 } else { 2 }, "{least:?}");
}

#[test]
fn programs_that_leave_their_buffers_are_refused() {
    let program = smnist().program.into_inner();
    let opened = |program: Program| {
        let program = verify(program).map_err(|law| law.to_string())?;
        let bindings = bindings(&program, 3);
        let session = Session::new(program, &Device::cpu_in_order());
        session.and_then(|mut session| session.bind(bindings)).map_err(|error| error.to_string())
    };
    opened(program.clone()).unwrap();
    let refused = |change: &dyn Fn(&mut Program), why: &str| {
        let mut program = program.clone();
        change(&mut program);
        let error = opened(program).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    let load = |program: &mut Program, change: fn(&mut Affine)| {
        let mut insts = program.forward[0].stages.iter_mut().flat_map(|stage| &mut stage.insts);
        match insts.find(|inst| matches!(inst, Inst::Load(..))) {
            Some(Inst::Load(_, at)) => change(at),
            _ => panic!("no load"),
        }
    };
    refused(&|p| load(p, |at| at.constant = &at.constant + &Dim::constant(1_000_000)), "an index");
    refused(&|p| load(p, |at| at.constant = Dim::constant(-1)), "an index");
    refused(&|p| p.forward[0].stages[0].stores[0].at.constant = Dim::constant(-1), "an index");
    refused(&|p| p.forward[0].stages[0].stores[0].buffer.0 = 1000, "no buffer of number 1000");
    refused(&|p| p.forward[0].stages[0].body.reverse(), "before its place");
    refused(&|p| p.forward[0].stages.clear(), "stages");
    refused(&|p| p.buffers[0].dims.push(Dim::constant(2)), "");
    refused(&|p| p.time = None, "time");
}

/// A number or formula of the program's JSON becomes another one of it.
fn damaged(program: &Program, seed: u64) -> Option<Program> {
    let mut json = serde_json::to_value(program).unwrap();
    let parts = ["forward", "backward", "update"];
    let mut places = Vec::new();
    for part in parts {
        collect(&json[part], &format!("/{part}"), &mut places);
    }
    let place = |draw: u64| &places[(random(seed * 4 + draw) % places.len() as u64) as usize];
    let (to, from) = (place(0), place(1));
    let value = json.pointer(from)?.clone();
    let near = |number: i64| Value::from(number + (random(seed * 4 + 2) % 5) as i64 - 2);
    let old = json.pointer_mut(to)?;
    *old = match (old.as_i64(), random(seed * 4 + 3) % 2) {
        (Some(number), 0) => near(number),
        _ if old.is_string() == value.is_string() => value,
        _ => return None,
    };
    serde_json::from_value(json).ok()
}

fn collect(value: &Value, path: &str, places: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(at, item)| collect(item, &format!("{path}/{at}"), places));
        }
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| *name != "name");
            fields.for_each(|(name, field)| collect(field, &format!("{path}/{name}"), places));
        }
        Value::Number(_) | Value::String(_) => places.push(path.to_owned()),
        _ => {}
    }
}

#[test]
fn what_is_verified_stays_inside_of_its_buffers() {
    let programs: Vec<_> = graphs().into_iter().map(|compiled| compiled.program).collect();
    let (mut refused, mut run) = (0, 0);
    for seed in 0..3000 {
        let program = &programs[(random(seed) % programs.len() as u64) as usize];
        let Some(program) = damaged(program, seed) else { continue };
        let bindings = bindings(&program, 2);
        let fits = |program: &Verified<Program>| verify_sizes(program, &bindings).is_ok();
        let Some(program) = verify(program).ok().filter(fits) else {
            refused += 1;
            continue;
        };
        run += 1;
        let size = |name: &str| {
            let of_name = |id: &BufferId| match program.buffer(*id).source {
                BufferSource::Input(index) => program.inputs[index].name == name,
                BufferSource::Param(index) => program.params[index].path == name,
                BufferSource::Kernel => false,
            };
            let id = program.buffer_ids().find(of_name).unwrap();
            program.elements(id).eval(&bindings).unwrap() as usize
        };
        let inside = || evaluate(&program, &bindings, |name| vec![1.0; size(name)]).unwrap();
        if catch_unwind(AssertUnwindSafe(inside)).is_err() {
            panic!("seed {seed}: verified, but it leaves its buffers:\n{program}");
        }
    }
    println!("{refused} damaged programs refused, {run} run");
    assert!(refused > 300 && run > 100, "{refused} refused, {run} run");
}
