//! Compressed responses that wait in memory for slow clients.
//!
//! The state of an encoder takes hundreds of kilobytes, so a response is compressed as a whole and
//! waits as the bytes that are left to send. Files of the program are compressed once, and wait
//! nowhere: all responses share them.
//!
//! Invariant: a response that its handler has encoded, or whose size is unknown, passes as it is.
//!
//! Not here: the encoder ([`rules`](crate::rules)), and its choice
//! ([`encoding`](super::encoding)).

use axum::{
    body::{Body, HttpBody as _, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::task::spawn_blocking;

use crate::{
    Problem,
    wire::asset::{AssetForms, Coding},
};

/// Marks a response that was encoded before the layer of compression.
#[derive(Clone, Copy, Debug)]
struct IsEncoded;

/// Middleware inside the layer of compression: gives files of the program in a form that is there.
pub(crate) async fn precompressed(request: Request, next: Next) -> Response {
    let is_get = request.method() == Method::GET;
    let coding = accepted_coding(request.headers()).filter(|_| is_get);
    let mut response = next.run(request).await;
    if response.headers().contains_key(header::CONTENT_ENCODING) {
        response.extensions_mut().insert(IsEncoded);
        return response;
    }
    let forms = response.extensions_mut().remove::<AssetForms>();
    let (Some(coding), Some(forms)) = (coding, forms) else { return response };
    // The first request of a file waits for its compression.
    let form = spawn_blocking(move || forms.of(coding)).await;
    let Ok(Some(bytes)) = form else { return response };
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    response.extensions_mut().insert(IsEncoded);
    *response.body_mut() = Body::from(bytes);
    response
}

/// Returns the best coding that a client accepts and files have.
fn accepted_coding(headers: &HeaderMap) -> Option<Coding> {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let entries = values.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
    let accepted = entries.filter_map(|entry| {
        let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        // `q=0` is a refusal (RFC 9110, section 12.4.2).
        let quality = parameters.trim().strip_prefix("q=").map(str::parse::<f32>);
        let is_refused = quality.is_some_and(|quality| quality.is_ok_and(|it| it <= 0.0));
        (!is_refused).then_some(name.trim())
    });
    let accepted: Vec<_> = accepted.collect();
    Coding::ALL.into_iter().find(|coding| {
        accepted.iter().any(|name| name.eq_ignore_ascii_case(coding.name()) || *name == "*")
    })
}

/// Middleware around the layer of compression: finishes a response that it has begun.
pub(crate) async fn finished(mut response: Response) -> Response {
    let was_encoded = response.extensions_mut().remove::<IsEncoded>().is_some();
    let is_begun = response.headers().contains_key(header::CONTENT_ENCODING)
        && response.body().size_hint().exact().is_none();
    if was_encoded || !is_begun || response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let (parts, body) = response.into_parts();
    // Only a body of known size is compressed, so it is in memory already.
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => Response::from_parts(parts, Body::from(bytes)),
        Err(error) => Problem::internal(&error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_coding_that_is_not_refused_is_chosen() {
        for (accepted, coding) in [
            ("gzip, deflate, br", Some(Coding::Brotli)),
            ("GZIP", Some(Coding::Gzip)),
            ("br;q=0, gzip;q=0.5", Some(Coding::Gzip)),
            ("*", Some(Coding::Brotli)),
            ("identity", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, accepted.parse().unwrap());
            assert_eq!(accepted_coding(&headers), coding, "{accepted}");
        }
        assert_eq!(accepted_coding(&HeaderMap::new()), None);
    }
}
