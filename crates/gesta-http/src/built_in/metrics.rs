//! Metrics for Prometheus, at `/metrics`.
//!
//! Owns: the names, units and labels of all metrics. A name and the meaning of a label never
//! change; new ones may be added. Invariant: the values of labels come from the program (names of
//! commands, components and routes), never from a request or an event.
//!
//! Not here: the values ([`gesta::Metrics`], `counters`) and the text format (`wire::exposition`).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gesta::{ComponentMetrics, Metrics, ProcessMetrics, RunningMetrics};
use serde_json::json;

use crate::{
    ApiRoute, Describe, GestaState, Operation, Right,
    counters::HttpCounters,
    wire::exposition::{
        Exposition, Metric,
        MetricKind::{Counter, Gauge, Histogram},
        TEXT_FORMAT,
    },
};

/// The path, which is the default of Prometheus. Not under the prefix of other operator's routes.
pub(crate) const PATH: &str = "/metrics";

static BUILD_INFO: Metric = Metric {
    name: "gesta_build_info",
    kind: Gauge,
    labels: &["version"],
    help: "Always 1, with the version of Gesta.",
};
static COMMANDS: Metric = Metric {
    name: "gesta_commands_total",
    kind: Counter,
    labels: &["command", "outcome"],
    help: "Commands by outcome: executed, a kind of error, or abandoned by the caller.",
};
static COMMAND_SECONDS: Metric = Metric {
    name: "gesta_command_seconds",
    kind: Histogram,
    labels: &["command"],
    help: "Time of a command until its outcome, with waits and retries.",
};
static CONFLICTS: Metric = Metric {
    name: "gesta_conflicts_total",
    kind: Counter,
    labels: &["command"],
    help: "Appends of commands that failed because another append came first.",
};
static CONFLICT_RETRIES: Metric = Metric {
    name: "gesta_conflict_retries_total",
    kind: Counter,
    labels: &["command"],
    help: "Further attempts of commands after conflicts.",
};
static APPEND_SECONDS: Metric = Metric {
    name: "gesta_append_seconds",
    kind: Histogram,
    labels: &[],
    help: "Time of an append of a command, whatever its outcome.",
};
static EVENTS_APPENDED: Metric = Metric {
    name: "gesta_events_appended_total",
    kind: Counter,
    labels: &[],
    help: "Events that commands have appended.",
};
static STORE_UP: Metric = Metric {
    name: "gesta_store_up",
    kind: Gauge,
    labels: &[],
    help: "1 if the store answered this scrape in time, else 0.",
};
static STORE_POSITION: Metric = Metric {
    name: "gesta_store_position",
    kind: Gauge,
    labels: &[],
    help: "Position of the last event.",
};
static STORE_BYTES: Metric = Metric {
    name: "gesta_store_bytes",
    kind: Gauge,
    labels: &[],
    help: "Space that the store takes, in bytes; absent if the store does not know.",
};
static COMPONENT_STATE: Metric = Metric {
    name: "gesta_component_state",
    kind: Gauge,
    labels: &["component", "name", "state"],
    help: "Always 1, with the state of the component on this node; waiting if another node runs it.",
};
static COMPONENT_POSITION: Metric = Metric {
    name: "gesta_component_position",
    kind: Gauge,
    labels: &["component", "name"],
    help: "Position up to which all events are handled.",
};
static LAG_EVENTS: Metric = Metric {
    name: "gesta_lag_events",
    kind: Gauge,
    labels: &["component", "name"],
    help: "Events after the position, 0 if none has to be handled; absent if positions have gaps.",
};
static LAG_SECONDS: Metric = Metric {
    name: "gesta_lag_seconds",
    kind: Gauge,
    labels: &["component", "name"],
    help: "Time since the first event that has to be handled was recorded, 0 without one.",
};
static DEAD_LETTERS: Metric = Metric {
    name: "gesta_dead_letters",
    kind: Gauge,
    labels: &["component", "name"],
    help: "Dead letters, and set-aside inputs of a process manager.",
};
static PROCESS_INSTANCES: Metric = Metric {
    name: "gesta_process_instances",
    kind: Gauge,
    labels: &["process", "state"],
    help: "Instances by state: running, troubled, ended, cancelled; all but troubled as of the last \
           checkpoint.",
};
static PROCESS_TIMERS: Metric = Metric {
    name: "gesta_process_timers",
    kind: Gauge,
    labels: &["process"],
    help: "Pending timers.",
};
static TIMERS_OVERDUE: Metric = Metric {
    name: "gesta_timers_overdue",
    kind: Gauge,
    labels: &["process"],
    help: "Timers that were due 5 seconds ago and have not fired, without those of set-aside inputs.",
};
static PROCESS_COMMANDS: Metric = Metric {
    name: "gesta_process_commands",
    kind: Gauge,
    labels: &["process"],
    help: "Commands that are decided and not executed yet.",
};
static QUERY_CACHE: Metric = Metric {
    name: "gesta_query_cache_queries_total",
    kind: Counter,
    labels: &["result"],
    help: "Cached queries: hit, load from the read model, or bypass of a cache that fails.",
};
static HTTP_REQUESTS: Metric = Metric {
    name: "gesta_http_requests_total",
    kind: Counter,
    labels: &["method", "route", "status"],
    help: "Requests by the pattern of their route and the status of the response, or abandoned.",
};
static HTTP_SECONDS: Metric = Metric {
    name: "gesta_http_request_seconds",
    kind: Histogram,
    labels: &["method", "route"],
    help: "Time of a request until the head of its response.",
};
static HTTP_IN_PROGRESS: Metric = Metric {
    name: "gesta_http_requests_in_progress",
    kind: Gauge,
    labels: &[],
    help: "Requests without a response so far, with this one.",
};

