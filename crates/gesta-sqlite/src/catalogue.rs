//! The catalogue: the list of read models and the stage of each.
//!
//! Invariants:
//! - At most one read model of a projection is live. A unique index enforces it.
//! - A row is inserted before its file is created, and deleted after its file is removed, so a
//!   crash never leaves a file that no row names.
//! - Columns added later have defaults and keep the layout number. A program that does not know
//!   the column `retired` sees a retired read model as dropped.

use std::path::{Path, PathBuf};

use gesta_store::{CreateReadModel, DatabaseError, ReadModelId, Stage};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    connection::{self, Durability},
    error::classify,
    file_identity::FileIdentity,
};

/// The newest catalogue layout that this version reads, stored as `user_version`.
const LAYOUT: u32 = 1;

const TABLES: &str = "
    create table if not exists read_models (
        build integer primary key autoincrement,
        projection text not null,
        version integer not null,
        stage text not null check (stage in ('rebuilding', 'answering', 'dropped')),
        file text not null
    ) strict;
    create unique index if not exists answering
        on read_models (projection) where stage = 'answering';
";

/// Columns that catalogues of earlier versions lack, with the statements that add them.
///
/// `retired` keeps a dropped read model and its file. `begun` is set once the file has its tables,
/// so that an empty file is recognised as damaged.
const ADDED_COLUMNS: [(&str, &str); 2] = [
    ("retired", "alter table read_models add column retired integer not null default 0"),
    ("begun", "alter table read_models add column begun integer not null default 0"),
];

pub(crate) struct Catalogue {
    connection: Connection,
    path: PathBuf,
    identity: FileIdentity,
}

/// A row of the catalogue.
pub(crate) struct CatalogueEntry {
    pub(crate) id: ReadModelId,
    pub(crate) version: u32,
    pub(crate) stage: Stage,
}

/// The file of a read model that is not dropped.
pub(crate) struct FileEntry {
    pub(crate) name: PathBuf,
    /// The tables were created, so an empty file has lost them.
    pub(crate) has_tables: bool,
}

/// The file of a dropped read model, to be removed.
pub(crate) struct DroppedFile {
    pub(crate) name: PathBuf,
    build: u64,
}

