//! A test's request for a service: its URL, or a skip that is said aloud.

use std::{
    collections::HashSet,
    env,
    io::{self, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{catalogue, ledger, target_directory::services_around, urls};

/// Returns the URL of a running server that all tests share, or `None` if there is none.
///
/// The URL is that of the environment variable `GESTA_TEST_NAME`, such as `GESTA_TEST_POSTGRES_15`,
/// or else the one that `cargo xtask services up` has written. The skip is said on standard error,
/// which the test harness does not capture, once for each service and program. Use names of your
/// own inside the server, such as a schema for each test.
///
/// # Panics
///
/// Without a server if the environment has `CI=true`, and if there is no service of this name.
#[must_use]
#[track_caller]
pub fn url_or_skip(name: &str) -> Option<String> {
    or_skip(name, running_url(name))
}

/// Returns the value, or says why the test is skipped.
#[track_caller]
pub(crate) fn or_skip<T>(name: &str, found: Result<T>) -> Option<T> {
    if let Err(error) = catalogue::by_name(name) {
        panic!("{error}");
    }
    let reason = found.as_ref().err().map(|error| format!("{error:#}"));
    ledger::note(name, reason.as_deref()).expect("the ledger of the test run can be written");
    let Some(reason) = reason else { return found.ok() };
    skip(name, &reason);
    None
}

/// Says on standard error why tests that need this are skipped, once for each name and program.
///
/// # Panics
///
/// If the environment has `CI=true`.
#[track_caller]
pub fn skip(name: &str, reason: &str) {
    assert!(!is_ci(), "{name} is needed under CI=true: {reason}");
    say_once(name, reason);
}

fn running_url(name: &str) -> Result<String> {
    let variable = variable_of(name);
    if let Ok(url) = env::var(&variable) {
        is_reachable(&url).with_context(|| format!("the URL in {variable}"))?;
        return Ok(url);
    }
    for folder in services_around() {
        let Some(url) = urls::read(&folder.join(urls::FILE))?.remove(name) else { continue };
        // The file stays when the machine restarts.
        is_reachable(&url)?;
        return Ok(url);
    }
    bail!("no server runs; start one with `cargo xtask services up {name}`, or set {variable}")
}

fn is_reachable(url: &str) -> Result<()> {
    let authority = urls::authority(url).context("is not a URL")?;
    let shown = || format!("no server answers at {authority}");
    let addresses = authority.to_socket_addrs().with_context(shown)?;
    ensure!(addresses.into_iter().any(|address| TcpStream::connect(address).is_ok()), shown());
    Ok(())
}

/// The environment variable for the URL of a service.
fn variable_of(name: &str) -> String {
    format!("GESTA_TEST_{}", name.to_uppercase().replace('-', "_"))
}

fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// Says a skip on standard error, once for each service.
fn say_once(name: &str, reason: &str) {
    static SAID: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.get_or_insert_default().insert(name.to_owned()) {
        // Not `eprintln!`, which the harness captures in a test that passes.
        let written = writeln!(io::stderr(), "SKIPPED: tests that need {name}: {reason}");
        // A test does not depend on whether someone reads its output.
        drop(written);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::ports;

    #[test]
    fn a_server_that_does_not_answer_is_not_there() {
        let url_at = |port| format!("postgres://postgres@127.0.0.1:{port}/db");
        // Not the port of a listener that ended: a program that another test starts at that moment
        // would inherit it and keep it open.
        let closed = is_reachable(&url_at(ports::free().unwrap())).unwrap_err().to_string();
        assert!(closed.starts_with("no server answers at"), "{closed}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        is_reachable(&url_at(listener.local_addr().unwrap().port())).unwrap();
        // A URL without a port has no default here.
        assert!(is_reachable("postgres://localhost/db").is_err());
    }

    #[test]
    fn each_service_has_a_variable() {
        assert_eq!(variable_of("postgres-15"), "GESTA_TEST_POSTGRES_15");
    }

    #[test]
    fn a_service_that_does_not_exist_is_no_reason_to_skip() {
        let asked = std::panic::catch_unwind(|| url_or_skip("postgrse"));
        assert!(asked.is_err());
    }
}
