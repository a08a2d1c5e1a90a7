//! Appends, reads, subscriptions, groups, projections and users through the official packages for
//! Rust, `kurrentdb` and `eventstore`.
//!
//! Usage: gesta-clients PACKAGE HOST:PORT
//!
//! The scenarios are compiled twice, once over each package: `new.rs` and `old.rs` have what the
//! packages name differently.

mod new;
mod old;

use std::{env, error::Error, process::ExitCode, time::Duration};

use serde_json::{Value, json};
use uuid::Uuid;

/// The end of a scenario, good or bad.
pub(crate) type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Time after which an event that has not come fails a scenario.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Fails a scenario unless a condition holds.
macro_rules! check {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+).into());
        }
    };
}
pub(crate) use check;

/// The server, as the arguments and the environment describe it.
pub(crate) struct Server {
    address: String,
    /// Login and password of an administrator, and the authority's certificate, of a secured one.
    secured: Option<(String, String)>,
    /// `true` if its store can be scavenged.
    pub(crate) is_scavenged: bool,
}

impl Server {
    pub(crate) fn is_secured(&self) -> bool {
        self.secured.is_some()
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        let Self { address, secured, .. } = self;
        match secured {
            Some((login, authority)) => {
                format!("{scheme}://{login}@{address}?tlsCaFile={authority}")
            }
            None => format!("{scheme}://{address}?tls=false"),
        }
    }
}

/// The results of all scenarios.
pub(crate) struct Report {
    package: String,
    all: usize,
    failed: usize,
}

impl Report {
    pub(crate) fn add(&mut self, scenario: &str, outcome: Outcome) {
        self.all += 1;
        match outcome {
            Ok(()) => println!("ok      {}: {scenario}", self.package),
            Err(error) => {
                self.failed += 1;
                println!("FAILED  {}: {scenario}: {error}", self.package);
            }
        }
    }
}

/// Returns a new name in a category.
pub(crate) fn fresh(category: &str) -> String {
    format!("{category}-{}", Uuid::new_v4().simple())
}

/// Returns the data of an event.
pub(crate) fn numbered(n: u64) -> Value {
    json!({ "n": n })
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(package), Some(address)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: gesta-clients PACKAGE HOST:PORT");
        return ExitCode::FAILURE;
    };
    let variable = |name| env::var(name).ok();
    let secured = variable("GESTA_CLIENT_LOGIN").zip(variable("GESTA_CLIENT_CA"));
    let is_scavenged = variable("GESTA_CLIENT_STORE").is_some_and(|kind| kind == "directory");
    let server = Server { address, secured, is_scavenged };
    let mut report = Report { package: package.clone(), all: 0, failed: 0 };
    let connected = match package.as_str() {
        "kurrentdb" => new::run(&server, &mut report).await,
        "eventstore" => old::run(&server, &mut report).await,
        _ => Err(format!("there is no package {package}").into()),
    };
    if let Err(error) = connected {
        report.add("connects", Err(error));
    }
    println!("{} of {} scenarios passed", report.all - report.failed, report.all);
    if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
