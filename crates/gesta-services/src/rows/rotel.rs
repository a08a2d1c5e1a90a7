//! `rotel`: a collector of OpenTelemetry that takes traces by OTLP over HTTP and prints them.
//!
//! Its program comes in a package for Python 3.11, whose library it needs. What it receives is in
//! its output, span by span, in the form of the debug exporter of the OpenTelemetry Collector.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    cache::{PythonPackage, run},
    ports,
    service::{Place, Service},
};

const PACKAGE: PythonPackage = PythonPackage {
    name: "rotel",
    version: "0.0.1a15",
    program: "rotel/rotel-agent",
    sha256: "182f2a4ad68346bb1ca3bb87b8d52c80595f89aa9751dc8d80f0feb9ca18ca5d",
};

/// Prints the directory of the library of Python, which may be in no search path.
const LIBRARIES: &str = "import sysconfig; print(sysconfig.get_config_var('LIBDIR') or '')";

/// A collector of OpenTelemetry.
pub(crate) struct Rotel;

impl Service for Rotel {
    fn name(&self) -> &'static str {
        "rotel"
    }

    fn about(&self) -> &'static str {
        "Rotel 0.0.1a15, a collector of OpenTelemetry"
    }

    fn programs(&self) -> Result<PathBuf> {
        let needs = "Rotel needs Python 3.11 with its library and venv on x86-64 (Debian 12: \
                     `apt-get install libpython3.11 python3-venv`)";
        let programs = PACKAGE.unpacked().context(needs)?;
        // Finds out now whether the library is there.
        run(agent(&programs).arg("--version")).context(needs)?;
        Ok(programs)
    }

    fn prepare(&self, _: &Path, place: &Place) -> Result<()> {
        let data = place.data();
        std::fs::create_dir_all(&data).with_context(|| data.display().to_string())
    }

    fn command(&self, programs: &Path, place: &Place) -> Command {
        let data = place.data();
        let mut command = agent(programs);
        command.arg("start").arg("--exporter=blackhole");
        command.args(["--debug-log=traces", "--debug-log-verbosity=detailed"]);
        command.arg(format!("--otlp-http-endpoint=127.0.0.1:{}", place.port));
        // The other protocol has a port that nobody asks for.
        command.arg("--otlp-grpc-endpoint=127.0.0.1:0");
        command.arg(format!("--pid-file={}", data.join("agent.pid").display()));
        command.arg(format!("--log-file={}", data.join("agent.log").display()));
        command.current_dir(data);
        command
    }

    fn is_ready(&self, place: &Place) -> bool {
        ports::is_open(place.port)
    }

    fn url(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }
}

fn agent(programs: &Path) -> Command {
    let mut command = Command::new(programs.join(PACKAGE.program));
    if let Ok(libraries) = run(Command::new("python3").args(["-c", LIBRARIES])) {
        command.env("LD_LIBRARY_PATH", libraries.trim());
    }
    command
}