/// Returns the route.
pub(crate) fn route() -> ApiRoute {
    ApiRoute::get(PATH, "Returns the metrics for Prometheus")
        .handle(show_metrics)
        .right(Right::Status)
}

async fn show_metrics(state: GestaState) -> MetricsResponse {
    let metrics = state.gesta().metrics().await;
    MetricsResponse(text(&metrics, state.http_counters()))
}

/// The response: text in the format of Prometheus.
#[derive(Debug)]
struct MetricsResponse(String);

impl IntoResponse for MetricsResponse {
    fn into_response(self) -> Response {
        let format = HeaderValue::from_static(TEXT_FORMAT);
        ([(header::CONTENT_TYPE, format)], self.0).into_response()
    }
}

impl Describe for MetricsResponse {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({ "type": "string" });
        operation.answers_with(
            StatusCode::OK,
            "the text format of Prometheus",
            "text/plain",
            schema,
        );
    }
}

fn text(metrics: &Metrics, http: &HttpCounters) -> String {
    let mut text = Exposition::default();
    text.metric(&BUILD_INFO).value(&[env!("CARGO_PKG_VERSION")], 1);
    of_commands(&mut text, metrics);
    of_store(&mut text, metrics);
    of_components(&mut text, &metrics.components);
    of_processes(&mut text, &metrics.components);
    of_query_cache(&mut text, metrics);
    of_http(&mut text, http);
    text.into_text()
}

fn of_commands(text: &mut Exposition, metrics: &Metrics) {
    let mut samples = text.metric(&COMMANDS);
    for command in &metrics.commands {
        for (outcome, count) in &command.outcomes {
            samples.value(&[&command.name, outcome], count);
        }
    }
    let mut samples = text.metric(&COMMAND_SECONDS);
    for command in &metrics.commands {
        samples.times(&[&command.name], &command.times);
    }
    let mut samples = text.metric(&CONFLICTS);
    for command in &metrics.commands {
        samples.value(&[&command.name], command.conflicts);
    }
    let mut samples = text.metric(&CONFLICT_RETRIES);
    for command in &metrics.commands {
        samples.value(&[&command.name], command.retries);
    }
}

fn of_store(text: &mut Exposition, metrics: &Metrics) {
    text.metric(&APPEND_SECONDS).times(&[], &metrics.appends);
    text.metric(&EVENTS_APPENDED).value(&[], metrics.events_appended);
    text.metric(&STORE_UP).value(&[], u8::from(metrics.store.is_some()));
    let mut samples = text.metric(&STORE_POSITION);
    if let Some(store) = &metrics.store {
        samples.value(&[], store.head.number());
    }
    let mut samples = text.metric(&STORE_BYTES);
    if let Some(bytes) = metrics.store.as_ref().and_then(|store| store.bytes) {
        samples.value(&[], bytes);
    }
}

