//! Which events a verb is about: one stream's, or the whole store's through a filter.

use clap::{ArgGroup, Args};
use gesta_store::{Category, EventQuery, EventType, Filter, QueryItem, StreamName, Tag};

/// The part of the command line that `read` and `subscribe` have in common.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").args(["stream", "all"]).required(true))]
pub(crate) struct Source {
    /// The stream, such as order-17.
    stream: Option<StreamName>,
    /// The whole store, in the order in which it happened.
    #[arg(long)]
    all: bool,
    /// With --all: only streams of this category, such as order; several: any of them.
    #[arg(
        long = "category",
        value_name = "CATEGORY",
        conflicts_with_all = ["stream", "types", "tags"]
    )]
    categories: Vec<Category>,
    /// With --all: only events of this type, such as order-placed; several: any of them.
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "stream")]
    types: Vec<EventType>,
    /// With --all: only events with this tag, such as customer:17850; several: all of them.
    #[arg(long = "tag", value_name = "KEY:VALUE", conflicts_with = "stream")]
    tags: Vec<Tag>,
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
            None => Which::All(filter(self.categories, self.types, self.tags)),
        }
    }
}

/// The narrowest filter that says it.
fn filter(categories: Vec<Category>, types: Vec<EventType>, tags: Vec<Tag>) -> Filter {
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
