//! `opensearch`: one OpenSearch server without TLS and users.
//!
//! A package of Maven Central has the server; a Java runtime from version 11 on runs it. The
//! program is started without its scripts, each of which starts a Java runtime of its own.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    cache::{check, kept_folder, run},
    ports,
    service::{Place, Service},
    unprivileged,
};

const VERSION: &str = "2.19.6";
/// Checksum of the package.
const SHA256: &str = "71d6d8b1c637f3faecda0752b184b1cc526fc6eaad59ec1408c6327bb00b9293";

/// The goal that fetches one package.
const COPY_GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";

/// Time limit of a look whether the server answers.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// OpenSearch 2.19, the last version for Java 11 and 17.
pub(crate) struct OpenSearch;

impl Service for OpenSearch {
    fn name(&self) -> &'static str {
        "opensearch"
    }

    fn about(&self) -> &'static str {
        "OpenSearch 2.19.6, one node"
    }

    fn programs(&self) -> Result<PathBuf> {
        run(Command::new("java").arg("-version"))
            .context("OpenSearch needs a Java runtime from version 11 on")?;
        kept_folder(&format!("opensearch-{VERSION}"), download)
            .context("OpenSearch needs Maven, a JDK, and Maven Central or a mirror of it")
    }

    fn prepare(&self, programs: &Path, place: &Place) -> Result<()> {
        let config = config(place);
        for folder in [config.clone(), place.data().join("tmp")] {
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        let path = config.join("opensearch.yml");
        fs::write(&path, settings(place, ports::free()?))
            .with_context(|| path.display().to_string())?;
        let (from, to) =
            (programs.join("config/log4j2.properties"), config.join("log4j2.properties"));
        fs::copy(&from, to).map(drop).with_context(|| from.display().to_string())
    }

    fn command(&self, programs: &Path, place: &Place) -> Command {
        let mut command = unprivileged::command("java");
        // A small heap and one compiler: tests start it often.
        command.args(["-Xms256m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.args(["-Xss1m", "-Djava.security.manager=allow", "-Dfile.encoding=UTF-8"]);
        command.args(["-Dlog4j.shutdownHookEnabled=false", "-Dlog4j2.disable.jmx=true"]);
        command.args(["-Dio.netty.noUnsafe=true", "-Djna.nosys=true"]);
        command.arg(format!("-Djava.io.tmpdir={}", place.data().join("tmp").display()));
        command.arg(format!("-Dopensearch.path.home={}", programs.display()));
        command.arg(format!("-Dopensearch.path.conf={}", config(place).display()));
        command.arg("-Dopensearch.distribution.type=tar");
        command.arg("-cp").arg(programs.join("lib/*")).arg("org.opensearch.bootstrap.OpenSearch");
        for setting in &place.settings {
            command.args(["-E", setting]);
        }
        command
    }

    /// Ten seconds alone; much longer beside builds on a small machine.
    fn ready_within(&self) -> Duration {
        Duration::from_secs(180)
    }

    /// Indexes are recovered before it answers searches.
    fn is_ready(&self, place: &Place) -> bool {
        let health = look(place.port, "/_cluster/health").unwrap_or_default();
        health.starts_with("HTTP/1.1 200") && !health.contains("\"status\":\"red\"")
    }

    fn url(&self, port: u16) -> String {
        format!("opensearch://127.0.0.1:{port}")
    }
}

fn config(place: &Place) -> PathBuf {
    place.data().join("config")
}

/// Fetches and unpacks the server below an empty folder.
fn download(partial: &Path) -> Result<PathBuf> {
    let artifact = format!("org.opensearch.distribution.integ-test-zip:opensearch:{VERSION}:zip");
    let mut fetch = Command::new("mvn");
    fetch.args(["-q", "-B", "-ntp", COPY_GOAL, &format!("-Dartifact={artifact}")]);
    fetch.arg(format!("-DoutputDirectory={}", partial.display())).current_dir(partial);
    run(&mut fetch)?;
    let archive = partial.join(format!("opensearch-{VERSION}.zip"));
    check(&archive, SHA256)?;
    let mut unpack = Command::new("jar");
    run(unpack.arg("--extract").arg("--file").arg(&archive).current_dir(partial))?;
    Ok(partial.join(format!("opensearch-{VERSION}")))
}

/// The configuration file.
fn settings(place: &Place, transport: u16) -> String {
    let (port, data) = (place.port, place.data());
    format!(
        "cluster.name: gesta-tests\n\
         node.name: one\n\
         path.data: {}\n\
         path.logs: {}\n\
         network.host: 127.0.0.1\n\
         http.port: {port}\n\
         transport.port: {transport}\n\
         discovery.type: single-node\n\
         cluster.routing.allocation.disk.threshold_enabled: false\n\
         cluster.max_shards_per_node: 5000\n",
        data.join("indexes").display(),
        data.join("logs").display()
    )
}

/// Asks the server, and returns the answer with its headers.
fn look(port: u16, path: &str) -> io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = TcpStream::connect_timeout(&address, LOOK_WITHIN)?;
    connection.set_read_timeout(Some(LOOK_WITHIN))?;
    connection.set_write_timeout(Some(LOOK_WITHIN))?;
    write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_listens_on_its_port_of_loopback_only() {
        let place = Place {
            directory: PathBuf::from("here"),
            port: 7,
            settings: vec!["indices.breaker.total.limit=5%".to_owned()],
            small_disk_bytes: None,
            needed: vec![],
        };
        let text = settings(&place, 8);
        assert!(
            text.contains("network.host: 127.0.0.1\nhttp.port: 7\ntransport.port: 8\n"),
            "{text}"
        );
        let command = OpenSearch.command(Path::new("programs"), &place);
        let arguments: Vec<_> = command.get_args().collect();
        assert!(arguments.ends_with(&["-E".as_ref(), "indices.breaker.total.limit=5%".as_ref()]));
    }
}
