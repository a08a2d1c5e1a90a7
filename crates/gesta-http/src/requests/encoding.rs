//! Content codings of request bodies (RFC 9110, section 8.4), and the choice of the responses that
//! are compressed.
//!
//! Invariants: the size limit applies to the decoded body, and decoding stops there; an unsupported
//! coding is refused, never parsed as JSON; an event feed is never compressed.
//!
//! Not here: the compression ([`rules`](crate::rules)).

use std::io::Read as _;

use axum::{
    body::{Bytes, HttpBody},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use flate2::read::MultiGzDecoder;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};

use crate::Problem;

/// Minimum size of a response that is compressed, in bytes. A smaller one fits into one packet.
const COMPRESSED_BYTES_MIN: u64 = 1 << 10;

/// The choice of the responses that are compressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compressible;

impl Predicate for Compressible {
    fn should_compress<B: HttpBody>(&self, response: &Response<B>) -> bool {
        // A strong entity tag names these bytes and no others (RFC 9110, section 8.8.3.3).
        let tag = response.headers().get(header::ETAG);
        let has_strong_tag = tag.is_some_and(|tag| !tag.as_bytes().starts_with(b"W/"));
        // A body of unknown size is a stream, whose parts must not wait in an encoder.
        let size = response.body().size_hint().exact();
        !has_strong_tag
            && size.is_some_and(|bytes| bytes >= COMPRESSED_BYTES_MIN)
            && DefaultPredicate::new().should_compress(response)
    }
}

/// The content coding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    Identity,
    Gzip,
}

impl ContentCoding {
    /// Reads `Content-Encoding`.
    ///
    /// # Errors
    /// A 415 if the coding is not supported.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut codings = Vec::new();
        for line in headers.get_all(header::CONTENT_ENCODING) {
            let line =
                line.to_str().map_err(|_| unsupported("a value with non-ASCII characters"))?;
            codings.extend(line.split(',').map(|coding| coding.trim().to_ascii_lowercase()));
        }
        // `identity` changes nothing, wherever it stands in the list.
        codings.retain(|coding| !coding.is_empty() && coding != "identity");
        match codings.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => Ok(Self::Identity),
            // `x-gzip` is an old name of the same coding (RFC 9110, section 8.4.1.3).
            ["gzip" | "x-gzip"] => Ok(Self::Gzip),
            others => Err(unsupported(&others.join(", "))),
        }
    }

    /// Decodes a complete body.
    ///
    /// # Errors
    /// A 400 if the bytes are not in this coding; `too_large` if they decode to more than `max`
    /// bytes.
    pub(crate) fn decode(
        self,
        body: Bytes,
        max: usize,
        too_large: impl FnOnce() -> Problem,
    ) -> Result<Bytes, Problem> {
        if self == Self::Identity {
            return Ok(body);
        }
        // A gzip text may have several members, one after the other (RFC 1952, section 2.2).
        let mut inflated = Vec::new();
        // One byte beyond the limit is enough to detect an oversized body.
        let mut decoder = MultiGzDecoder::new(body.as_ref()).take(max as u64 + 1);
        decoder.read_to_end(&mut inflated).map_err(|error| {
            Problem::invalid(
                "body",
                format!("is not valid gzip, although `Content-Encoding` declares gzip: {error}"),
            )
        })?;
        if inflated.len() > max { Err(too_large()) } else { Ok(inflated.into()) }
    }
}

fn unsupported(coding: &str) -> Problem {
    let detail = format!("`Content-Encoding` must be gzip or identity; got {coding}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding", detail)
        .accepting("gzip, identity")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coding(text: &str) -> Option<ContentCoding> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, text.parse().unwrap());
        ContentCoding::of(&headers).ok()
    }

    #[test]
    fn gzip_is_the_only_supported_coding() {
        for (text, supported) in [
            ("gzip", Some(ContentCoding::Gzip)),
            ("X-GZIP", Some(ContentCoding::Gzip)),
            ("identity", Some(ContentCoding::Identity)),
            ("br", None),
            ("deflate", None),
            ("gzip, gzip", None),
            ("gzip, br", None),
        ] {
            assert_eq!(coding(text), supported, "{text}");
        }
        assert_eq!(ContentCoding::of(&HeaderMap::new()).ok(), Some(ContentCoding::Identity));
    }
}
