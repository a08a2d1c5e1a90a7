//! The log and the traces of `gesta serve`.
//!
//! Owns: their options, and the subscriber of `tracing`. Invariants: log lines go to standard
//! error, because standard output has results; wrong options are refused before anything is opened;
//! spans of calls are made only if they are exported. Not here: the export itself
//! (`gesta-telemetry`).

use std::io;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use gesta_server::SPAN_TARGET;
use gesta_telemetry::{Endpoint, SampleRatio, Service, TraceExporter};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, filter::Targets, fmt, layer::SubscriberExt as _, registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::exit::Refusal;

/// Default levels. A name covers all targets that begin with it: `gesta` includes the server and
/// its store.
const LEVELS: &str = "warn,gesta=info";

/// Begins of the targets that lines have: crates that log.
const LOG_ROOTS: [&str; 9] =
    ["gesta", "h2", "hyper", "rustls", "tokio", "tonic", "tower", "tungstenite", "axum"];

#[derive(Args, Debug)]
pub(super) struct TelemetryOptions {
    /// Levels of the log: error, warn, info, debug or trace, or targets with levels
    #[arg(long, value_name = "LEVELS", default_value = LEVELS, env = "GESTA_LOG")]
    log: String,
    /// Form of the lines on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text", env = "GESTA_LOG_FORMAT")]
    log_format: LogFormat,
    /// Send traces to this OpenTelemetry collector by OTLP over HTTP, such as
    /// http://127.0.0.1:4318
    #[arg(long, value_name = "URL", env = "GESTA_OTLP_ENDPOINT", hide_env_values = true)]
    otlp_endpoint: Option<Endpoint>,
    /// Part of the traces that is sent, from 0 to 1. A trace that a caller has begun follows the
    /// caller
    #[arg(long, value_name = "RATIO", default_value = "1", env = "GESTA_TRACE_RATIO")]
    trace_ratio: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

/// Log and traces, as the options ask for them.
#[derive(Debug)]
pub(super) struct Telemetry {
    targets: Targets,
    format: LogFormat,
    traces: Option<(Endpoint, SampleRatio)>,
}

/// The installed telemetry. Spans that wait are sent by [`finish`](Self::finish).
#[derive(Debug)]
pub(super) struct RunningTelemetry {
    exporter: Option<TraceExporter>,
}

impl TelemetryOptions {
    pub(super) fn levels(&self) -> &str {
        &self.log
    }

    pub(super) const fn format_name(&self) -> &'static str {
        match self.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }

    /// Refuses a target that no line has, such as a typing error, which would silence the log.
    fn check_targets(&self, targets: &Targets) -> Result<()> {
        for (target, _) in targets.iter() {
            let is_known = LOG_ROOTS.iter().any(|root| {
                let rest = target.strip_prefix(root);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '_']))
                    || root.starts_with(target)
            });
            if !is_known {
                let known = LOG_ROOTS.join(", ");
                let message = format!(
                    "--log names the target `{target}`, which no line has; targets begin with one \
                     of {known}"
                );
                return Err(Refusal::usage("log-levels", message).into());
            }
        }
        Ok(())
    }

    /// Checks the options.
    pub(super) fn read(&self) -> Result<Telemetry> {
        // Checked, since a typing error would otherwise silence the log.
        // A word alone would be a target with all its lines, where a level was meant.
        let is_level = |part: &str| part.contains('=') || part.parse::<LevelFilter>().is_ok();
        let parsed = self.log.parse::<Targets>().ok();
        let targets = parsed.filter(|_| self.log.split(',').all(|part| is_level(part.trim())));
        let targets = targets.ok_or_else(|| {
            let message = format!(
                "--log must be levels (error, warn, info, debug, trace, off), alone or for targets, \
                 such as `{LEVELS}`; got `{}`",
                self.log
            );
            Refusal::usage("log-levels", message)
        })?;
        self.check_targets(&targets)?;
        let ratio = SampleRatio::new(self.trace_ratio)
            .map_err(|invalid| Refusal::usage("trace-ratio", format!("--trace-ratio {invalid}")))?;
        let traces = self.otlp_endpoint.clone().map(|endpoint| (endpoint, ratio));
        Ok(Telemetry { targets, format: self.log_format, traces })
    }
}

impl Telemetry {
    /// Returns the part of the traces that is sent, if any is.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.traces.as_ref().map(|(_, ratio)| ratio.get())
    }

    /// Returns the address of the collector.
    pub(super) fn endpoint(&self) -> Option<String> {
        self.traces.as_ref().map(|(endpoint, _)| endpoint.to_string())
    }

    /// Installs the subscriber of the process.
    pub(super) fn install(self) -> Result<RunningTelemetry> {
        let (exporter, spans) = match self.traces {
            None => (None, None),
            Some((endpoint, ratio)) => {
                let service = Service::new("gesta", env!("CARGO_PKG_VERSION"));
                let exporter = TraceExporter::start(endpoint, service);
                let exporter = exporter.context("cannot start the thread that sends traces")?;
                let layer = exporter.layer(ratio);
                let of_calls = Targets::new().with_target(SPAN_TARGET, LevelFilter::INFO);
                (Some(exporter), Some(layer.with_filter(of_calls)))
            }
        };
        let targets = self.targets.with_target(SPAN_TARGET, LevelFilter::OFF);
        let lines = lines(self.format).with_filter(targets);
        let installed = tracing_subscriber::registry().with(lines).with(spans).try_init();
        installed.context("cannot begin the log")?;
        Ok(RunningTelemetry { exporter })
    }
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true);
            layer.with_current_span(false).with_span_list(false).boxed()
        }
    }
}

impl RunningTelemetry {
    /// Sends the spans that wait, within a time limit.
    pub(super) fn finish(self) {
        if let Some(exporter) = self.exporter {
            exporter.finish();
        }
    }
}
