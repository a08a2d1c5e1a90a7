//! `pgbouncer`: Debian's connection pooler in transaction mode, in front of `postgres`.
//!
//! Version 1.18 of Debian 12 does not know prepared statements in this mode.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    ports,
    service::{Place, Service},
    unprivileged,
};

const SERVER: &str = "postgres";
const PROGRAMS: &str = "/usr/sbin";

/// A pooler that gives a client another connection for each transaction.
pub(crate) struct Pgbouncer;

impl Service for Pgbouncer {
    fn name(&self) -> &'static str {
        "pgbouncer"
    }

    fn about(&self) -> &'static str {
        "pgbouncer in transaction mode, in front of postgres"
    }

    fn needs(&self) -> &'static [&'static str] {
        &[SERVER]
    }

    fn programs(&self) -> Result<PathBuf> {
        let programs = PathBuf::from(PROGRAMS);
        ensure!(
            programs.join("pgbouncer").exists(),
            "{PROGRAMS} has no pgbouncer; install it with `apt-get install pgbouncer`"
        );
        Ok(programs)
    }

    fn prepare(&self, _: &Path, place: &Place) -> Result<()> {
        let data = place.data();
        fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
        let write = |name: &str, text: String| {
            let path = data.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())
        };
        write("users.txt", "\"postgres\" \"\"\n".to_owned())?;
        write("pgbouncer.ini", settings(place)?)
    }

    fn command(&self, programs: &Path, place: &Place) -> Command {
        let mut command = unprivileged::command(programs.join("pgbouncer"));
        command.arg("pgbouncer.ini").current_dir(place.data());
        command
    }

    fn is_ready(&self, place: &Place) -> bool {
        ports::is_open(place.port)
    }

    fn url(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }
}

/// The configuration file. Few server connections, so that clients really share them.
fn settings(place: &Place) -> Result<String> {
    let mut text = format!(
        "[databases]\n\
         * = host=127.0.0.1 port={}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = users.txt\n\
         pool_mode = transaction\n\
         default_pool_size = 20\n\
         max_client_conn = 200\n",
        place.port_of(SERVER)?,
        place.port
    );
    for setting in &place.settings {
        text.push_str(setting);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pooler_is_told_its_server_and_its_own_settings() {
        let place = Place {
            directory: PathBuf::from("here"),
            port: 7,
            settings: vec!["max_client_conn = 3".to_owned()],
            small_disk_bytes: None,
            needed: vec![("postgres", 8)],
        };
        let text = settings(&place).unwrap();
        assert!(text.contains("port=8\n") && text.contains("listen_port = 7\n"), "{text}");
        assert!(text.ends_with("max_client_conn = 200\nmax_client_conn = 3\n"), "{text}");
        assert!(settings(&Place { needed: vec![], ..place }).is_err());
    }
}
