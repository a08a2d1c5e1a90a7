//! Real servers: each service answers, keeps its data over a crash, and is gone in the end.

use std::{
    fs,
    net::TcpStream,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use gesta_services::{OwnServer, SharedServers};

use crate::client::Client;

/// Time in which a running server would have answered.
const ANSWER_MAX: Duration = Duration::from_millis(300);

#[test]
fn acknowledged_rows_survive_a_crash() {
    for name in ["postgres", "postgres-15"] {
        let Some(mut server) = OwnServer::start_or_skip(name) else { continue };
        let url = server.url();
        let mut client = Client::connect(&url).unwrap();
        client.query("create table kept (n int); insert into kept values (7)").unwrap();
        server.crash().unwrap();
        assert!(client.query("select 1").is_err(), "the connection is lost");
        assert!(Client::connect(&url).is_err(), "nothing listens");
        server.start().unwrap();
        assert_eq!(server.url(), url);
        let mut client = Client::connect(&url).unwrap();
        assert_eq!(client.query("select n from kept").unwrap(), ["7"]);
        server.stop().unwrap();
        server.start().unwrap();
        assert_eq!(Client::connect(&url).unwrap().query("select n from kept").unwrap(), ["7"]);
    }
}

#[test]
fn a_test_sets_its_own_limits() {
    let settings = ["max_connections=5", "max_wal_senders=0", "wal_level=minimal"];
    let Some(server) = OwnServer::with_or_skip("postgres", &settings) else { return };
    let mut client = Client::connect(&server.url()).unwrap();
    assert_eq!(client.query("show max_connections").unwrap(), ["5"]);
}

#[test]
fn a_paused_server_answers_after_it_was_resumed() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    let mut client = Client::connect(&server.url()).unwrap();
    server.pause().unwrap();
    let (answers, answered) = mpsc::channel();
    let asking = thread::spawn(move || answers.send(client.query("select 7").unwrap()));
    assert_eq!(answered.recv_timeout(ANSWER_MAX), Err(RecvTimeoutError::Timeout));
    server.resume().unwrap();
    assert_eq!(answered.recv().unwrap(), ["7"]);
    asking.join().unwrap().unwrap();
}

#[test]
fn a_replica_follows_its_primary_and_can_be_promoted() {
    let Some(mut replica) = OwnServer::start_or_skip("postgres-replica") else { return };
    let primary = replica.url_of_needed("postgres-15").unwrap();
    let mut primary = Client::connect(&primary).unwrap();
    // The commit waits until the replica shows it.
    primary.query("alter system set synchronous_standby_names = '*'").unwrap();
    primary.query("select pg_reload_conf()").unwrap();
    let mut primary = Client::connect(&replica.url_of_needed("postgres-15").unwrap()).unwrap();
    primary.query("set synchronous_commit = remote_apply; create table moved (n int)").unwrap();
    primary.query("insert into moved values (7)").unwrap();
    let mut client = Client::connect(&replica.url()).unwrap();
    assert_eq!(client.query("select n from moved").unwrap(), ["7"]);
    assert!(client.query("insert into moved values (8)").is_err(), "a replica is read-only");
    replica.crash_needed("postgres-15").unwrap();
    client.query("select pg_promote()").unwrap();
    // The new primary has inherited the setting, and has no replica.
    client.query("set synchronous_commit = local; insert into moved values (8)").unwrap();
    assert_eq!(client.query("select count(*) from moved").unwrap(), ["2"]);
}

#[test]
fn a_pooler_lets_transactions_through_to_its_server() {
    let Some(pooler) = OwnServer::start_or_skip("pgbouncer") else { return };
    let mut client = Client::connect(&pooler.url()).unwrap();
    client.query("create table pooled (n int)").unwrap();
    client.query("begin; insert into pooled values (7); commit").unwrap();
    let direct = pooler.url_of_needed("postgres").unwrap();
    assert_eq!(Client::connect(&direct).unwrap().query("select n from pooled").unwrap(), ["7"]);
}

#[test]
fn a_dropped_server_is_gone() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    let url = server.url();
    drop(server);
    assert!(Client::connect(&url).is_err());
}

#[test]
fn shared_servers_are_listed_while_they_run() {
    // A server of this test's own says whether the programs are there.
    if OwnServer::start_or_skip("postgres").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let servers = SharedServers::of(directory.path());
    let postgres = ["postgres".to_owned()];
    let running = || servers.status().unwrap().into_iter().find_map(|state| state.url);
    assert_eq!(running(), None);
    for (name, outcome) in servers.up(&postgres).unwrap() {
        outcome.unwrap();
        assert_eq!(name, "postgres");
    }
    let url = running().unwrap();
    let urls = fs::read_to_string(servers.directory().join("urls.toml")).unwrap();
    assert!(urls.contains(&format!("postgres = \"{url}\"")), "{urls}");
    Client::connect(&url).unwrap().query("create table kept (n int)").unwrap();
    servers.crash("postgres").unwrap();
    assert_eq!(running(), None);
    servers.up(&postgres).unwrap().into_iter().for_each(|(_, outcome)| outcome.unwrap());
    assert_eq!(running(), Some(url.clone()));
    assert_eq!(Client::connect(&url).unwrap().query("select count(*) from kept").unwrap(), ["0"]);
    servers.delete(&[]).unwrap();
    assert_eq!(running(), None);
    let (_, host) = url.rsplit_once('@').unwrap();
    assert!(TcpStream::connect(host.split('/').next().unwrap()).is_err());
    assert!(!servers.directory().join("postgres").exists());
}

#[test]
fn an_unknown_service_is_refused_by_name() {
    let servers = SharedServers::of(tempfile::tempdir().unwrap().path());
    let error = servers.up(&["mysql".to_owned()]).unwrap_err().to_string();
    assert!(error.starts_with("there is no service \"mysql\""), "{error}");
}
