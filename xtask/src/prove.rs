//! `cargo xtask prove`: measurements of the project's promises, with the tools that each needs.
//!
//! Owns: the table of promises and the report. Always holds: a check that cannot run fails; a
//! skipped check is reported as skipped, never as passed. Not here: the checks, one file each.
//!
//! To add a check, write a function `fn(&CheckContext) -> Result<String>` in a file of this folder
//! and enter it in [`PROMISES`]. It returns its figures as text, or an error that names the
//! violation.

use std::{fmt, path::PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{step::Stopwatch, workspace::Workspace};

mod acknowledged;
mod client;
mod dead_letters;
mod demo;
mod device;
mod engine_kills;
mod engine_schedules;
mod engine_syscalls;
mod engine_verify;
mod import;
mod log;
mod named_tests;
mod operations_kills;
mod oracle;
mod own_writes;
mod rebuild_kills;
mod schemathesis;
mod serve_kills;
mod server;
mod simulation;
mod strace;
mod test_time;
mod trace;
mod writers;

/// Parsed arguments of the command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProveRequest {
    promise: Option<&'static str>,
    effort: Effort,
}

/// Duration of the checks: a few seconds each, or as long as their figures need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    Short,
    Full,
}

/// Paths and options for checks.
struct CheckContext {
    root: PathBuf,
    target_directory: PathBuf,
    effort: Effort,
}

/// A promise and the checks that verify it.
struct Promise {
    /// Argument that selects it: a number for the shop, a word for the engine.
    name: &'static str,
    statement: &'static str,
    checks: &'static [Check],
}

struct Check {
    shows: &'static str,
    run_in: RunIn,
}

enum RunIn {
    /// In both forms.
    Always(fn(&CheckContext) -> Result<String>),
    /// Only in the full form, because it takes long.
    FullOnly(fn(&CheckContext) -> Result<String>),
}

