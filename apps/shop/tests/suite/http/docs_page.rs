//! The page to try the interface, in a browser: every example can be sent as it is offered.
//!
//! A test without Chromium says so on standard error, and fails under `CI=true`.

use std::net::Ipv4Addr;

use gesta::{Gesta, sqlite::Sqlite};
use gesta_http::GestaState;
use gesta_services::chromium::Page;
use serde_json::Value;
use shop::{
    outbox::Outbox,
    processes, reactors, read_side,
    samples::{self, faults},
};
use tokio::{net::TcpListener, sync::oneshot};

use crate::opened;

/// Adds a function that sends the offered example of an operation, and returns the answer.
const TRY: &str = r#"
window.tryOperation = async (place) => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const until = async (look) => {
    for (;;) {
      const found = look();
      if (found) return found;
      await frame();
    }
  };
  const block = document.querySelectorAll(".opblock")[place];
  const text = (part) => block.querySelector(part)?.textContent.trim();
  const toggle = () => block.querySelector(".opblock-summary-control").click();
  toggle();
  await until(() => block.querySelector(".btn.execute"));
  // The page fills its fields after it has shown them.
  for (let frames = 0; frames < 10; frames += 1) await frame();
  block.querySelector(".btn.execute").click();
  const answer = ".live-responses-table tbody";
  const status = await until(() => text(`${answer} .response-col_status`));
  const operation = `${text(".opblock-summary-method")} ${text(".opblock-summary-path")}`;
  const body = text(`${answer} .response-col_description`)?.slice(0, 1000);
  toggle();
  return { operation, status: parseInt(status, 10), body };
};
true
"#;

/// A shop with the data of `shop demo --faults`, on a port of its own.
struct ServedDemo {
    url: String,
    gesta: Gesta,
    _end: oneshot::Sender<()>,
    _directory: tempfile::TempDir,
}

impl ServedDemo {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let planted = opened::in_directory(directory.path()).await;
        assert!(faults::plant(&planted).await.unwrap());
        planted.close().await;
        let events = format!("gesta:{}?index=event-id", directory.path().display());
        let events = Gesta::at(events);
        let read_models = Sqlite::open(directory.path().join("read-models")).await.unwrap();
        let builder = read_side::project_all(events, &read_models.into());
        let builder = processes::run_all(builder, faults::DELAYS);
        let mails = directory.path().join("outbox");
        let outbox = Outbox::open(&mails).unwrap();
        let gesta = reactors::run_all(builder, outbox).open().await.unwrap();
        samples::prepare(&gesta).await.unwrap();
        faults::prepare(&gesta, &mails).await.unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = GestaState::new(gesta.clone());
        // Its id depends on how the process and the store kept pace.
        let refused = faults::refused_command(&gesta).await.unwrap();
        let api = shop::http::api().example("resendProcessCommand", "command", refused);
        let router = api.router(state.clone());
        let (end, ended) = oneshot::channel::<()>();
        tokio::spawn(async move {
            // The end of the test drops the sender.
            let ended = async { drop(ended.await) };
            gesta_http::serve(listener, router, state, ended).await.unwrap();
        });
        Self { url, gesta, _end: end, _directory: directory }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_succeeds_as_the_page_offers_it() {
    let demo = ServedDemo::start().await;
    let Some(mut page) = Page::open(&demo.url).await else { return };
    page.visit(&format!("{}/docs", demo.url)).await;
    page.until("document.querySelector('.opblock')").await;
    page.value(TRY).await;
    let shown = page.value("document.querySelectorAll('.opblock').length").await;
    let mut answers = Vec::new();
    for place in 0..shown.as_u64().unwrap() {
        answers.push(page.value(&format!("tryOperation({place})")).await);
    }
    let failed: Vec<_> = answers
        .iter()
        .filter(|answer| !matches!(answer["status"].as_u64(), Some(200..300)))
        .map(Value::to_string)
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(answers.len(), shop::http::api().routes().len(), "each operation is tried");
    let first = answers[0]["operation"].as_str().unwrap();
    assert!(first.contains("/v1/users"), "the business comes first: {first}");
    demo.gesta.close().await;
}
