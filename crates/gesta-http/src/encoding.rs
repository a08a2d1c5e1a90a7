//! Content codings of request bodies (RFC 9110, section 8.4).
//!
//! Always holds: a body counts with the bytes that it has after inflating, and inflating stops at
//! the limit; a coding that is not understood is refused and never read as JSON.

use std::io::Read as _;

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode, header},
};
use flate2::read::MultiGzDecoder;

use crate::Problem;

/// How the bytes of a body are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
}

impl Coding {
    /// Reads the header `Content-Encoding`.
    ///
    /// # Errors
    /// The [`Problem`] that the coding is not understood (415).
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut codings = Vec::new();
        for line in headers.get_all(header::CONTENT_ENCODING) {
            let line = line.to_str().map_err(|_| unsupported("which is not ASCII"))?;
            codings.extend(line.split(',').map(|coding| coding.trim().to_ascii_lowercase()));
        }
        codings.retain(|coding| !coding.is_empty() && coding != "identity");
        match codings.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => Ok(Self::Identity),
            ["gzip" | "x-gzip"] => Ok(Self::Gzip),
            others => Err(unsupported(&others.join(", "))),
        }
    }

    /// Decodes a body that was read in full.
    ///
    /// # Errors
    /// The [`Problem`] that the bytes are not of this coding; `too_large` when they inflate to more
    /// than `max`.
    pub(crate) fn decode(
        self,
        body: Bytes,
        max: usize,
        too_large: impl FnOnce() -> Problem,
    ) -> Result<Bytes, Problem> {
        if self == Self::Identity {
            return Ok(body);
        }
        let mut inflated = Vec::new();
        // One byte more than is allowed tells that there are more.
        let mut decoder = MultiGzDecoder::new(body.as_ref()).take(max as u64 + 1);
        decoder.read_to_end(&mut inflated).map_err(|error| {
            Problem::invalid("body", format!("is not gzip, as Content-Encoding says: {error}"))
        })?;
        if inflated.len() > max { Err(too_large()) } else { Ok(inflated.into()) }
    }
}

fn unsupported(coding: &str) -> Problem {
    let detail = format!("Content-Encoding: {coding} is not understood; send gzip or identity");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding", detail)
        .accepting("gzip, identity")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coding(text: &str) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, text.parse().unwrap());
        Coding::of(&headers).ok()
    }

    #[test]
    fn gzip_is_understood_and_others_are_not() {
        for (text, understood) in [
            ("gzip", Some(Coding::Gzip)),
            ("X-GZIP", Some(Coding::Gzip)),
            ("identity", Some(Coding::Identity)),
            ("br", None),
            ("deflate", None),
            ("gzip, gzip", None),
            ("gzip, br", None),
        ] {
            assert_eq!(coding(text), understood, "{text}");
        }
        assert_eq!(Coding::of(&HeaderMap::new()).ok(), Some(Coding::Identity));
    }
}
