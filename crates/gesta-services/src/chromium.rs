//! A headless Chromium, driven over the DevTools protocol.
//!
//! Owns: [`Page`], and the check of accessibility by axe-core, a script that npm installs at the
//! first use into the target directory; `AXE_CORE` may name the file.
//!
//! Invariants: a test without Chromium, or without axe-core, says so on standard error and skips
//! that part; it fails under `CI=true`. A page waits by promises of its own and never for a time.
//! Errors on its console and its requests are kept.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops where it fails")]

use std::{
    fmt, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use crate::{need::skip, target_directory};

/// Names under which systems have the browser. `CHROMIUM` names another one.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
/// Time for one answer of the browser, on a machine that compiles at the same time.
const BROWSER_PATIENCE: Duration = Duration::from_secs(120);
/// Time for a condition on a page, on such a machine.
const CONDITION_PATIENCE: Duration = Duration::from_secs(90);
/// Directory for pictures of screens, if there should be some.
const PICTURES: &str = "GESTA_CONSOLE_PICTURES";

/// The widths and themes in which screens are looked at, for [`Page::look`].
pub const LOOKS: [(u32, &str); 4] =
    [(1_400, "light"), (800, "dark"), (1_400, "dark"), (800, "light")];
/// The width and theme of a phone.
pub const PHONE: (u32, &str) = (400, "light");

/// A browser with one page. Dropping it ends the browser.
pub struct Page {
    socket: WebSocketStream<TcpStream>,
    session: String,
    calls: u64,
    console: String,
    /// Errors that the browser or a script has reported.
    pub errors: Vec<String>,
    /// Addresses of all requests.
    pub requests: Vec<String>,
    loads: u64,
    look: String,
    /// The screens of a tour, each with its address.
    seen: Vec<(&'static str, String)>,
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
    skip("Chromium", "it is not on the PATH; CHROMIUM may name it");
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
    pub async fn open(server: &str) -> Option<Self> {
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
            look: "default".to_owned(),
            seen: Vec::new(),
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
        // For the answer, whatever the page tells until then: one that looks again and again tells
        // of its requests for ever.
        let end = Instant::now() + BROWSER_PATIENCE;
        loop {
            let next = timeout_at(end, self.socket.next()).await;
            let next = next.unwrap_or_else(|_| panic!("{method} is answered in time: {message}"));
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
    pub async fn value(&mut self, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", asked).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until a condition holds, which is looked at in each frame.
    pub async fn until(&mut self, condition: &str) {
        let patience = CONDITION_PATIENCE.as_millis();
        let waiting = format!(
            "new Promise((done) => {{ const end = performance.now() + {patience}; \
             const look = () => ({condition}) ? done(true) : performance.now() > end \
             ? done(document.body?.innerText ?? 'no page') : requestAnimationFrame(look); look(); }})"
        );
        let seen = self.value(&waiting).await;
        assert!(seen == true, "{condition}; the page has: {seen}; errors: {:?}", self.errors);
    }

    /// Loads a page, and waits until it is there.
    pub async fn visit(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
        let url = Value::from(url);
        // A script of the page may change the fragment.
        let place = |href: &str| format!("{href}.href.split('#')[0]");
        let (here, there) = (place("location"), place(&format!("new URL({url})")));
        self.until(&format!("{here} === {there} && document.readyState === 'complete'")).await;
    }

    /// Loads a screen anew, and waits until it is complete.
    pub async fn load(&mut self, screen: &str) {
        self.loads += 1;
        // Another query, because the same page with another fragment is not loaded again.
        let url = format!("{}?load={}{screen}", self.console, self.loads);
        self.visit(&url).await;
        self.until("/ready|sign-in/.test(document.querySelector('main')?.dataset.state)").await;
    }

    /// Goes to a screen without a new load, which keeps a login, and waits until it is complete.
    pub async fn show(&mut self, screen: &str) {
        // By way of no screen, so that the old one is not taken for the new one.
        let is_there = "document.querySelector('h1')?.innerText === 'No such screen'";
        let is_complete = "document.querySelector('main').dataset.state === 'ready'";
        self.value("location.hash = '#/none'").await;
        self.until(&format!("{is_there} && {is_complete}")).await;
        self.value(&format!("location.hash = {}", json!(screen))).await;
        self.until(&format!("!({is_there}) && {is_complete}")).await;
    }

    /// Goes to a screen by its key after `g`.
    pub async fn go(&mut self, key: &str, heading: &str) {
        self.press("g").await;
        self.press(key).await;
        let heading = json!(heading);
        self.until(&format!("document.querySelector('h1')?.innerText === {heading}")).await;
    }

    /// Clicks what leads to another screen: a link, or a button of a form without an act.
    pub async fn follow(&mut self, selector: &str, text: &str) {
        let found = element(selector, text);
        self.until(&found).await;
        // The listeners of the page come first: the old screen no longer counts as complete then.
        self.value(&format!(
            "new Promise((done) => {{ addEventListener('hashchange', () => done(true), \
             {{ once: true }}); {found}.click(); }})"
        ))
        .await;
    }

    /// Waits until the screen is complete and shows these texts, looks at it, and keeps its address
    /// for [`look_again`](Self::look_again).
    pub async fn sees(&mut self, screen: &'static str, texts: &[&str]) {
        self.until("document.querySelector('main').dataset.state === 'ready'").await;
        for text in texts {
            self.until_shown(text).await;
        }
        self.assert_readable(screen).await;
        let address = self.value("location.hash").await;
        self.seen.push((screen, address.as_str().unwrap().to_owned()));
    }

    /// Looks again at every screen that was seen, in other looks.
    pub async fn look_again(&mut self, looks: &[(u32, &str)]) {
        for (width, theme) in looks {
            self.look(*width, theme).await;
            for (screen, address) in self.seen.clone() {
                self.show(&address).await;
                self.assert_readable(screen).await;
            }
        }
    }

    /// Returns the text that a reader of the screen sees.
    pub async fn text(&mut self) -> String {
        let text = self.value("document.querySelector('main').innerText").await;
        text.as_str().unwrap().to_owned()
    }

    /// Sets the width of the window, and the theme of the system.
    pub async fn look(&mut self, width: u32, theme: &str) {
        self.look = format!("{width}-{theme}");
        let size =
            json!({ "width": width, "height": 1_000, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let theme = json!([{ "name": "prefers-color-scheme", "value": theme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": theme })).await;
    }

    /// Writes a picture of the whole page, if pictures are asked for.
    pub async fn picture(&mut self, name: &str) {
        let Some(directory) = std::env::var_os(PICTURES) else { return };
        let size = self.call("Page.getLayoutMetrics", json!({})).await["cssContentSize"].take();
        // The width of the content leaves out a scroll bar that such a picture has not.
        let width = self.value("innerWidth").await;
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1 });
        let whole = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let taken = self.call("Page.captureScreenshot", whole).await;
        let picture = BASE64_STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        std::fs::write(std::path::Path::new(&directory).join(format!("{name}.png")), picture)
            .unwrap();
    }

    /// Checks that the screen is not wider than the window, and has no violation of accessibility.
    /// Writes a picture, if pictures are asked for.
    pub async fn assert_readable(&mut self, name: &str) {
        let name = format!("{name}-{}", self.look);
        self.picture(&name).await;
        let wide = self.value("document.documentElement.scrollWidth > innerWidth").await;
        assert_eq!(wide, false, "{name} is wider than the window");
        if let Some(violations) = self.violations().await {
            assert!(violations.is_empty(), "{name}: {violations:#?}");
        }
    }

    /// Does the same for all [`LOOKS`] of the screen that is there.
    pub async fn assert_readable_in_all_looks(&mut self, name: &str) {
        for (width, theme) in LOOKS {
            self.look(width, theme).await;
            self.assert_readable(name).await;
        }
    }

    /// Waits until the screen shows a text.
    pub async fn until_shown(&mut self, text: &str) {
        let text = json!(text);
        self.until(&format!("document.querySelector('main').innerText.includes({text})")).await;
    }

    /// Presses the button of an act, gives the reason, types the name if one is asked for, and
    /// waits until the act is done.
    pub async fn act(&mut self, label: &str, reason: &str) {
        self.click("button.act", label).await;
        self.confirm(label, reason).await;
    }

    /// The same for the act of a form.
    pub async fn submit(&mut self, label: &str, reason: &str) {
        self.click("main form button", label).await;
        self.confirm(label, reason).await;
    }

    async fn confirm(&mut self, label: &str, reason: &str) {
        self.until("document.querySelector('dialog')?.open").await;
        let disabled = "document.querySelector('dialog .buttons button').disabled";
        assert_eq!(self.value(disabled).await, true, "{label} needs a reason");
        self.write("dialog textarea", reason).await;
        let typed = self.value("document.querySelector('dialog label code')?.innerText").await;
        if let Some(typed) = typed.as_str() {
            assert_eq!(self.value(disabled).await, true, "{label} needs a name");
            self.write("dialog input", typed).await;
        }
        self.click("dialog button", label).await;
        self.until("!document.querySelector('dialog')").await;
    }

    /// Presses a key with a character.
    pub async fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" && key.len() == 1 { key } else { "" };
            let event = json!({ "type": kind, "key": key, "text": text });
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Writes a text into a field, as a user does who leaves it then.
    pub async fn write(&mut self, field: &str, text: &str) {
        let (field, text) = (json!(field), json!(text));
        self.value(&format!(
            "{{ const field = document.querySelector({field}); field.value = {text}; \
             field.dispatchEvent(new Event('input', {{ bubbles: true }})); }}"
        ))
        .await;
    }

    /// Clicks the first element that a selector finds and whose text is this.
    pub async fn click(&mut self, selector: &str, text: &str) {
        let found = element(selector, text);
        self.until(&found).await;
        self.value(&format!("{found}.click()")).await;
    }

    /// Returns the serious and critical violations of accessibility that axe-core finds, or `None`
    /// without axe-core.
    pub async fn violations(&mut self) -> Option<Vec<String>> {
        let script = axe_or_skip()?;
        self.value(&format!("{{ {script}\n; true; }}")).await;
        let found = self
            .value(
                "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => \
                 violations.filter(({ impact }) => /serious|critical/.test(impact)).flatMap(\
                 ({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`)))",
            )
            .await;
        let found = found.as_array().expect("axe-core lists violations").iter();
        Some(found.map(|one| one.as_str().unwrap_or_default().to_owned()).collect())
    }

    /// Checks that nothing failed, and that nothing was asked of another place than the server.
    pub fn assert_clean(&self) {
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

/// Returns the expression of the first element that a selector finds and whose text is this.
fn element(selector: &str, text: &str) -> String {
    let (selector, text) = (json!(selector), json!(text));
    format!("[...document.querySelectorAll({selector})].find((one) => one.innerText === {text})")
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("console", &self.console).finish_non_exhaustive()
    }
}

/// The version of axe-core.
const AXE_VERSION: &str = "4.14.1";

/// Returns the script of axe-core, or says why there is none.
fn axe_or_skip() -> Option<String> {
    match axe() {
        Ok(script) => Some(script),
        Err(error) => {
            skip("axe-core", &format!("{error:#}; npm installs it, or AXE_CORE names its file"));
            None
        }
    }
}

fn axe() -> Result<String> {
    let file = match std::env::var_os("AXE_CORE") {
        Some(file) => PathBuf::from(file),
        None => installed_axe()?,
    };
    fs::read_to_string(&file).with_context(|| file.display().to_string())
}

/// Returns the file of axe-core below the target directory, which npm installs if it is missing.
fn installed_axe() -> Result<PathBuf> {
    let around = target_directory::around();
    let target = around.first().context("a test is built into a target directory")?;
    let folder = target.join(format!("axe-core-{AXE_VERSION}"));
    let file = folder.join("node_modules/axe-core/axe.min.js");
    if !file.exists() {
        // Into a folder of this process, which then takes the place: tests run at the same time.
        let own = target.join(format!("axe-core-{AXE_VERSION}-{}", std::process::id()));
        install_axe(&own)?;
        if fs::rename(&own, &folder).is_err() {
            fs::remove_dir_all(&own)?;
        }
    }
    Ok(file)
}

fn install_axe(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let installed = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"])
        .arg(folder)
        .arg(format!("axe-core@{AXE_VERSION}"))
        .stdin(Stdio::null())
        .output()
        .context("npm cannot be run")?;
    let said = String::from_utf8_lossy(&installed.stderr).into_owned();
    ensure!(installed.status.success(), "npm has not installed axe-core: {}", said.trim());
    Ok(())
}
