//! The shop's log: lines on standard error, at the levels of `RUST_LOG` or the default levels.

use std::{env, io};

use anyhow::{Context as _, Result};
use tracing_subscriber::{filter::Targets, prelude::*};

/// Default levels. A name covers all targets with that prefix: `gesta` includes its store and HTTP
/// layer.
const LEVELS: &str = "warn,gesta=info,shop=info";

/// Installs the subscriber of `tracing`.
pub(crate) fn start() -> Result<()> {
    let levels = env::var("RUST_LOG").ok().filter(|levels| !levels.is_empty());
    let levels = levels.as_deref().unwrap_or(LEVELS);
    // Checked, since a typing error would otherwise silence the log.
    let targets = levels.parse::<Targets>();
    let targets = targets
        .with_context(|| format!("RUST_LOG must be levels such as `{LEVELS}`; got `{levels}`"))?;
    // Standard output is for results, which may be piped.
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    tracing_subscriber::registry().with(lines).with(targets).init();
    Ok(())
}
