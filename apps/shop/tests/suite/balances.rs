//! `shop balances` on what a relay publishes, after another program has deleted it.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::Duration,
};

use gesta::kafka::{
    KafkaUrl,
    rdkafka::{
        ClientConfig,
        admin::{AdminClient, AdminOptions},
        client::DefaultClientContext,
    },
};
use tempfile::TempDir;

use crate::{
    http::account,
    strategies::program::{Program, shop},
};

/// Time in which the broker deletes a topic.
const DELETED_WITHIN: Duration = Duration::from_secs(60);

/// Deletes the topic of a relay.
async fn delete_topic(url: &KafkaUrl) {
    let topic = format!("{}.events", url.relay().unwrap());
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", url.brokers());
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(DELETED_WITHIN));
    for outcome in admin.delete_topics(&[topic.as_str()], &options).await.unwrap() {
        outcome.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn balances_end_with_an_error_that_names_the_relay_whose_topic_was_deleted() {
    let Some(broker) = gesta_services::url_or_skip("kafka") else { return };
    let relay = format!("{broker}/shop-{}", uuid::Uuid::new_v4().simple());
    let directory = TempDir::new().unwrap();
    let serving =
        Program::start(directory.path(), &["serve", "--store", "memory:", "--relay", &relay]);
    serving.command("/v1/accounts", &account("a1", "GBP"));
    let balances = |rows: &str, options: &[&str]| {
        let rows = format!("sqlite:{rows}");
        let mut command =
            shop(directory.path(), &["balances", "--source", &relay, "--read-models", &rows]);
        command.args(options).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut following = balances("followed", &["--follow"]);
    let mut printed = BufReader::new(following.stdout.take().unwrap()).lines();
    assert!(printed.next().unwrap().unwrap().contains("a1"), "it follows");
    drop(serving);
    let url: KafkaUrl = relay.parse().unwrap();
    delete_topic(&url).await;
    for program in [balances("printed", &[]), following] {
        let ended = program.wait_with_output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success(), "{told}");
        for part in [url.relay().unwrap(), url.brokers(), "start a relay of another name"] {
            assert!(told.contains(part), "{part} is not in: {told}");
        }
    }
}
