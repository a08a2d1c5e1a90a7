//! `cargo xtask services`: real servers for tests, started and stopped by hand.
//!
//! Owns: the arguments and the output, and the table that `cargo xtask test` ends with. Not here:
//! the servers (`gesta-services`).

use anyhow::{Result, bail, ensure};
use gesta_services::{ServerState, SharedServers};

use crate::workspace::target_directory;

mod of_tests;

pub(crate) use self::of_tests::ServicesOfTests;

/// Parsed arguments of the command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServicesRequest {
    Up(Vec<String>),
    Down(Vec<String>),
    Delete(Vec<String>),
    Crash(String),
    Status,
}

impl ServicesRequest {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let names = || arguments.iter().skip(1).cloned().collect();
        match words.as_slice() {
            ["up", ..] => Ok(Self::Up(names())),
            ["down", ..] => Ok(Self::Down(names())),
            ["delete", ..] => Ok(Self::Delete(names())),
            ["crash", name] => Ok(Self::Crash((*name).to_owned())),
            ["status"] => Ok(Self::Status),
            _ => bail!(
                "expected `services up|down|delete [NAME ...]`, `services crash NAME` or \
                 `services status`"
            ),
        }
    }
}

pub(crate) fn run(request: &ServicesRequest) -> Result<()> {
    let servers = SharedServers::of(&target_directory()?);
    let failed = match request {
        ServicesRequest::Up(names) => failures(servers.up(names)?),
        ServicesRequest::Down(names) => servers.down(names).map(|()| Vec::new())?,
        ServicesRequest::Delete(names) => servers.delete(names).map(|()| Vec::new())?,
        ServicesRequest::Crash(name) => servers.crash(name).map(|()| Vec::new())?,
        ServicesRequest::Status => Vec::new(),
    };
    servers.status()?.iter().for_each(|state| println!("{}", line(state)));
    println!("logs and data: {}", servers.directory().display());
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// Returns a sentence for each service that did not start.
fn failures(outcomes: Vec<(&'static str, Result<()>)>) -> Vec<String> {
    let failed = outcomes.into_iter().filter_map(|(name, outcome)| Some((name, outcome.err()?)));
    failed.map(|(name, error)| format!("{name} does not run: {error:#}")).collect()
}

fn line(state: &ServerState) -> String {
    let ServerState { name, about, url } = state;
    match url {
        Some(url) => format!("{name:<18}{url}   ({about})"),
        None => format!("{name:<18}does not run   ({about})"),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn request(text: &str) -> Result<ServicesRequest> {
        ServicesRequest::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn some_services_or_all_can_be_named() {
        assert_eq!(request("up").unwrap(), ServicesRequest::Up(vec![]));
        let two = vec!["postgres".to_owned(), "pgbouncer".to_owned()];
        assert_eq!(request("down postgres pgbouncer").unwrap(), ServicesRequest::Down(two));
        let one = "postgres".to_owned();
        assert_eq!(request("crash postgres").unwrap(), ServicesRequest::Crash(one));
        for wrong in ["", "start", "crash", "crash postgres pgbouncer", "status postgres"] {
            assert!(request(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_service_that_does_not_start_is_a_failure_with_its_cause() {
        let outcomes = vec![("postgres", Ok(())), ("pgbouncer", Err(anyhow!("not installed")))];
        assert_eq!(failures(outcomes), ["pgbouncer does not run: not installed"]);
    }
}
