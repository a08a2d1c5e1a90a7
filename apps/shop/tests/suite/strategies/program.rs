//! The shop as a program, and requests to it.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

/// Pause between two looks at what has to happen, and their number.
const POLL: Duration = Duration::from_millis(50);
const POLLS_MAX: usize = 1_200;
/// Time limit of a reply.
const REPLY_MAX: Duration = Duration::from_secs(60);

/// A running shop. Killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    address: SocketAddr,
}

/// A reply of the shop.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: String,
    text: String,
}

impl Program {
    /// Starts a verb that serves, in a directory, and waits until it listens.
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = shop(directory, arguments);
        command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The last line of the start; the verb prints nothing after it.
        let address = lines.map_while(Result::ok).find_map(|line| {
            let rest = line.strip_prefix("listening on http://")?;
            rest.split(',').next()?.parse().ok()
        });
        let Some(address) = address else {
            panic!("shop {arguments:?} ended: {}", child.wait().unwrap());
        };
        Self { child, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], None)
    }

    /// Gets what reflects a command, by the position in its reply. A read model that needs longer
    /// than a request waits is asked again.
    pub(crate) fn get_after(&self, path: &str, command: &Reply) -> Reply {
        let position = [("Gesta-Position", command.header("gesta-position"))];
        until(path, || {
            Some(self.ask("GET", path, &position, None)).filter(|reply| reply.status != 503)
        })
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, &[("Content-Type", "application/json")], Some(body))
    }

    /// Posts a command that succeeds.
    pub(crate) fn command(&self, path: &str, body: &Value) -> Reply {
        let reply = self.post(path, body);
        assert!((200..300).contains(&reply.status), "{path}: {reply:?}");
        reply
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Reply {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str(&format!("Connection: close\r\n\r\n{body}"));
        let mut connection = TcpStream::connect(self.address).unwrap();
        connection.set_read_timeout(Some(REPLY_MAX)).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        connection.read_to_string(&mut reply).unwrap();
        let (headers, text) = reply.split_once("\r\n\r\n").unwrap();
        let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, headers: headers.to_owned(), text: text.to_owned() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Reply {
    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.lines().filter_map(|line| line.split_once(": "));
        let found = headers.find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("{name} is not in {self:?}")).1
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[cfg(feature = "everything")]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Returns the command of a verb in a directory.
pub(crate) fn shop(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).env("RUST_LOG", "error");
    command
}

/// Looks again and again until something is there.
pub(crate) fn until<T>(what: impl fmt::Display, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..POLLS_MAX {
        if let Some(found) = look() {
            return found;
        }
        thread::park_timeout(POLL);
    }
    panic!("it did not happen in time: {what}");
}
