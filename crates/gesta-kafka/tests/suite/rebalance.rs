//! Several sources of one group, which come and go while records are handled.

use std::{sync::Arc, time::Duration};

use gesta_store::memory::MemoryStore;

use crate::{
    broker::{produce, shared_or_skip},
    source::{Running, append_payments, assert_payments, new_topic, payments},
};

#[tokio::test(flavor = "multi_thread")]
async fn records_are_handled_once_in_effect_while_partitions_move() {
    let Some(url) = shared_or_skip() else { return };
    let (topic, options) = new_topic(&url, 4).await;
    let options = options.session(Duration::from_secs(6));
    produce(&url, &topic, &payments(1_000, 40));
    let store = Arc::new(MemoryStore::new());
    let start = || Running::start(&url, options.clone(), append_payments(&store));
    let mut first = start();
    first.until(|status| status.partitions == 4).await;
    let mut second = start();
    // Both have partitions, then the first one leaves.
    first.until(|status| status.partitions == 2).await;
    second.until(|status| status.partitions == 2).await;
    produce(&url, &topic, &payments(2_000, 40)[1_000..]);
    first.stop().await;
    second.until(|status| status.partitions == 4).await;
    // The second one is killed, and a third takes over after its session.
    produce(&url, &topic, &payments(3_000, 40)[2_000..]);
    second.kill();
    let mut third = start();
    third.until(|status| status.partitions == 4).await;
    third.until_appended(&store, 3_000).await;
    third.stop().await;
    assert_payments(&store, 3_000).await;
}
