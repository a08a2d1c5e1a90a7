//! Tests on a real server, whose URL is in `GESTA_TEST_POSTGRES`.

mod conformance;
mod server;
