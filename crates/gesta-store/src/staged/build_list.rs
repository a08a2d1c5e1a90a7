//! The list of a projection's builds.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::Stage;

const LAST_BUILD: &str = "lastBuild";
const READ_MODELS: &str = "readModels";
const DROPPED: &str = "dropped";
const BUILD: &str = "build";
const VERSION: &str = "version";
const STAGE: &str = "stage";
const AT: &str = "at";

/// The builds of a projection, and those that were dropped and still have rows.
///
/// A store keeps it as one value, which it replaces on the condition that it has not changed since
/// it was read. So a switch happens at one moment, and a change that came too late is made again on
/// the newest list.
///
/// ```
/// use gesta_store::{
///     Stage,
///     staged::{BuildChange, BuildList, ListedBuild},
/// };
///
/// let mut list = BuildList::default();
/// list.add(ListedBuild { build: 1, version: 1, stage: Stage::Live });
/// list.add(ListedBuild { build: 2, version: 2, stage: Stage::Rebuilding });
/// let dropped = list.change(2, BuildChange::Switch, 1_700_000_000);
/// assert_eq!(dropped, Some(vec![1]));
/// assert_eq!(list.builds(), [ListedBuild { build: 2, version: 2, stage: Stage::Live }]);
/// assert_eq!(BuildList::from_json(&list.to_json()), Some(list));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildList {
    last_build: u64,
    /// By increasing build.
    builds: Vec<ListedBuild>,
    dropped: Vec<DroppedBuild>,
}

/// A build of a projection in a [`BuildList`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedBuild {
    /// Number of the build.
    pub build: u64,
    /// Version of the projection that fills it.
    pub version: u32,
    /// Role of the build.
    pub stage: Stage,
}

/// A build that was dropped, and whose rows are still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DroppedBuild {
    build: u64,
    at_seconds: u64,
}

/// A change of one build in a [`BuildList`], as [`ReadModelStore`](crate::ReadModelStore) has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildChange {
    /// It becomes live, and all others are dropped.
    Switch,
    /// It becomes live, the live one is retired, and all others are dropped.
    SwitchKeeping,
    /// It is rebuilt again, if it is retired.
    Resume,
    /// It is dropped.
    Drop,
    /// It leaves the list, and its rows stay for ever.
    Quarantine,
}

impl BuildList {
    /// Returns the builds, by increasing number.
    #[must_use]
    pub fn builds(&self) -> &[ListedBuild] {
        &self.builds
    }

    /// Returns the number of the next build. Numbers are never given again.
    #[must_use]
    pub const fn next_build(&self) -> u64 {
        self.last_build + 1
    }

    /// Adds a build with the [next number](Self::next_build). Returns `false` and changes nothing
    /// if it has another number, because another process has added one.
    pub fn add(&mut self, build: ListedBuild) -> bool {
        let is_next = build.build == self.next_build();
        if is_next {
            self.last_build = build.build;
            self.builds.push(build);
        }
        is_next
    }

    /// Changes a build at a time in epoch seconds. Returns the builds that this drops, or `None` if
    /// the build is not listed.
    pub fn change(&mut self, build: u64, change: BuildChange, at_seconds: u64) -> Option<Vec<u64>> {
        if self.builds.iter().all(|listed| listed.build != build) {
            return None;
        }
        let mut dropped = Vec::new();
        self.builds.retain_mut(|listed| {
            let stage = change.stage_of(*listed, listed.build == build);
            listed.stage = stage.unwrap_or(listed.stage);
            if stage.is_none() && change != BuildChange::Quarantine {
                dropped.push(listed.build);
            }
            stage.is_some()
        });
        let entries = dropped.iter().map(|build| DroppedBuild { build: *build, at_seconds });
        self.dropped.extend(entries);
        Some(dropped)
    }

    /// Returns the builds that were dropped up to a time in epoch seconds and not
    /// [forgotten](Self::forget).
    #[must_use]
    pub fn dropped_until(&self, at_seconds: u64) -> BTreeSet<u64> {
        let old = self.dropped.iter().filter(|one| one.at_seconds <= at_seconds);
        old.map(|one| one.build).collect()
    }

    /// Forgets dropped builds, whose rows are removed.
    pub fn forget(&mut self, removed: &BTreeSet<u64>) {
        self.dropped.retain(|one| !removed.contains(&one.build));
    }

