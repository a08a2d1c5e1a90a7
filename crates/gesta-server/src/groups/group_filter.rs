//! The filter of a group of the whole store, in the form in which it is stored.
//!
//! Not here: the meaning of a filter, which reads and subscriptions have alike.

use gesta_store::Filter;
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::{
    proto::{
        persistent_subscriptions::create_req::all_options::{
            FilterOptions, filter_options::Filter as By,
        },
        streams::read_req::options as read,
    },
    streams::requested_filter,
    wire::refused,
};

/// A selection by stream names or event types: by one expression, or by prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupFilter {
    on: FilteredName,
    regex: String,
    prefixes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum FilteredName {
    Stream,
    EventType,
}

impl GroupFilter {
    /// Returns a filter by an expression or by prefixes, which must be one that can be evaluated.
    pub(crate) fn by(
        on: FilteredName,
        regex: String,
        prefixes: Vec<String>,
    ) -> Result<Self, Status> {
        let filter = Self { on, regex, prefixes };
        filter.filter()?;
        Ok(filter)
    }

    /// Reads the filter of a request, which must be one that can be evaluated.
    pub(super) fn of(options: FilterOptions) -> Result<Self, Status> {
        let (on, expression) = match options.filter {
            Some(By::StreamIdentifier(expression)) => (FilteredName::Stream, expression),
            Some(By::EventType(expression)) => (FilteredName::EventType, expression),
            None => return Err(refused("the filter names neither streams nor event types")),
        };
        Self::by(on, expression.regex, expression.prefix)
    }

    pub(super) fn filter(&self) -> Result<Filter, Status> {
        use read::filter_options::{Expression, Filter as ByName};
        let expression = Expression { regex: self.regex.clone(), prefix: self.prefixes.clone() };
        let by = match self.on {
            FilteredName::Stream => ByName::StreamIdentifier(expression),
            FilteredName::EventType => ByName::EventType(expression),
        };
        requested_filter(read::FilterOptions { filter: Some(by), ..read::FilterOptions::default() })
    }
}
