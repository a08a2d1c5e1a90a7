//! Counts of requests by method, route and status, with their times.
//!
//! Invariants: each request is counted once; counting takes no lock and allocates nothing, except
//! for the first request of a route; a route is counted under its pattern, never under the path of
//! a request, so the number of counters is bounded.

use std::{
    array,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use axum::{
    extract::{MatchedPath, Request},
    http::{Method, StatusCode},
};
use gesta::{Clock, Keyed, LatencyHistogram};

/// Methods that are counted by name. Others are counted as [`OTHER`].
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", OTHER];

/// Statuses that are counted by number. Others are counted as [`OTHER`].
const STATUSES: [u16; 36] = [
    200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409,
    410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 428, 429, 431, 500, 501, 503, 504,
];

/// Counters of one route: each of [`STATUSES`], [`OTHER`] and [`ABANDONED`].
const COUNTERS: usize = STATUSES.len() + 2;

/// A method or status that has no counter of its own.
const OTHER: &str = "(other)";
/// The status of a request whose client gave up before the response.
const ABANDONED: &str = "abandoned";
/// The route of a request that matches none.
const NO_ROUTE: &str = "(none)";

/// The counters of all requests to one [`GestaState`](crate::GestaState) and its clones.
#[derive(Debug, Default)]
pub(crate) struct HttpCounters {
    /// By method, in the order of [`METHODS`], and pattern of the route.
    routes: [Keyed<RouteCounters>; METHODS.len()],
    begun: AtomicU64,
    ended: AtomicU64,
}

#[derive(Debug)]
struct RouteCounters {
    requests: [AtomicU64; COUNTERS],
    times: LatencyHistogram,
}

impl Default for RouteCounters {
    fn default() -> Self {
        Self { requests: array::from_fn(|_| AtomicU64::new(0)), times: LatencyHistogram::default() }
    }
}

/// The requests of one method to one route.
#[derive(Debug)]
pub(crate) struct RouteMetrics<'a> {
    pub(crate) method: &'static str,
    pub(crate) route: &'a str,
    /// Number by status. Only statuses that have happened.
    pub(crate) statuses: Vec<(String, u64)>,
    pub(crate) times: gesta::Latencies,
}

impl HttpCounters {
    /// Begins a request, which is counted when the returned value is dropped.
    pub(crate) fn begin(self: &Arc<Self>, request: &Request, clock: &Arc<dyn Clock>) -> Measured {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Measured {
            counters: Arc::clone(self),
            clock: Arc::clone(clock),
            begun: clock.now(),
            method: method_index(request.method()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            status: None,
        }
    }

    /// Returns the number of requests without a response so far.
    pub(crate) fn in_progress(&self) -> u64 {
        // In this order, so that a request that ends in between is not subtracted unseen.
        let ended = self.ended.load(Ordering::Relaxed);
        self.begun.load(Ordering::Relaxed).saturating_sub(ended)
    }

    /// Returns the counters of the routes that had requests, by method and route.
    pub(crate) fn routes(&self) -> impl Iterator<Item = RouteMetrics<'_>> {
        METHODS.into_iter().zip(&self.routes).flat_map(|(method, routes)| {
            routes.iter().map(move |(route, counters)| {
                let counts = counters.requests.iter().map(|count| count.load(Ordering::Relaxed));
                let counts = counts.enumerate().filter(|(_, count)| *count > 0);
                RouteMetrics {
                    method,
                    route,
                    statuses: counts.map(|(index, count)| (status_text(index), count)).collect(),
                    times: counters.times.read(),
                }
            })
        })
    }
}

fn method_index(method: &Method) -> usize {
    let known = METHODS.iter().position(|known| *known == method.as_str());
    known.unwrap_or(METHODS.len() - 1)
}

fn status_index(status: Option<StatusCode>) -> usize {
    let Some(status) = status else { return STATUSES.len() + 1 };
    let known = STATUSES.iter().position(|known| *known == status.as_u16());
    known.unwrap_or(STATUSES.len())
}

fn status_text(index: usize) -> String {
    match STATUSES.get(index) {
        Some(status) => status.to_string(),
        None if index == STATUSES.len() => OTHER.to_owned(),
        None => ABANDONED.to_owned(),
    }
}

/// A request in progress. Counted on drop, so that one whose client gave up is counted, too.
#[derive(Debug)]
pub(crate) struct Measured {
    counters: Arc<HttpCounters>,
    clock: Arc<dyn Clock>,
    begun: SystemTime,
    method: usize,
    route: Option<MatchedPath>,
    status: Option<StatusCode>,
}

impl Measured {
    /// Ends the request with a status.
    pub(crate) fn end(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.counters.ended.fetch_add(1, Ordering::Relaxed);
        let Some(routes) = self.counters.routes.get(self.method) else { return };
        let counters = routes.of(self.route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str));
        if let Some(count) = counters.requests.get(status_index(self.status)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // The system clock may have been set back.
        counters.times.record(self.clock.now().duration_since(self.begun).unwrap_or_default());
    }
}
