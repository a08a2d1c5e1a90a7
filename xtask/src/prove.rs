//! `cargo xtask prove`: what the project promises, line by line, measured with whatever tools a
//! line needs.
//!
//! Owns: the table of lines and how results are told. Always holds: a check that cannot run fails;
//! one that was left out is told as such and never as passed. Not here: the checks themselves, a
//! file each.
//!
//! A new check is a function `fn(&Ground) -> Result<String>` in a file of this folder, entered in
//! [`LINES`]; it returns the figures in words, or the error that says what does not hold.

use std::{fmt, path::PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{house::House, step::Stopwatch};

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
mod own_writes;
mod rebuild_kills;
mod schemathesis;
mod serve_kills;
mod server;
mod simulation;
mod strace;
mod test_time;
mod told;
mod trace;
mod writers;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    line: Option<&'static str>,
    effort: Effort,
}

/// How thoroughly: a few seconds a check, or what the line's figures call for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    Short,
    Full,
}

/// Where checks run.
struct Ground {
    root: PathBuf,
    target_directory: PathBuf,
    effort: Effort,
}

/// One promise and what shows that it holds.
struct Line {
    /// What asks for it: a number, or of the engine's lines a word.
    name: &'static str,
    promise: &'static str,
    checks: &'static [Check],
}

struct Check {
    shows: &'static str,
    means: Means,
}

enum Means {
    /// Runs in both forms.
    Always(fn(&Ground) -> Result<String>),
    /// Takes too long for the short form.
    InFull(fn(&Ground) -> Result<String>),
}

const LINES: [Line; 15] = [
    Line {
        name: "1",
        promise: "two commands run the system and its tests, on a clean checkout",
        checks: &[
            Check { shows: "`shop demo` serves the system", means: Means::Always(demo::serves) },
            Check {
                shows: "the test command takes under ten minutes",
                means: Means::InFull(test_time::under_ten_minutes),
            },
        ],
    },
    Line {
        name: "2",
        promise: "an import ends in the expected report, however often it is killed",
        checks: &[
            Check {
                shows: "the report is exactly the expected one, also after a second import",
                means: Means::Always(import::exact_report),
            },
            Check {
                shows: "kills, each followed by an import, end in the same report",
                means: Means::Always(import::kills),
            },
        ],
    },
    Line {
        name: "3",
        promise: "an append is acknowledged after a sync that covers it",
        checks: &[
            Check {
                shows: "a traced program on the real disk acknowledges nothing early",
                means: Means::Always(acknowledged::nothing_early),
            },
            Check {
                shows: "a planted early acknowledgement fails that check",
                means: Means::Always(acknowledged::planted_early),
            },
            Check {
                shows: "a disk that drops what was not synced loses nothing acknowledged",
                means: Means::Always(simulation::breaks_no_promise),
            },
        ],
    },
    Line {
        name: "4",
        promise: "the import costs at most twice its bare writes and syncs",
        checks: &[
            Check {
                shows: "time against the bare writes and syncs, and memory",
                means: Means::InFull(import::cost),
            },
            Check {
                shows: "progress on a terminal, none in a pipe",
                means: Means::InFull(import::progress),
            },
        ],
    },
    Line {
        name: "5",
        promise: "every route answers every kind of request as documented",
        checks: &[
            Check { shows: "each route, each status", means: Means::Always(named_tests::routes) },
            Check {
                shows: "schemathesis finds nothing, and every operation gets a 2xx from it",
                means: Means::InFull(schemathesis::finds_nothing_and_reaches_all),
            },
        ],
    },
    Line {
        name: "6",
        promise: "a command's writer reads its own write",
        checks: &[Check {
            shows: "1,000 of 1,000 under 16 writers, with the p99 of the wait",
            means: Means::Always(own_writes::thousand_of_thousand),
        }],
    },
    Line {
        name: "7",
        promise: "what was acknowledged happens once, through any kill",
        checks: &[Check {
            shows: "kills under 32 writers",
            means: Means::Always(serve_kills::everything_once),
        }],
    },
    Line {
        name: "8",
        promise: "a read model is rebuilt while it is read",
        checks: &[
            Check {
                shows: "queries answer from the old version until the switch, through kills",
                means: Means::Always(named_tests::rebuilds),
            },
            Check {
                shows: "a served shop under load goes on with its rebuilds after kills",
                means: Means::Always(rebuild_kills::as_a_replay),
            },
            Check {
                shows: "a dead letter is repaired by a retry",
                means: Means::Always(named_tests::dead_letters),
            },
            Check {
                shows: "a dead letter of a served shop is kept through a kill and repaired",
                means: Means::Always(dead_letters::repaired),
            },
            Check {
                shows: "version-1 bytes read through the upcaster",
                means: Means::Always(named_tests::upcasters),
            },
            Check {
                shows: "on-read answers equal a full replay",
                means: Means::Always(named_tests::on_read),
            },
        ],
    },
    Line {
        name: "9",
        promise: "damage and misuse are found and named",
        checks: &[
            Check {
                shows: "a second process on a directory gets a clear error",
                means: Means::Always(named_tests::directory_lock),
            },
            Check {
                shows: "a flipped byte is reported with segment, offset and positions",
                means: Means::Always(named_tests::flipped_bytes),
            },
            Check {
                shows: "a torn group opens and says what it cut",
                means: Means::Always(named_tests::torn_group),
            },
        ],
    },
    Line {
        name: "operations-kills",
        promise: "what was set aside stays until an operator decides, through any kill",
        checks: &[Check {
            shows: "kills while setting aside, skipping, switching a rebuild, importing",
            means: Means::Always(operations_kills::nothing_set_aside_is_lost),
        }],
    },
    Line {
        name: "engine-kills",
        promise: "the engine keeps what it acknowledged, through any kill",
        checks: &[Check {
            shows: "kills on one store that goes on growing, read back by position, id, stream, tag",
            means: Means::Always(engine_kills::growing_store),
        }],
    },
    Line {
        name: "engine-loads",
        promise: "a timed run of each load keeps what it acknowledged when it is killed",
        checks: &[Check {
            shows: "each load of the benchmarks, killed and read back",
            means: Means::Always(engine_kills::timed_loads),
        }],
    },
    Line {
        name: "engine-syscalls",
        promise: "the engine keeps what it acknowledged, whichever system call ends it or fails",
        checks: &[Check {
            shows: "every call of a script killed, and failed with EIO and ENOSPC",
            means: Means::Always(engine_syscalls::every_call),
        }],
    },
    Line {
        name: "engine-schedules",
        promise: "no order of the engine's threads leaves anybody without an answer",
        checks: &[
            Check {
                shows: "threads, futures and subscribers under schedules from seeds",
                means: Means::Always(engine_schedules::leave_nobody_asleep),
            },
            Check {
                shows: "bugs planted between threads fail that check",
                means: Means::Always(engine_schedules::planted_are_caught),
            },
        ],
    },
    Line {
        name: "engine-verify",
        promise: "a store is verified as fast as it can be read, in bounded memory",
        checks: &[Check {
            shows: "the rate beside that of cat, from the device",
            means: Means::InFull(engine_verify::rate),
        }],
    },
];

