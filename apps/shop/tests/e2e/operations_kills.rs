//! Kills of a served shop during operations: dead letters, retries and discards, rebuild switches,
//! imports.
//!
//! Invariants: a poison event (a user's creation without a user, appended directly to the store) is
//! a dead letter of the welcome process until a skip was acknowledged, and of the users projection
//! forever, each once; an acknowledged skip is in `audit-operations`; commands acknowledged to
//! writers are present once. Not here: kills of other operations ([`serve_kills`],
//! [`rebuild_kills`]).
//!
//! [`serve_kills`]: crate::serve_kills
//! [`rebuild_kills`]: crate::rebuild_kills

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use gesta_services::e2e::{figures, is_full};
use serde_json::{Value, json};

use crate::{
    client::{Client, Reply},
    log::Log,
    server::{Server, Shop, gesta},
    writers::{self, Acknowledged},
};

const WRITERS: usize = 2;
const KILLS_FULL: usize = 200;
const KILLS_SHORT: usize = 12;
const POLL: Duration = Duration::from_millis(20);
const POLLS_MAX: usize = 1_500;
/// Unit of the delay before a kill, multiplied by a different factor each time.
const MOMENT: Duration = Duration::from_micros(700);
/// Projection for which every poison event is a dead letter.
const PROJECTION: &str = "users";

/// Operation interrupted by a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KilledIn {
    SettingAside,
    Skipping,
    Switching,
    Importing,
}

impl KilledIn {
    const fn of(kill: usize) -> Self {
        match kill % 4 {
            0 => Self::SettingAside,
            1 => Self::Skipping,
            2 => Self::Switching,
            _ => Self::Importing,
        }
    }
}

/// Expected state of a poison event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PoisonState {
    SetAside,
    /// A skip was sent without an answer.
    MaybeSkipped,
    Skipped,
}

struct OperationsRun<'s> {
    shop: &'s Shop,
    gesta: PathBuf,
    store: PathBuf,
    acknowledged: Acknowledged,
    /// Expected states, by stream.
    poisons: BTreeMap<String, PoisonState>,
    /// Number of acknowledged skips.
    skips: usize,
    /// Number of acknowledged switches.
    switches: usize,
    imports: usize,
}

/// Kills the shop during each operation in turn, and checks the invariants.
#[test]
fn nothing_set_aside_is_lost() -> Result<()> {
    let shop = Shop::build("operations-kills")?;
    let kills = if is_full() { KILLS_FULL } else { KILLS_SHORT };
    let mut run = OperationsRun::new(&shop, gesta()?);
    let server = shop.serve(&run.store)?;
    writers::prepare(server.address)?;
    drop(server);
    for kill in 0..kills {
        let killed_in = KilledIn::of(kill);
        let outcome = run.kill(killed_in, kill).and_then(|()| run.check());
        outcome.with_context(|| format!("kill {kill}, {killed_in:?}"))?;
    }
    figures(run.summarize(kills)?)
}

impl<'s> OperationsRun<'s> {
    fn new(shop: &'s Shop, gesta: PathBuf) -> Self {
        Self {
            shop,
            gesta,
            store: shop.store("store"),
            acknowledged: Acknowledged::default(),
            poisons: BTreeMap::new(),
            skips: 0,
            switches: 0,
            imports: 0,
        }
    }

    fn kill(&mut self, killed_in: KilledIn, kill: usize) -> Result<()> {
        // Coprime factors spread the kills over the whole interval.
        let moment = MOMENT * u32::try_from(kill * 37 % 211).unwrap_or(0);
        match killed_in {
            KilledIn::SettingAside => self.kill_setting_aside(kill, moment),
            KilledIn::Skipping => self.kill_skipping(kill, moment),
            KilledIn::Switching => self.kill_switching(moment),
            KilledIn::Importing => self.kill_importing(kill, moment),
        }
    }

    fn append_poison(&mut self, kill: usize) -> Result<()> {
        let stream = format!("user-poison-{kill}");
        self.shop.append(&self.store, &stream, "user-created", &json!({ "nope": kill }))?;
        self.poisons.insert(stream, PoisonState::SetAside);
        Ok(())
    }

    /// Starts without waiting: the shop meets the event while it starts.
    fn kill_setting_aside(&mut self, kill: usize, moment: Duration) -> Result<()> {
        self.append_poison(kill)?;
        let mut server = self.shop.start(&self.store)?;
        thread::park_timeout(moment);
        server.kill()
    }