const PROMISES: [Promise; 15] = [
    Promise {
        name: "1",
        statement: "two commands run the system and its tests, on a clean checkout",
        checks: &[
            Check { shows: "`shop demo` serves the system", run_in: RunIn::Always(demo::serves) },
            Check {
                shows: "the test command takes under ten minutes",
                run_in: RunIn::FullOnly(test_time::under_ten_minutes),
            },
        ],
    },
    Promise {
        name: "2",
        statement: "an import ends in the expected report, however often it is killed",
        checks: &[
            Check {
                shows: "the report is exactly the expected one, also after a second import",
                run_in: RunIn::Always(import::exact_report),
            },
            Check {
                shows: "kills, each followed by an import, end in the same report",
                run_in: RunIn::Always(import::kills),
            },
        ],
    },
    Promise {
        name: "3",
        statement: "an append is acknowledged after a sync that covers it",
        checks: &[
            Check {
                shows: "a traced program on the real disk acknowledges nothing early",
                run_in: RunIn::Always(acknowledged::nothing_early),
            },
            Check {
                shows: "an early acknowledgement, added as a mutation, fails that check",
                run_in: RunIn::Always(acknowledged::planted_early),
            },
            Check {
                shows: "a disk that drops unsynced writes loses nothing acknowledged",
                run_in: RunIn::Always(simulation::breaks_no_promise),
            },
        ],
    },
    Promise {
        name: "4",
        statement: "the import costs at most twice its bare writes and syncs",
        checks: &[
            Check {
                shows: "time against the bare writes and syncs, and memory",
                run_in: RunIn::FullOnly(import::cost),
            },
            Check {
                shows: "progress on a terminal, none in a pipe",
                run_in: RunIn::FullOnly(import::progress),
            },
        ],
    },
    Promise {
        name: "5",
        statement: "every route answers every kind of request as documented",
        checks: &[
            Check { shows: "each route, each status", run_in: RunIn::Always(named_tests::routes) },
            Check {
                shows: "schemathesis finds nothing, and every operation gets a 2xx from it",
                run_in: RunIn::FullOnly(schemathesis::finds_nothing_and_reaches_all),
            },
        ],
    },
    Promise {
        name: "6",
        statement: "a command's writer reads its own write",
        checks: &[Check {
            shows: "1,000 of 1,000 under 16 writers, with the p99 of the wait",
            run_in: RunIn::Always(own_writes::thousand_of_thousand),
        }],
    },
    Promise {
        name: "7",
        statement: "an acknowledged command takes effect once, through any kill",
        checks: &[Check {
            shows: "kills under 32 writers",
            run_in: RunIn::Always(serve_kills::everything_once),
        }],
    },
    Promise {
        name: "8",
        statement: "a read model is rebuilt while it is read",
        checks: &[
            Check {
                shows: "queries answer from the old version until the switch, through kills",
                run_in: RunIn::Always(named_tests::rebuilds),
            },
            Check {
                shows: "a served shop under load resumes its rebuilds after kills",
                run_in: RunIn::Always(rebuild_kills::as_a_replay),
            },
            Check {
                shows: "a dead letter is repaired by a retry",
                run_in: RunIn::Always(named_tests::dead_letters),
            },
            Check {
                shows: "a dead letter of a served shop is kept through a kill and repaired",
                run_in: RunIn::Always(dead_letters::repaired),
            },
            Check {
                shows: "version-1 bytes read through the upcaster",
                run_in: RunIn::Always(named_tests::upcasters),
            },
            Check {
                shows: "on-read answers equal a full replay",
                run_in: RunIn::Always(named_tests::on_read),
            },
        ],
    },
    Promise {
        name: "9",
        statement: "damage and misuse are found and reported",
        checks: &[
            Check {
                shows: "a second process on a directory gets a clear error",
                run_in: RunIn::Always(named_tests::directory_lock),
            },
            Check {
                shows: "a flipped byte is reported with segment, offset and positions",
                run_in: RunIn::Always(named_tests::flipped_bytes),
            },
            Check {
                shows: "a store with a torn group opens and reports what it cut",
                run_in: RunIn::Always(named_tests::torn_group),
            },
        ],
    },
    Promise {
        name: "operations-kills",
        statement: "dead letters stay until an operator decides, through any kill",
        checks: &[Check {
            shows: "kills while setting aside, skipping, switching a rebuild, importing",
            run_in: RunIn::Always(operations_kills::nothing_set_aside_is_lost),
        }],
    },
    Promise {
        name: "engine-kills",
        statement: "acknowledged appends survive any kill of the engine",
        checks: &[Check {
            shows: "kills on one growing store, read back by position, id, stream and tag",
            run_in: RunIn::Always(engine_kills::growing_store),
        }],
    },
    Promise {
        name: "engine-loads",
        statement: "acknowledged appends survive a kill during each benchmark load",
        checks: &[Check {
            shows: "each load of the benchmarks, killed and read back",
            run_in: RunIn::Always(engine_kills::timed_loads),
        }],
    },
    Promise {
        name: "engine-syscalls",
        statement: "acknowledged appends survive a kill or failure at any system call of the engine",
        checks: &[Check {
            shows: "every call of a script killed, and failed with EIO and ENOSPC",
            run_in: RunIn::Always(engine_syscalls::every_call),
        }],
    },
    Promise {
        name: "engine-schedules",
        statement: "every append is answered, in every order of the engine's threads",
        checks: &[
            Check {
                shows: "threads, futures and subscribers under seeded schedules",
                run_in: RunIn::Always(engine_schedules::answer_every_append),
            },
            Check {
                shows: "mutations between threads fail that check",
                run_in: RunIn::Always(engine_schedules::planted_are_caught),
            },
        ],
    },
    Promise {
        name: "engine-verify",
        statement: "a store is verified as fast as it can be read, in bounded memory",
        checks: &[Check {
            shows: "the rate compared with cat, from the device",
            run_in: RunIn::FullOnly(engine_verify::rate),
        }],
    },
];

impl ProveRequest {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut request = Self { promise: None, effort: Effort::Full };
        for argument in arguments {
            if argument == "--short" {
                request.effort = Effort::Short;
                continue;
            }
            let known = PROMISES.iter().find(|promise| promise.name == *argument);
            let promise = known.with_context(|| {
                let names = PROMISES.iter().map(|promise| promise.name);
                let names = names.collect::<Vec<_>>().join(", ");
                format!("unknown promise {argument}; expected one of {names}")
            })?;
            ensure!(request.promise.is_none(), "name one promise, or none for all");
            request.promise = Some(promise.name);
        }
        Ok(request)
    }
}

