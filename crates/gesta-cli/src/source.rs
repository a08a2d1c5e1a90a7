//! Which events a verb is about: one stream's, or the whole store's through a filter.

use clap::{ArgGroup, Args};
use gesta_store::{
    Category, EventQuery, EventType, Filter, InvalidName, QueryItem, StreamName, Tag,
};

/// The part of the command line that `read` and `subscribe` have in common.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").args(["stream", "all"]).required(true))]
pub(crate) struct Source {
    /// The stream, such as order-17.
    #[arg(conflicts_with_all = ["categories", "types", "tags"], value_parser = stored_stream)]
    stream: Option<StreamName>,
    /// The whole store, in the order in which it happened.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// Which events of the whole store.
#[derive(Args, Debug)]
pub(crate) struct Narrowed {
    /// Of the whole store, only streams of this category, such as order; several: any of them.
    #[arg(long = "category", value_name = "CATEGORY", conflicts_with_all = ["types", "tags"])]
    #[arg(value_parser = |text: &str| Category::stored(text))]
    categories: Vec<Category>,
    /// Of the whole store, only events of this type, such as order-placed; several: any of them.
    #[arg(long = "type", value_name = "TYPE", value_parser = |text: &str| EventType::stored(text))]
    types: Vec<EventType>,
    /// Of the whole store, only events with this tag, such as customer:17850; several: all of them.
    #[arg(long = "tag", value_name = "KEY:VALUE", value_parser = |text: &str| Tag::stored(text))]
    tags: Vec<Tag>,
}

/// A stream to read, which an earlier version may have named by another rule.
pub(crate) fn stored_stream(text: &str) -> Result<StreamName, InvalidName> {
    StreamName::stored(text)
}

/// Which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Stream(StreamName),
    All(Filter),
}

impl Source {
    pub(crate) fn which(self) -> Which {
        match self.stream {
            Some(stream) => Which::Stream(stream),
            None => Which::All(self.narrowed.filter()),
        }
    }
}

impl Narrowed {
    /// The narrowest filter that says it.
    pub(crate) fn filter(self) -> Filter {
        let Self { categories, types, tags } = self;
        if !categories.is_empty() {
            return Filter::Categories(categories);
        }
        match (types.is_empty(), tags.is_empty()) {
            (true, true) => Filter::Everything,
            (false, true) => Filter::EventTypes(types),
            (_, false) => {
                Filter::Query(EventQuery::of(QueryItem::every().of_types(types).tagged(tags)))
            }
        }
    }
}