impl Catalogue {
    /// Opens the catalogue, or creates an empty one.
    ///
    /// # Errors
    /// [`DatabaseError::Corrupt`] or [`DatabaseError::Unavailable`], with the path and a remedy.
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        Self::open_file(path).map_err(|error| with_remedy(error, path))
    }

    /// Checks that the file at the path is still the one that was opened.
    ///
    /// # Errors
    /// [`DatabaseError::Corrupt`], with the path and a remedy, when it is not.
    pub(crate) fn check(&self) -> Result<(), DatabaseError> {
        self.identity.check(&self.path).map_err(|error| with_remedy(error, &self.path))
    }

    fn open_file(path: &Path) -> Result<Self, DatabaseError> {
        let connection = connection::open(path, Durability::PowerLoss)?;
        let layout: u32 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(classify)?;
        if layout > LAYOUT {
            return Err(DatabaseError::rejected(format!(
                "{} has layout {layout}, but this program reads layouts up to {LAYOUT}; start the \
                 version of the program that wrote it",
                path.display()
            )));
        }
        // `if not exists` throughout: the next open repairs a crash between these statements.
        connection.execute_batch(TABLES).map_err(classify)?;
        for (column, add) in ADDED_COLUMNS {
            let sql = "select 1 from pragma_table_info('read_models') where name = ?1";
            let existing = connection.query_row(sql, [column], |_| Ok(())).optional();
            if existing.map_err(classify)?.is_none() {
                connection.execute_batch(add).map_err(classify)?;
            }
        }
        connection.pragma_update(None, "user_version", LAYOUT).map_err(classify)?;
        Ok(Self { connection, path: path.to_owned(), identity: FileIdentity::of(path)? })
    }

    pub(crate) fn list(&self, projection: &str) -> Result<Vec<CatalogueEntry>, DatabaseError> {
        let sql = "select build, version, stage from read_models
                   where projection = ?1 and (stage <> 'dropped' or retired) order by build";
        let mut statement = self.connection.prepare_cached(sql).map_err(classify)?;
        let rows = statement.query_map([projection], |row| {
            let stage: String = row.get(2)?;
            Ok(CatalogueEntry {
                id: ReadModelId { projection: projection.to_owned(), build: row.get(0)? },
                version: row.get(1)?,
                stage: match stage.as_str() {
                    "answering" => Stage::Live,
                    "dropped" => Stage::Retired,
                    _ => Stage::Rebuilding,
                },
            })
        });
        rows.map_err(classify)?.collect::<Result<_, _>>().map_err(classify)
    }

    pub(crate) fn create(&self, create: CreateReadModel<'_>) -> Result<ReadModelId, DatabaseError> {
        let stage = match create.stage {
            Stage::Rebuilding => "rebuilding",
            Stage::Live => "answering",
            Stage::Retired => {
                return Err(DatabaseError::rejected(
                    "a read model must be live before it can be retired",
                ));
            }
        };
        // The build number keeps file names unique, because `file_stem` may map two projections to
        // one stem. It is read from `sqlite_sequence`, which never reuses the number of a deleted
        // row: a file left by a crash cannot be mistaken for a new one.
        let sql = "insert into read_models (projection, version, stage, file)
                   values (?1, ?2, ?3, ?4 || '-' || (
                       select coalesce(max(seq), 0) + 1 from sqlite_sequence
                       where name = 'read_models'
                   ) || '.db') returning build";
        let values =
            params![create.projection, create.version, stage, file_stem(create.projection)];
        let build = self.connection.query_row(sql, values, |row| row.get(0)).map_err(classify)?;
        Ok(ReadModelId { projection: create.projection.to_owned(), build })
    }

    /// Returns the read model's file, or [`DatabaseError::Missing`] if it was dropped.
    pub(crate) fn file_of(&self, id: &ReadModelId) -> Result<FileEntry, DatabaseError> {
        let sql = "select file, begun from read_models
                   where build = ?1 and projection = ?2 and (stage <> 'dropped' or retired)";
        let entry = self.connection.query_row(sql, params![id.build, id.projection], |row| {
            let name: String = row.get(0)?;
            Ok(FileEntry { name: PathBuf::from(name), has_tables: row.get(1)? })
        });
        let entry = entry.optional().map_err(classify)?;
        entry.ok_or_else(|| DatabaseError::Missing { read_model: id.clone() })
    }

    /// Records that the read model's file has its tables.
    pub(crate) fn mark_tables_created(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        let sql = "update read_models set begun = 1 where build = ?1 and projection = ?2";
        self.connection.execute(sql, params![id.build, id.projection]).map_err(classify)?;
        Ok(())
    }

    /// Makes this read model live and drops all others of its projection, in one transaction.
    ///
    /// Returns the dropped read models.
    pub(crate) fn switch_to(
        &mut self,
        id: &ReadModelId,
    ) -> Result<Vec<ReadModelId>, DatabaseError> {
        let drop_others = "update read_models set stage = 'dropped', retired = 0
                           where projection = ?1 and build <> ?2";
        self.switch(id, drop_others)
    }

    /// Does the same as [`switch_to`](Self::switch_to), but retires the previously live read model.
    pub(crate) fn switch_keeping(
        &mut self,
        id: &ReadModelId,
    ) -> Result<Vec<ReadModelId>, DatabaseError> {
        // Right-hand sides read the row before the update, so `stage` still is the old one. A
        // retired row is `dropped` to programs that do not know the column.
        let retire = "update read_models set stage = 'dropped', retired = (stage = 'answering')
                      where projection = ?1 and build <> ?2";
        self.switch(id, retire)
    }

    /// Returns the read models that the switch-over dropped.
    fn switch(
        &mut self,
        id: &ReadModelId,
        end_others: &str,
    ) -> Result<Vec<ReadModelId>, DatabaseError> {
        // Fails for a dropped read model: its file may be removed already.
        self.file_of(id)?;
        let before = self.list(&id.projection)?;
        let switch = self.connection.transaction().map_err(classify)?;
        // First end the live row: the unique index allows one per projection at any time.
        switch.execute(end_others, params![id.projection, id.build]).map_err(classify)?;
        let make_live = "update read_models set stage = 'answering', retired = 0 where build = ?1";
        switch.execute(make_live, [id.build]).map_err(classify)?;
        switch.commit().map_err(classify)?;
        let after = self.list(&id.projection)?;
        let is_gone = |one: &ReadModelId| after.iter().all(|listed| listed.id != *one);
        Ok(before.into_iter().map(|listed| listed.id).filter(is_gone).collect())
    }

    /// Changes a retired read model to rebuilding.
    pub(crate) fn resume(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        // Fails for a dropped read model, which would keep its stage without notice.
        self.file_of(id)?;
        let sql = "update read_models set stage = 'rebuilding', retired = 0
                   where build = ?1 and projection = ?2 and retired";
        self.connection.execute(sql, params![id.build, id.projection]).map_err(classify)?;
        Ok(())
    }

    pub(crate) fn drop_read_model(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        let sql = "update read_models set stage = 'dropped', retired = 0
                   where build = ?1 and projection = ?2";
        self.connection.execute(sql, params![id.build, id.projection]).map_err(classify)?;
        Ok(())
    }

    pub(crate) fn dropped_files(&self) -> Result<Vec<DroppedFile>, DatabaseError> {
        let sql = "select file, build from read_models where stage = 'dropped' and not retired";
        let mut statement = self.connection.prepare(sql).map_err(classify)?;
        let files = statement.query_map([], |row| {
            let name: String = row.get(0)?;
            Ok(DroppedFile { name: PathBuf::from(name), build: row.get(1)? })
        });
        files.map_err(classify)?.map(|file| file.map_err(classify)).collect()
    }

    /// Deletes the row of a dropped read model, after its file was removed.
    pub(crate) fn forget(&self, file: &DroppedFile) -> Result<(), DatabaseError> {
        self.connection
            .execute("delete from read_models where build = ?1", [file.build])
            .map_err(classify)?;
        Ok(())
    }
}

/// Adds the path and a remedy to the reason.
fn with_remedy(error: DatabaseError, path: &Path) -> DatabaseError {
    let path = path.display();
    match error {
        DatabaseError::Corrupt { reason, source } => {
            let reason = format!(
                "the catalogue of read models {path} is damaged: {reason}; move it away (with \
                 its -wal and -shm files) and restart: all read models are then rebuilt from the \
                 first event"
            );
            DatabaseError::Corrupt { reason, source }
        }
        DatabaseError::Unavailable { reason, source } => {
            let reason = format!(
                "the catalogue of read models {path} cannot be opened: {reason}; make it and its \
                 -wal and -shm files readable and writable, or move them away: all read models \
                 are then rebuilt from the first event"
            );
            DatabaseError::Unavailable { reason, source }
        }
        other => other,
    }
}

/// Reduces a projection's name to characters and a length that every file system accepts.
fn file_stem(projection: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    projection.chars().map(plain).take(100).collect()
}
