//! `prometheus`: Debian's Prometheus, which scrapes the targets and evaluates the rules of its
//! settings.
//!
//! Settings: `target=HOST:PORT`, any number of times, each in the job `gesta`; `rules=FILE`. The
//! intervals are short, so that tests need not wait.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    service::{Place, Service},
    unprivileged,
};

const PROGRAMS: &str = "/usr/bin";
const CONFIG: &str = "prometheus.yml";
/// Time for an answer about readiness.
const REPLY_MAX: Duration = Duration::from_secs(1);

/// A Prometheus server.
pub(crate) struct Prometheus;

impl Service for Prometheus {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn about(&self) -> &'static str {
        "Prometheus, Debian's"
    }

    fn programs(&self) -> Result<PathBuf> {
        let programs = PathBuf::from(PROGRAMS);
        ensure!(
            programs.join("prometheus").exists(),
            "{PROGRAMS} has no prometheus; install it with `apt-get install prometheus`"
        );
        Ok(programs)
    }

    fn prepare(&self, _: &Path, place: &Place) -> Result<()> {
        let data = place.data();
        fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
        let path = data.join(CONFIG);
        fs::write(&path, config(&place.settings)?).with_context(|| path.display().to_string())
    }

    fn command(&self, programs: &Path, place: &Place) -> Command {
        let mut command = unprivileged::command(programs.join("prometheus"));
        let data = place.data();
        command.arg(format!("--config.file={}", data.join(CONFIG).display()));
        command.arg(format!("--storage.tsdb.path={}", data.join("series").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", place.port));
        command
    }

    fn is_ready(&self, place: &Place) -> bool {
        let Ok(mut connection) = TcpStream::connect((Ipv4Addr::LOCALHOST, place.port)) else {
            return false;
        };
        let mut status = [0; 12];
        let asked = connection
            .set_read_timeout(Some(REPLY_MAX))
            .and_then(|()| connection.write_all(b"GET /-/ready HTTP/1.0\r\n\r\n"))
            .and_then(|()| connection.read_exact(&mut status));
        asked.is_ok() && &status == b"HTTP/1.0 200"
    }

    fn url(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }
}

/// Returns the configuration for these settings.
fn config(settings: &[String]) -> Result<String> {
    let mut text = "global: { scrape_interval: 200ms, scrape_timeout: 200ms, \
                    evaluation_interval: 200ms }\n"
        .to_owned();
    let mut targets = Vec::new();
    for setting in settings {
        match setting.split_once('=') {
            Some(("target", target)) => targets.push(format!("'{target}'")),
            Some(("rules", file)) => writeln!(text, "rule_files: ['{file}']")?,
            _ => bail!("{setting} is no setting of Prometheus; expected target=… or rules=…"),
        }
    }
    writeln!(text, "scrape_configs:\n- job_name: gesta")?;
    writeln!(text, "  static_configs: [{{ targets: [{}] }}]", targets.join(", "))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_targets_and_rules() {
        let settings = ["target=127.0.0.1:1", "rules=/rules.yaml", "target=127.0.0.1:2"];
        let text = config(&settings.map(str::to_owned)).unwrap();
        assert!(text.contains("targets: ['127.0.0.1:1', '127.0.0.1:2']"), "{text}");
        assert!(text.contains("rule_files: ['/rules.yaml']"), "{text}");
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(config(&["targets=127.0.0.1:1".to_owned()]).is_err());
    }
}
