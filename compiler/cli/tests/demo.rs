//! The demo page of `runtime/web`, as its users open it. Pictures of it are left in `target/tmp`.

use std::path::Path;
use std::process::Command;

use fgi_tests::browser::Browser;
use fgi_tests::workspace;

/// The page in a browser, with the artifacts that its script makes.
fn opened(site: &Path) -> Browser {
    for folder in ["web", "data"] {
        let copied = Command::new("cp")
            .arg("-r")
            .arg(workspace().join("runtime").join(folder))
            .arg(site)
            .status()
            .unwrap();
        assert!(copied.success());
    }
    let made = Command::new("bash")
        .arg(site.join("web/demo/build.sh"))
        .env("FGIC", env!("CARGO_BIN_EXE_fgic"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut browser = Browser::open(site);
    browser.resize(1200, 860);
    browser.load("web/demo/index.html");
    browser
}

/// Waits until an expression holds; the page's own errors end it.
fn wait(browser: &mut Browser, condition: &str) {
    browser.evaluate(&format!(
        "(async () => {{
            while (!({condition})) {{
                const problem = document.getElementById('problem');
                if (!problem.hidden) throw new Error(problem.textContent);
                await new Promise((resolve) => setTimeout(resolve, 20));
            }}
        }})()"
    ));
}

fn shot(browser: &mut Browser, name: &str) {
    browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
}

#[test]
fn the_page_trains_and_reads() {
    let site = tempfile::tempdir().unwrap();
    let mut browser = opened(site.path());
    wait(&mut browser, "document.body.dataset.ready");
    browser.evaluate("document.getElementById('train').click()");
    wait(&mut browser, "demo.histories.get('gaussian').length >= 150");
    browser.evaluate("document.getElementById('train').click(); demo.busy");
    let mean = |from: usize| {
        format!(
            "demo.histories.get('gaussian').slice({from}, {from} + 20).reduce((a, b) => a + b) / 20"
        )
    };
    let (first, last) = (browser.evaluate(&mean(0)), browser.evaluate(&mean(130)));
    let (first, last) = (first.as_f64().unwrap(), last.as_f64().unwrap());
    assert!(last < 0.75 * first, "the loss went from {first} to {last}");
    let accuracy = browser.evaluate("demo.accuracy").as_f64().unwrap();
    assert!(accuracy > 0.4, "{accuracy} of the test images are right");

    browser.evaluate("document.querySelector('[value=triangle]').click(); demo.busy");
    wait(&mut browser, "demo.shape === 'triangle' && demo.train");
    browser.evaluate("document.getElementById('train').click()");
    wait(&mut browser, "demo.histories.get('triangle').length >= 60");
    browser.evaluate("document.getElementById('train').click(); demo.busy");
    // Both start from the same parameters and images, and the forward pass is the same.
    let same = "demo.histories.get('triangle')[0] === demo.histories.get('gaussian')[0]";
    assert_eq!(browser.evaluate(same), true);
    let differ = "demo.histories.get('triangle')[9] !== demo.histories.get('gaussian')[9]";
    assert_eq!(browser.evaluate(differ), true);

    browser.drag("pad", &[(0.5, 0.1), (0.52, 0.3), (0.5, 0.6), (0.48, 0.9)]);
    browser.evaluate("demo.busy");
    let drawn = browser.evaluate("Array.from(demo.image)");
    let drawn: Vec<f64> = drawn.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!(drawn[8 * 4 + 3] + drawn[8 * 4 + 4] > 0.5 && drawn[8 * 4] == 0.0, "{drawn:?}");
    assert!(browser.log.is_empty(), "{:#?}", browser.log);
    shot(&mut browser, "demo.png");
}

#[test]
fn the_page_says_what_is_missing() {
    let site = tempfile::tempdir().unwrap();
    let web = site.path().join("web");
    std::os::unix::fs::symlink(workspace().join("runtime/web"), &web).unwrap();
    let mut browser = Browser::open(site.path());
    browser.resize(1200, 400);
    browser.on_every_page("delete Navigator.prototype.gpu");
    browser.load("web/demo/index.html");
    let text = browser.evaluate("document.getElementById('problem').textContent");
    assert!(text.as_str().unwrap().contains("This page needs WebGPU"), "{text}");
    shot(&mut browser, "demo-without-webgpu.png");
}
