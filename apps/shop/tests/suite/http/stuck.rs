//! Lists of what is stuck, page by page and by stream: dead letters of projections and reactors,
//! and set-aside inputs.

use std::time::Duration;

use gesta::{Gesta, sqlite::Sqlite, testing::drain};
use serde_json::{Value, json};
use shop::{
    outbox::Outbox,
    processes::{self, ProcessDelays},
    reactors, read_side,
};

use super::{Client, statuses::put_by_hand};

/// Opens a shop with all of its parts, and appends events to streams, in this order, that no part
/// can read.
async fn stuck(streams: &[&str], event_type: &str) -> Client {
    let (models, outbox) =
        (Sqlite::temporary().await.unwrap().into(), tempfile::tempdir().unwrap());
    let builder = read_side::project_all(Gesta::at("memory:"), &models);
    let delays = ProcessDelays { welcome: Duration::ZERO, payment: Duration::ZERO };
    let builder = processes::run_all(builder, delays);
    let builder = reactors::run_all(builder, Outbox::open(outbox.path()).unwrap());
    let client = Client::over(builder.open().await.unwrap());
    for stream in streams {
        put_by_hand(&client, stream, event_type, "{}").await;
    }
    drain(&client.shop).await;
    client
}

/// Reads a list in pages of `limit`, and returns the items of each.
async fn pages(client: &Client, list: &str, limit: usize) -> Vec<Vec<Value>> {
    let first = format!("{list}{}limit={limit}", if list.contains('?') { '&' } else { '?' });
    let (mut pages, mut path) = (Vec::new(), first.clone());
    loop {
        let page = client.get(&path).ok().await.json;
        pages.push(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { return pages };
        path = format!("{first}&cursor={next}");
    }
}

fn streams(pages: &[Vec<Value>]) -> Vec<Vec<&str>> {
    let mut streams = Vec::new();
    for page in pages {
        streams.push(page.iter().map(|it| it["stream"].as_str().unwrap()).collect());
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_projections_are_listed_in_pages_by_projection_and_by_stream() {
    let client = stuck(&["user-c", "user-a", "user-a", "user-b"], "user-updated").await;
    let users = "/v1/dead-letters?projection=users";
    let all = pages(&client, users, 3).await;
    assert_eq!(streams(&all), [vec!["user-c", "user-a", "user-a"], vec!["user-b"]]);
    let behind: Vec<_> = all[0].iter().map(|letter| letter["behind"].clone()).collect();
    assert_eq!(behind, [json!(0), json!(1), Value::Null], "events that wait behind each one");
    let of_two = pages(&client, &format!("{users}&stream=user-a&stream=user-b"), 2).await;
    assert_eq!(streams(&of_two), [vec!["user-a", "user-a"], vec!["user-b"]]);
    // Without a projection, those of every one, each once.
    let every = client.get("/v1/dead-letters?limit=500").ok().await.json;
    assert_eq!(
        pages(&client, "/v1/dead-letters", 1).await.concat(),
        *every["items"].as_array().unwrap()
    );
    let none = client.get("/v1/dead-letters?projection=nobody").send().await;
    assert_eq!(none.problem(), (404, "not-found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_begins_after_a_dead_letter_that_was_discarded() {
    let client = stuck(&["user-a", "user-b", "user-c"], "user-updated").await;
    let users = "/v1/dead-letters?projection=users&limit=1";
    let first = client.get(users).ok().await.json;
    let id = first["items"][0]["id"].as_str().unwrap().to_owned();
    client.delete(&format!("/v1/dead-letters/{id}")).ok().await;
    let next = first["next"].as_str().unwrap();
    let second = client.get(&format!("{users}&cursor={next}")).ok().await;
    assert_eq!(second.json["items"][0]["stream"], "user-b");
    let links = second.headers["link"].to_str().unwrap();
    assert!(links.contains("rel=\"next\"") && links.contains("rel=\"prev\""), "{links}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_a_reactor_are_listed_in_pages_and_by_stream() {
    let client = stuck(&["welcome-c", "welcome-a", "welcome-b"], "user-welcomed").await;
    let letters = "/v1/reactors/welcome-mail/dead-letters";
    let all = pages(&client, letters, 2).await;
    assert_eq!(streams(&all), [vec!["welcome-a", "welcome-b"], vec!["welcome-c"]]);
    let one = pages(&client, &format!("{letters}?stream=welcome-b"), 2).await;
    assert_eq!(streams(&one), [["welcome-b"]]);
    let other = client.get(&format!("{letters}?cursor=00")).send().await;
    assert_eq!(other.problem(), (422, "unknown-cursor"));
}

#[tokio::test(flavor = "multi_thread")]
async fn set_aside_inputs_are_listed_in_pages_that_may_divide_a_subject() {
    let client = stuck(&["user-b", "user-a", "user-a", "user-c"], "user-created").await;
    let set_aside = "/v1/processes/welcome/set-aside";
    let all = pages(&client, set_aside, 1).await;
    let subject = |page: &Vec<Value>| {
        let inputs = page[0]["inputs"].as_array().unwrap();
        assert_eq!((page.len(), inputs.len()), (1, 1), "{page:?}");
        (page[0]["subject"].as_str().unwrap().to_owned(), inputs[0]["error"].is_string())
    };
    let one = |stream: &str, fails| (format!("stream:user-{stream}"), fails);
    let expected = [one("a", true), one("a", false), one("b", true), one("c", true)];
    assert_eq!(all.iter().map(subject).collect::<Vec<_>>(), expected);
    let of_two = pages(&client, &format!("{set_aside}?stream=user-a&stream=user-c"), 500).await;
    let subjects: Vec<_> = of_two[0].iter().map(|one| one["subject"].clone()).collect();
    assert_eq!(subjects, ["stream:user-a", "stream:user-c"]);
    assert_eq!(of_two[0][0]["inputs"].as_array().unwrap().len(), 2);
}
