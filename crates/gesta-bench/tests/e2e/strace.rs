//! System calls in the output of strace (`-f -y -o FILE`).
//!
//! Owns: joining calls that strace splits when threads overlap, and parsing a call. Not here: the
//! evaluation ([`trace`](crate::trace)).

use std::collections::HashMap;

use anyhow::{Context, Result};

/// A system call on an open file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) descriptor: u32,
    pub(super) path: String,
    /// Arguments after the file, verbatim.
    pub(super) arguments: String,
    /// Line of the trace at which the call begins.
    pub(super) begin: usize,
    /// Line at which it ends, and its result; `None` if the program ended before.
    pub(super) end: Option<(usize, i64)>,
}

/// Parses the calls of a trace, in the order of their begins.
pub(super) fn calls(trace: &str) -> Result<Vec<Call>> {
    let mut joined: Vec<(usize, Option<usize>, String)> = Vec::new();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for (number, line) in (1..).zip(trace.lines()) {
        let unreadable = || format!("line {number} of the trace: {line}");
        let (thread, event) = line.split_once(' ').with_context(unreadable)?;
        let event = event.trim_start();
        if event.starts_with("+++") || event.starts_with("---") {
            continue;
        }
        if let Some(begun) = event.strip_suffix("<unfinished ...>") {
            // strace splits a call if another thread's call ends first; it is resumed by its
            // thread.
            unfinished.insert(thread, joined.len());
            joined.push((number, None, begun.trim_end().to_owned()));
        } else if let Some(resumed) = event.strip_prefix("<... ") {
            let begun = unfinished.remove(thread).and_then(|index| joined.get_mut(index));
            let (_, end, text) = begun.with_context(unreadable)?;
            *end = Some(number);
            text.push_str(resumed.split_once("resumed>").with_context(unreadable)?.1);
        } else {
            joined.push((number, Some(number), event.to_owned()));
        }
    }
    let read = joined.into_iter().map(|(begin, end, text)| {
        Call::read(&text, begin, end).with_context(|| format!("line {begin} of the trace: {text}"))
    });
    read.collect()
}

impl Call {
    /// Parses `name(3</path>, arguments) = result`; for `openat`, the file is in the result.
    fn read(text: &str, begin: usize, end: Option<usize>) -> Option<Self> {
        let (name, rest) = text.split_once('(')?;
        if name == "openat" {
            return Self::read_open(rest, begin, end);
        }
        let (descriptor, rest) = rest.split_once('<')?;
        // Calls with only a descriptor have no further arguments.
        let (path, rest) = match rest.split_once(">, ") {
            Some(parts) => parts,
            None => (rest.split_once('>')?.0, rest.rsplit_once('>')?.1),
        };
        let (arguments, end) = match end {
            Some(line) => {
                let (arguments, result) = rest.rsplit_once(" = ")?;
                let result = result.split(' ').find(|word| !word.is_empty())?;
                // strace prints `?` if the program ended during the call.
                let end = if result == "?" { None } else { Some((line, result.parse().ok()?)) };
                (arguments, end)
            }
            None => (rest, None),
        };
        Some(Self {
            name: name.to_owned(),
            descriptor: descriptor.parse().ok()?,
            path: path.to_owned(),
            arguments: arguments.trim_end().trim_end_matches(')').to_owned(),
            begin,
            end,
        })
    }

    /// Parses `AT_FDCWD</directory>, "path", flags) = 3</path>`; a failed call has no descriptor
    /// and no end.
    fn read_open(rest: &str, begin: usize, end: Option<usize>) -> Option<Self> {
        let opened = end.and_then(|line| {
            let (arguments, result) = rest.rsplit_once(" = ")?;
            let (descriptor, path) = result.split_once('<')?;
            Some((line, arguments, descriptor.parse::<u32>().ok()?, path.strip_suffix('>')?))
        });
        let (line, arguments, descriptor, path) = match opened {
            Some((line, arguments, descriptor, path)) => (Some(line), arguments, descriptor, path),
            // A failed or unfinished call.
            None => (None, rest, 0, ""),
        };
        Some(Self {
            name: "openat".to_owned(),
            descriptor,
            path: path.to_owned(),
            arguments: arguments.trim_end().trim_end_matches(')').to_owned(),
            begin,
            end: line.map(|line| (line, i64::from(descriptor))),
        })
    }

