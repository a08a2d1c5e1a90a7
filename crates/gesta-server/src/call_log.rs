//! Log lines about single calls: those that failed, and appends that were slow.
//!
//! Owns: the level of each failure, and the number of lines. Invariants:
//! - A client that fails all the time does not fill the log: each kind of line has a budget, and
//!   the lines that were left out are counted.
//! - A line has no payload and no credentials. Texts that callers influence are quoted.
//!
//! Not here: the audit stream ([`access`](crate::access)), spans ([`spans`](crate::spans)).

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use tokio::time::Instant;
use tonic::{Code, Status};

/// Time after which an append is slow.
pub(crate) const SLOW_APPEND: Duration = Duration::from_secs(1);
/// Maximum number of lines of a kind in one interval.
const LINES_MAX: u32 = 20;
/// The interval.
const LINES_INTERVAL: Duration = Duration::from_secs(10);

/// The lines of one server about its calls.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    /// Mistakes of callers.
    refused: LineBudget,
    /// Failures of the server or its store.
    failed: LineBudget,
    slow: LineBudget,
}

/// A call, as log lines name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoggedCall {
    pub(crate) path: &'static str,
    pub(crate) peer: Option<IpAddr>,
}

/// The reason of a failed HTTP request, as an extension of its response.
#[derive(Clone, Debug)]
pub(crate) struct FailureReason(pub(crate) String);

/// The meaning of a failure for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// Part of ordinary work: a conflict, something that does not exist, a client that left.
    Ordinary,
    /// A call that should not have been made.
    Mistaken,
    /// The call may succeed later.
    Hindered,
    Broken,
}

impl CallLog {
    /// Logs a gRPC call that failed.
    pub(crate) fn call_failed(&self, call: LoggedCall, status: &Status) {
        let (code, reason) = (status.code(), status.message());
        self.write(weight_of(status), call, format_args!("{code:?}"), reason);
    }

    /// Logs an HTTP request that failed.
    pub(crate) fn request_failed(&self, call: LoggedCall, status: StatusCode, reason: &str) {
        let weight = match status {
            StatusCode::BAD_REQUEST
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::NOT_IMPLEMENTED => Weight::Mistaken,
            _ if status.is_server_error() => Weight::Hindered,
            _ => Weight::Ordinary,
        };
        self.write(weight, call, format_args!("{}", status.as_u16()), reason);
    }

    /// Logs an append if it took long.
    pub(crate) fn append_ended(&self, stream: &str, events: u64, took: Duration) {
        if took < SLOW_APPEND || !self.slow.admits(Instant::now(), "slow appends") {
            return;
        }
        let seconds = took.as_secs_f64();
        tracing::warn!(?stream, events, seconds, "an append was slow");
    }

    fn write(
        &self,
        weight: Weight,
        LoggedCall { path, peer }: LoggedCall,
        code: std::fmt::Arguments<'_>,
        reason: &str,
    ) {
        let peer = peer.map(tracing::field::display);
        let now = Instant::now();
        match weight {
            Weight::Ordinary => tracing::debug!(path, peer, code, ?reason, "a call failed"),
            Weight::Mistaken if self.refused.admits(now, "refused calls") => {
                tracing::info!(path, peer, code, ?reason, "a call was refused");
            }
            Weight::Hindered if self.failed.admits(now, "failed calls") => {
                tracing::warn!(path, peer, code, ?reason, "a call failed");
            }
            Weight::Broken if self.failed.admits(now, "failed calls") => {
                tracing::error!(path, peer, code, ?reason, "a call failed");
            }
            Weight::Mistaken | Weight::Hindered | Weight::Broken => {}
        }
    }
}

fn weight_of(status: &Status) -> Weight {
    match status.code() {
        // An answer of the protocol, whose clients know it by its exception: a projection that
        // runs, for example, is not deleted.
        Code::Unknown if status.metadata().contains_key("exception") => Weight::Mistaken,
        code => weight_of_code(code),
    }
}

fn weight_of_code(code: Code) -> Weight {
    match code {
        Code::Ok
        | Code::Cancelled
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange => Weight::Ordinary,
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::ResourceExhausted
        | Code::Unimplemented => Weight::Mistaken,
        // A message that cannot be decoded is internal, too, by the library's choice.
        Code::Aborted | Code::DeadlineExceeded | Code::Unavailable | Code::Internal => {
            Weight::Hindered
        }
        Code::DataLoss | Code::Unknown => Weight::Broken,
    }
}

/// The number of lines that may still be written in the current interval.
#[derive(Debug, Default)]
struct LineBudget(Mutex<Interval>);

#[derive(Debug, Default)]
struct Interval {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl LineBudget {
    /// Returns `true` if a line may be written. Says how many were not in the interval before.
    fn admits(&self, now: Instant, what: &str) -> bool {
        let mut interval = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if interval.began.is_none_or(|began| now.duration_since(began) >= LINES_INTERVAL) {
            let left_out = interval.left_out;
            *interval = Interval { began: Some(now), lines: 0, left_out: 0 };
            if left_out > 0 {
                tracing::warn!(left_out, "left out lines about {what}");
            }
        }
        if interval.lines == LINES_MAX {
            interval.left_out += 1;
            return false;
        }
        interval.lines += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_budget_are_left_out_until_the_interval_is_over() {
        let (budget, start) = (LineBudget::default(), Instant::now());
        for _ in 0..LINES_MAX {
            assert!(budget.admits(start, "calls"));
        }
        assert!(!budget.admits(start + LINES_INTERVAL - Duration::from_millis(1), "calls"));
        assert!(budget.admits(start + LINES_INTERVAL, "calls"));
    }

    #[test]
    fn a_conflict_is_ordinary_and_lost_data_is_not() {
        assert_eq!(weight_of_code(Code::FailedPrecondition), Weight::Ordinary);
        assert_eq!(weight_of_code(Code::Unauthenticated), Weight::Mistaken);
        assert_eq!(weight_of_code(Code::DataLoss), Weight::Broken);
    }

    #[test]
    fn an_unknown_code_with_an_exception_is_an_answer_and_no_failure_of_the_server() {
        let mut refused = Status::unknown("the projection is running; disable it first");
        assert_eq!(weight_of(&refused), Weight::Broken);
        let exception = "projection-running".parse().expect("the name is a header");
        refused.metadata_mut().insert("exception", exception);
        assert_eq!(weight_of(&refused), Weight::Mistaken);
    }
}
