//! Servers of KurrentDB's protocol: events. A server has its store, so opening creates none.

use super::driver::{Driver, check_store};

pub(super) struct KurrentDriver;

impl Driver for KurrentDriver {
    fn check(&self, url: &str) -> Result<String, String> {
        check_store(url)
    }
}
