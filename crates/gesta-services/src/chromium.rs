//! A headless Chromium, driven over the DevTools protocol.
//!
//! Invariants: a test without Chromium says so on standard error and does nothing. A page waits by
//! promises of its own and never for a time. Errors on its console and its requests are kept.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

/// Names under which systems have the browser. `CHROMIUM` names another one.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
/// Time for one answer of the browser, on a machine that compiles at the same time.
const BROWSER_PATIENCE: Duration = Duration::from_secs(120);
/// Directory for pictures of screens, if there should be some.
const PICTURES: &str = "GESTA_CONSOLE_PICTURES";

/// A browser with one page. Dropping it ends the browser.
pub(super) struct Page {
    socket: WebSocketStream<TcpStream>,
    session: String,
    calls: u64,
    console: String,
    /// Errors that the browser or a script has reported.
    pub(super) errors: Vec<String>,
    /// Addresses of all requests.
    pub(super) requests: Vec<String>,
    loads: u64,
    _browser: Browser,
    _profile: TempDir,
}

/// The process of a browser. Dropping it ends the process.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        // A browser that has ended by itself is ended, too.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the browser, or says that there is none, which is a failure under `CI=true`.
fn started(profile: &TempDir) -> Option<Browser> {
    let named = std::env::var("CHROMIUM").ok();
    for name in named.as_deref().into_iter().chain(NAMES) {
        let mut command = Command::new(name);
        command
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            // Such as look-ups of updates, which are no requests of the page.
            .args(["--disable-background-networking", "--ignore-certificate-errors"])
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Ok(browser) = command.spawn() {
            return Some(Browser(browser));
        }
    }
    gesta_services::skip("Chromium", "it is not on the PATH; CHROMIUM may name it");
    None
}

/// Returns the address of the protocol, which the browser prints.
async fn protocol_address(browser: &mut Browser) -> String {
    let output = BufReader::new(browser.0.stderr.take().unwrap());
    let (found, address) = oneshot::channel();
    // Reads to the end: a full pipe would stop the browser.
    std::thread::spawn(move || {
        let mut found = Some(found);
        for line in output.lines().map_while(Result::ok) {
            if let Some(address) = line.strip_prefix("DevTools listening on ws://")
                && let Some(found) = found.take()
            {
                // A test that has failed waits no more.
                let _ = found.send(address.to_owned());
            }
        }
    });
    let address = timeout(BROWSER_PATIENCE, address).await.expect("the browser starts in time");
    address.expect("the browser runs")
}

async fn connect(address: &str) -> WebSocketStream<TcpStream> {
    let (host, path) = address.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // No byte of the first frame may be taken.
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

impl Page {
    /// Opens an empty page for the console of a server, such as `http://127.0.0.1:2113`.
    pub(super) async fn open(server: &str) -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        let mut browser = started(&profile)?;
        let socket = connect(&protocol_address(&mut browser).await).await;
        let mut page = Self {
            socket,
            session: String::new(),
            calls: 0,
            console: format!("{server}/console/"),
            errors: Vec::new(),
            requests: Vec::new(),
            loads: 0,
            _browser: browser,
            _profile: profile,
        };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = page.call("Target.attachToTarget", attach).await;
        attached["sessionId"].as_str().unwrap().clone_into(&mut page.session);
        for domain in ["Runtime", "Log", "Network", "Page"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        Some(page)
    }

    /// Calls a method of the protocol.
    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let next = timeout(BROWSER_PATIENCE, self.socket.next()).await;
            let next = next.unwrap_or_else(|_| panic!("{method} is answered in time"));
            let Message::Text(text) = next.unwrap().unwrap() else { continue };
            let mut message: Value = serde_json::from_str(&text).unwrap();
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].take();
            }
            self.keep(&message);
        }
    }

    /// Keeps what an event tells.
    fn keep(&mut self, event: &Value) {
        let told = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.errors.push(told["exceptionDetails"].to_string())
            }
            Some("Runtime.consoleAPICalled") if told["type"] == "error" => {
                self.errors.push(told["args"].to_string());
            }
            Some("Log.entryAdded") if told["entry"]["level"] == "error" => {
                self.errors.push(told["entry"].to_string());
            }
            Some("Network.requestWillBeSent") => {
                self.requests.push(told["request"]["url"].as_str().unwrap().to_owned());
            }
            _ => {}
        }
    }

    /// Returns the value of an expression, once its promise is kept.
    pub(super) async fn value(&mut self, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", asked).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until a condition holds, which is looked at in each frame.
    pub(super) async fn until(&mut self, condition: &str) {
        let waiting = format!(
            "new Promise((done) => {{ const look = () => ({condition}) ? done(true) : \
             requestAnimationFrame(look); look(); }})"
        );
        assert_eq!(self.value(&waiting).await, true, "{condition}");
    }

    /// Loads a page, and waits until it is there.
    pub(super) async fn visit(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
        let url = Value::from(url);
        // A script of the page may change the fragment.
        let place = |href: &str| format!("{href}.href.split('#')[0]");
        let (here, there) = (place("location"), place(&format!("new URL({url})")));
        self.until(&format!("{here} === {there} && document.readyState === 'complete'")).await;
    }

    /// Loads a screen anew, and waits until it is complete.
    pub(super) async fn load(&mut self, screen: &str) {
        self.loads += 1;
        // Another query, because the same page with another fragment is not loaded again.
        let url = format!("{}?load={}{screen}", self.console, self.loads);
        self.visit(&url).await;
        self.until("/ready|sign-in/.test(document.querySelector('main')?.dataset.state)").await;
    }

    /// Returns the text that a reader of the screen sees.
    pub(super) async fn text(&mut self) -> String {
        let text = self.value("document.querySelector('main').innerText").await;
        text.as_str().unwrap().to_owned()
    }

    /// Sets the width of the window, and the theme of the system.
    pub(super) async fn look(&mut self, width: u32, theme: &str) {
        let size =
            json!({ "width": width, "height": 1_000, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let theme = json!([{ "name": "prefers-color-scheme", "value": theme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": theme })).await;
    }

    /// Writes a picture, if pictures are asked for.
    pub(super) async fn picture(&mut self, name: &str) {
        let Some(directory) = std::env::var_os(PICTURES) else { return };
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let picture = BASE64_STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        std::fs::write(std::path::Path::new(&directory).join(format!("{name}.png")), picture)
            .unwrap();
    }

    /// Presses a key with a character.
    pub(super) async fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" && key.len() == 1 { key } else { "" };
            let event = json!({ "type": kind, "key": key, "text": text });
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Checks that nothing failed, and that nothing was asked of another place than the server.
    pub(super) fn assert_clean(&self) {
        assert!(self.errors.is_empty(), "{:#?}", self.errors);
        let server = self.console.trim_end_matches("console/");
        assert!(!self.requests.is_empty(), "requests are watched");
        for request in &self.requests {
            // The browser's own pictures of fields have addresses with all of their content.
            let is_within =
                ["blob:", "data:", "about:blank"].iter().any(|one| request.starts_with(one));
            assert!(is_within || request.starts_with(server), "{request}");
        }
    }
}
