//! The list of builds in a directory.
//!
//! Invariants: a projection has at most one live build. A change replaces the file as a whole, and
//! is durable before it counts. Numbers of builds are never given again.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use gesta_store::{DatabaseError, ReadModelId, Stage};
use serde::{Deserialize, Serialize};

use crate::{
    OpenError,
    engine::{ListedBuild, LiveBefore},
};

const FILE: &str = "catalogue.json";
const NEW_FILE: &str = "catalogue.json.new";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Catalogue {
    /// Number of the last build.
    last: u64,
    builds: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    projection: String,
    build: u64,
    version: u32,
    #[serde(with = "stage_name")]
    stage: Stage,
}

/// Stages by their names.
mod stage_name {
    use gesta_store::Stage;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(stage: &Stage, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(stage.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Stage, D::Error> {
        let name = String::deserialize(from)?;
        Stage::named(&name).ok_or_else(|| D::Error::custom(format!("no stage is named `{name}`")))
    }
}

impl Entry {
    fn is(&self, id: &ReadModelId) -> bool {
        self.build == id.build && self.projection == id.projection
    }
}

impl Catalogue {
    /// Reads the list of a directory; the empty one if there is none yet.
    pub(super) fn load(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(OpenError::Directory { directory: directory.to_owned(), error });
            }
        };
        serde_json::from_str(&text)
            .map_err(|error| OpenError::Damaged { path, reason: error.to_string() })
    }

    pub(super) fn save(&self, directory: &Path) -> io::Result<()> {
        let (path, new) = (directory.join(FILE), directory.join(NEW_FILE));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(directory)?.sync_all()
    }

    pub(super) fn list(&self, projection: &str) -> Vec<ListedBuild> {
        let own = self.builds.iter().filter(|entry| entry.projection == projection);
        own.map(|entry| ListedBuild {
            id: ReadModelId { projection: projection.to_owned(), build: entry.build },
            version: entry.version,
            stage: entry.stage,
        })
        .collect()
    }

    pub(super) fn has(&self, id: &ReadModelId) -> bool {
        self.builds.iter().any(|entry| entry.is(id))
    }

    pub(super) fn has_number(&self, build: u64) -> bool {
        self.builds.iter().any(|entry| entry.build == build)
    }

    pub(super) fn check(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        if self.has(id) {
            return Ok(());
        }
        Err(DatabaseError::Missing { read_model: id.clone() })
    }

    pub(super) fn create(&mut self, projection: String, version: u32, stage: Stage) -> ReadModelId {
        self.last += 1;
        let id = ReadModelId { projection, build: self.last };
        let projection = id.projection.clone();
        self.builds.push(Entry { projection, build: id.build, version, stage });
        id
    }

    pub(super) fn switch(
        &mut self,
        id: &ReadModelId,
        before: LiveBefore,
    ) -> Result<(), DatabaseError> {
        self.check(id)?;
        self.builds.retain_mut(|entry| {
            if entry.projection != id.projection {
                return true;
            }
            if entry.is(id) {
                entry.stage = Stage::Live;
                return true;
            }
            let stays = before == LiveBefore::Retired && entry.stage == Stage::Live;
            if stays {
                entry.stage = Stage::Retired;
            }
            stays
        });
        Ok(())
    }

    /// Moves a build of this stage to that of a rebuild.
    pub(super) fn move_from(
        &mut self,
        id: &ReadModelId,
        stage: Stage,
    ) -> Result<(), DatabaseError> {
        self.check(id)?;
        for entry in &mut self.builds {
            if entry.is(id) && entry.stage == stage {
                entry.stage = Stage::Rebuilding;
            }
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &ReadModelId) {
        self.builds.retain(|entry| !entry.is(id));
    }
}
