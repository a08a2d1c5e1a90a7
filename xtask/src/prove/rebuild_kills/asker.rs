//! Somebody who asks a server all the time and knows what the answers have to be.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::prove::{client::Client, server::Server, writers::Known};

/// What nobody changes after the import, and the projection that each is answered from.
const UNCHANGED: [(&str, &str); 4] = [
    ("order-summaries", "/v1/orders?customer=17850&limit=500"),
    ("sales", "/v1/customers/17850/statistics"),
    ("products", "/v1/products/71053"),
    ("credit-notes", "/v1/credit-notes/C536548"),
];

/// Everything that is answered in pages.
const LISTS: [&str; 4] = [
    "/v1/orders?limit=500",
    "/v1/users?limit=500",
    "/v1/products?limit=500",
    "/v1/accounts/a0/transactions?limit=500",
];

/// What is answered whole, besides what nobody changes.
const WHOLE: [&str; 2] = ["/v1/accounts/a0", "/v1/accounts/a7"];

/// The entries of each answer, by what was asked for.
pub(super) type Answers = BTreeMap<String, Vec<Value>>;

/// The answers to what nobody changes.
pub(super) struct Unchanged(Vec<Value>);

impl Unchanged {
    /// As they are now, while nothing is rebuilt.
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

/// How each projection was at one moment.
#[derive(Default)]
pub(super) struct Projections(Vec<Value>);

impl Projections {
    fn rebuild_of<'a>(&'a self, name: &str) -> Option<&'a Value> {
        self.0.iter().find(|it| it["name"] == name)?.get("rebuild")
    }

    /// How much of its rebuild is done, if there is one.
    pub(super) fn fraction_of(&self, name: &str) -> Option<f64> {
        self.rebuild_of(name)?.get("fraction")?.as_f64()
    }

    /// How far its rebuild is, if there is one.
    pub(super) fn position_of(&self, name: &str) -> Option<u64> {
        self.rebuild_of(name)?.get("position")?.as_u64()
    }

    fn keeps_old_rows(&self, name: &str) -> bool {
        self.0.iter().any(|it| it["name"] == name && it.get("oldRows").is_some())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|it| it["name"].as_str())
    }

    /// Those that are rebuilt, and how far.
    pub(super) fn rebuilding(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names().filter_map(|name| Some((name, self.position_of(name)?)))
    }

    pub(super) fn all_run(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|it| it["state"] == "running")
    }
}

/// A connection of somebody who asks.
pub(super) struct Asker<'k> {
    client: Client,
    known: &'k Known,
    unchanged: &'k Unchanged,
    before: Projections,
}

impl<'k> Asker<'k> {
    pub(super) fn of(server: &Server, known: &'k Known, unchanged: &'k Unchanged) -> Result<Self> {
        let client = Client::connect(server.address)?;
        Ok(Self { client, known, unchanged, before: Projections::default() })
    }

    pub(super) fn projections(&mut self) -> Result<Projections> {
        let answer = get(&mut self.client, "/v1/projections", 0)?;
        Ok(Projections(items(&answer)?.clone()))
    }

    /// Begins a rebuild of every projection, without the rows from before the last one.
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

    /// Asks everything once and looks how the projections are then. Adds to `answers` what was
    /// answered from a projection that was rebuilt before and after.
    pub(super) fn ask(&mut self, answers: &mut usize) -> Result<Projections> {
        let mut asked = Vec::new();
        for ((name, path), expected) in UNCHANGED.iter().zip(&self.unchanged.0) {
            let answer = get(&mut self.client, path, 0)?;
            ensure!(answer == *expected, "{path} is answered otherwise: {answer}");
            asked.push(*name);
        }
        asked.extend(self.own_writes()?);
        let now = self.projections()?;
        let during =
            |name: &&&str| self.before.rebuild_of(name).is_some() && now.rebuild_of(name).is_some();
        *answers += asked.iter().filter(during).count();
        self.before = Projections(now.0.clone());
        Ok(now)
    }

    /// A new user and a new account are in the answers at once, whatever is rebuilt.
    fn own_writes(&mut self) -> Result<[&'static str; 2]> {
        let id = format!("asked-{}", self.known.number());
        let user = json!({ "userId": id, "firstName": "Ann", "lastName": "Example" });
        self.write_and_ask("/v1/users", &id, &user)?;
        let account = json!({ "accountId": id, "currency": "GBP" });
        self.write_and_ask("/v1/accounts", &id, &account)?;
        Ok(["users", "accounts"])
    }

    fn write_and_ask(&mut self, path: &str, id: &str, body: &Value) -> Result<()> {
        let created = self.client.command(path, body)?;
        let position = created.header("gesta-position").context("a command has a position")?;
        get(&mut self.client, &format!("{path}/{id}"), position.parse()?)?;
        Ok(())
    }

    /// The entries of every answer, up to the end of the log.
    pub(super) fn everything(&mut self, head: u64) -> Result<Answers> {
        let mut all = Answers::new();
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
    fn what_is_rebuilt_is_told_from_what_runs() {
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
