//! The hint to a program without a log, printed once. Each case runs in a process of its own: this
//! binary, with the one test that opens as in the case.

use std::process::{Command, Stdio};

use gesta::Gesta;
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

/// The standard error of this binary when it runs one test alone.
fn stderr_of(test: &str) -> String {
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", &format!("log_hint::{test}"), "--nocapture"]).stdin(Stdio::null());
    let output = alone.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn hints(stderr: &str) -> usize {
    stderr.lines().filter(|line| line.contains("no log subscriber is installed")).count()
}

#[tokio::test]
async fn opens_twice_without_a_log() {
    for _ in 0..2 {
        Gesta::at("memory:").open().await.unwrap();
    }
}

#[tokio::test]
async fn opens_with_a_log() {
    let log = tracing::subscriber::set_default(Log);
    Gesta::at("memory:").open().await.unwrap();
    drop(log);
}

#[tokio::test]
async fn opens_without_the_hint() {
    Gesta::at("memory:").without_log_hint().open().await.unwrap();
}

#[test]
fn a_program_without_a_log_subscriber_is_told_so_in_one_line_once() {
    let stderr = stderr_of("opens_twice_without_a_log");
    assert_eq!(hints(&stderr), 1, "{stderr}");
    assert!(stderr.contains("tracing_subscriber::fmt::init()"), "it says what to do: {stderr}");
}

#[test]
fn a_program_with_a_log_subscriber_or_that_asked_for_silence_is_told_nothing() {
    for test in ["opens_with_a_log", "opens_without_the_hint"] {
        let stderr = stderr_of(test);
        assert_eq!(hints(&stderr), 0, "{test}: {stderr}");
    }
}

/// A subscriber that discards everything.
struct Log;

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
