//! Streams whose payloads stay in the database, whatever part of the store is archived.
//!
//! A server and the framework read these streams to work at all: who may log in, which consumer
//! groups there are, how far a process manager has come. Their payloads are small. Not here:
//! streams of an application, and large events in them to which a process refers.

/// Beginnings of the names of streams whose payloads stay.
const KEPT_PREFIXES: [&str; 5] = [
    // Users, rights, groups, projections and audit of a server, and metadata of any stream.
    "$",
    // Instances, checkpoints and set-aside inputs of process managers and reactors.
    "process:",
    "processes:journal-",
    "reactors:journal-",
    // Translations of positions of imported events.
    gesta_store::ImportedPositions::STREAM_PREFIX,
];

/// Events of a partition whose payloads stay in the database when the others leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptPayloads {
    /// Number of their events.
    pub events: u64,
    /// Number of their streams.
    pub streams: u64,
}

/// Returns a condition that is true for rows `e` of events whose payloads stay.
pub(super) fn is_kept() -> String {
    let prefixed = KEPT_PREFIXES.map(|prefix| format!("starts_with(s.name, '{prefix}')"));
    // Correlated, so that the server can look up each stream by its id where there are many.
    format!(
        "EXISTS (SELECT 1 FROM {{schema}}.streams s WHERE s.id = e.stream_id AND ({}))",
        prefixed.join(" OR ")
    )
}
