//! Artifacts in a browser: Chromium, its own compiler of shaders, and the loader of `runtime/web`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use fgi::npz::Arrays;
use fgi::{Array, Device, Session, artifact};
use fgi_compiler::artifact::{Artifact, BuildOptions};
use fgi_compiler::ir::graph::{Bindings, Role};
use fgi_compiler::ir::kernel::{Pass, Program};
use fgi_compiler::middle::optimizer::{LEARNING_RATE, Optimizer, STEP};
use fgi_compiler::{Compiled, Options};
use fgi_tests::browser::Browser;
use fgi_tests::{
    Engine, closeness, compiled, digits, gpu, graphs, options, run, values, workspace,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser whose page has the loader as `fgi`, and the folder that artifacts are served from.
fn opened() -> (TempDir, Browser) {
    let site = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(workspace().join("runtime/web"), site.path().join("web")).unwrap();
    let page = "<!doctype html><title>test</title><link rel=icon href=data:>
        <script type=module>import * as fgi from './web/fgi.js'; window.fgi = fgi;</script>";
    std::fs::write(site.path().join("index.html"), page).unwrap();
    let mut browser = Browser::open(site.path());
    browser.load("index.html");
    (site, browser)
}

fn write(compiled: &Compiled, options: &BuildOptions, path: &Path) {
    let mut built = Artifact::build(compiled, options).unwrap();
    artifact::add_seed(&mut built, &compiled.program, 0).unwrap();
    artifact::write(&built, path).unwrap();
}

fn numbers(array: &Array) -> Value {
    json!(array.to_f64())
}

/// A session for `path`, its device, and what follows.
fn script(path: &str, dims: &Value, options: &Value, rest: &str) -> String {
    format!(
        "(async () => {{
            const program = await fgi.loadProgram({path:?});
            const device = await fgi.requestDevice(program);
            const session = await program.createSession(device, {dims}, {options});
            {rest}
        }})()"
    )
}

/// Outputs and gradients that the browser computes.
fn in_browser(
    browser: &mut Browser,
    (path, program): (&str, &Program),
    given: &Value,
    options: &Value,
) -> Arrays {
    let names: Vec<String> = program
        .results
        .iter()
        .filter(|(role, ..)| *role != Role::Update)
        .map(|(role, name, _)| match role {
            Role::Gradient => format!("grad/{name}"),
            _ => name.clone(),
        })
        .collect();
    let rest = format!(
        "for (const [name, array] of Object.entries({inputs})) session.set(name, array);
        session.forward();
        if (program.manifest.passes.backward.length > 0) session.backward();
        const results = {{}};
        for (const name of {names:?})
            results[name] = [session.shape(name), Array.from(await session.read(name))];
        device.destroy();
        return results;",
        inputs = given["values"],
    );
    let results = browser.evaluate(&script(path, &given["dims"], options, &rest));
    let array = |value: &Value| {
        let shape = value[0].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize);
        // JSON has no NaN.
        let data = value[1].as_array().unwrap().iter().map(|n| n.as_f64().unwrap_or(f64::NAN));
        Array::new(shape.collect::<Vec<_>>(), data.collect::<Vec<f64>>())
    };
    let results = results.as_object().unwrap().iter();
    results.map(|(name, value)| (name.clone(), array(value))).collect()
}

/// The browser refuses barriers that not all invocations reach, which other compilers let pass. Cutting
/// the work into many dispatches must change nothing.
#[test]
fn examples_and_goldens_run_as_on_the_cpu() {
    let (site, mut browser) = opened();
    for (number, compiled) in graphs().iter().enumerate() {
        let program = &compiled.program;
        let name = format!("program-{number}");
        write(compiled, &BuildOptions::default(), &site.path().join(&name));
        let small = |name: &str| if name == "T" { 7 } else { 3 };
        let open = artifact::read(&site.path().join(&name)).unwrap();
        let open = &open.manifest().dimensions.open;
        let bindings: Bindings =
            open.iter().map(|name| (name.as_str().into(), small(name))).collect();
        // Parameters start from their initialisers.
        let mut arrays = values(program, &bindings, 7, 1.0, 3);
        arrays.retain(|name, _| program.inputs.iter().any(|input| input.name == *name));
        let expected = run(Engine::Cpu, compiled, &arrays).unwrap();
        let dims: Vec<_> = bindings.iter().map(|(name, size)| (name.to_string(), *size)).collect();
        let dims: serde_json::Map<String, Value> =
            dims.into_iter().map(|(name, size)| (name, json!(size))).collect();
        let arrays: serde_json::Map<String, Value> =
            arrays.iter().map(|(name, array)| (name.clone(), numbers(array))).collect();
        let given = json!({ "dims": dims, "values": arrays });
        for options in [json!({}), json!({ "iterationsPerDispatch": 20 })] {
            let found = in_browser(&mut browser, (&name, program), &given, &options);
            assert_eq!(found.len(), expected.len());
            for (name, expected) in &expected {
                let close = closeness(&found[name], expected, 1e-3, 1e-5);
                assert_eq!(close, Ok(()), "{}: {name} with {options}", program.name);
            }
        }
    }
    assert!(browser.log.is_empty(), "{:#?}", browser.log);
}

