//! `kafka`: one Apache Kafka server that is broker and controller, in KRaft mode.
//!
//! The packages of Maven Central have the programs; a Java runtime from version 17 on runs them.
//! Topics are created on request only, so that a test notices a wrong name.
//!
//! Settings of a test are lines of the configuration file, so they can make the server one of
//! several, or give it other listeners. `add-scram=SCRAM-SHA-512=[name=ann,password=secret]` is no
//! line: it creates a user of the cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    cache::{MavenPackages, run},
    ports,
    process::Signal,
    service::{Place, Service},
};

const PACKAGES: MavenPackages = MavenPackages {
    name: "kafka",
    version: "4.4.0",
    roots: &[
        ["org.apache.kafka", "kafka_2.13", "4.4.0"],
        // Without it the server writes no log.
        ["org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.5"],
    ],
    sha256: "bda063de6f84a36e8fa0e31196934eba54905640b2dddd4e50f6a64c8fe4ffec",
};

/// The setting that creates a user.
const USER: &str = "add-scram=";

/// Any id will do: no two clusters share servers.
const CLUSTER_ID: &str = "Z2VzdGEtdGVzdC1zZXJ2ZQ";

/// The line of the log that says that the broker takes part in its cluster.
const READY: &str = "Kafka Server started";

const PROPERTIES: &str = "server.properties";
const LOG_SETTINGS: &str = "log4j2.properties";
/// File with the length of the log when the server was started.
const LOG_START: &str = "log-start";

/// Apache Kafka 4.4.
pub(crate) struct Kafka;

impl Service for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn about(&self) -> &'static str {
        "Apache Kafka 4.4, one broker"
    }

    fn programs(&self) -> Result<PathBuf> {
        run(Command::new("java").arg("-version"))
            .context("Kafka needs a Java runtime from version 17 on")?;
        PACKAGES.folder().context("Kafka needs Maven and Maven Central, or a mirror of it")
    }

    fn prepare(&self, programs: &Path, place: &Place) -> Result<()> {
        let data = place.data();
        fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
        let write = |name: &str, text: String| {
            let path = data.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())
        };
        write(LOG_SETTINGS, log_settings())?;
        write(PROPERTIES, properties(place, ports::free()?))?;
        let mut format = java(programs, place);
        format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID]);
        for user in place.settings.iter().filter_map(|setting| setting.strip_prefix(USER)) {
            format.args(["--add-scram", user]);
        }
        run(format.arg("-c").arg(data.join(PROPERTIES))).map(drop)
    }

    fn clear(&self, place: &Place) -> Result<()> {
        let length = fs::metadata(place.log()).map_or(0, |log| log.len());
        Ok(fs::write(place.data().join(LOG_START), length.to_string())?)
    }

    fn command(&self, programs: &Path, place: &Place) -> Command {
        let mut command = java(programs, place);
        command.arg("kafka.Kafka").arg(place.data().join(PROPERTIES));
        command
    }

    /// The port is open before the broker takes requests, and earlier starts have the same line.
    fn is_ready(&self, place: &Place) -> bool {
        let start = fs::read_to_string(place.data().join(LOG_START)).unwrap_or_default();
        let start = start.parse().unwrap_or(usize::MAX);
        let log = fs::read(place.log()).unwrap_or_default();
        log.get(start..).is_some_and(|new| String::from_utf8_lossy(new).contains(READY))
    }

    /// A runtime of Java starts slowly on a machine with other work.
    fn ready_within(&self) -> Duration {
        Duration::from_secs(180)
    }

    fn url(&self, port: u16) -> String {
        format!("kafka://127.0.0.1:{port}")
    }

    fn stop_signal(&self) -> Signal {
        Signal::TERM
    }
}

/// A Java runtime with the packages. A small heap and one compiler: tests start it often.
fn java(programs: &Path, place: &Place) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.arg("-Dlog4j2.disable.jmx=true");
    let log_settings = place.data().join(LOG_SETTINGS);
    command.arg(format!("-Dlog4j2.configurationFile={}", log_settings.display()));
    command.arg("-cp").arg(programs.join("*"));
    command
}

fn log_settings() -> String {
    "rootLogger.level = INFO\n\
     rootLogger.appenderRef.out.ref = Out\n\
     appender.out.type = Console\n\
     appender.out.name = Out\n\
     appender.out.layout.type = PatternLayout\n\
     appender.out.layout.pattern = %d %p %c{1} %m%n\n"
        .to_owned()
}

/// The configuration file.
fn properties(place: &Place, controller: u16) -> String {
    let port = place.port;
    let data = place.data().join("records");
    let own = place.settings.iter().filter(|setting| !setting.starts_with(USER));
    // Later lines win, so a test may change any of them.
    let own: String = own.map(|setting| format!("{setting}\n")).collect();
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         num.network.threads=2\n\
         num.io.threads=2\n\
         log.segment.bytes=16777216\n\
         log.cleaner.dedupe.buffer.size=8388608\n\
         broker.heartbeat.interval.ms=500\n\
         broker.session.timeout.ms=3000\n\
         {own}",
        data.display()
    )
    // The broker's heartbeat and session: after a crash the controller admits the broker again once
    // its session is over.
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(directory: &Path) -> Place {
        Place {
            directory: directory.to_owned(),
            port: 7,
            settings: vec!["message.max.bytes=3".to_owned(), format!("{USER}ann")],
            small_disk_bytes: None,
            needed: vec![],
        }
    }

    #[test]
    fn the_broker_listens_on_its_port_of_loopback_only() {
        let text = properties(&place(Path::new("here")), 8);
        assert!(text.contains("\nadvertised.listeners=PLAINTEXT://127.0.0.1:7\n"), "{text}");
        assert!(text.contains(",CONTROLLER://127.0.0.1:8\n"), "{text}");
    }

    #[test]
    fn a_test_overrides_settings() {
        let text = properties(&place(Path::new("here")), 8);
        assert!(text.ends_with("\nmessage.max.bytes=3\n"), "{text}");
    }

    #[test]
    fn the_line_of_an_earlier_start_does_not_make_a_server_ready() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        fs::create_dir_all(place.data()).unwrap();
        fs::write(place.log(), format!("{READY}\n")).unwrap();
        Kafka.clear(&place).unwrap();
        assert!(!Kafka.is_ready(&place));
        fs::write(place.log(), format!("{READY}\nagain: {READY}\n")).unwrap();
        assert!(Kafka.is_ready(&place));
    }
}
