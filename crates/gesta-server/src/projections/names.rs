//! Names of projections and of their streams.
//!
//! Invariant: no two projections, and no two partitions, share a stream of states: the name of a
//! projection has no `:`, which stands between it and the name of a partition.

use gesta_store::{EventId, InvalidName, StreamName};

/// The stream of all changes of projections.
pub(super) const REGISTRY: &str = "$projections-$all";
/// Beginning of the names of all streams that belong to projections.
pub(super) const PREFIX: &str = "$projections-";
/// Length of a projection's name, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// Returns the reason why a projection cannot have this name.
pub(super) fn refusal(name: &str) -> Option<String> {
    if let Err(invalid) = InvalidName::check("projection", name, NAME_BYTES_MAX) {
        return Some(invalid.to_string());
    }
    if name.starts_with('$') {
        return Some(format!("names that begin with `$` belong to the system; got `{name}`"));
    }
    name.contains(':').then(|| format!("the name of a projection has no `:`; got `{name}`"))
}

pub(super) fn registry() -> StreamName {
    StreamName::new(REGISTRY).expect("the name of the registry is valid")
}

pub(super) fn checkpoints(projection: &str) -> StreamName {
    of(format!("{PREFIX}{projection}-checkpoint"))
}

/// The stream of streams that the projection has emitted to.
pub(super) fn emitted_streams(projection: &str) -> StreamName {
    of(format!("{PREFIX}{projection}-emittedstreams"))
}

/// The stream of a partition's state. A partition whose name makes no valid name of a stream is
/// named by a hash.
pub(super) fn partition(projection: &str, partition: &str) -> StreamName {
    let name = format!("{PREFIX}{projection}:{partition}-checkpoint");
    StreamName::new(name).unwrap_or_else(|_| {
        let hash = EventId::derived_from(partition, 0);
        of(format!("{PREFIX}{projection}:#{hash}-checkpoint"))
    })
}

/// The beginning of the names of all streams of partitions.
pub(super) fn partitions(projection: &str) -> String {
    format!("{PREFIX}{projection}:")
}

/// The stream of results, if the script does not name another.
pub(super) fn results(projection: &str, partition: &str) -> String {
    match partition {
        "" => format!("{PREFIX}{projection}-result"),
        partition => format!("{PREFIX}{projection}-{partition}-result"),
    }
}

/// Returns `true` for a stream of results among the streams that a projection has emitted to.
/// Scripts emit to no stream of the system.
pub(super) fn is_result(emitted_to: &StreamName) -> bool {
    emitted_to.as_str().starts_with(PREFIX)
}

fn of(name: String) -> StreamName {
    StreamName::new(name).expect("the name of a projection is short and has no control characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_different_projections_and_partitions_have_different_names() {
        let names = [
            checkpoints("a"),
            checkpoints("a-b"),
            partition("a", "b"),
            partition("a", "b-c"),
            partition("a-b", "c"),
            partition("a", &"long".repeat(100)),
            partition("a", &"longer".repeat(100)),
            partition("a", "line\nbreak"),
            emitted_streams("a"),
        ];
        let different: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
    }

    #[test]
    fn a_name_of_the_system_or_with_a_colon_is_refused() {
        for name in ["", "$by_category", "a:b", "a\nb", &"a".repeat(101)] {
            assert!(refusal(name).is_some(), "{name}");
        }
        assert_eq!(refusal("order totals-2"), None);
    }
}
