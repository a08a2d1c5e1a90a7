//! The ledger of a test run: which tests used a service, and which were skipped for lack of it.
//!
//! The program that runs the tests names a file in the environment; each test appends one line.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result};

/// A test's request for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUse {
    /// Name of the service.
    pub service: String,
    /// Name of the test.
    pub test: String,
    /// The reason why the test was skipped, or `None` if it ran.
    pub skipped: Option<String>,
}

/// A file of requests.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
}

impl Ledger {
    /// The environment variable with the path of the file, for test programs.
    pub const VARIABLE: &str = "GESTA_SERVICES_LEDGER";

    /// Creates an empty ledger.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn create(path: PathBuf) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        File::create(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path })
    }

    /// Returns the path of the file, as value of [`VARIABLE`](Self::VARIABLE).
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the requests so far, in the order in which they were made.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has a line of another form.
    pub fn uses(&self) -> Result<Vec<ServiceUse>> {
        let text = fs::read_to_string(&self.path);
        let text = text.with_context(|| self.path.display().to_string())?;
        text.lines().map(|line| read(line).with_context(|| format!("{line:?}"))).collect()
    }

    /// The ledger that the environment names, if any.
    fn of_environment() -> Option<Self> {
        env::var_os(Self::VARIABLE).map(|path| Self { path: path.into() })
    }

    fn add(&self, request: &ServiceUse) -> Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        let mut file = file.with_context(|| self.path.display().to_string())?;
        let ServiceUse { service, test, skipped } = request;
        let reason = skipped.as_deref().unwrap_or_default().replace(['\t', '\n'], " ");
        // One write, so that lines of several programs do not mix.
        file.write_all(format!("{service}\t{test}\t{reason}\n").as_bytes())?;
        Ok(())
    }
}

/// Notes the request of the current test in the ledger that the environment names, if any.
pub(crate) fn note(service: &str, skipped: Option<&str>) -> Result<()> {
    let Some(ledger) = Ledger::of_environment() else { return Ok(()) };
    let test = thread::current().name().unwrap_or("unnamed").to_owned();
    let skipped = skipped.map(str::to_owned);
    ledger.add(&ServiceUse { service: service.to_owned(), test, skipped })
}

fn read(line: &str) -> Option<ServiceUse> {
    let mut fields = line.split('\t').map(str::to_owned);
    let (service, test, reason) = (fields.next()?, fields.next()?, fields.next()?);
    Some(ServiceUse { service, test, skipped: (!reason.is_empty()).then_some(reason) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::create(directory.path().join("new/ledger")).unwrap();
        assert_eq!(ledger.uses().unwrap(), []);
        let request = |test: &str, skipped: Option<&str>| ServiceUse {
            service: "postgres".to_owned(),
            test: test.to_owned(),
            skipped: skipped.map(str::to_owned),
        };
        let requests = [request("appends", None), request("reads", Some("it does not run"))];
        requests.iter().for_each(|each| ledger.add(each).unwrap());
        assert_eq!(ledger.uses().unwrap(), requests);
    }

    #[test]
    fn a_reason_of_several_lines_stays_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::create(directory.path().join("ledger")).unwrap();
        let skipped = Some("first\nsecond\tthird".to_owned());
        let (service, test) = ("postgres".to_owned(), "reads".to_owned());
        ledger.add(&ServiceUse { service, test, skipped }).unwrap();
        let uses = ledger.uses().unwrap();
        assert_eq!(uses[0].skipped.as_deref(), Some("first second third"));
    }
}
