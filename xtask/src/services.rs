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
    /// Variables of the shop for the running servers, for a shell.
    Env,
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
            ["env"] => Ok(Self::Env),
            _ => bail!(
                "expected `services up|down|delete [NAME ...]`, `services crash NAME`, \
                 `services status` or `services env`"
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
        ServicesRequest::Env => {
            let variables = variables_of(&servers.status()?);
            variables.iter().for_each(|line| println!("{line}"));
            return Ok(());
        }
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

/// The shop's variables, with the service and the end of the URL that gives the shop names of its
/// own there.
const VARIABLES: [(&str, &str, &str); 5] = [
    ("GESTA_STORE", "postgres", "?schema=shop"),
    ("GESTA_CACHE", "redis", "?prefix=shop"),
    ("GESTA_SNAPSHOTS", "redis", "?prefix=shop"),
    ("GESTA_SEARCH", "opensearch", "/shop"),
    ("GESTA_RELAY", "kafka", "/shop?delivery=exactly-once"),
];

/// Returns the commands of a shell that set the shop's variables to the servers that run.
fn variables_of(states: &[ServerState]) -> Vec<String> {
    let url = |service| states.iter().find(|state| state.name == service)?.url.as_ref();
    let lines = VARIABLES.iter().filter_map(|(variable, service, end)| {
        Some(format!("export {variable}='{}{end}'", url(*service)?))
    });
    lines.collect()
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
        assert_eq!(request("env").unwrap(), ServicesRequest::Env);
        for wrong in ["", "start", "crash", "crash postgres pgbouncer", "status postgres"] {
            assert!(request(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_shop_is_pointed_at_the_servers_that_run() {
        let state =
            |name, url: Option<&str>| ServerState { name, about: "", url: url.map(str::to_owned) };
        let states = [state("redis", Some("redis://127.0.0.1:7")), state("kafka", None)];
        let expected = [
            "export GESTA_CACHE='redis://127.0.0.1:7?prefix=shop'",
            "export GESTA_SNAPSHOTS='redis://127.0.0.1:7?prefix=shop'",
        ];
        assert_eq!(variables_of(&states), expected);
    }

    #[test]
    fn a_service_that_does_not_start_is_a_failure_with_its_cause() {
        let outcomes = vec![("postgres", Ok(())), ("pgbouncer", Err(anyhow!("not installed")))];
        assert_eq!(failures(outcomes), ["pgbouncer does not run: not installed"]);
    }
}
