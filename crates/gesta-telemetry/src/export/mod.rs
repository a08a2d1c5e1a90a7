//! The layers of a program: spans to a collector, and log lines as JSON.

mod exporter;
mod finished_span;
mod json_log;
mod otlp;
mod sample_ratio;
mod span_layer;
mod span_queue;

pub use exporter::{Endpoint, InvalidEndpoint, TraceExporter};
pub use json_log::JsonLog;
pub use otlp::Service;
pub use sample_ratio::{InvalidSampleRatio, SampleRatio};
pub use span_layer::SpanLayer;
