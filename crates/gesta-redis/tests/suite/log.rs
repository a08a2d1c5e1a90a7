//! The log lines of this program, for tests that look for them.

use std::{
    io::{self, Write},
    sync::{Mutex, Once},
};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct ToLines;

impl Write for ToLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps log lines from now on.
pub(crate) fn keep() {
    static KEPT: Once = Once::new();
    KEPT.call_once(|| {
        let format = tracing_subscriber::fmt().with_ansi(false).with_writer(|| ToLines);
        format.init();
    });
}

/// Returns the lines that contain a text, such as the address of a test's own server.
pub(crate) fn lines_with(text: &str) -> Vec<String> {
    let lines = String::from_utf8_lossy(&LINES.lock().unwrap()).into_owned();
    lines.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}