    fn kill_skipping(&mut self, kill: usize, moment: Duration) -> Result<()> {
        self.append_poison(kill)?;
        let mut server = self.shop.serve(&self.store)?;
        let (stream, number) = self.until_set_aside(&server)?;
        let poisoned = format!("/v1/processes/welcome/set-aside/stream:{stream}");
        let retry = format!("{poisoned}/retry?reason=kill-{kill}");
        let skip = format!("{poisoned}/{number}/skip?reason=kill-{kill}");
        let address = server.address;
        let answered = thread::scope(|scope| {
            let orders = scope.spawn(move || -> Result<Reply> {
                let mut client = Client::connect(address)?;
                let retried = client.post(&retry, &[], &json!({}))?;
                ensure!(retried.status == 422, "a retry that fails: {}", retried.text());
                client.post(&skip, &[], &json!({}))
            });
            thread::park_timeout(moment / 8);
            server.kill()?;
            Ok::<_, anyhow::Error>(orders.join().expect("orders end"))
        })?;
        let state = match answered {
            Ok(reply) => {
                ensure!(reply.status == 204, "a skip: {} {}", reply.status, reply.text());
                self.skips += 1;
                PoisonState::Skipped
            }
            // The kill cut the connection: the skip may have been appended or not.
            Err(_) => PoisonState::MaybeSkipped,
        };
        self.poisons.insert(stream, state);
        Ok(())
    }

    /// Kills during a switch: a rebuild with dead letters waits until its switch is confirmed.
    fn kill_switching(&mut self, moment: Duration) -> Result<()> {
        let mut server = self.shop.serve(&self.store)?;
        let address = server.address;
        let confirmed = writers::under_load(address, WRITERS, &self.acknowledged, |_| {
            let mut client = Client::connect(address)?;
            client.command(&format!("/v1/projections/{PROJECTION}/rebuild"), &json!({}))?;
            thread::scope(|scope| {
                let orders = scope.spawn(move || confirm_once_filled(address));
                thread::park_timeout(moment);
                server.kill()?;
                Ok(orders.join().expect("orders end").is_ok())
            })
        })?;
        self.switches += usize::from(confirmed);
        Ok(())
    }

    /// Exports the store, kills an import of it and repeats it to its end. The imported store must
    /// have the same events and dead letters.
    fn kill_importing(&mut self, kill: usize, moment: Duration) -> Result<()> {
        let exported = self.shop.store("exported.jsonl");
        let moved = self.shop.store(&format!("moved-{kill}"));
        std::fs::create_dir_all(&moved)?;
        drop(std::fs::remove_file(&exported));
        let path = exported.to_str().context("the path is a text")?;
        self.run(&self.store, &["export", "--output", path])?;
        let mut import = self.begin(&moved, &["import", path])?;
        thread::park_timeout(moment);
        import.kill()?;
        import.wait()?;
        self.run(&moved, &["import", path])?;
        let (here, there) = (Log::read(&self.gesta, &self.store)?, Log::read(&self.gesta, &moved)?);
        // The import was interrupted once and must still be complete and free of duplicates.
        ensure!(here == there, "the imported store has other events");
        let mut server = self.shop.serve(&moved)?;
        self.check_set_aside(&server)?;
        server.kill()?;
        std::fs::remove_dir_all(&moved)?;
        self.imports += 1;
        Ok(())
    }

