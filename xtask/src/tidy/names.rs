//! Public types use the glossary's terms: one word per idea, alike everywhere.
//!
//! Owns: the words that the glossary rules out in a type's name, each with the term to use. A word
//! counts wherever it stands in the name (`StoreHelper`); several count as neighbours
//! (`StreamVersion`). Words with ordinary senses beside the ruled-out one are listed only together
//! with the neighbour that makes the sense clear.

use crate::{
    house::House,
    tidy::{Finding, types::public_types},
};

/// Words, and the idea that has another term.
const RULED_OUT: &[(&[&str], &str)] = &[
    // Words that name nothing.
    (&["Manager"], "what it does; the one manager is `ProcessManager`"),
    (&["Helper"], "what it does"),
    (&["Util"], "what it does"),
    (&["Utils"], "what it does"),
    (&["Impl"], "how it differs from its trait"),
    (&["Data"], "what the data are"),
    (&["Info"], "what the information is"),
    // Events.
    (&["Message"], "event (`NewEvent`, `RecordedEvent`) or command"),
    (&["Envelope"], "`RecordedEvent`"),
    (&["Record"], "`RecordedEvent`"),
    (&["Persisted"], "recorded"),
    (&["Event", "Kind"], "event type"),
    (&["Event", "Class"], "event type"),
    // Places.
    (&["Topic"], "stream"),
    (&["Stream", "Version"], "revision"),
    (&["Aggregate", "Version"], "revision"),
    (&["Event", "Number"], "revision"),
    (&["Sequence"], "revision or position"),
    (&["Expected", "Version"], "expected revision"),
    (&["Wrong", "Version"], "conflict"),
    (&["Concurrency"], "conflict"),
    (&["Domain", "Error"], "rejection"),
    (&["Tip"], "head"),
    // Conditions.
    (&["Criteria"], "event query"),
    (&["Criterion"], "event query"),
    (&["Dcb"], "consistency boundary"),
    // Deciding.
    (&["Entity"], "aggregate"),
    (&["Command", "Handler"], "aggregate or `Decide`"),
    (&["Event", "Handler"], "projection or process manager"),
    (&["Action"], "command or effect"),
    (&["Memento"], "snapshot"),
    (&["Converter"], "upcaster"),
    (&["Event", "Migration"], "upcaster"),
    (&["Saga"], "process manager"),
    (&["Workflow"], "process manager"),
    (&["Orchestrator"], "process manager"),
    // Reading.
    (&["Listener"], "subscription"),
    (&["Competing"], "consumer group"),
    (&["Projector"], "projection"),
    (&["Denormalizer"], "projection"),
    (&["Bookmark"], "checkpoint"),
    (&["Backlog"], "lag"),
    (&["Parked"], "dead letter"),
    (&["Poison"], "dead letter"),
    (&["Replay"], "rebuild"),
    (&["Reindex"], "rebuild"),
    (&["Outbox"], "relay"),
    (&["Publisher"], "relay"),
    (&["Cdc"], "relay"),
    (&["Parent", "Id"], "causation id"),
    (&["Timestamp"], "recorded at, or a time of the domain"),
];

/// Names that are right although a word of theirs is ruled out, with the reason.
const RIGHT: [(&str, &str); 1] = [("ProcessManager", "the glossary's own term")];

pub(super) fn check(house: &House) -> Vec<Finding> {
    let libraries = house.packages.iter().filter(|package| package.is_library);
    let files = libraries.flat_map(|package| house.sources_of(package));
    files
        .flat_map(|file| {
            let types = public_types(&file.syntax.items).into_iter();
            types.filter_map(|each| Some(Finding::new(&file.path, refusal(&each.name)?)))
        })
        .collect()
}

fn refusal(name: &str) -> Option<String> {
    if RIGHT.iter().any(|(right, _)| name.ends_with(right)) {
        return None;
    }
    let words = words_of(name);
    let (ruled_out, instead) = RULED_OUT
        .iter()
        .find(|(ruled_out, _)| words.windows(ruled_out.len()).any(|window| window == *ruled_out))?;
    Some(format!("{name}: the glossary rules out {}; say {instead}", ruled_out.concat()))
}

/// `StreamVersion` is `Stream`, `Version`.
fn words_of(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for letter in name.chars() {
        match words.last_mut() {
            Some(word) if !letter.is_uppercase() => word.push(letter),
            _ => words.push(letter.to_string()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let house = House::of(&[("crates/one/src/lib.rs", text)]);
        check(&house).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_glossarys_terms_are_in_order() {
        let terms = "pub struct RecordedEvent; pub enum Revision {} pub trait ProcessManager {}";
        assert_eq!(findings(terms), [""; 0]);
    }

    #[test]
    fn every_word_ruled_out_is_found_and_its_term_named() {
        for (words, term) in RULED_OUT {
            let name = format!("Order{}", words.concat());
            let found = findings(&format!("pub struct {name};"));
            assert_eq!(found.len(), 1, "{name}");
            assert!(found[0].ends_with(term), "{found:?}");
        }
    }

    #[test]
    fn private_types_and_ordinary_words_are_free() {
        assert_eq!(findings("struct Record; pub(crate) struct Offset;"), [""; 0]);
        assert_eq!(findings("pub struct Recorded; pub struct SchemaVersion;"), [""; 0]);
    }
}
