//! The shop's log: lines for people on standard error, as `RUST_LOG` says, else from the levels in
//! [`LEVELS`].

use std::{env, io};

use anyhow::{Context as _, Result};
use tracing_subscriber::EnvFilter;

/// What is logged unless `RUST_LOG` says otherwise. A name stands for all targets that begin with
/// it, so that of `gesta` includes its store and its HTTP edge.
const LEVELS: &str = "warn,gesta=info,shop=info";

/// Installs the log.
pub(crate) fn start() -> Result<()> {
    let levels = env::var("RUST_LOG").ok().filter(|levels| !levels.is_empty());
    let levels = levels.as_deref().unwrap_or(LEVELS);
    let filter = EnvFilter::try_new(levels);
    let filter = filter
        .with_context(|| format!("RUST_LOG is `{levels}`; expected levels such as `{LEVELS}`"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    Ok(())
}
