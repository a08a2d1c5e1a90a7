//! A minimal HTTP client for checks of a server on this machine.
//!
//! Each client keeps one connection open. Replies need a `Content-Length`, which the shop always
//! sends.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A reply of the server.
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// Value of a header, by its lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection to a server.
pub(super) struct Client(BufReader<TcpStream>);

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Result<Self> {
        Self::connect_within(address, TIMEOUT)
    }

    /// Connects, and waits at most that long for the connection and for each reply.
    pub(super) fn connect_within(address: SocketAddr, limit: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        // Nagle's algorithm would distort the measured latencies.
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(super) fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        self.request("GET", path, headers, &[])
    }

    pub(super) fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Reply> {
        let headers = [headers, &[("Content-Type", "application/json")]].concat();
        self.request("POST", path, &headers, body.to_string().as_bytes())
    }

    /// Posts a command that must succeed.
    pub(super) fn command(&mut self, path: &str, body: &Value) -> Result<Reply> {
        let reply = self.post(path, &[], body)?;
        ensure!((200..300).contains(&reply.status), "{path}: {} {}", reply.status, reply.text());
        Ok(reply)
    }

    /// Deletes something that is there.
    pub(super) fn delete(&mut self, path: &str) -> Result<()> {
        let reply = self.request("DELETE", path, &[], &[])?;
        ensure!((200..300).contains(&reply.status), "{path}: {} {}", reply.status, reply.text());
        Ok(())
    }

    fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.0.get_mut().write_all(&bytes)?;
        self.reply()
    }

    fn reply(&mut self) -> Result<Reply> {
        let first = self.line()?;
        ensure!(!first.is_empty(), "the server closed the connection");
        let status = first.split_whitespace().nth(1).context("an answer has a status")?.parse()?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            // An empty line ends the headers.
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        let length = reply.header("content-length").map_or(Ok(0), str::parse)?;
        reply.body.resize(length, 0);
        self.0.read_exact(&mut reply.body)?;
        Ok(reply)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}
