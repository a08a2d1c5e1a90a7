//! Selection of events: one stream, or the whole store through a filter.

use clap::{ArgGroup, Args};
use gesta_store::{
    Category, EventQuery, EventType, Filter, InvalidName, QueryItem, StreamName, Tag,
};

/// Arguments shared by `read` and `subscribe`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").args(["stream", "all"]).required(true))]
pub(crate) struct Source {
    /// Stream name, such as order-17
    #[arg(conflicts_with_all = ["categories", "types", "tags"], value_parser = stored_stream)]
    stream: Option<StreamName>,
    /// All streams, in the order of their positions
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// Filters on the whole store.
#[derive(Args, Debug)]
pub(crate) struct Narrowed {
    /// With --all, only streams of this category, such as order; repeat for any of several
    #[arg(long = "category", value_name = "CATEGORY", conflicts_with_all = ["types", "tags"])]
    #[arg(value_parser = |text: &str| Category::stored(text))]
    categories: Vec<Category>,
    /// With --all, only events of this type, such as order-placed; repeat for any of several
    #[arg(long = "type", value_name = "TYPE", value_parser = |text: &str| EventType::stored(text))]
    types: Vec<EventType>,
    /// With --all, only events with this tag, such as customer:17850; repeat to require all
    #[arg(long = "tag", value_name = "KEY:VALUE", value_parser = |text: &str| Tag::stored(text))]
    tags: Vec<Tag>,
}

/// Parses the name of an existing stream, which earlier versions may have named by other rules.
pub(crate) fn stored_stream(text: &str) -> Result<StreamName, InvalidName> {
    StreamName::stored(text)
}

/// Selected events.
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
    /// Returns the narrowest filter with this meaning.
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
