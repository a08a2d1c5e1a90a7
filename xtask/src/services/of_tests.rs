//! The services of a test run: started if the run has to be complete, and listed in the end.
//!
//! Invariants: under `CI=true` a service that is missing or that made a test skip is a failure; a
//! run by hand uses what runs already, and starts nothing. Servers that the run has started are
//! deleted in the end.

use std::{collections::BTreeMap, env, fmt::Write as _, path::Path, process::Command};

use anyhow::{Result, ensure};
use gesta_services::{Ledger, ServerState, ServiceUse, SharedServers};

use super::failures;

/// File of the ledger, below the folder of the servers.
const LEDGER: &str = "ledger";

/// The services of one test run.
pub(crate) struct ServicesOfTests {
    servers: SharedServers,
    ledger: Ledger,
    is_ci: bool,
    /// Services that this run has started.
    started: Vec<String>,
    /// Sentences about services that could not be started.
    failed: Vec<String>,
}

impl ServicesOfTests {
    /// Starts all services under `CI=true`. Otherwise uses those that run.
    pub(crate) fn begin(target_directory: &Path) -> Result<Self> {
        let servers = SharedServers::of(target_directory);
        let ledger = Ledger::create(servers.directory().join(LEDGER))?;
        let is_ci = env::var_os("CI").is_some_and(|value| value == "true");
        let mut run = Self { servers, ledger, is_ci, started: vec![], failed: vec![] };
        if is_ci {
            println!("\n== services");
            let stopped = run.servers.status()?.into_iter().filter(|state| state.url.is_none());
            run.started = stopped.map(|state| state.name.to_owned()).collect();
            run.failed = failures(run.servers.up(&[])?);
            run.failed.iter().for_each(|failure| println!("   {failure}"));
        }
        Ok(run)
    }

    /// Gives a test program the place where it notes the services that it asks for.
    pub(crate) fn pass_to(&self, command: &mut Command) {
        command.env(Ledger::VARIABLE, self.ledger.path());
    }

    /// Prints the table of services, and deletes those that this run has started.
    ///
    /// # Errors
    ///
    /// Under `CI=true`, if a service is missing or a test was skipped for lack of one.
    pub(crate) fn end(self) -> Result<()> {
        let uses = Uses::of(&self.ledger.uses()?);
        println!("\n== services: tests that ran and were skipped");
        print!("{}", uses.table(&self.servers.status()?));
        if !self.started.is_empty() {
            self.servers.delete(&self.started)?;
        }
        let mut failed = self.failed;
        failed.extend(uses.skips().map(|(name, reason)| format!("{name} was needed: {reason}")));
        ensure!(!self.is_ci || failed.is_empty(), "services:\n{}", failed.join("\n"));
        Ok(())
    }
}

/// Requests of one run, by service.
#[derive(Default)]
struct Uses(BTreeMap<String, ServiceCount>);

#[derive(Default)]
struct ServiceCount {
    ran: usize,
    skipped: usize,
    reason: Option<String>,
}

impl Uses {
    fn of(requests: &[ServiceUse]) -> Self {
        let mut uses = Self::default();
        for ServiceUse { service, skipped, .. } in requests {
            let count = uses.0.entry(service.clone()).or_default();
            match skipped {
                Some(reason) => {
                    count.skipped += 1;
                    count.reason.get_or_insert_with(|| reason.clone());
                }
                None => count.ran += 1,
            }
        }
        uses
    }

    /// Names of services for lack of which tests were skipped, with the reason.
    fn skips(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter().filter_map(|(name, count)| Some((name, count.reason.as_ref()?)))
    }

    /// One line for each service, with the reason of a skip.
    fn table(&self, states: &[ServerState]) -> String {
        let mut table = String::new();
        for ServerState { name, about, url } in states {
            let none = ServiceCount::default();
            let ServiceCount { ran, skipped, reason } = self.0.get(*name).unwrap_or(&none);
            let state = match (reason, url) {
                (Some(reason), _) => reason.as_str(),
                (None, Some(_)) => "runs",
                (None, None) => "does not run",
            };
            // A string takes every text.
            let _ = writeln!(
                table,
                "   {name:<18}{ran:>5} ran {skipped:>5} skipped   {about}: {state}"
            );
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(service: &str, skipped: Option<&str>) -> ServiceUse {
        let (test, skipped) = ("a_test".to_owned(), skipped.map(str::to_owned));
        ServiceUse { service: service.to_owned(), test, skipped }
    }

    fn state(name: &'static str, url: Option<&str>) -> ServerState {
        ServerState { name, about: "a server", url: url.map(str::to_owned) }
    }

    #[test]
    fn the_table_counts_tests_and_says_why_some_were_skipped() {
        let uses = Uses::of(&[
            request("postgres", None),
            request("postgres", None),
            request("pgbouncer", Some("not installed")),
        ]);
        let states = [state("postgres", Some("postgres://host:1")), state("pgbouncer", None)];
        let lines = uses.table(&states);
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(
            lines,
            [
                "   postgres              2 ran     0 skipped   a server: runs",
                "   pgbouncer             0 ran     1 skipped   a server: not installed",
            ]
        );
        let skips: Vec<_> = uses.skips().collect();
        assert_eq!(skips, [(&"pgbouncer".to_owned(), &"not installed".to_owned())]);
    }

    #[test]
    fn a_skip_fails_a_run_in_ci_only() {
        let directory = tempfile::tempdir().unwrap();
        for is_ci in [false, true] {
            let servers = SharedServers::of(directory.path());
            let ledger = Ledger::create(directory.path().join("ledger")).unwrap();
            std::fs::write(ledger.path(), "postgres\ta_test\tit does not run\n").unwrap();
            let run = ServicesOfTests { servers, ledger, is_ci, started: vec![], failed: vec![] };
            assert_eq!(run.end().is_err(), is_ci);
        }
    }
}
