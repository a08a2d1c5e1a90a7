//! The events that a read or a subscription of the whole store selects.
//!
//! Owns: [`EventSelection`], the same for parameters of a query and for bodies. Invariant: at most
//! one kind of filter, because the contract evaluates one; types and tags together are a query.

use gesta_store::{
    Category, CausationId, CorrelationId, EventQuery, EventType, Filter, InvalidName, QueryItem,
    RegexFilter, StreamName, Tag, Visibility,
};
use serde::Deserialize;

use super::{
    object::Object,
    parameters::{
        Arguments, CATEGORY, CAUSATION_ID, CORRELATION_ID, HIDDEN, OF_STREAM, STREAM_PATTERN,
        STREAM_PREFIX, TAG, TYPE, TYPE_PATTERN, TYPE_PREFIX,
    },
    problem::Problem,
};

/// Maximum number of items of a query, and of names in one list.
const NAMES_MAX: usize = 1_000;

/// One alternative of a query: any of the types, and all of the tags.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryItemBody {
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
}

/// Takes the items out of their objects.
pub(super) fn plain(items: Vec<Object<QueryItemBody>>) -> Vec<QueryItemBody> {
    items.into_iter().map(|Object(item)| item).collect()
}

/// The selected events, as a request names them. Without any field it selects everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct EventSelection {
    pub(super) items: Vec<QueryItemBody>,
    pub(super) types: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) streams: Vec<String>,
    pub(super) stream_prefixes: Vec<String>,
    pub(super) categories: Vec<String>,
    pub(super) type_prefixes: Vec<String>,
    pub(super) stream_pattern: Option<String>,
    pub(super) type_pattern: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) causation_id: Option<String>,
    pub(super) hidden: bool,
}

/// A selection in the words of the contract.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    pub(super) filter: Filter,
    pub(super) visibility: Visibility,
}

impl EventSelection {
    /// Reads the parameters of a query.
    pub(super) fn of_arguments(arguments: &Arguments) -> Result<Self, Problem> {
        let text = |parameter| arguments.text(parameter).map(str::to_owned);
        Ok(Self {
            items: Vec::new(),
            types: arguments.texts(&TYPE),
            tags: arguments.texts(&TAG),
            streams: arguments.texts(&OF_STREAM),
            stream_prefixes: arguments.texts(&STREAM_PREFIX),
            categories: arguments.texts(&CATEGORY),
            type_prefixes: arguments.texts(&TYPE_PREFIX),
            stream_pattern: text(&STREAM_PATTERN),
            type_pattern: text(&TYPE_PATTERN),
            correlation_id: text(&CORRELATION_ID),
            causation_id: text(&CAUSATION_ID),
            hidden: arguments.is_set(&HIDDEN)?,
        })
    }

    /// Returns `true` if no field is given.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Translates the selection.
    pub(super) fn select(self) -> Result<Selected, Problem> {
        let is_hidden_asked = self.hidden;
        let filter = self.filter()?;
        if is_hidden_asked && matches!(filter, Filter::Query(_)) {
            let reason = "cannot be `true` for a query with tags: it finds visible events only";
            return Err(Problem::invalid("hidden", reason));
        }
        let visibility = if is_hidden_asked { Visibility::Raw } else { Visibility::Visible };
        Ok(Selected { filter, visibility })
    }

    fn filter(self) -> Result<Filter, Problem> {
        let mut filters = Vec::new();
        if !self.items.is_empty() {
            filters.push(Filter::Query(query_of("items", self.items)?));
        }
        if !self.tags.is_empty() {
            let item = QueryItemBody { types: self.types, tags: self.tags };
            filters.push(Filter::Query(EventQuery::of(item_of("", item)?)));
        } else if !self.types.is_empty() {
            filters.push(Filter::EventTypes(names("type", self.types, EventType::stored)?));
        }
        if !self.streams.is_empty() {
            filters.push(Filter::Streams(names("stream", self.streams, StreamName::stored)?));
        }
        if !self.stream_prefixes.is_empty() {
            filters.push(Filter::StreamPrefixes(prefixes("streamPrefix", self.stream_prefixes)?));
        }
        if !self.categories.is_empty() {
            filters.push(Filter::Categories(names("category", self.categories, Category::new)?));
        }
        if !self.type_prefixes.is_empty() {
            filters.push(Filter::EventTypePrefixes(prefixes("typePrefix", self.type_prefixes)?));
        }
        if let Some(pattern) = self.stream_pattern {
            let regex = RegexFilter::on_stream_name(&pattern);
            filters.push(Filter::Regex(regex.map_err(|error| Problem::of_read(&error))?));
        }
        if let Some(pattern) = self.type_pattern {
            let regex = RegexFilter::on_event_type(&pattern);
            filters.push(Filter::Regex(regex.map_err(|error| Problem::of_read(&error))?));
        }
        if let Some(id) = self.correlation_id {
            let refused = |odd| Problem::invalid_name("correlationId", &odd);
            filters.push(Filter::Correlation(CorrelationId::stored(id).map_err(refused)?));
        }
        if let Some(id) = self.causation_id {
            let refused = |odd| Problem::invalid_name("causationId", &odd);
            filters.push(Filter::Causation(CausationId::stored(id).map_err(refused)?));
        }
        match (filters.pop(), filters.is_empty()) {
            (None, _) => Ok(Filter::Everything),
            (Some(filter), true) => Ok(filter),
            (Some(_), false) => {
                let reason = "has several kinds of filters; use one kind, or types with tags";
                Err(Problem::invalid("selection", reason))
            }
        }
    }
}