    /// Returns the list as an object, `{ lastBuild, readModels: [{ build, version, stage }],
    /// dropped: [{ build, at }] }`. Other programs find the build whose stage is `live` in it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let build = |one: &ListedBuild| json!({ BUILD: one.build, VERSION: one.version, STAGE: one.stage.name() });
        let dropped = |one: &DroppedBuild| json!({ BUILD: one.build, AT: one.at_seconds });
        json!({
            LAST_BUILD: self.last_build,
            READ_MODELS: self.builds.iter().map(build).collect::<Vec<_>>(),
            DROPPED: self.dropped.iter().map(dropped).collect::<Vec<_>>(),
        })
    }

    /// Reads a list from an object, which may have further fields. `None` if it is damaged.
    #[must_use]
    pub fn from_json(object: &Value) -> Option<Self> {
        let number = |value: &Value, name| value.get(name)?.as_u64();
        let build = |value: &Value| {
            Some(ListedBuild {
                build: number(value, BUILD)?,
                version: u32::try_from(number(value, VERSION)?).ok()?,
                stage: Stage::named(value.get(STAGE)?.as_str()?)?,
            })
        };
        let dropped = |value: &Value| {
            Some(DroppedBuild { build: number(value, BUILD)?, at_seconds: number(value, AT)? })
        };
        Some(Self {
            last_build: number(object, LAST_BUILD)?,
            builds: object
                .get(READ_MODELS)?
                .as_array()?
                .iter()
                .map(build)
                .collect::<Option<_>>()?,
            dropped: object.get(DROPPED)?.as_array()?.iter().map(dropped).collect::<Option<_>>()?,
        })
    }
}

impl BuildChange {
    /// Returns the stage of a build after the change, or `None` if it leaves the list.
    const fn stage_of(self, listed: ListedBuild, is_own: bool) -> Option<Stage> {
        match (self, is_own, listed.stage) {
            (Self::Switch | Self::SwitchKeeping, true, _) => Some(Stage::Live),
            (Self::SwitchKeeping, false, Stage::Live) => Some(Stage::Retired),
            (Self::Switch | Self::SwitchKeeping, false, _) => None,
            (Self::Drop | Self::Quarantine, true, _) => None,
            (Self::Resume, true, Stage::Retired) => Some(Stage::Rebuilding),
            (Self::Resume | Self::Drop | Self::Quarantine, _, stage) => Some(stage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds 1 and 2 with these stages.
    fn list(stages: [Stage; 2]) -> BuildList {
        let mut list = BuildList::default();
        for (build, stage) in (1..).zip(stages) {
            assert!(list.add(ListedBuild { build, version: 7, stage }));
        }
        list
    }

    fn stages(list: &BuildList) -> Vec<(u64, Stage)> {
        list.builds().iter().map(|one| (one.build, one.stage)).collect()
    }

    #[test]
    fn a_number_that_another_process_has_taken_is_not_given_again() {
        let mut list = list([Stage::Live, Stage::Rebuilding]);
        let taken = ListedBuild { build: 2, version: 1, stage: Stage::Live };
        assert!(!list.add(taken));
        assert_eq!(list.change(2, BuildChange::Drop, 5), Some(vec![2]));
        assert!(!list.add(taken), "not even after a drop");
        assert_eq!(list.next_build(), 3);
    }

    #[test]
    fn a_dropped_build_is_remembered_until_its_rows_are_removed() {
        let mut list = list([Stage::Live, Stage::Rebuilding]);
        assert_eq!(list.change(2, BuildChange::Switch, 5), Some(vec![1]));
        assert_eq!(list.change(1, BuildChange::Switch, 6), None, "it is not listed any more");
        assert_eq!((list.dropped_until(4), list.dropped_until(5)), ([].into(), [1].into()));
        let mut read = BuildList::from_json(&list.to_json()).unwrap();
        assert_eq!(read, list);
        read.forget(&[1].into());
        assert_eq!(read.dropped_until(u64::MAX), [].into());
    }

    #[test]
    fn a_quarantined_build_keeps_its_rows() {
        let mut list = list([Stage::Live, Stage::Rebuilding]);
        assert_eq!(list.change(2, BuildChange::Quarantine, 5), Some(vec![]));
        assert_eq!(stages(&list), [(1, Stage::Live)]);
        assert_eq!(list.dropped_until(u64::MAX), [].into());
    }

    #[test]
    fn a_switch_that_keeps_retires_the_live_build_and_resume_takes_it_up_again() {
        let mut list = list([Stage::Live, Stage::Rebuilding]);
        assert_eq!(list.change(2, BuildChange::SwitchKeeping, 5), Some(vec![]));
        assert_eq!(stages(&list), [(1, Stage::Retired), (2, Stage::Live)]);
        assert_eq!(list.change(2, BuildChange::Resume, 5), Some(vec![]));
        assert_eq!(list.change(1, BuildChange::Resume, 5), Some(vec![]));
        assert_eq!(stages(&list), [(1, Stage::Rebuilding), (2, Stage::Live)]);
    }

    #[test]
    fn a_damaged_list_is_refused() {
        let mut stored = list([Stage::Live, Stage::Rebuilding]).to_json();
        stored["readModels"][0]["stage"] = "asleep".into();
        assert_eq!(BuildList::from_json(&stored), None);
    }
}
