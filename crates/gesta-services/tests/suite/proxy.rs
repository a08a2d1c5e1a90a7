//! The proxy in front of a real server: each fault happens once, at its message.

use std::{
    io,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::Result;
use gesta_services::{Fault, FaultProxy, Message, OwnServer};

use crate::client::Client;

/// Time in which a message that is not held back would have arrived.
const ANSWER_MAX: Duration = Duration::from_millis(300);

fn is_commit(message: &Message) -> bool {
    message.from_client() && message.is(b'Q') && message.contains("commit")
}

/// Runs a transaction through a proxy with this fault. Returns the client's outcome, and the number
/// of rows that the server has in the end.
fn commit_through(server: &OwnServer, fault: Fault) -> Result<(io::Result<Vec<String>>, String)> {
    let proxy = FaultProxy::start(&server.url())?;
    let mut direct = Client::connect(&server.url())?;
    direct.query("drop table if exists t; create table t (n int)")?;
    let mut client = Client::connect(proxy.url())?;
    client.query("begin; insert into t values (7)")?;
    proxy.inject(fault);
    let outcome = client.query("commit");
    proxy.wait_until_injected();
    // Waits until the server has ended the transaction, which holds a lock on the table.
    direct.query("begin; lock table t; commit")?;
    Ok((outcome, direct.query("select count(*) from t")?.concat()))
}

#[test]
fn a_commit_is_cut_before_it_reaches_the_server() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    let (outcome, rows) = commit_through(&server, Fault::cut_before(is_commit)).unwrap();
    assert!(outcome.is_err());
    assert_eq!(rows, "0", "the server has rolled back");
}

#[test]
fn a_commit_reaches_the_server_and_its_answer_not_the_client() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    for fault in [Fault::cut_after(is_commit), Fault::cut_before(Message::is_commit_answer)] {
        let (outcome, rows) = commit_through(&server, fault).unwrap();
        assert!(outcome.is_err());
        assert_eq!(rows, "1", "the server has committed");
    }
}

#[test]
fn a_fault_happens_once() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    let proxy = FaultProxy::start(&server.url()).unwrap();
    let mut seen = 0;
    // A fault may count: this one is about the second query.
    proxy.inject(Fault::cut_before(move |message| {
        seen += usize::from(message.from_client() && message.is(b'Q'));
        seen == 2
    }));
    let mut client = Client::connect(proxy.url()).unwrap();
    assert_eq!(client.query("select 1").unwrap(), ["1"]);
    assert!(client.query("select 2").is_err());
    proxy.wait_until_injected();
    let mut client = Client::connect(proxy.url()).unwrap();
    for number in ["1", "2", "3"] {
        assert_eq!(client.query(&format!("select {number}")).unwrap(), [number]);
    }
}

#[test]
fn a_stalled_message_arrives_after_the_proxy_resumes() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    let proxy = FaultProxy::start(&server.url()).unwrap();
    for stalls_all in [false, true] {
        let mut client = Client::connect(proxy.url()).unwrap();
        match stalls_all {
            true => proxy.stall(),
            false => proxy.inject(Fault::stall_before(|message| message.contains("select 7"))),
        }
        let (answers, answered) = mpsc::channel();
        let asking = thread::spawn(move || answers.send(client.query("select 7").unwrap()));
        assert_eq!(answered.recv_timeout(ANSWER_MAX), Err(RecvTimeoutError::Timeout));
        proxy.wait_until_injected();
        proxy.resume();
        assert_eq!(answered.recv().unwrap(), ["7"]);
        asking.join().unwrap().unwrap();
    }
}

#[test]
fn connections_are_refused_and_accepted_at_the_same_address() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    let mut proxy = FaultProxy::start(&server.url()).unwrap();
    let mut open = Client::connect(proxy.url()).unwrap();
    proxy.refuse().unwrap();
    let refused = Client::connect(proxy.url()).err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(open.query("select 1").unwrap(), ["1"], "open connections stay");
    proxy.accept().unwrap();
    assert_eq!(Client::connect(proxy.url()).unwrap().query("select 2").unwrap(), ["2"]);
    proxy.cut_all();
    assert!(open.query("select 1").is_err());
}

#[test]
fn a_url_without_host_is_refused() {
    assert!(FaultProxy::start("postgres").is_err());
}
