//! A server that is down, silent, restarted, or refuses.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    thread,
};

use gesta_search::{Document, Search, SearchStore};
use gesta_services::OwnServer;
use gesta_store::{DatabaseError, Position, ReadModelId, ReadModelStore as _, Stage};

use crate::engines::{self, create, write};

async fn put(store: &SearchStore, id: &ReadModelId, position: u64) -> anyhow::Result<()> {
    let document = Document::new(position.to_string()).text("name", "lantern");
    write(store, id, |tx| Ok(tx.put(document, Position::new(position))?)).await
}

fn expect_unavailable(error: &anyhow::Error, server: &OwnServer) {
    let error = error.downcast_ref::<DatabaseError>().unwrap();
    assert!(matches!(error, DatabaseError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains(&server.url()), "{error}");
}

#[test]
fn what_was_committed_survives_a_crash_and_the_store_goes_on_without_a_restart() {
    let Some(mut server) = OwnServer::start_or_skip("opensearch") else { return };
    let url = server.url();
    let (store, id) = engines::run(async {
        let store = SearchStore::open(&url).await?;
        let id = create(&store).await?;
        put(&store, &id, 7).await?;
        assert!(store.engine_version().await?.starts_with("OpenSearch 2."));
        Ok((store, id))
    });
    server.crash().unwrap();
    engines::run(async {
        assert!(store.engine_version().await.is_err_and(|error| error.is_transient()));
        expect_unavailable(&put(&store, &id, 8).await.unwrap_err(), &server);
        let troubles = store.troubles().await;
        assert!(
            troubles.iter().any(|trouble| trouble.contains("cannot be reached")),
            "{troubles:?}"
        );
        let opened = SearchStore::open(&url).await.unwrap_err().to_string();
        assert!(opened.contains(&url) && opened.contains("cannot be reached"), "{opened}");
        Ok(())
    });
    server.start().unwrap();
    engines::run(async {
        put(&store, &id, 8).await?;
        assert_eq!(store.reader(&id).await?.search(&Search::new().text("lantern")).await?.total, 2);
        assert!(store.troubles().await.is_empty());
        Ok(())
    });
    // It accepts connections and answers nothing.
    server.pause().unwrap();
    engines::run(async {
        let silent = put(&store, &id, 9).await.unwrap_err();
        expect_unavailable(&silent, &server);
        assert!(silent.to_string().contains("did not answer within 10 s"), "{silent}");
        Ok(())
    });
    server.resume().unwrap();
    engines::run(async {
        put(&store, &id, 10).await?;
        // Written by the call that got no answer, or not; never twice.
        let total = store.reader(&id).await?.search(&Search::new()).await?.total;
        assert!((3..=4).contains(&total), "{total}");
        Ok(())
    });
}

#[test]
fn of_two_creations_at_the_same_time_the_later_one_remains() {
    let Some(server) = OwnServer::start_or_skip("opensearch") else { return };
    let url = server.url();
    engines::run(async {
        let store = SearchStore::open(&url).await?;
        // The caller of the first one was killed before the server had answered.
        let (overtaken, id) = (create(&store).await?, create(&store).await?);
        let listed = store.list_read_models(&id.projection).await?;
        assert_eq!(listed.iter().map(|model| &model.id).collect::<Vec<_>>(), [&id]);
        assert_eq!(listed[0].stage, Stage::Live);
        put(&store, &id, 7).await?;
        assert_eq!(store.reader(&id).await?.search(&Search::new()).await?.total, 1);
        let missing = store.reader(&overtaken).await.map(drop).unwrap_err();
        assert!(matches!(missing, DatabaseError::Missing { .. }), "{missing}");
        Ok(())
    });
}

/// Answers every request in the same way, as a server with a security plugin does.
fn refusing(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).unwrap();
            let length = body.len();
            let headers = format!("content-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = write!(connection, "HTTP/1.1 {status}\r\n{headers}{body}");
        }
    });
    format!("ann:secret@{address}")
}

#[test]
fn a_server_that_refuses_is_named_without_the_password() {
    for (status, body, reason) in [
        ("401 Unauthorized", "Unauthorized", "refuses the user or password (status 401); check"),
        ("200 OK", "<html>", "is neither OpenSearch nor Elasticsearch"),
        ("200 OK", r#"{"version":{"number":"6.8.23"}}"#, "expected version 7 or later"),
        ("503 Service Unavailable", "", "answered 503"),
    ] {
        let address = refusing(status, body);
        let url = format!("opensearch://{address}");
        let error =
            engines::run(async { Ok(SearchStore::open(&url).await.unwrap_err().to_string()) });
        assert!(error.contains(reason) && error.contains("opensearch://ann@127.0.0.1"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
