//! Which URL means which store: the one place in the framework that names concrete stores.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use gesta_store::{EventStore, memory::MemoryStore};

use crate::NameTwice;

/// Opens the store behind a URL.
///
/// | URL | store | feature |
/// | --- | --- | --- |
/// | `memory:` | a new store that ends with the process | |
/// | `gesta:DIRECTORY` | the embedded log in that directory | `log` (default) |
///
/// Opening a log reads files, and waits for them.
///
/// ```
/// assert!(gesta::open("memory:").is_ok());
/// let error = gesta::open("carrier-pigeon:ann").err().expect("means nothing");
/// assert_eq!(error.to_string(), "no store is known by carrier-pigeon:");
/// ```
///
/// # Errors
/// [`OpenError`] when the URL means no store, or the store does not open.
pub fn open(url: &str) -> Result<Arc<dyn EventStore>, OpenError> {
    match directory_of(url)? {
        Some(directory) => open_log(&directory),
        None => Ok(Arc::new(MemoryStore::new())),
    }
}

/// Returns the directory of the store behind a URL, or `None` of a store that has none. Opens
/// nothing.
///
/// ```
/// assert_eq!(gesta::directory_of("memory:")?, None);
/// # #[cfg(feature = "log")]
/// assert_eq!(gesta::directory_of("gesta:./data")?, Some("./data".into()));
/// assert!(gesta::directory_of("gesta://data").is_err(), "it would mean /data");
/// # Ok::<(), gesta::OpenError>(())
/// ```
///
/// # Errors
/// [`OpenError`] when the URL means no store.
pub fn directory_of(url: &str) -> Result<Option<PathBuf>, OpenError> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(OpenError::NoScheme { url: url.to_owned() });
    };
    match scheme {
        "memory" if rest.is_empty() => Ok(None),
        "memory" => Err(OpenError::MemoryHasNoPlace { rest: rest.to_owned() }),
        "gesta" if rest.is_empty() => Err(OpenError::NoDirectory),
        "gesta" => log_directory(rest).map(Some),
        unknown => Err(OpenError::UnknownScheme { scheme: unknown.to_owned() }),
    }
}

#[cfg(feature = "log")]
fn log_directory(rest: &str) -> Result<PathBuf, OpenError> {
    Ok(gesta_log::directory_of_url(rest)?)
}

#[cfg(feature = "log")]
fn open_log(directory: &Path) -> Result<Arc<dyn EventStore>, OpenError> {
    let store = gesta_log::LogStore::open(directory, gesta_log::Options::default())?;
    tell(store.report());
    Ok(Arc::new(store))
}

/// What recovery found is for humans: the store opens all the same.
#[cfg(feature = "log")]
fn tell(report: &gesta_log::OpenReport) {
    for damage in &report.damage {
        tracing::error!(%damage, "the store is damaged and refuses appends");
    }
    if let Some(torn) = &report.torn {
        tracing::warn!(%torn, "left out a write that was never acknowledged");
    }
    if let Some(unmarked) = &report.unmarked {
        tracing::info!(%unmarked, "opened after a crash");
    }
}

#[cfg(not(feature = "log"))]
fn log_directory(_: &str) -> Result<PathBuf, OpenError> {
    Err(OpenError::NotBuiltIn { scheme: "gesta", feature: "log" })
}

#[cfg(not(feature = "log"))]
fn open_log(_: &Path) -> Result<Arc<dyn EventStore>, OpenError> {
    Err(OpenError::NotBuiltIn { scheme: "gesta", feature: "log" })
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no `:`. Write, for example, `memory:`.
    #[error("{url} has no scheme, such as `memory:`")]
    NoScheme {
        /// The text.
        url: String,
    },
    /// No store has this scheme. Correct it.
    #[error("no store is known by {scheme}:")]
    UnknownScheme {
        /// What stands before the first `:`.
        scheme: String,
    },
    /// A memory store is in no place. Leave out what follows `memory:`.
    #[error("a memory store has no place, {rest} was given")]
    MemoryHasNoPlace {
        /// What follows `memory:`.
        rest: String,
    },
    /// A log is in a directory. Write it behind `gesta:`.
    #[error("`gesta:` names no directory")]
    NoDirectory,
    /// What stands behind `gesta:` would name another directory than it seems to. The error says
    /// what to write.
    #[cfg(feature = "log")]
    #[error(transparent)]
    Url(#[from] gesta_log::InvalidUrl),
    /// The store is not part of this program. Build it with the feature.
    #[error("stores behind `{scheme}:` need the feature `{feature}` of gesta")]
    NotBuiltIn {
        /// What stands before the first `:`.
        scheme: &'static str,
        /// The feature that has the store.
        feature: &'static str,
    },
    /// The log did not open; nothing was changed. What to do next is said by the error.
    #[cfg(feature = "log")]
    #[error(transparent)]
    Log(#[from] gesta_log::OpenError),
    /// Projections and process managers run on tokio. Open within its runtime.
    #[error("projections and process managers need a tokio runtime")]
    NoRuntime,
    /// Two types have the name of one event. The error says what there is to do.
    #[error(transparent)]
    EventTwice(#[from] NameTwice),
    /// Two process managers have the same name, which their streams are called by. Rename one.
    #[error("two process managers are named {process}")]
    ProcessTwice {
        /// The name.
        process: &'static str,
    },
    /// A process manager cannot take over the streams of its former name: it has streams under its
    /// present one, too, or another manager has the former name. See
    /// [`ProcessSetup::formerly`](crate::ProcessSetup::formerly).
    #[error(
        "process manager {process} cannot go on with the streams of {formerly}: streams of both \
         names are there, or a manager has that name"
    )]
    ProcessFormerly {
        /// The name.
        process: &'static str,
        /// The former name.
        formerly: String,
    },
    /// The store could not be asked where a new process manager begins. Open again.
    #[error("the beginning of process manager {process} could not be kept: {reason}")]
    ProcessBegin {
        /// The name.
        process: &'static str,
        /// Why.
        reason: String,
    },
    /// Two projections have the same name, by which their checkpoints are kept. Rename one.
    #[error("two projections are named {projection}")]
    ProjectionTwice {
        /// The name.
        projection: &'static str,
    },
    /// A projection's name is not one. Correct it.
    #[error("projection {projection:?} cannot run: {error}")]
    ProjectionName {
        /// The name.
        projection: &'static str,
        /// What is wrong with it.
        #[source]
        error: crate::InvalidProjectionName,
    },
    /// A projection has a hand-written event whose name no store accepts. Correct it.
    #[error(transparent)]
    Name(gesta_store::InvalidName),
}