#[test]
fn training_goes_as_on_the_cpu() {
    let (site, mut browser) = opened();
    let text = std::fs::read_to_string(workspace().join("dsl-examples/smnist/smnist.fgi")).unwrap();
    let optimizer = Some(Optimizer::ADAM);
    let dims = options(None, &[("T", 8), ("K", 8), ("N", 64)]);
    let compiled = compiled(&text, &Options { optimizer, ..dims });
    let build = BuildOptions { optimizer, ..BuildOptions::default() };
    write(&compiled, &build, &site.path().join("smnist"));
    let mut session = Session::new(compiled.program.clone(), &Device::cpu()).unwrap();
    let mut expected = Vec::new();
    let mut batches = Vec::new();
    for (number, batch) in digits(session.program(), 32).into_iter().take(10).enumerate() {
        let rate = Array::new([], vec![0.002f32]);
        let number = Array::new([], vec![number as f32 + 1.0]);
        let inputs = batch.iter().map(|(name, array)| (name.as_str(), array));
        session.set_inputs(inputs.chain([(LEARNING_RATE, &rate), (STEP, &number)])).unwrap();
        for pass in Pass::ALL {
            session.run(pass).unwrap();
        }
        expected.push(f64::from(session.output("loss").unwrap().scalar().unwrap()));
        let arrays = batch.iter().map(|(name, array)| (name.clone(), numbers(array)));
        batches.push(Value::Object(arrays.collect()));
    }
    let rest = format!(
        "const losses = [];
        for (const batch of {batches}) {{
            for (const [name, array] of Object.entries(batch)) session.set(name, array);
            session.forward();
            session.backward();
            session.update({{ learningRate: 0.002 }});
            losses.push((await session.read('loss'))[0]);
        }}
        return losses;",
        batches = json!(batches)
    );
    let losses = browser.evaluate(&script("smnist", &json!({ "B": 32 }), &json!({}), &rest));
    let losses: Vec<f64> = losses.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    println!("browser {losses:?}\ncpu     {expected:?}");
    assert_eq!(losses.len(), 10);
    for (found, expected) in losses.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{losses:?}");
    }
}

/// States are kept on the page as in a session, and a sequence in single steps is the whole.
#[test]
fn a_sequence_runs_step_by_step() {
    let (site, mut browser) = opened();
    let text = "graph g(x: [T; B, 3]) -> (y, n) {
        param w: [3, 4] = xavier_uniform();
        state runs: i32[] = constant(-2);
        let u = 0.8 * prev(u, init = 0.5) + x @ w - prev(z);
        let z = step(u - 0.3);
        let y = u + 0.1 * time_index();
        let n = runs + 1;
        next runs = n;
    }";
    let carried = compiled(text, &Options { carry: true, ..Options::default() });
    write(&carried, &BuildOptions::default(), &site.path().join("g"));
    let mut whole = Session::new(compiled(text, &Options::default()).program, &gpu()).unwrap();
    let x: Vec<f32> = (0..5 * 2 * 3).map(|at| (at * 7 % 11) as f32 / 4.0 - 1.0).collect();
    whole.set_inputs([("x", &Array::new([5, 2, 3], x.clone()))]).unwrap();
    whole.run(Pass::Forward).unwrap();
    let rest = format!(
        "const x = {x:?}, y = [], n = [];
        for (let t = 0; t < 5; t += 1) {{
            session.set('x', x.slice(6 * t, 6 * t + 6));
            session.forward();
            y.push(...await session.read('y'));
            n.push(...await session.read('n'));
            session.advance();
        }}
        return {{ y, n }};"
    );
    let dims = json!({ "T": 1, "B": 2 });
    let found = browser.evaluate(&script("g", &dims, &json!({}), &rest));
    assert_eq!(found["n"], json!([-1, 0, 1, 2, 3]));
    let y: Vec<f64> = found["y"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let expected = whole.output("y").unwrap();
    assert_eq!(closeness(&Array::new([5, 2, 4], y), &expected, 1e-6, 1e-6), Ok(()));

    // The shaders by themselves, through the artifact's file.
    let read = artifact::read(&site.path().join("g")).unwrap();
    let mut session = Session::open(&read, &gpu()).unwrap();
    let mut y = Vec::new();
    for x in x.chunks(6) {
        session.set_inputs([("x", &Array::new([1, 2, 3], x.to_vec()))]).unwrap();
        session.run(Pass::Forward).unwrap();
        y.extend(session.output("y").unwrap().to_f64());
        session.run(Pass::Update).unwrap();
    }
    assert_eq!(y, expected.to_f64());
}

