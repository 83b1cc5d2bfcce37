//! Chromium without a window, driven through its debugging pipe, and the server that it loads from.
//!
//! WebGPU runs on the software adapter that comes with Chromium. The server is Python's own, as the
//! book tells users to start it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A page in a browser.
pub struct Browser {
    process: Child,
    server: Child,
    /// `http://127.0.0.1:PORT/`
    pub base: String,
    commands: File,
    messages: BufReader<File>,
    session: Option<String>,
    last: u64,
    /// What the page has reported: errors and warnings.
    pub log: Vec<String>,
    directory: TempDir,
}

impl Browser {
    /// Opens an empty page; `root` is what the server serves.
    pub fn open(root: &Path) -> Browser {
        let (server, base) = serve(root);
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let pipes = [path("commands"), path("messages")];
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        let process = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<commands 4>messages 2>log"])
            .arg(chromium())
            .args(["--headless", "--no-sandbox", "--enable-unsafe-webgpu"])
            .args(["--remote-debugging-pipe", "--user-data-dir=profile", "--no-first-run"])
            .args(["--disable-dev-shm-usage", "--hide-scrollbars"])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Each waits until the browser opens the other end.
        let commands = File::options().write(true).open(&pipes[0]).unwrap();
        let messages = BufReader::new(File::open(&pipes[1]).unwrap());
        let (session, log) = (None, Vec::new());
        let mut browser =
            Browser { process, server, base, commands, messages, session, last: 0, log, directory };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Runtime.enable", "Page.enable"] {
            browser.call(domain, json!({}));
        }
        browser
    }

    /// Loads a page of the server and waits until its modules have run.
    pub fn load(&mut self, page: &str) {
        let url = format!("{}{page}", self.base);
        self.call("Page.navigate", json!({ "url": url }));
        self.evaluate(&format!(
            "(async () => {{
                while (location.href !== {url:?} || document.readyState !== 'complete')
                    await new Promise((resolve) => setTimeout(resolve, 20));
            }})()"
        ));
    }

    /// The value of an expression, a promise's when it is kept.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.call("Runtime.evaluate", parameters);
        if let Some(details) = result.get("exceptionDetails") {
            let text = &details["exception"]["description"];
            panic!("{}\nin {expression}\n{:#?}", text.as_str().unwrap_or("?"), self.log);
        }
        result["result"]["value"].clone()
    }

    /// Runs a script on every page before its own.
    pub fn on_every_page(&mut self, script: &str) {
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }));
    }

    /// Draws with the mouse on an element; places are from 0 to 1.
    pub fn drag(&mut self, element: &str, places: &[(f64, f64)]) {
        let area = self.evaluate(&format!(
            "document.getElementById({element:?}).scrollIntoView();
            document.getElementById({element:?}).getBoundingClientRect().toJSON()"
        ));
        let at = |name: &str, size: &str, part: f64| {
            area[name].as_f64().unwrap() + part * area[size].as_f64().unwrap()
        };
        let last = places.len() - 1;
        for (number, (x, y)) in places.iter().enumerate() {
            let (x, y) = (at("x", "width", *x), at("y", "height", *y));
            let steps: &[&str] = match number {
                0 => &["mouseMoved", "mousePressed"],
                _ if number == last => &["mouseMoved", "mouseReleased"],
                _ => &["mouseMoved"],
            };
            for step in steps {
                let event = json!({
                    "type": step, "x": x, "y": y, "button": "left", "clickCount": 1,
                    "buttons": u8::from(number > 0),
                });
                self.call("Input.dispatchMouseEvent", event);
            }
        }
    }

    /// Gives the page a size in pixels.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Saves a picture of the page.
    pub fn screenshot(&mut self, path: &Path) {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        std::fs::write(path, base64(picture["data"].as_str().unwrap())).unwrap();
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let message = self.receive();
            if message["id"] == self.last {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn receive(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.messages.read_until(0, &mut bytes).unwrap();
        let Some((0, json)) = bytes.split_last() else {
            let mut log = String::new();
            let file = File::open(self.directory.path().join("log"));
            let _ = file.and_then(|mut file| file.read_to_string(&mut log));
            panic!("the browser has ended:\n{log}");
        };
        serde_json::from_slice(json).unwrap()
    }

    fn note(&mut self, message: &Value) {
        let parameters = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.log.push(parameters["exceptionDetails"].to_string());
            }
            Some("Runtime.consoleAPICalled") if parameters["type"] != "log" => {
                self.log.push(parameters["args"].to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        for child in [&mut self.process, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The file of the browser.
fn chromium() -> PathBuf {
    let names = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let given = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let mut found = given.into_iter().chain(names.map(PathBuf::from)).filter(|path| path.exists());
    found.next().expect("no Chromium was found; tests/run.sh installs it, and CHROMIUM names one")
}

/// Python's server on a free port of this machine, and its address.
fn serve(root: &Path) -> (Child, String) {
    let mut server = Command::new("python3")
        .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
        .arg(root)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.split("port ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let port = port.unwrap_or_else(|| panic!("the server says {line:?}"));
    (server, format!("http://127.0.0.1:{port}/"))
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(digit).collect();
    let group = |group: &[u8]| {
        let bits = group.iter().fold(0u32, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..group.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}
