//! A served shop is killed while an operator's paths are at work: setting aside, retrying and
//! skipping, switching to a rebuild, importing.
//!
//! Invariants: a poison event (a user's creation without a user, which only the store's owner can
//! append) is set aside by the welcome until a skip of it was acknowledged, and by the projection
//! of users for ever, each once; an acknowledged skip is in `audit-operations`; nothing that writers
//! were told is lost or there twice. Not here: kills of other paths ([`serve_kills`], [`rebuild_kills`]).
//!
//! [`serve_kills`]: super::serve_kills
//! [`rebuild_kills`]: super::rebuild_kills

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{
    Effort, Ground,
    client::{Client, Reply},
    log::Log,
    server::{Server, Shop},
    writers::{self, Known},
};

const WRITERS: usize = 2;
const KILLS_FULL: usize = 200;
const KILLS_SHORT: usize = 12;
const POLL: Duration = Duration::from_millis(20);
const POLLS_MAX: usize = 1_500;
/// The unit of the moment of a kill, another one each time.
const MOMENT: Duration = Duration::from_micros(700);
/// The projection that sets every poison event aside.
const PROJECTION: &str = "users";

/// The path that a kill meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    SettingAside,
    Skipping,
    Switching,
    Importing,
}

impl Met {
    const fn of(kill: usize) -> Self {
        match kill % 4 {
            0 => Self::SettingAside,
            1 => Self::Skipping,
            2 => Self::Switching,
            _ => Self::Importing,
        }
    }
}

/// What is known of a poison event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poison {
    SetAside,
    /// A skip was sent and not answered.
    MaybeSkipped,
    Skipped,
}

struct Watch<'s> {
    shop: &'s Shop,
    gesta: PathBuf,
    store: PathBuf,
    known: Known,
    /// By stream.
    poisons: BTreeMap<String, Poison>,
    /// Skips that were acknowledged.
    skips: usize,
    /// Orders to switch that were acknowledged.
    switches: usize,
    imports: usize,
}

/// Kills and judges.
pub(super) fn nothing_set_aside_is_lost(ground: &Ground) -> Result<String> {
    let shop = Shop::build(ground, "operations-kills")?;
    let kills = match ground.effort {
        Effort::Short => KILLS_SHORT,
        Effort::Full => KILLS_FULL,
    };
    let mut watch = Watch::new(&shop, ground.target_directory.join("release/gesta"));
    let server = shop.serve(&watch.store)?;
    writers::prepare(&server)?;
    drop(server);
    for kill in 0..kills {
        let met = Met::of(kill);
        let outcome = watch.kill(met, kill).and_then(|()| watch.check());
        outcome.with_context(|| format!("kill {kill}, {met:?}"))?;
    }
    watch.judge(kills)
}

impl<'s> Watch<'s> {
    fn new(shop: &'s Shop, gesta: PathBuf) -> Self {
        Self {
            shop,
            gesta,
            store: shop.store("store"),
            known: Known::default(),
            poisons: BTreeMap::new(),
            skips: 0,
            switches: 0,
            imports: 0,
        }
    }

    fn kill(&mut self, met: Met, kill: usize) -> Result<()> {
        let moment = MOMENT * u32::try_from(kill * 37 % 211).unwrap_or(0);
        match met {
            Met::SettingAside => self.kill_setting_aside(kill, moment),
            Met::Skipping => self.kill_skipping(kill, moment),
            Met::Switching => self.kill_switching(moment),
            Met::Importing => self.kill_importing(kill, moment),
        }
    }

    fn append_poison(&mut self, kill: usize) -> Result<()> {
        let stream = format!("user-poison-{kill}");
        self.shop.append(&self.store, &stream, "user-created", &json!({ "nope": kill }))?;
        self.poisons.insert(stream, Poison::SetAside);
        Ok(())
    }

