//! The page to try the interface, in a browser: every example can be sent as it is offered.
//!
//! A test without Chromium says so on standard error, and fails under `CI=true`.

use gesta_services::chromium::Page;
use serde_json::Value;
use tempfile::TempDir;

use crate::strategies::program::Program;

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
  const execute = () => block.querySelector(".btn.execute").click();
  execute();
  const answer = ".live-responses-table tbody";
  const status = await until(() => {
    // A field that was not filled yet is marked, and nothing was sent.
    if (block.querySelector(".invalid")) execute();
    return text(`${answer} .response-col_status`);
  });
  const operation = `${text(".opblock-summary-method")} ${text(".opblock-summary-path")}`;
  const body = text(`${answer} .response-col_description`)?.slice(0, 1000);
  toggle();
  return { operation, status: parseInt(status, 10), body };
};
true
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_example_succeeds_as_the_page_offers_it() {
    let directory = TempDir::new().unwrap();
    let demo = Program::start(directory.path(), &["demo", "--faults"]);
    let Some(mut page) = Page::open(&demo.url()).await else { return };
    page.visit(&format!("{}/docs", demo.url())).await;
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
}