    fn begin(&self, store: &Path, arguments: &[&str]) -> Result<Child> {
        let mut command = Command::new(&self.gesta);
        command.args(arguments).arg("--store").arg(format!("gesta:{}", store.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("gesta cannot be started")
    }

    fn run(&self, store: &Path, arguments: &[&str]) -> Result<()> {
        let status = self.begin(store, arguments)?.wait()?;
        ensure!(status.success(), "gesta {}: {status}", arguments.join(" "));
        Ok(())
    }

    /// Waits for the last unskipped poison event to be a dead letter. Returns its stream and
    /// number.
    fn until_set_aside(&self, server: &Server) -> Result<(String, u64)> {
        let waiting = self.poisons.iter().filter(|(_, poison)| **poison == PoisonState::SetAside);
        let stream = waiting.map(|(stream, _)| stream).next_back().context("there is poison")?;
        let mut client = Client::connect(server.address)?;
        for _ in 0..POLLS_MAX {
            if let Some(numbers) = set_aside(&mut client)?.get(stream) {
                let [number] = numbers.as_slice() else { bail!("{stream} is set aside twice") };
                return Ok((stream.clone(), *number));
            }
            thread::park_timeout(POLL);
        }
        bail!("{stream} did not become a dead letter in time")
    }

    /// Serves the store after a kill and waits for its dead letters.
    fn check(&mut self) -> Result<()> {
        let server = self.shop.serve(&self.store)?;
        let set_aside = self.check_set_aside(&server)?;
        for (stream, poison) in &mut self.poisons {
            // The state after the restart decides, and must not change again.
            if *poison == PoisonState::MaybeSkipped {
                let is_there = set_aside.contains_key(stream);
                *poison = if is_there { PoisonState::SetAside } else { PoisonState::Skipped };
            }
        }
        Ok(())
    }

    /// Waits until the dead letters are the expected ones, each once.
    fn check_set_aside(&self, server: &Server) -> Result<BTreeMap<String, Vec<u64>>> {
        let mut client = Client::connect(server.address)?;
        let mut problem = String::new();
        for _ in 0..POLLS_MAX {
            let set_aside = set_aside(&mut client)?;
            let letters = dead_letters(&mut client)?;
            match self.differences(&set_aside, &letters) {
                None => return Ok(set_aside),
                Some(found) => problem = found,
            }
            thread::park_timeout(POLL);
        }
        bail!("{problem}")
    }

    fn differences(
        &self,
        set_aside: &BTreeMap<String, Vec<u64>>,
        letters: &[String],
    ) -> Option<String> {
        for (stream, poison) in &self.poisons {
            let times = set_aside.get(stream).map_or(0, Vec::len);
            let fits = match poison {
                PoisonState::SetAside => times == 1,
                PoisonState::MaybeSkipped => times <= 1,
                PoisonState::Skipped => times == 0,
            };
            if !fits {
                return Some(format!("{stream} is {poison:?} and is set aside {times} times"));
            }
            let times = letters.iter().filter(|letter| *letter == stream).count();
            if times != 1 {
                return Some(format!("{stream} is a dead letter of {PROJECTION} {times} times"));
            }
        }
        let unknown = set_aside.keys().find(|stream| !self.poisons.contains_key(*stream));
        unknown.map(|stream| format!("{stream} is a dead letter without a poison event"))
    }

    fn summarize(self, kills: usize) -> Result<String> {
        let server = self.shop.serve(&self.store)?;
        let log = Log::read_when_finished(&self.gesta, &self.store)?;
        drop(server);
        log.check(&self.acknowledged)?;
        let audited = log.audited("skip-process-input");
        ensure!(audited >= self.skips, "{audited} of {} skips are in the audit", self.skips);
        let waiting =
            self.poisons.values().filter(|poison| **poison == PoisonState::SetAside).count();
        Ok(format!(
            "{kills} kills; {} poison events, {waiting} of them still set aside once, the others \
             skipped; {audited} skips in the audit, {} acknowledged; {} switches confirmed; {} \
             killed imports ended with the same events; {} acknowledged commands present once, {} \
             users welcomed once",
            self.poisons.len(),
            self.skips,
            self.switches,
            self.imports,
            self.acknowledged.count(),
            log.count("user-welcomed"),
        ))
    }
}

/// Confirms the switch to a rebuild as soon as it waits for confirmation.
fn confirm_once_filled(address: std::net::SocketAddr) -> Result<()> {
    let mut client = Client::connect(address)?;
    let path = format!("/v1/projections/{PROJECTION}/confirm-switch");
    for _ in 0..POLLS_MAX {
        let reply = client.post(&path, &[], &json!({}))?;
        if (200..300).contains(&reply.status) {
            return Ok(());
        }
        thread::park_timeout(POLL / 10);
    }
    bail!("the rebuild never waited to be confirmed")
}

fn items(reply: &Reply) -> Result<Vec<Value>> {
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    let mut list: Value = serde_json::from_slice(&reply.body)?;
    let items = list.get_mut("items").map(Value::take);
    items.and_then(|items| items.as_array().cloned()).context("it answers a list")
}

/// Numbers of the welcome process's dead letters, by source stream.
fn set_aside(client: &mut Client) -> Result<BTreeMap<String, Vec<u64>>> {
    let all = items(&client.get("/v1/processes/welcome/set-aside?limit=500", &[])?)?;
    let of_subject = |subject: &Value| {
        let stream = subject.get("subject")?.as_str()?.strip_prefix("stream:")?.to_owned();
        let inputs = subject.get("inputs")?.as_array()?.iter();
        Some((stream, inputs.filter_map(|input| input.get("number")?.as_u64()).collect()))
    };
    Ok(all.iter().filter_map(of_subject).collect())
}

/// Streams of the projection's dead letters.
fn dead_letters(client: &mut Client) -> Result<Vec<String>> {
    let list = format!("/v1/dead-letters?projection={PROJECTION}&limit=500");
    let all = items(&client.get(&list, &[])?)?;
    Ok(all.iter().filter_map(|it| Some(it.get("stream")?.as_str()?.to_owned())).collect())
}
