//! Web pages of other origins: what they read, and with which credentials.

use std::time::Duration;

use axum::http::HeaderMap;
use gesta_http::CrossOrigin;

use crate::{api, asked, send, state};

const PAGE: &str = "https://shop.example";

/// Asks as a page of an origin. A request with a method is a preflight.
async fn headers_for(rule: CrossOrigin, origin: &str, preflight_of: Option<&str>) -> HeaderMap {
    let router = api().router(state().await.cross_origin(rule));
    let method = if preflight_of.is_some() { "OPTIONS" } else { "GET" };
    let mut request = asked(method, "/health/live");
    request.headers_mut().insert("origin", origin.parse().unwrap());
    if let Some(method) = preflight_of {
        request.headers_mut().insert("access-control-request-method", method.parse().unwrap());
    }
    send(router, request).await.1
}

fn shop() -> CrossOrigin {
    CrossOrigin::from_origins([PAGE.parse().unwrap()])
}

#[tokio::test]
async fn pages_read_the_headers_of_the_application_too() {
    let rule = shop().expose(["x-total".parse().unwrap(), "x-rest".parse().unwrap()]);
    let headers = headers_for(rule, PAGE, None).await;
    let exposed = headers["access-control-expose-headers"].to_str().unwrap();
    for name in ["ETag", "Gesta-Position", "Link", "x-total", "x-rest"] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{name}: {exposed}");
    }
}

#[tokio::test]
async fn cookies_are_for_pages_of_named_origins_alone() {
    const COOKIES: &str = "access-control-allow-credentials";
    assert!(!headers_for(shop(), PAGE, None).await.contains_key(COOKIES));
    for preflight_of in [None, Some("PATCH")] {
        let named = headers_for(shop().with_cookies(), PAGE, preflight_of).await;
        assert_eq!(named[COOKIES], "true");
        assert_eq!(named["access-control-allow-origin"], PAGE);
        let any = CrossOrigin::from_origins(["*".parse().unwrap()]).with_cookies();
        let any = headers_for(any, PAGE, preflight_of).await;
        assert_eq!(any["access-control-allow-origin"], "*");
        assert!(!any.contains_key(COOKIES), "{any:?}");
    }
}

#[tokio::test]
async fn the_age_of_a_preflight_is_as_configured() {
    let hour = shop().preflight_age_max(Duration::from_secs(3_600));
    assert_eq!(headers_for(hour, PAGE, Some("POST")).await["access-control-max-age"], "3600");
    assert_eq!(headers_for(shop(), PAGE, Some("POST")).await["access-control-max-age"], "600");
}
