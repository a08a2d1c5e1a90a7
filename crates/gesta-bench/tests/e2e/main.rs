//! The engine under kills, failing system calls and a tracer: what it acknowledged is durable.
//!
//! Needs strace. Run one test at a time, by name, or all with `--test-threads 1`: a second test
//! would disturb the times of kills.

mod acknowledged;
mod kills;
mod oracle;
mod strace;
mod syscalls;
mod trace;