    /// Quoted arguments, as escaped by strace.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.arguments.as_str();
        std::iter::from_fn(move || {
            let (_, quoted) = rest.split_once('"')?;
            let length = quoted_bytes(quoted);
            let (text, after) = quoted.split_at(length);
            rest = after.strip_prefix('"').unwrap_or(after);
            Some(text)
        })
    }

    /// Numeric argument, counted from the end; 0 is the last.
    pub(super) fn number_from_end(&self, place: usize) -> Option<u64> {
        self.arguments.rsplit(", ").nth(place)?.parse().ok()
    }
}

/// Length of a quoted text up to its closing quote.
fn quoted_bytes(quoted: &str) -> usize {
    let mut escaped = false;
    for (index, letter) in quoted.char_indices() {
        match letter {
            '"' if !escaped => return index,
            // An escaped quote does not end the text.
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    quoted.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_call_begins_and_ends_on_its_line() {
        let found = calls("7 pwrite64(3</data/one seg>, \"a\\\"b, c\", 6, 4096) = 6\n").unwrap();
        let call = &found[0];
        assert_eq!(
            (call.name.as_str(), call.descriptor, call.path.as_str()),
            ("pwrite64", 3, "/data/one seg")
        );
        assert_eq!((call.begin, call.end), (1, Some((1, 6))));
        assert_eq!(call.texts().collect::<Vec<_>>(), ["a\\\"b, c"]);
        assert_eq!(call.number_from_end(0), Some(4_096));
    }

    #[test]
    fn a_split_call_is_put_together() {
        let trace = "\
7 fdatasync(3</data/one> <unfinished ...>
8 pwrite64(3</data/one>, \"b\", 1, 1 <unfinished ...>
7 <... fdatasync resumed>) = 0
8 <... pwrite64 resumed>) = 1
8 +++ exited with 0 +++
";
        let found = calls(trace).unwrap();
        let lines: Vec<_> = found.iter().map(|call| (call.begin, call.end)).collect();
        assert_eq!(lines, [(1, Some((3, 0))), (2, Some((4, 1)))]);
        assert_eq!(found[1].number_from_end(0), Some(1));
    }

    #[test]
    fn a_call_that_never_ended_has_no_result() {
        let found = calls("7 fsync(3</data/one> <unfinished ...>\n").unwrap();
        assert_eq!((found[0].path.as_str(), found[0].end), ("/data/one", None));
        let found = calls("7 pwrite64(3</data/one>, \"a = b\", 5, 9 <unfinished ...>\n").unwrap();
        assert_eq!((found[0].number_from_end(0), found[0].end), (Some(9), None));
        for spaces in [" ", "           "] {
            let found = calls(&format!("7 pwrite64(3</data/one>, \"a\"..., 5, 9){spaces}= ?\n"));
            let call = &found.unwrap()[0];
            assert_eq!((call.number_from_end(0), call.end), (Some(9), None));
        }
    }

    #[test]
    fn an_opened_file_has_its_descriptor_and_flags() {
        let line = "7 openat(AT_FDCWD</>, \"/data/one\", O_WRONLY|O_DSYNC) = 5</data/one>\n";
        let found = calls(line).unwrap();
        let opened = &found[0];
        assert_eq!((opened.descriptor, opened.path.as_str()), (5, "/data/one"));
        assert!(opened.arguments.ends_with("O_WRONLY|O_DSYNC"));
        let refused = "7 openat(AT_FDCWD</>, \"/no\", O_RDONLY) = -1 ENOENT (No such file)\n";
        assert_eq!(calls(refused).unwrap()[0].end, None);
    }

    #[test]
    fn a_failed_call_has_its_result() {
        let found = calls("7 fsync(3</data/one>) = -1 EIO (Input/output error)\n").unwrap();
        assert_eq!(found[0].end, Some((1, -1)));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for trace in ["7 <... fsync resumed>) = 0", "7 fsync(3", "7 fsync(3</one>) = !"] {
            assert!(calls(trace).is_err(), "{trace}");
        }
    }
}
