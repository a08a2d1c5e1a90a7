//! Servers of tests, and connections to them.

use std::{future::Future, sync::LazyLock, time::Duration};

use gesta_redis::{Redis, RedisOptions};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

/// Time in which everything that is waited for happens, or the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime for tests that run without one: connections live on it.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts")
});

/// Returns a URL with keys of its own on the server that all tests share.
pub(crate) fn shared_or_skip() -> Option<String> {
    let url = gesta_services::url_or_skip("redis")?;
    Some(format!("{url}?prefix={}", Uuid::new_v4().simple()))
}

pub(crate) async fn connect(url: &str) -> Redis {
    let options: RedisOptions = url.parse().expect("a test has a valid URL");
    // A busy machine delays replies; tests of limits have limits of their own.
    Redis::connect_with(options.answer_within(Duration::from_secs(10))).await
}

/// Repeats a look until it finds something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it happens within a minute")
}
