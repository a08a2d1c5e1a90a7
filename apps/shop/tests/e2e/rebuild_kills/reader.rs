//! A client that queries continuously and checks the answers.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{client::Client, server::Server, writers::Acknowledged};

/// Paths of data that is unchanged after the import, each with its projection.
const UNCHANGED: [(&str, &str); 4] = [
    ("order-summaries", "/v1/orders?customer=17850&limit=500"),
    ("sales", "/v1/customers/17850/statistics"),
    ("products", "/v1/products/71053"),
    ("credit-notes", "/v1/credit-notes/C536548"),
];

/// Paths that are answered in pages.
const LISTS: [&str; 4] = [
    "/v1/orders?limit=500",
    "/v1/users?limit=500",
    "/v1/products?limit=500",
    "/v1/accounts/a0/transactions?limit=500",
];

/// Paths that are answered whole, besides the unchanged ones.
const WHOLE: [&str; 2] = ["/v1/accounts/a0", "/v1/accounts/a7"];

/// Entries of each answer, by path.
pub(super) type AnswersByPath = BTreeMap<String, Vec<Value>>;

/// Expected answers of the unchanged paths.
pub(super) struct Unchanged(Vec<Value>);

impl Unchanged {
    /// Reads the answers while nothing is rebuilt.
    pub(super) fn read(server: &Server) -> Result<Self> {
        let mut client = Client::connect(server.address)?;
        let answers = UNCHANGED.iter().map(|(_, path)| get(&mut client, path, 0));
        Ok(Self(answers.collect::<Result<_>>()?))
    }
}

fn get(client: &mut Client, path: &str, position: u64) -> Result<Value> {
    let reply = client.get(path, &[("Gesta-Position", &position.to_string())])?;
    ensure!(reply.status == 200, "{path}: {} {}", reply.status, reply.text());
    serde_json::from_slice(&reply.body).with_context(|| path.to_owned())
}

fn items(answer: &Value) -> Result<&Vec<Value>> {
    answer.get("items").and_then(Value::as_array).context("an answer is a list")
}

/// States of all projections at one time.
#[derive(Default)]
pub(super) struct Projections(Vec<Value>);

impl Projections {
    fn rebuild_of<'a>(&'a self, name: &str) -> Option<&'a Value> {
        self.0.iter().find(|it| it["name"] == name)?.get("rebuild")
    }

    /// Fraction of the rebuild that is done; `None` without a rebuild.
    pub(super) fn fraction_of(&self, name: &str) -> Option<f64> {
        self.rebuild_of(name)?.get("fraction")?.as_f64()
    }

    /// Position of the rebuild; `None` without a rebuild.
    pub(super) fn position_of(&self, name: &str) -> Option<u64> {
        self.rebuild_of(name)?.get("position")?.as_u64()
    }

    fn keeps_old_rows(&self, name: &str) -> bool {
        self.0.iter().any(|it| it["name"] == name && it.get("oldRows").is_some())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|it| it["name"].as_str())
    }

    /// Projections under rebuild, with their positions.
    pub(super) fn rebuilding(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names().filter_map(|name| Some((name, self.position_of(name)?)))
    }

    pub(super) fn all_run(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|it| it["state"] == "running")
    }
}

/// A connection with its expectations.
pub(super) struct ConcurrentReader<'a> {
    client: Client,
    acknowledged: &'a Acknowledged,
    unchanged: &'a Unchanged,
    before: Projections,
}

impl<'a> ConcurrentReader<'a> {
    pub(super) fn of(
        server: &Server,
        acknowledged: &'a Acknowledged,
        unchanged: &'a Unchanged,
    ) -> Result<Self> {
        let client = Client::connect(server.address)?;
        Ok(Self { client, acknowledged, unchanged, before: Projections::default() })
    }

    pub(super) fn projections(&mut self) -> Result<Projections> {
        let answer = get(&mut self.client, "/v1/projections", 0)?;
        Ok(Projections(items(&answer)?.clone()))
    }

