//! The shop's log and its traces.
//!
//! Owns: their options, and the subscriber of `tracing`. Invariants:
//! - Lines go to standard error, because standard output has results.
//! - Lines as JSON have the correlation id and the trace of what they are about; lines as text have
//!   none, and without a collector they cost no span.
//! - Traces are off without `--otlp-endpoint`, and then no span is made for them.

use std::{env, io};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use gesta::SPAN_TARGET;
use gesta_telemetry::{Endpoint, JsonLog, SampleRatio, Service, TraceExporter};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, Registry, filter::Targets, fmt, prelude::*};

/// Default levels. A name covers all targets with that prefix: `gesta` includes its store and HTTP
/// layer.
const LEVELS: &str = "warn,gesta=info,shop=info";

/// Options of the log and the traces.
#[derive(Args, Debug)]
pub(crate) struct TelemetryOptions {
    /// Form of the lines on standard error; JSON has correlation ids and traces
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        env = "GESTA_LOG_FORMAT"
    )]
    log_format: LogFormat,
    /// Send traces to this OpenTelemetry collector by OTLP over HTTP, such as
    /// http://127.0.0.1:4318
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true
    )]
    otlp_endpoint: Option<Endpoint>,
    /// Name of this program in traces
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "shop",
        env = "OTEL_SERVICE_NAME"
    )]
    service_name: String,
    /// Part of the traces that is sent, from 0 to 1. A trace that a caller has begun follows the
    /// caller
    #[arg(
        long,
        global = true,
        value_name = "RATIO",
        default_value = "1",
        env = "GESTA_TRACE_RATIO"
    )]
    trace_ratio: SampleRatio,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

/// The installed telemetry. Spans that wait are sent by [`finish`](Self::finish).
#[derive(Debug)]
pub(crate) struct RunningTelemetry {
    exporter: Option<TraceExporter>,
}

impl TelemetryOptions {
    /// Installs the subscriber of `tracing`.
    pub(crate) fn start(&self) -> Result<RunningTelemetry> {
        let lines = self.lines(levels()?);
        let Some(endpoint) = self.otlp_endpoint.clone() else {
            tracing_subscriber::registry().with(lines).init();
            return Ok(RunningTelemetry { exporter: None });
        };
        let service = Service::new(self.service_name.as_str(), env!("CARGO_PKG_VERSION"));
        let exporter = TraceExporter::start(endpoint, service);
        let exporter = exporter.context("cannot start the thread that sends traces")?;
        let of_gesta = Targets::new().with_target(SPAN_TARGET, LevelFilter::INFO);
        let spans = exporter.layer(self.trace_ratio).with_filter(of_gesta);
        tracing_subscriber::registry().with(lines).with(spans).init();
        Ok(RunningTelemetry { exporter: Some(exporter) })
    }

    fn lines(&self, levels: Targets) -> Box<dyn Layer<Registry> + Send + Sync> {
        match self.log_format {
            LogFormat::Text => {
                // Without this, lines would have the spans, which would be made for them.
                let levels = levels.with_target(SPAN_TARGET, LevelFilter::OFF);
                fmt::layer().with_writer(io::stderr).with_filter(levels).boxed()
            }
            LogFormat::Json => {
                // Lines take their correlation ids from the spans, whatever their own level.
                let levels = levels.with_target(SPAN_TARGET, LevelFilter::INFO);
                JsonLog::new(io::stderr).with_filter(levels).boxed()
            }
        }
    }
}

/// Returns the levels of the log, of `RUST_LOG` or the default ones.
fn levels() -> Result<Targets> {
    let levels = env::var("RUST_LOG").ok().filter(|levels| !levels.is_empty());
    let levels = levels.as_deref().unwrap_or(LEVELS);
    // Checked, since a typing error would otherwise silence the log.
    let targets = levels.parse::<Targets>();
    targets.with_context(|| format!("RUST_LOG must be levels such as `{LEVELS}`; got `{levels}`"))
}

impl RunningTelemetry {
    /// Sends the spans that wait, within a time limit.
    pub(crate) fn finish(self) {
        if let Some(exporter) = self.exporter {
            exporter.finish();
        }
    }
}