/// Result of a check.
enum Outcome {
    Holds(String),
    Fails(anyhow::Error),
    Skipped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds(figures) => write!(f, "holds: {figures}"),
            Self::Fails(error) => write!(f, "FAILS: {error:#}"),
            Self::Skipped => f.write_str("left out of the short form"),
        }
    }
}

impl Check {
    fn run(&self, context: &CheckContext) -> Outcome {
        let check = match self.run_in {
            RunIn::Always(check) => check,
            RunIn::FullOnly(_) if context.effort == Effort::Short => return Outcome::Skipped,
            RunIn::FullOnly(check) => check,
        };
        check(context).map_or_else(Outcome::Fails, Outcome::Holds)
    }
}

/// Number of checks by result.
#[derive(Default)]
struct Tally {
    held: usize,
    failed: usize,
    left_out: usize,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Holds(_) => &mut self.held,
            Outcome::Fails(_) => &mut self.failed,
            Outcome::Skipped => &mut self.left_out,
        } += 1;
    }

    fn into_result(self) -> Result<()> {
        ensure!(self.failed == 0, "prove: {} checks fail", self.failed);
        Ok(())
    }
}

pub(crate) fn run(request: &ProveRequest) -> Result<()> {
    let Workspace { root, target_directory, .. } = Workspace::open()?;
    let context = CheckContext { root, target_directory, effort: request.effort };
    let mut tally = Tally::default();
    // Without a selection, all promises are checked.
    let selected = |promise: &&Promise| request.promise.is_none_or(|name| name == promise.name);
    for promise in PROMISES.iter().filter(selected) {
        println!("\n{}. {}", promise.name, promise.statement);
        for check in promise.checks {
            println!("   - {}", check.shows);
            // Each check prints its title first: it may run for minutes.
            let stopwatch = Stopwatch::start();
            let outcome = check.run(&context);
            println!("     {outcome} ({:.1} s)", stopwatch.elapsed().as_secs_f64());
            tally.add(&outcome);
        }
    }
    let Tally { held, failed, left_out } = tally;
    println!("\nprove: {held} hold, {failed} fail, {left_out} left out of the short form");
    tally.into_result()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use anyhow::bail;

    use super::*;

    fn request(text: &str) -> Result<ProveRequest> {
        ProveRequest::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn context(effort: Effort) -> CheckContext {
        CheckContext { root: PathBuf::new(), target_directory: PathBuf::new(), effort }
    }

    #[test]
    fn one_promise_or_all_can_be_selected() {
        assert_eq!(request("").unwrap(), ProveRequest { promise: None, effort: Effort::Full });
        let short = ProveRequest { promise: Some("3"), effort: Effort::Short };
        assert_eq!(request("3 --short").unwrap(), short);
        let named = ProveRequest { promise: Some("engine-kills"), effort: Effort::Full };
        assert_eq!(request("engine-kills").unwrap(), named);
        for wrong in ["0", "10", "three", "--quick", "1 2"] {
            assert!(request(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn promises_are_numbered_in_order_and_have_unique_names() {
        let numbered = PROMISES.iter().take_while(|promise| promise.name.parse::<usize>().is_ok());
        assert!((1..).zip(numbered).all(|(number, promise)| promise.name == format!("{number}")));
        let names: HashSet<_> = PROMISES.iter().map(|promise| promise.name).collect();
        assert_eq!(names.len(), PROMISES.len());
    }

    #[test]
    fn a_check_that_fails_fails_every_form() {
        let failing = Check { shows: "", run_in: RunIn::Always(|_| bail!("one was lost")) };
        let outcome = failing.run(&context(Effort::Short));
        assert_eq!(outcome.to_string(), "FAILS: one was lost");
        let mut tally = Tally::default();
        tally.add(&outcome);
        assert!(tally.into_result().is_err());
    }

    #[test]
    fn a_long_check_is_left_out_of_the_short_form_only() {
        let long = Check { shows: "", run_in: RunIn::FullOnly(|_| Ok("5 of 5".to_owned())) };
        assert_eq!(long.run(&context(Effort::Short)).to_string(), "left out of the short form");
        assert_eq!(long.run(&context(Effort::Full)).to_string(), "holds: 5 of 5");
    }
}