    /// The shop meets the event while it starts, so it is not waited for.
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
        let known = match answered {
            Ok(reply) => {
                ensure!(reply.status == 204, "a skip: {} {}", reply.status, reply.text());
                self.skips += 1;
                Poison::Skipped
            }
            Err(_) => Poison::MaybeSkipped,
        };
        self.poisons.insert(stream, known);
        Ok(())
    }

    /// A rebuild that sets events aside waits until its switch is confirmed.
    fn kill_switching(&mut self, moment: Duration) -> Result<()> {
        let mut server = self.shop.serve(&self.store)?;
        let address = server.address;
        let confirmed = writers::under_load(address, WRITERS, &self.known, |_| {
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

    /// The store is exported and imported elsewhere; the import is killed, then done again to its
    /// end. What is served from there has set aside the same, and is killed, too.
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

    /// The last poison that is not skipped, once it is set aside, with its number there.
    fn until_set_aside(&self, server: &Server) -> Result<(String, u64)> {
        let waiting = self.poisons.iter().filter(|(_, poison)| **poison == Poison::SetAside);
        let stream = waiting.map(|(stream, _)| stream).next_back().context("there is poison")?;
        let mut client = Client::connect(server.address)?;
        for _ in 0..POLLS_MAX {
            if let Some(numbers) = set_aside(&mut client)?.get(stream) {
                let [number] = numbers.as_slice() else { bail!("{stream} is set aside twice") };
                return Ok((stream.clone(), *number));
            }
            thread::park_timeout(POLL);
        }
        bail!("{stream} was not set aside in time")
    }

    /// Serves the store as the kill left it, and lets it set aside what is left to be.
    fn check(&mut self) -> Result<()> {
        let server = self.shop.serve(&self.store)?;
        let set_aside = self.check_set_aside(&server)?;
        for (stream, poison) in &mut self.poisons {
            if *poison == Poison::MaybeSkipped {
                let is_there = set_aside.contains_key(stream);
                *poison = if is_there { Poison::SetAside } else { Poison::Skipped };
            }
        }
        Ok(())
    }

    /// What is set aside is what must be, each once.
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
                Poison::SetAside => times == 1,
                Poison::MaybeSkipped => times <= 1,
                Poison::Skipped => times == 0,
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
        unknown.map(|stream| format!("{stream} is set aside and is no poison"))
    }

    fn judge(self, kills: usize) -> Result<String> {
        let server = self.shop.serve(&self.store)?;
        let log = Log::finish(&self.gesta, &self.store)?;
        drop(server);
        log.judge(&self.known)?;
        let audited = log.audited("skip-process-input");
        ensure!(audited >= self.skips, "{audited} of {} skips are in the audit", self.skips);
        let waiting = self.poisons.values().filter(|poison| **poison == Poison::SetAside).count();
        Ok(format!(
            "{kills} kills; {} poison events, {waiting} of them still set aside once, the others \
             skipped; {audited} skips in the audit, {} acknowledged; {} switches confirmed; {} \
             killed imports ended with the same events; {} acknowledged commands there once, {} \
             users welcomed once",
            self.poisons.len(),
            self.skips,
            self.switches,
            self.imports,
            self.known.count(),
            log.count("user-welcomed"),
        ))
    }
}

/// Confirms the switch to a rebuild as soon as it waits for that.
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

/// The numbers of what the welcome has set aside, by source stream.
fn set_aside(client: &mut Client) -> Result<BTreeMap<String, Vec<u64>>> {
    let all = items(&client.get("/v1/processes/welcome/set-aside", &[])?)?;
    let of_subject = |subject: &Value| {
        let stream = subject.get("subject")?.as_str()?.strip_prefix("stream:")?.to_owned();
        let inputs = subject.get("inputs")?.as_array()?.iter();
        Some((stream, inputs.filter_map(|input| input.get("number")?.as_u64()).collect()))
    };
    Ok(all.iter().filter_map(of_subject).collect())
}

/// The streams of the dead letters of the projection.
fn dead_letters(client: &mut Client) -> Result<Vec<String>> {
    let all = items(&client.get("/v1/dead-letters", &[])?)?;
    let of_projection = all.iter().filter(|letter| letter["projection"] == PROJECTION);
    Ok(of_projection.filter_map(|it| Some(it.get("stream")?.as_str()?.to_owned())).collect())
}