/// Uniform numbers to the bit; logarithms and cosines may be rounded otherwise.
#[test]
fn a_seed_gives_the_numbers_of_the_runtime() {
    let (site, mut browser) = opened();
    let text = "graph g(x: [B, 3]) -> (y) {
        param a: [3, 40] = xavier_uniform();
        param b: [40]    = normal(20, 5) in [18, 24];
        param c: [40, 9] = orthogonal(2);
        param d: [9, 30] = kaiming_normal();
        param e: [30, 2] = uniform(-1, 3);
        let y = (x @ a + b) @ c @ d @ e;
    }";
    let compiled = compiled(text, &Options::default());
    write(&compiled, &BuildOptions::default(), &site.path().join("g"));
    let mut session = Session::new(compiled.program.clone(), &Device::cpu()).unwrap();
    for seed in ["0", "7", "18446744073709551615"] {
        session.initialise(seed.parse().unwrap()).unwrap();
        let rest = format!(
            "session.initialise({seed}n);
            const params = {{}};
            for (const name of 'abcde') params[name] = Array.from(await session.read(name));
            return params;"
        );
        let found = browser.evaluate(&script("g", &json!({ "B": 1 }), &json!({}), &rest));
        for (name, exact) in [("a", true), ("b", false), ("c", false), ("d", false), ("e", true)] {
            let expected = session.param(name).unwrap().to_f64();
            let found = found[name].as_array().unwrap().iter();
            // What is read from JSON may be off in the last bit of an f64.
            let found = found.map(|v| f64::from(v.as_f64().unwrap() as f32));
            let found: Vec<f64> = found.collect();
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 2e-7 * b.abs();
            assert!(found.iter().zip(&expected).all(near), "{name}: {found:?} {expected:?}");
            assert!(!exact || found == expected, "{name}");
            assert_eq!(found.len(), expected.len());
        }
    }
    let wrong = script("g", &json!({ "B": 1 }), &json!({}), "session.initialise(1.5);");
    let message = "FgiError: a seed is a whole number from 0, not 1.5";
    assert_eq!(refused(&mut browser, &wrong), message);
}

/// Why an expression is rejected.
fn refused(browser: &mut Browser, expression: &str) -> String {
    let text = browser.evaluate(&format!(
        "({expression}).then(() => 'done', (error) => error.name + ': ' + error.message)"
    ));
    text.as_str().unwrap().to_owned()
}

/// Changes a file so that the browser sees it: HTTP has dates of whole seconds.
fn rewrite(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(2)).unwrap();
}

#[test]
fn the_loader_refuses_what_it_cannot_run() {
    let (site, mut browser) = opened();
    let text = "graph g(x: [B, 3]) -> (y) {
        param w: [3, 2] = orthogonal();
        let y = x @ w;
    }";
    let compiled = compiled(text, &Options::default());
    let path = site.path().join("g");
    write(&compiled, &BuildOptions::default(), &path);
    let load = "fgi.loadProgram('g')";
    let session = |dims: &str, rest: &str| {
        let rest = format!("session.{rest}; return 0;");
        script("g", &serde_json::from_str(dims).unwrap(), &json!({}), &rest)
    };
    let cases = [
        ("{}", "forward()", "the dimension B must be given as a whole number, as in { B: 32 }"),
        (r#"{"B":2,"C":3}"#, "forward()", "the dimension C is not one of the program's"),
        (r#"{"B":2}"#, "forward()", "the input x was not set"),
        (r#"{"B":2}"#, "set('z', 1)", "z is no input or parameter; there are x, w"),
        (r#"{"B":2}"#, "set('x', [1])", "x has 6 elements, [2,3], and 1 were given"),
        (r#"{"B":2}"#, "buffer('z')", "the program has nothing named z"),
        (
            r#"{"B":2}"#,
            "update({ learningRate: 1 })",
            "the program has no optimiser: it was built without --optimizer",
        ),
        (
            r#"{"B":2147483648}"#,
            "forward()",
            "kernel_y has too many points: use a smaller batch or fewer steps",
        ),
    ];
    for (dims, rest, message) in cases {
        assert_eq!(refused(&mut browser, &session(dims, rest)), format!("FgiError: {message}"));
    }
    let orthonormal = session(
        r#"{"B":2}"#,
        "initialise(5); const w = await session.read('w'); \
         if (Math.abs(w[0] * w[1] + w[2] * w[3] + w[4] * w[5]) > 1e-6) throw new Error(w)",
    );
    assert_eq!(refused(&mut browser, &orthonormal), "done");
    let kernel = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let kernel = kernel.into_iter().find(|path| path.extension().unwrap() == "wgsl").unwrap();
    let name = kernel.file_name().unwrap().to_str().unwrap().to_owned();
    let shader = std::fs::read_to_string(&kernel).unwrap();
    rewrite(&kernel, &shader.replacen("let", "var", 1));
    let message = "is not the file that the manifest describes: its SHA-256 differs";
    assert_eq!(refused(&mut browser, load), format!("FgiError: {name} {message}"));
    std::fs::remove_file(&kernel).unwrap();
    let message = "cannot be read: HTTP status 404";
    assert_eq!(refused(&mut browser, load), format!("FgiError: {name} {message}"));
    let manifest = path.join("manifest.json");
    let json = std::fs::read_to_string(&manifest).unwrap();
    rewrite(&manifest, &json.replace("\"version\": 1", "\"version\": 7"));
    let message = "the artifact has version 7 of the format, and this loader knows 1 only";
    assert_eq!(refused(&mut browser, load), format!("FgiError: {message}"));
}
