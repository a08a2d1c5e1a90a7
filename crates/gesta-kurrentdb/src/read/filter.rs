//! Filters of the contract as the protocol has them: prefixes and regular expressions.
//!
//! Invariant: the server's filter lets every event through that the contract's selects. It may let
//! others through, which the reader leaves out ([`Filter::matches`]).

use gesta_store::{Filter, RegexTarget};

use crate::proto::{
    shared::Empty,
    streams::read_req::options::{
        FilterOptions,
        filter_options::{Expression, Filter as By, Window},
    },
};

/// A pattern that matches nothing, for a filter of no names.
const NOTHING: &str = r"[^\s\S]";

/// Returns the server's part of a filter, or `None` for everything.
pub(super) fn filter_options(filter: &Filter) -> Option<FilterOptions> {
    let by = match filter {
        Filter::Streams(names) => by_stream(names.iter().map(|name| name.as_str().to_owned())),
        Filter::StreamPrefixes(prefixes) => by_stream(prefixes.iter().cloned()),
        Filter::Categories(categories) => {
            by_stream(categories.iter().map(|category| format!("{category}-")))
        }
        Filter::EventTypes(types) => by_type(types.iter().map(|name| name.as_str().to_owned())),
        Filter::EventTypePrefixes(prefixes) => by_type(prefixes.iter().cloned()),
        Filter::Regex(regex) => {
            let pattern = Expression { regex: regex.pattern().to_owned(), prefix: Vec::new() };
            match regex.target() {
                RegexTarget::EventType => By::EventType(pattern),
                _ => By::StreamIdentifier(pattern),
            }
        }
        // The store refuses the others, and everything needs no filter.
        _ => return None,
    };
    Some(FilterOptions {
        filter: Some(by),
        window: Some(Window::Count(Empty {})),
        checkpoint_interval_multiplier: 1,
    })
}

fn by_stream(prefixes: impl Iterator<Item = String>) -> By {
    By::StreamIdentifier(expression(prefixes))
}

fn by_type(prefixes: impl Iterator<Item = String>) -> By {
    By::EventType(expression(prefixes))
}

fn expression(prefixes: impl Iterator<Item = String>) -> Expression {
    let prefix: Vec<String> = prefixes.collect();
    if prefix.is_empty() {
        return Expression { regex: NOTHING.to_owned(), prefix };
    }
    // An empty prefix is in every name; some servers take it for none.
    if prefix.iter().any(String::is_empty) {
        return Expression { regex: "^".to_owned(), prefix: Vec::new() };
    }
    Expression { regex: String::new(), prefix }
}

#[cfg(test)]
mod tests {
    use gesta_store::{Category, StreamName};

    use super::*;

    fn prefixes(filter: &Filter) -> Vec<String> {
        match filter_options(filter).and_then(|options| options.filter) {
            Some(By::StreamIdentifier(by) | By::EventType(by)) => by.prefix,
            None => Vec::new(),
        }
    }

    #[test]
    fn a_server_gets_a_filter_that_lets_every_match_through() {
        let order = StreamName::new("order-1").unwrap();
        assert_eq!(prefixes(&Filter::Streams(vec![order])), ["order-1"]);
        let orders = Filter::Categories(vec![Category::new("order").unwrap()]);
        assert_eq!(prefixes(&orders), ["order-"]);
        assert!(filter_options(&Filter::Everything).is_none());
    }

    #[test]
    fn a_filter_of_no_names_matches_nothing_and_one_of_an_empty_prefix_everything() {
        for (filter, regex) in [
            (Filter::Streams(Vec::new()), NOTHING),
            (Filter::StreamPrefixes(vec![String::new()]), "^"),
        ] {
            match filter_options(&filter).and_then(|options| options.filter) {
                Some(By::StreamIdentifier(by)) => assert_eq!(by.regex, regex),
                other => panic!("no filter by stream: {other:?}"),
            }
        }
    }
}
