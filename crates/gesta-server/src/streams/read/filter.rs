//! Filters of reads and subscriptions of the whole store.
//!
//! A filter by one prefix of a stream's name that begins with `$idx-` names an index instead.

use gesta_store::{Filter, RegexFilter};
use tonic::Status;

use super::system_stream::index_filter;
use crate::{
    proto::streams::read_req::options::{
        FilterOptions,
        filter_options::{Expression, Filter as By, Window},
    },
    wire::{refused, status},
};

/// Number of events after which a client that names no window expects to hear of progress.
const WINDOW_EVENTS: u32 = 32;

pub(super) struct FilterRequest {
    pub(super) filter: Filter,
    /// Number of events, delivered or not, after which a checkpoint is due.
    pub(super) checkpoint_interval: u64,
}

impl FilterRequest {
    pub(super) fn of(options: FilterOptions) -> Result<Self, Status> {
        let FilterOptions { filter, window, checkpoint_interval_multiplier: multiplier } = options;
        let filter = match filter {
            Some(By::StreamIdentifier(by)) => by_stream(by)?,
            Some(By::EventType(by)) => by_type(by)?,
            None => return Err(refused("the filter names neither streams nor event types")),
        };
        let window = match window {
            Some(Window::Max(0)) => {
                return Err(refused("`max`, the window of a filter, must be at least 1; got 0"));
            }
            Some(Window::Max(events)) => events,
            Some(Window::Count(_)) | None => WINDOW_EVENTS,
        };
        // Reads have no checkpoints, and some clients leave the multiplier out there.
        let checkpoint_interval = u64::from(multiplier.max(1)) * u64::from(window);
        Ok(Self { filter, checkpoint_interval })
    }
}

/// Returns the filter that a request of another service asks for.
pub(crate) fn requested_filter(options: FilterOptions) -> Result<Filter, Status> {
    FilterRequest::of(options).map(|request| request.filter)
}

fn by_stream(by: Expression) -> Result<Filter, Status> {
    match pattern_or_prefixes(by)? {
        Selection::Pattern(pattern) => {
            let regex = RegexFilter::on_stream_name(&pattern).map_err(|error| status(&error))?;
            Ok(Filter::Regex(regex))
        }
        Selection::Prefixes(prefixes) => match prefixes.as_slice() {
            [index] if index.starts_with("$idx-") => index_filter(index),
            _ => Ok(Filter::StreamPrefixes(prefixes)),
        },
    }
}

fn by_type(by: Expression) -> Result<Filter, Status> {
    match pattern_or_prefixes(by)? {
        Selection::Pattern(pattern) => {
            let regex = RegexFilter::on_event_type(&pattern).map_err(|error| status(&error))?;
            Ok(Filter::Regex(regex))
        }
        Selection::Prefixes(prefixes) => Ok(Filter::EventTypePrefixes(prefixes)),
    }
}

enum Selection {
    Pattern(String),
    Prefixes(Vec<String>),
}

fn pattern_or_prefixes(by: Expression) -> Result<Selection, Status> {
    let Expression { regex, prefix } = by;
    match (regex.is_empty(), prefix.is_empty()) {
        (false, true) => Ok(Selection::Pattern(regex)),
        (true, false) => Ok(Selection::Prefixes(prefix)),
        (true, true) => Err(refused("a filter needs a regular expression or prefixes")),
        (false, false) => Err(refused("a filter has a regular expression or prefixes, not both")),
    }
}