impl Request {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut request = Self { line: None, effort: Effort::Full };
        for argument in arguments {
            if argument == "--short" {
                request.effort = Effort::Short;
                continue;
            }
            let known = LINES.iter().find(|line| line.name == *argument);
            let line = known.with_context(|| format!("there is no line {argument}"))?;
            ensure!(request.line.is_none(), "one line at a time, or all of them");
            request.line = Some(line.name);
        }
        Ok(request)
    }
}

/// What became of one check.
enum Outcome {
    Holds(String),
    Fails(anyhow::Error),
    LongOnly,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds(figures) => write!(f, "holds: {figures}"),
            Self::Fails(error) => write!(f, "FAILS: {error:#}"),
            Self::LongOnly => f.write_str("left out of the short form"),
        }
    }
}

impl Check {
    fn run(&self, ground: &Ground) -> Outcome {
        let check = match self.means {
            Means::Always(check) => check,
            Means::InFull(_) if ground.effort == Effort::Short => return Outcome::LongOnly,
            Means::InFull(check) => check,
        };
        check(ground).map_or_else(Outcome::Fails, Outcome::Holds)
    }
}

/// How many checks ended in which way.
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
            Outcome::LongOnly => &mut self.left_out,
        } += 1;
    }

    fn judge(&self) -> Result<()> {
        ensure!(self.failed == 0, "prove: {} checks fail", self.failed);
        Ok(())
    }
}

pub(crate) fn run(request: &Request) -> Result<()> {
    let House { root, target_directory, .. } = House::open()?;
    let ground = Ground { root, target_directory, effort: request.effort };
    let mut tally = Tally::default();
    let asked = |line: &&Line| request.line.is_none_or(|name| name == line.name);
    for line in LINES.iter().filter(asked) {
        println!("\n{}. {}", line.name, line.promise);
        for check in line.checks {
            println!("   - {}", check.shows);
            let stopwatch = Stopwatch::start();
            let outcome = check.run(&ground);
            println!("     {outcome} ({:.1} s)", stopwatch.elapsed().as_secs_f64());
            tally.add(&outcome);
        }
    }
    let Tally { held, failed, left_out } = tally;
    println!("\nprove: {held} hold, {failed} fail, {left_out} left out of the short form");
    tally.judge()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use anyhow::bail;

    use super::*;

    fn request(text: &str) -> Result<Request> {
        Request::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn ground(effort: Effort) -> Ground {
        Ground { root: PathBuf::new(), target_directory: PathBuf::new(), effort }
    }

    #[test]
    fn one_line_or_all_can_be_asked_for() {
        assert_eq!(request("").unwrap(), Request { line: None, effort: Effort::Full });
        let short = Request { line: Some("3"), effort: Effort::Short };
        assert_eq!(request("3 --short").unwrap(), short);
        let named = Request { line: Some("engine-kills"), effort: Effort::Full };
        assert_eq!(request("engine-kills").unwrap(), named);
        for wrong in ["0", "10", "three", "--quick", "1 2"] {
            assert!(request(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_are_numbered_as_they_stand_and_no_two_bear_one_name() {
        let numbered = LINES.iter().take_while(|line| line.name.parse::<usize>().is_ok());
        assert!((1..).zip(numbered).all(|(number, line)| line.name == format!("{number}")));
        let names: HashSet<_> = LINES.iter().map(|line| line.name).collect();
        assert_eq!(names.len(), LINES.len());
    }

    #[test]
    fn a_check_that_fails_fails_every_form() {
        let failing = Check { shows: "", means: Means::Always(|_| bail!("one was lost")) };
        let outcome = failing.run(&ground(Effort::Short));
        assert_eq!(outcome.to_string(), "FAILS: one was lost");
        let mut tally = Tally::default();
        tally.add(&outcome);
        assert!(tally.judge().is_err());
    }

    #[test]
    fn a_long_check_is_left_out_of_the_short_form_only() {
        let long = Check { shows: "", means: Means::InFull(|_| Ok("5 of 5".to_owned())) };
        assert_eq!(long.run(&ground(Effort::Short)).to_string(), "left out of the short form");
        assert_eq!(long.run(&ground(Effort::Full)).to_string(), "holds: 5 of 5");
    }
}