/// Translates the items of a query, each with at least one type or tag.
pub(super) fn query_of(field: &str, items: Vec<QueryItemBody>) -> Result<EventQuery, Problem> {
    if items.is_empty() || items.len() > NAMES_MAX {
        let reason = format!("must have 1 to {NAMES_MAX} items; it has {}", items.len());
        return Err(Problem::invalid(field, reason));
    }
    let items = items.into_iter().enumerate().map(|(at, item)| {
        let place = format!("{field}[{at}]");
        // An empty item would select every event, which is hardly ever meant.
        if item.types.is_empty() && item.tags.is_empty() {
            return Err(Problem::invalid(&place, "must have types or tags"));
        }
        item_of(&format!("{place}."), item)
    });
    let items: Vec<_> = items.collect::<Result<_, _>>()?;
    let mut items = items.into_iter();
    let first = items.next().expect("the list is not empty");
    Ok(items.fold(EventQuery::of(first), EventQuery::or))
}

fn item_of(place: &str, item: QueryItemBody) -> Result<QueryItem, Problem> {
    let types = names(&format!("{place}types"), item.types, EventType::stored)?;
    let tags = names(&format!("{place}tags"), item.tags, Tag::stored)?;
    Ok(QueryItem::every().of_types(types).tagged(tags))
}

fn names<Name>(
    field: &str,
    texts: Vec<String>,
    read: impl Fn(String) -> Result<Name, InvalidName>,
) -> Result<Vec<Name>, Problem> {
    check_count(field, texts.len())?;
    let read = texts.into_iter().map(read);
    read.collect::<Result<_, _>>().map_err(|invalid| Problem::invalid_name(field, &invalid))
}

fn prefixes(field: &str, texts: Vec<String>) -> Result<Vec<String>, Problem> {
    check_count(field, texts.len())?;
    match texts.iter().any(|text| text.is_empty() || text.len() > StreamName::BYTES_MAX) {
        true => Err(Problem::invalid(field, "must have 1 to 1,022 bytes")),
        false => Ok(texts),
    }
}

fn check_count(field: &str, count: usize) -> Result<(), Problem> {
    if count > NAMES_MAX {
        let reason = format!("may have {NAMES_MAX} values; it has {count}");
        return Err(Problem::invalid(field, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_selection_without_fields_is_everything_that_is_visible() {
        let selected = EventSelection::default().select().unwrap();
        assert_eq!(selected.filter, Filter::Everything);
        assert_eq!(selected.visibility, Visibility::Visible);
    }

    #[test]
    fn types_alone_are_a_filter_and_with_tags_a_query() {
        let types = EventSelection { types: texts(&["a", "b"]), ..EventSelection::default() };
        assert!(matches!(types.clone().select().unwrap().filter, Filter::EventTypes(_)));
        let query = EventSelection { tags: texts(&["x:1"]), ..types };
        let Filter::Query(query) = query.select().unwrap().filter else { panic!("no query") };
        assert_eq!(query.items().len(), 1);
        assert_eq!((query.items()[0].types().len(), query.items()[0].tags().len()), (2, 1));
    }

    #[test]
    fn two_kinds_of_filters_and_hidden_events_of_a_query_are_refused() {
        let two = EventSelection {
            types: texts(&["a"]),
            categories: texts(&["order"]),
            ..EventSelection::default()
        };
        assert!(two.select().is_err());
        let hidden =
            EventSelection { tags: texts(&["x:1"]), hidden: true, ..EventSelection::default() };
        assert!(hidden.select().is_err());
        let raw =
            EventSelection { types: texts(&["a"]), hidden: true, ..EventSelection::default() };
        assert_eq!(raw.select().unwrap().visibility, Visibility::Raw);
    }

    #[test]
    fn odd_names_and_patterns_are_refused() {
        for odd in [
            EventSelection { types: texts(&[""]), ..EventSelection::default() },
            EventSelection { categories: texts(&["a-b"]), ..EventSelection::default() },
            EventSelection { stream_prefixes: texts(&[""]), ..EventSelection::default() },
            EventSelection { stream_pattern: Some("(".to_owned()), ..EventSelection::default() },
            EventSelection { correlation_id: Some(String::new()), ..EventSelection::default() },
            EventSelection {
                tags: vec!["t".to_owned(); NAMES_MAX + 1],
                ..EventSelection::default()
            },
        ] {
            assert!(odd.clone().select().is_err(), "{odd:?}");
        }
    }
}
