//! The context of a trace: the ids of a span, as the W3C recommendation Trace Context has them.
//!
//! Invariant: the text of another program is taken only in the form of the recommendation.

use std::fmt;

/// The id of a trace, which is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u128);

/// The id of a span, which is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(u64);

/// The ids of a span, and the decision on the export of its trace.
///
/// ```
/// use gesta_telemetry::TraceContext;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = TraceContext::parse(header).expect("of the form of the recommendation");
/// assert!(context.is_sampled());
/// assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(context.to_string(), header);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) is_sampled: bool,
}

impl TraceContext {
    /// Reads the header `traceparent`: version, trace, span and flags in hexadecimal. `None` if it
    /// has another form.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let version = hex(parts.next()?, 2)?;
        let (trace, span) = (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?);
        let flags = hex(parts.next()?, 2)?;
        // A later version may add parts, version 0 has none, and version 255 is invalid.
        if version == 0xff || (version == 0 && parts.next().is_some()) || trace == 0 || span == 0 {
            return None;
        }
        let span = SpanId(u64::try_from(span).ok()?);
        Some(Self { trace: TraceId(trace), span, is_sampled: flags & 1 == 1 })
    }

    /// Returns the id of the trace.
    #[must_use]
    pub const fn trace_id(&self) -> TraceId {
        self.trace
    }

    /// Returns the id of the span.
    #[must_use]
    pub const fn span_id(&self) -> SpanId {
        self.span
    }

    /// Returns whether the trace is exported.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

#[cfg(feature = "export")]
impl TraceContext {
    /// Begins a trace. A part of all traces is sampled: those whose random part is below `ratio`.
    pub(crate) fn root(ratio: f64) -> Self {
        let trace = TraceId::random();
        Self { trace, span: SpanId::random(), is_sampled: trace.is_below(ratio) }
    }

    /// Returns the context of a span below this one.
    pub(crate) fn child(self) -> Self {
        Self { span: SpanId::random(), ..self }
    }
}

#[cfg(feature = "export")]
impl TraceId {
    fn random() -> Self {
        Self(uuid::Uuid::new_v4().as_u128())
    }

    /// Compares the last 53 bits, which are random in every trace id, with a part of their range. A
    /// floating-point number has them exactly.
    fn is_below(self, ratio: f64) -> bool {
        const RANGE_BITS: u32 = 53;
        let random = self.0 & ((1 << RANGE_BITS) - 1);
        (random as f64) < ratio * (1_u64 << RANGE_BITS) as f64
    }
}

#[cfg(feature = "export")]
impl SpanId {
    fn random() -> Self {
        // The low half of a random UUID has two bits that are constant, so it is not zero.
        let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
        Self(low)
    }
}

/// The header `traceparent` of version 0.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, is_sampled } = self;
        write!(f, "00-{trace}-{span}-{:02x}", u8::from(*is_sampled))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Reads lower-case hexadecimal of one length.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == digits && text.bytes().all(is_hex))
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_is_read_from_its_header() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span.to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled);
        let later = EXAMPLE.replacen("00-", "01-", 1) + "-more";
        assert_eq!(TraceContext::parse(&later), Some(context));
    }

    #[test]
    fn a_header_of_another_form_is_none() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        for header in [
            "",
            "00",
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replacen("00-", "ff-", 1),
            &format!("{EXAMPLE}-more"),
            &EXAMPLE.replace("-01", "-1"),
            &EXAMPLE.replace('4', "+"),
            &zero_trace,
            &zero_span,
        ] {
            assert_eq!(TraceContext::parse(header), None, "{header}");
        }
    }

    #[test]
    fn a_context_is_written_as_its_header() {
        for header in [EXAMPLE, &EXAMPLE.replace("-01", "-00")] {
            assert_eq!(TraceContext::parse(header).unwrap().to_string(), header);
        }
    }

    #[cfg(feature = "export")]
    #[test]
    fn the_ratio_decides_on_traces_without_a_caller() {
        assert!(TraceContext::root(1.0).is_sampled);
        assert!(!TraceContext::root(0.0).is_sampled);
        assert!(TraceId(u128::MAX).is_below(1.0));
        assert!(!TraceId(0x0010_0000_0000_0000).is_below(0.5));
        assert!(TraceId(0x000f_ffff_ffff_ffff).is_below(0.5));
    }
}
