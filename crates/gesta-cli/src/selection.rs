//! Selection of events: one stream, or the whole store through a filter.

use clap::{ArgGroup, Args};
use gesta_store::{
    Category, EventQuery, EventType, Filter, InvalidName, QueryItem, StreamName, Tag,
};

/// Heading of the options that filter the whole store.
const FILTERS: &str = "Filters";

/// Arguments shared by `read` and `subscribe`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("selected").args(["stream", "all"]).required(true))]
pub(crate) struct SelectionArguments {
    /// Stream name, such as order-17
    #[arg(conflicts_with_all = ["categories", "types", "tags"], value_parser = stored_stream)]
    stream: Option<StreamName>,
    /// All streams, in position order; can be narrowed by filters
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: FilterArguments,
}

/// Filters on the whole store.
#[derive(Args, Debug)]
pub(crate) struct FilterArguments {
    /// Only events in streams of this category, such as order; repeat to allow several
    #[arg(long = "category", value_name = "CATEGORY", help_heading = FILTERS, conflicts_with_all = ["types", "tags"])]
    #[arg(value_parser = |text: &str| Category::stored(text))]
    categories: Vec<Category>,
    /// Only events of this type, such as order-placed; repeat to allow several
    #[arg(long = "type", value_name = "TYPE", help_heading = FILTERS, value_parser = |text: &str| EventType::stored(text))]
    types: Vec<EventType>,
    /// Only events with this tag, such as customer:17850; repeat to require several
    #[arg(long = "tag", value_name = "KEY:VALUE", help_heading = FILTERS, value_parser = |text: &str| Tag::stored(text))]
    tags: Vec<Tag>,
}

/// Parses the name of an existing stream, which earlier versions may have named by other rules.
pub(crate) fn stored_stream(text: &str) -> Result<StreamName, InvalidName> {
    StreamName::stored(text)
}

/// Selected events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    Stream(StreamName),
    All(Filter),
}

impl SelectionArguments {
    pub(crate) fn selected(self) -> Selected {
        match self.stream {
            Some(stream) => Selected::Stream(stream),
            None => Selected::All(self.filter.filter()),
        }
    }
}

impl FilterArguments {
    /// Returns the narrowest filter with this meaning.
    pub(crate) fn filter(self) -> Filter {
        // The index answers categories and types directly, and other stores may support these
        // filters without supporting queries over tags.
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
