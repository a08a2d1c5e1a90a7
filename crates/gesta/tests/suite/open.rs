//! URLs of stores, and the durability of a log.

use gesta::{Gesta, OpenError};

use crate::accounts::{balance, deposit, open_accounts};

#[tokio::test]
async fn a_log_keeps_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("gesta:{}", directory.path().display());
    let gesta = Gesta::at(&url).open().await.unwrap();
    open_accounts(&gesta, &[10]).await;
    let receipt = gesta.execute(deposit(1, 5)).command_id("request-1").await.unwrap();
    drop(gesta);
    let gesta = Gesta::at(&url).open().await.unwrap();
    assert_eq!(balance(&gesta, 1).await, 15);
    let again = gesta.execute(deposit(1, 5)).command_id("request-1").await.unwrap();
    assert_eq!(again, receipt);
    assert_eq!(balance(&gesta, 1).await, 15);
}

#[tokio::test]
async fn a_second_opening_of_a_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("gesta:{}", directory.path().display());
    let _gesta = Gesta::at(&url).open().await.unwrap();
    let error = Gesta::at(&url).open().await.unwrap_err();
    assert!(matches!(error, OpenError::Log(_)), "{error}");
}

#[tokio::test]
async fn urls_that_mean_no_store_are_told_why() {
    for (url, reason) in [
        ("order", "`order` has no scheme; expected `memory:` or `gesta:DIRECTORY`"),
        ("pigeon:ann", "unknown store scheme `pigeon:`; expected `memory:` or `gesta:DIRECTORY`"),
        ("memory:here", "`memory:` takes no path; got `here`"),
        ("gesta:", "`gesta:` needs a directory, as in `gesta:./data`"),
    ] {
        assert_eq!(gesta::open(url).await.err().unwrap().to_string(), reason);
    }
}
