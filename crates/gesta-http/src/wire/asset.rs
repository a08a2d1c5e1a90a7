//! Files that are part of a program, such as scripts and styles of its pages.
//!
//! Invariant: a cache never shows a file of an older program: it asks again each time, and is
//! answered with a 304 while its copy is current.
//!
//! Not here: the choice of a form ([`compressed`](crate::requests::compressed)).

use std::{
    io::{self, Write as _},
    sync::{Arc, OnceLock},
};

use axum::{
    Extension,
    body::Bytes,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use brotli::CompressorWriter;
use flate2::{Compression, write::GzEncoder};

use super::headers::value;

/// Digits of the hash in an entity tag.
const TAG_DIGITS: usize = 32;
/// Minimum size of a file that is compressed, in bytes. A smaller one fits into one packet.
const COMPRESSED_BYTES_MIN: usize = 1 << 10;
/// Effort of Brotli, of 11: the last ones take seconds for a script of a megabyte.
const BROTLI_QUALITY: u32 = 9;
/// Window of Brotli, as a power of two: the largest that every client takes.
const BROTLI_WINDOW: u32 = 22;
const BUFFER_BYTES: usize = 16 << 10;

/// A file that is part of a program.
///
/// Its response has an `ETag` of the content and `Cache-Control: no-cache`. Inside
/// [`HttpRules`](crate::HttpRules) it is answered with 304 to a browser that has it, and else
/// compressed as the client accepts. It is compressed once, so create it once and clone it.
///
/// ```
/// use axum::{Router, routing::get};
/// use gesta_http::Asset;
///
/// let style = Asset::new("text/css; charset=utf-8", "body { margin: 2em }");
/// let router: Router = Router::new().route("/style.css", get(async move || style.clone()));
/// # drop(router);
/// ```
#[derive(Clone, Debug)]
pub struct Asset {
    media_type: &'static str,
    bytes: Bytes,
    tag: HeaderValue,
    forms: AssetForms,
}

/// The compressed forms of a file, a response extension. Each is made once, when it is first asked
/// for, and shared by all responses.
#[derive(Clone, Debug)]
pub(crate) struct AssetForms(Arc<CompressedForms>);

#[derive(Debug)]
struct CompressedForms {
    plain: Bytes,
    brotli: OnceLock<Option<Bytes>>,
    gzip: OnceLock<Option<Bytes>>,
}

/// A content coding of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    /// The codings, the best one first.
    pub(crate) const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// Returns the name in headers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    fn encode(self, plain: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Brotli => {
                let mut encoded = Vec::new();
                let mut encoder = CompressorWriter::new(
                    &mut encoded,
                    BUFFER_BYTES,
                    BROTLI_QUALITY,
                    BROTLI_WINDOW,
                );
                encoder.write_all(plain)?;
                // The end is written when the encoder is dropped.
                drop(encoder);
                Ok(encoded)
            }
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(plain)?;
                encoder.finish()
            }
        }
    }
}

impl AssetForms {
    /// Returns a form, or `None` if the file is better sent as it is. Blocks the first time.
    pub(crate) fn of(&self, coding: Coding) -> Option<Bytes> {
        let CompressedForms { plain, brotli, gzip } = &*self.0;
        if plain.len() < COMPRESSED_BYTES_MIN {
            return None;
        }
        let form = match coding {
            Coding::Brotli => brotli,
            Coding::Gzip => gzip,
        };
        let encoded = form.get_or_init(|| {
            let encoded = coding.encode(plain).ok()?;
            (encoded.len() < plain.len()).then(|| encoded.into())
        });
        encoded.clone()
    }
}

impl Asset {
    /// Creates a file of this media type, which may have parameters. Hashes the content.
    #[must_use]
    pub fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let hash = blake3::hash(&bytes).to_hex();
        // Weak: the compressed content has the same tag.
        let tag = value(&format!("W/\"{}\"", hash.get(..TAG_DIGITS).unwrap_or_default()));
        let (brotli, gzip) = (OnceLock::new(), OnceLock::new());
        let forms = CompressedForms { plain: bytes.clone(), brotli, gzip };
        Self { media_type, bytes, tag, forms: AssetForms(Arc::new(forms)) }
    }
}

impl IntoResponse for Asset {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.media_type)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::ETAG, self.tag),
        ];
        (headers, Extension(self.forms), self.bytes).into_response()
    }
}
