//! Lock file lines of process managers: the stored types of their instances.
//!
//! Invariant: locked types stay readable, unless the definition ignores them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{TypeShape, event::ProcessShapes};

/// One locked process manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ProcessLine {
    pub(super) process: String,
    /// Event types that its instances may have stored.
    takes: BTreeSet<String>,
    /// The name of its timers.
    timer: String,
    /// Shape of each version of its timers.
    timers: BTreeMap<u16, TypeShape>,
    /// Shape of each of its commands, stored in instances until executed.
    commands: BTreeMap<String, TypeShape>,
}

impl ProcessLine {
    pub(super) fn of(process: &str, shapes: &ProcessShapes) -> Self {
        let commands =
            shapes.commands.iter().map(|(name, shape)| ((*name).to_owned(), shape.clone()));
        Self {
            process: process.to_owned(),
            takes: shapes.takes.iter().map(|name| (*name).to_owned()).collect(),
            timer: shapes.timer.to_owned(),
            timers: shapes.timers.iter().cloned().collect(),
            commands: commands.collect(),
        }
    }

    /// Returns the stored types that the current definition does not understand.
    pub(super) fn differences(&self, today: Option<&ProcessShapes>) -> Vec<String> {
        let process = &self.process;
        let Some(today) = today else {
            return vec![format!(
                "process {process} is locked, but no process manager has this name; register it \
                 under its former name, or delete the line once none of its instances is left"
            )];
        };
        // The manager declares that it skips inputs it cannot decode, so nothing can break.
        if today.ignores {
            return Vec::new();
        }
        let now = Self::of(process, today);
        let mut problems = Vec::new();
        for name in self.takes.difference(&now.takes) {
            problems.push(format!(
                "process {process} has handled {name}, which its event set no longer contains; \
                 keep it, declare it with `ignore`, or declare NotUnderstood::Ignore"
            ));
        }
        if self.timer != now.timer {
            let (then, now) = (&self.timer, &now.timer);
            problems.push(format!("the timers of process {process} were {then} and are {now}"));
        }
        let timer = |version: &u16| format!("version {version} of the timers of process {process}");
        problems.extend(broken(&self.timers, &now.timers, timer));
        let command = |name: &String| format!("command {name} of process {process}");
        problems.extend(broken(&self.commands, &now.commands, command));
        problems
    }

    /// Returns the line with additions, or `None` without any.
    pub(super) fn grown(&self, today: &ProcessShapes) -> Option<Self> {
        let now = Self::of(&self.process, today);
        let mut grown = self.clone();
        // Nothing is removed: an instance may store a type that the program no longer writes.
        grown.takes.extend(now.takes);
        grown.timers.extend(now.timers);
        grown.commands.extend(now.commands);
        (grown != *self).then_some(grown)
    }
}

/// Returns removed types, and changes of shape that may break decoding.
fn broken<K: Ord>(
    locked: &BTreeMap<K, TypeShape>,
    now: &BTreeMap<K, TypeShape>,
    named: impl Fn(&K) -> String,
) -> Vec<String> {
    let of_one = |(key, then): (&K, &TypeShape)| match now.get(key) {
        None => vec![format!("{} is locked, but no longer exists", named(key))],
        Some(now) => {
            let breaks = now.breaks(then).into_iter();
            let named = named(key);
            breaks.map(|broken| format!("{named} no longer matches its lock: {broken}")).collect()
        }
    };
    locked.iter().flat_map(of_one).collect()
}
