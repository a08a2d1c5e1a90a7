//! Data that would break a careless page: markup, huge and deep payloads, numbers that JavaScript
//! rounds, characters that hide.

use serde_json::json;

use gesta_services::chromium::Page;

use crate::{
    native::http_client::{Api, JSON},
    scene::Scene,
};

const MARKUP: &str = "<img src=x onerror=alert(1)>";

async fn append_raw(api: Api, stream: &str, event_type: &str, data: &str) {
    let (stream, event_type) = (json!(stream), json!(event_type));
    let event = format!("{{\"type\":{event_type},\"data\":{data},\"tags\":[\"<b>:1\"]}}");
    let body = format!("{{\"streams\":[{{\"stream\":{stream},\"events\":[{event}]}}]}}");
    api.send("POST /v1/append", JSON, body.as_bytes()).await.done();
}

#[tokio::test]
async fn markup_is_text_and_numbers_keep_their_digits() {
    let scene = Scene::of_memory().await;
    let api = Api::of(&scene);
    let stream = format!("evil-{MARKUP}");
    let data = r#"{"big":12345678901234567890,"exact":0.1000000000000000055,"same":1,"same":2,
        "nul":"a\u0000b","turned":"\u202Eevil","markup":"<script>alert(1)</script>","half":"\ud800"}"#;
    append_raw(api, &stream, MARKUP, data).await;
    let Some(mut page) = Page::open(&format!("http://{}", scene.address)).await else { return };
    let name = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E";
    for screen in [
        format!("#/stream?name=evil-{name}"),
        format!("#/event?stream=evil-{name}&revision=0"),
        "#/query".to_owned(),
        "#/streams".to_owned(),
        format!("#/lanes?stream=evil-{name}"),
        format!("#/{name}"),
        format!("#/group?source={name}&name={name}"),
    ] {
        page.load(&screen).await;
        let text = page.text().await;
        assert!(text.contains(MARKUP), "{screen}: {text}");
        assert_eq!(
            page.value("document.querySelectorAll('main img, main script').length").await,
            0
        );
    }
    page.load(&format!("#/event?stream=evil-{name}&revision=0")).await;
    let text = page.text().await;
    for exact in ["12345678901234567890", "0.1000000000000000055", "same: 1", "same: 2", "202E"] {
        assert!(text.contains(exact), "{exact}: {text}");
    }
    assert!(!text.contains('\u{202E}') && !text.contains('\0'), "{text}");
    page.assert_clean();
}

#[tokio::test]
async fn huge_and_deep_payloads_are_shown_in_parts() {
    let scene = Scene::of_memory().await;
    let api = Api::of(&scene);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    append_raw(api, "evil-1", "deep", &deep).await;
    let items: Vec<_> = (0..15_000).map(|n| format!("\"{n} {}\"", "x".repeat(990))).collect();
    append_raw(api, "evil-1", "large", &format!("[{}]", items.join(","))).await;
    append_raw(api, "evil-1", "one-text", &format!("\"{}\"", "y".repeat(15_000_000))).await;
    let Some(mut page) = Page::open(&format!("http://{}", scene.address)).await else { return };
    for (revision, kind) in [(0, "deep"), (1, "large"), (2, "one-text")] {
        page.load(&format!("#/event?stream=evil-1&revision={revision}")).await;
        assert!(page.text().await.contains(kind));
        page.value("document.querySelector('.tree summary')?.click()").await;
        if revision == 1 {
            page.until("document.querySelector('.more')?.innerText.includes('14,800 left')").await;
        }
        let elements = page.value("document.querySelectorAll('*').length").await;
        assert!(elements.as_u64().unwrap() < 2_000, "{kind}: {elements} elements");
        let shown = page.value("document.body.innerText.length").await;
        assert!(shown.as_u64().unwrap() < 5_000_000, "{kind}: {shown} characters");
    }
    page.load("#/stream?name=evil-1").await;
    // The server ends a page at 8 MiB, after at least one event.
    let text = page.text().await;
    assert!(text.contains("1 event on this page") && text.contains("Next"), "{text}");
    page.assert_clean();
}
