//! The shop's log: lines on standard error, at the levels of `RUST_LOG` or the default levels.

use std::{env, io};

use anyhow::{Context as _, Result};
use tracing_subscriber::EnvFilter;

/// Default levels. A name covers all targets with that prefix: `gesta` includes its store and HTTP
/// layer.
const LEVELS: &str = "warn,gesta=info,shop=info";

/// Installs the subscriber of `tracing`.
pub(crate) fn start() -> Result<()> {
    let levels = env::var("RUST_LOG").ok().filter(|levels| !levels.is_empty());
    let levels = levels.as_deref().unwrap_or(LEVELS);
    // Checked, since a typing error would otherwise silence the log.
    let filter = EnvFilter::try_new(levels);
    let filter = filter
        .with_context(|| format!("RUST_LOG must be levels such as `{LEVELS}`; got `{levels}`"))?;
    // Standard output is for results, which may be piped.
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    Ok(())
}
