//! The tests that failed in a run, with the beginning of what each of them printed.
//!
//! Owns: the reading of what test programs print. Invariant: every line is passed on at once.
//! Not here: the run, and when the list is shown.

use std::{
    io::{BufRead as _, BufReader, Write as _, stdout},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result};

/// Lines of a failed test's output that the list shows.
const LINES_MAX: usize = 8;

/// The failed tests of a run, in the order in which they were reported.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct FailedTests {
    tests: Vec<FailedTest>,
    /// The lines that are read belong to the last test.
    is_open: bool,
}

#[derive(Debug, Default, PartialEq)]
struct FailedTest {
    name: String,
    lines: Vec<String>,
}

impl FailedTests {
    /// Runs a program of tests, and passes on what it prints.
    pub(crate) fn of_run(&mut self, command: &mut Command) -> Result<ExitStatus> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("the output is piped")?;
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            writeln!(stdout(), "{line}")?;
            self.read(line);
        }
        Ok(child.wait()?)
    }

    fn read(&mut self, line: String) {
        let name = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        if let Some(name) = name {
            self.tests.push(FailedTest { name: name.to_owned(), lines: vec![] });
            self.is_open = true;
        } else if line == "failures:" || line.starts_with("test result:") {
            self.is_open = false;
        } else if let Some(test) = self.tests.last_mut().filter(|_| self.is_open)
            && test.lines.len() < LINES_MAX
            && !line.trim().is_empty()
        {
            test.lines.push(line);
        }
    }

    /// Prints the list, if a test has failed.
    pub(crate) fn print(&self) {
        if self.tests.is_empty() {
            return;
        }
        println!("\n== failed tests: {}", self.tests.len());
        for FailedTest { name, lines } in &self.tests {
            println!("   {name}");
            lines.iter().for_each(|line| println!("      {line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_tests_are_collected_with_what_they_printed() {
        let mut failed = FailedTests::default();
        for line in [
            "test a::works ... ok",
            "failures:",
            "",
            "---- a::fails stdout ----",
            "",
            "thread 'a::fails' panicked at a.rs:1:1:",
            "assertion failed",
            "---- b::fails stdout ----",
            "Error: no",
            "",
            "failures:",
            "    a::fails",
            "test result: FAILED. 1 passed; 2 failed",
        ] {
            failed.read(line.to_owned());
        }
        let names: Vec<_> = failed.tests.iter().map(|test| &*test.name).collect();
        assert_eq!(names, ["a::fails", "b::fails"]);
        assert_eq!(failed.tests[0].lines.len(), 2);
        assert_eq!(failed.tests[1].lines, ["Error: no"]);
    }

    #[test]
    fn a_program_that_prints_no_tests_has_no_failed_ones() {
        let mut failed = FailedTests::default();
        let status = failed.of_run(crate::step::cargo().arg("--version")).unwrap();
        assert!(status.success());
        assert_eq!(failed, FailedTests::default());
    }
}