    /// Starts a rebuild of every projection, after dropping old rows.
    pub(super) fn rebuild_all(&mut self) -> Result<()> {
        let projections = self.projections()?;
        for name in projections.names() {
            if projections.keeps_old_rows(name) {
                let drop_old = format!("/v1/projections/{name}/drop-old-rows");
                self.client.command(&drop_old, &json!({}))?;
            }
            self.client.command(&format!("/v1/projections/{name}/rebuild"), &json!({}))?;
        }
        self.before = Projections::default();
        Ok(())
    }

    /// Queries everything once and returns the projections' states. Adds to `answers` those from
    /// projections under rebuild before and after.
    pub(super) fn read_all(&mut self, answers: &mut usize) -> Result<Projections> {
        let mut asked = Vec::new();
        for ((name, path), expected) in UNCHANGED.iter().zip(&self.unchanged.0) {
            let answer = get(&mut self.client, path, 0)?;
            ensure!(answer == *expected, "{path} changed: {answer}");
            asked.push(*name);
        }
        asked.extend(self.own_writes()?);
        let now = self.projections()?;
        // A projection counts only if its rebuild was seen both before and after the query.
        let during =
            |name: &&&str| self.before.rebuild_of(name).is_some() && now.rebuild_of(name).is_some();
        *answers += asked.iter().filter(during).count();
        self.before = Projections(now.0.clone());
        Ok(now)
    }

    /// Checks that a new user and a new account are visible at once, even during a rebuild.
    fn own_writes(&mut self) -> Result<[&'static str; 2]> {
        let id = format!("asked-{}", self.acknowledged.number());
        let user = json!({ "userId": id, "firstName": "Ann", "lastName": "Example" });
        self.write_and_read("/v1/users", &id, &user)?;
        let account = json!({ "accountId": id, "currency": "GBP" });
        self.write_and_read("/v1/accounts", &id, &account)?;
        Ok(["users", "accounts"])
    }

    fn write_and_read(&mut self, path: &str, id: &str, body: &Value) -> Result<()> {
        let created = self.client.command(path, body)?;
        let position = created.header("gesta-position").context("a command has a position")?;
        get(&mut self.client, &format!("{path}/{id}"), position.parse()?)?;
        Ok(())
    }

    /// Entries of every answer, up to the end of the log.
    pub(super) fn everything(&mut self, head: u64) -> Result<AnswersByPath> {
        let mut all = AnswersByPath::new();
        for path in LISTS {
            all.insert(path.to_owned(), self.pages(path, head)?);
        }
        for path in UNCHANGED.iter().map(|(_, path)| path).chain(&WHOLE) {
            all.insert((*path).to_owned(), vec![get(&mut self.client, path, head)?]);
        }
        Ok(all)
    }

    fn pages(&mut self, path: &str, head: u64) -> Result<Vec<Value>> {
        let mut entries = Vec::new();
        let mut page = path.to_owned();
        loop {
            let answer = get(&mut self.client, &page, head)?;
            entries.extend_from_slice(items(&answer)?);
            let Some(next) = answer.get("next").and_then(Value::as_str) else {
                return Ok(entries);
            };
            page = format!("{path}&cursor={next}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rebuilding_projections_are_distinguished_from_running_ones() {
        let runs = json!({ "name": "users", "state": "running" });
        let rebuild = json!({ "position": 7, "fraction": 0.5 });
        let rebuilt = json!({ "name": "sales", "state": "rebuilding", "rebuild": rebuild });
        let projections = Projections(vec![runs.clone(), rebuilt]);
        assert_eq!(projections.rebuilding().collect::<Vec<_>>(), [("sales", 7)]);
        assert_eq!(projections.fraction_of("sales"), Some(0.5));
        assert_eq!(projections.fraction_of("users"), None);
        assert!(!projections.all_run());
        assert!(Projections(vec![runs]).all_run());
        assert!(!Projections::default().all_run());
    }
}