fn of_components(text: &mut Exposition, components: &[ComponentMetrics]) {
    let mut samples = text.metric(&COMPONENT_STATE);
    for one in components {
        samples.value(&[one.component.as_str(), &one.name, one.state], 1);
    }
    let mut samples = text.metric(&COMPONENT_POSITION);
    for (labels, running) in running(components) {
        samples.value(&labels, running.position.number());
    }
    let mut samples = text.metric(&LAG_EVENTS);
    for (labels, running) in running(components) {
        if let Some(events) = running.lag.and_then(|lag| lag.events) {
            samples.value(&labels, events);
        }
    }
    let mut samples = text.metric(&LAG_SECONDS);
    for (labels, running) in running(components) {
        if let Some(lag) = running.lag {
            samples.value(&labels, lag.time.as_secs_f64());
        }
    }
    let mut samples = text.metric(&DEAD_LETTERS);
    for (labels, running) in running(components) {
        samples.value(&labels, running.dead_letters);
    }
}

/// Returns the components that this node runs, with their labels.
fn running(components: &[ComponentMetrics]) -> impl Iterator<Item = ([&str; 2], &RunningMetrics)> {
    components.iter().filter_map(|one| {
        let labels = [one.component.as_str(), &*one.name];
        one.running.as_ref().map(|running| (labels, running))
    })
}

fn of_processes(text: &mut Exposition, components: &[ComponentMetrics]) {
    let processes: Vec<(&str, ProcessMetrics)> = running(components)
        .filter_map(|([_, name], running)| running.process.map(|process| (name, process)))
        .collect();
    let mut samples = text.metric(&PROCESS_INSTANCES);
    for (name, process) in &processes {
        for (state, count) in [
            ("running", process.running),
            ("troubled", process.troubled),
            ("ended", process.ended),
            ("cancelled", process.cancelled),
        ] {
            samples.value(&[name, state], count);
        }
    }
    let mut samples = text.metric(&PROCESS_TIMERS);
    for (name, process) in &processes {
        samples.value(&[name], process.timers);
    }
    let mut samples = text.metric(&TIMERS_OVERDUE);
    for (name, process) in &processes {
        samples.value(&[name], process.timers_overdue);
    }
    let mut samples = text.metric(&PROCESS_COMMANDS);
    for (name, process) in &processes {
        samples.value(&[name], process.commands);
    }
}

fn of_query_cache(text: &mut Exposition, metrics: &Metrics) {
    let mut samples = text.metric(&QUERY_CACHE);
    if let Some(counts) = metrics.query_cache {
        samples.value(&["hit"], counts.hits);
        samples.value(&["load"], counts.loads);
        samples.value(&["bypass"], counts.bypasses);
    }
}

fn of_http(text: &mut Exposition, http: &HttpCounters) {
    let mut samples = text.metric(&HTTP_REQUESTS);
    for route in http.routes() {
        for (status, count) in &route.statuses {
            samples.value(&[route.method, route.route, status], count);
        }
    }
    let mut samples = text.metric(&HTTP_SECONDS);
    for route in http.routes() {
        samples.times(&[route.method, route.route], &route.times);
    }
    text.metric(&HTTP_IN_PROGRESS).value(&[], http.in_progress());
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!("../../../../docs/guide/metrics.md");

    /// All metrics, in the order of the text.
    static METRICS: [&Metric; 23] = [
        &BUILD_INFO,
        &COMMANDS,
        &COMMAND_SECONDS,
        &CONFLICTS,
        &CONFLICT_RETRIES,
        &APPEND_SECONDS,
        &EVENTS_APPENDED,
        &STORE_UP,
        &STORE_POSITION,
        &STORE_BYTES,
        &COMPONENT_STATE,
        &COMPONENT_POSITION,
        &LAG_EVENTS,
        &LAG_SECONDS,
        &DEAD_LETTERS,
        &PROCESS_INSTANCES,
        &PROCESS_TIMERS,
        &TIMERS_OVERDUE,
        &PROCESS_COMMANDS,
        &QUERY_CACHE,
        &HTTP_REQUESTS,
        &HTTP_SECONDS,
        &HTTP_IN_PROGRESS,
    ];

    #[test]
    fn the_text_describes_each_metric_once_and_no_other() {
        let text = text(&Metrics::default(), &HttpCounters::default());
        let described: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(described, METRICS.map(|metric| metric.name));
    }

    #[test]
    fn the_table_of_the_guide_is_that_of_the_code() {
        let row = |metric: &Metric| {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let Metric { name, kind, help, .. } = metric;
            format!("| `{name}` | {} | {} | {help} |\n", kind.as_str(), labels.join(", "))
        };
        let table: String = METRICS.into_iter().map(row).collect();
        assert!(GUIDE.contains(&table), "the table of docs/guide/metrics.md must be\n{table}");
    }
}
