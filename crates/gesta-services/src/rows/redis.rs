//! `redis`: Debian's Redis. Each write is synced, as it is on no usual cache: tests decide what a
//! restart keeps.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    service::{Place, Service},
    unprivileged,
};

const PROGRAMS: &str = "/usr/bin";
/// Time for a reply to a ping.
const REPLY_MAX: Duration = Duration::from_secs(1);

/// A Redis server without a password.
pub(crate) struct Redis;

impl Service for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn about(&self) -> &'static str {
        "Redis, Debian's"
    }

    fn programs(&self) -> Result<PathBuf> {
        let programs = PathBuf::from(PROGRAMS);
        ensure!(
            programs.join("redis-server").exists(),
            "{PROGRAMS} has no redis-server; install it with `apt-get install redis-server`"
        );
        Ok(programs)
    }

    fn prepare(&self, _: &Path, place: &Place) -> Result<()> {
        let data = place.data();
        fs::create_dir_all(&data).with_context(|| data.display().to_string())
    }

    fn command(&self, programs: &Path, place: &Place) -> Command {
        let mut command = unprivileged::command(programs.join("redis-server"));
        command.args(["--bind", "127.0.0.1", "--port", &place.port.to_string()]);
        command.arg("--dir").arg(place.data());
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        // Later settings win, so a test may change any of them.
        for (name, value) in place.settings.iter().filter_map(|setting| setting.split_once('=')) {
            command.args([&format!("--{name}"), value]);
        }
        command
    }

    /// A server that reads its data refuses a ping, and one with a password does, too.
    fn is_ready(&self, place: &Place) -> bool {
        let Ok(mut connection) = TcpStream::connect((Ipv4Addr::LOCALHOST, place.port)) else {
            return false;
        };
        let mut reply = [0; 7];
        let asked = connection
            .set_read_timeout(Some(REPLY_MAX))
            .and_then(|()| connection.write_all(b"PING\r\n"))
            .and_then(|()| connection.read_exact(&mut reply));
        asked.is_ok() && (&reply == b"+PONG\r\n" || &reply == b"-NOAUTH")
    }

    fn url(&self, port: u16) -> String {
        format!("redis://127.0.0.1:{port}")
    }
}
