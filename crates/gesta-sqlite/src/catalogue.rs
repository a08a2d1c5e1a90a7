//! The catalogue: which read models there are, and which of them answers.
//!
//! Always holds: at most one read model of a projection answers; a read model is listed before
//! its file exists and its file is gone before its row is, so nothing is ever left over that
//! nobody knows of. Columns that were added later have defaults and leave the layout as it is: a
//! retired read model is `dropped` to a program that does not know the column.

use std::path::{Path, PathBuf};

use gesta_store::{CreateReadModel, DatabaseError, ReadModelId, Stage};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    connection::{self, Durable},
    error::sorted,
    mark::Mark,
};

/// The layout of the catalogue that this code understands.
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

/// Columns that catalogues of earlier versions do not have. `retired` keeps a dropped read model
/// and its file; `begun` is set once the file has its tables, so that an empty file is known to
/// have lost them.
const ADDED_COLUMNS: [(&str, &str); 2] = [
    ("retired", "alter table read_models add column retired integer not null default 0"),
    ("begun", "alter table read_models add column begun integer not null default 0"),
];

pub(crate) struct Catalogue {
    connection: Connection,
    path: PathBuf,
    mark: Mark,
}

/// A row of the catalogue.
pub(crate) struct Listed {
    pub(crate) id: ReadModelId,
    pub(crate) version: u32,
    pub(crate) stage: Stage,
}

/// A read model's file, as the catalogue knows it.
pub(crate) struct KnownFile {
    pub(crate) name: PathBuf,
    /// It had its tables once.
    pub(crate) is_begun: bool,
}

/// The file of a dropped read model.
pub(crate) struct DroppedFile {
    pub(crate) name: PathBuf,
    build: u64,
}

impl Catalogue {
    /// Opens the catalogue, or makes an empty one.
    ///
    /// # Errors
    /// [`DatabaseError::Corrupt`] or [`DatabaseError::Unavailable`] with the path and the way out.
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        Self::open_file(path).map_err(|error| named(error, path))
    }

    /// Looks whether the file is still the one that was opened.
    ///
    /// # Errors
    /// [`DatabaseError::Corrupt`] with the path and the way out.
    pub(crate) fn check(&self) -> Result<(), DatabaseError> {
        self.mark.check(&self.path).map_err(|error| named(error, &self.path))
    }

    fn open_file(path: &Path) -> Result<Self, DatabaseError> {
        let connection = connection::open(path, Durable::Always)?;
        let layout: u32 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(sorted)?;
        if layout > LAYOUT {
            return Err(DatabaseError::rejected(format!(
                "{} has layout {layout}, this program knows {LAYOUT}",
                path.display()
            )));
        }
        connection.execute_batch(TABLES).map_err(sorted)?;
        for (column, add) in ADDED_COLUMNS {
            let sql = "select 1 from pragma_table_info('read_models') where name = ?1";
            let known = connection.query_row(sql, [column], |_| Ok(())).optional();
            if known.map_err(sorted)?.is_none() {
                connection.execute_batch(add).map_err(sorted)?;
            }
        }
        connection.pragma_update(None, "user_version", LAYOUT).map_err(sorted)?;
        Ok(Self { connection, path: path.to_owned(), mark: Mark::of(path)? })
    }

    pub(crate) fn list(&self, projection: &str) -> Result<Vec<Listed>, DatabaseError> {
        let sql = "select build, version, stage from read_models
                   where projection = ?1 and (stage <> 'dropped' or retired) order by build";
        let mut statement = self.connection.prepare_cached(sql).map_err(sorted)?;
        let rows = statement.query_map([projection], |row| {
            let stage: String = row.get(2)?;
            Ok(Listed {
                id: ReadModelId { projection: projection.to_owned(), build: row.get(0)? },
                version: row.get(1)?,
                stage: match stage.as_str() {
                    "answering" => Stage::Live,
                    "dropped" => Stage::Retired,
                    _ => Stage::Rebuilding,
                },
            })
        });
        rows.map_err(sorted)?.collect::<Result<_, _>>().map_err(sorted)
    }

    pub(crate) fn create(&self, create: CreateReadModel<'_>) -> Result<ReadModelId, DatabaseError> {
        let stage = match create.stage {
            Stage::Rebuilding => "rebuilding",
            Stage::Live => "answering",
            Stage::Retired => {
                return Err(DatabaseError::rejected(
                    "a read model is not retired before it answers",
                ));
            }
        };
        // The build number makes the name unique, whatever the projection's name is reduced to.
        let sql = "insert into read_models (projection, version, stage, file)
                   values (?1, ?2, ?3, ?4 || '-' || (
                       select coalesce(max(seq), 0) + 1 from sqlite_sequence
                       where name = 'read_models'
                   ) || '.db') returning build";
        let values =
            params![create.projection, create.version, stage, file_stem(create.projection)];
        let build = self.connection.query_row(sql, values, |row| row.get(0)).map_err(sorted)?;
        Ok(ReadModelId { projection: create.projection.to_owned(), build })
    }

    /// The file, unless the read model was dropped.
    pub(crate) fn file_of(&self, id: &ReadModelId) -> Result<KnownFile, DatabaseError> {
        let sql = "select file, begun from read_models
                   where build = ?1 and projection = ?2 and (stage <> 'dropped' or retired)";
        let known = self.connection.query_row(sql, params![id.build, id.projection], |row| {
            let name: String = row.get(0)?;
            Ok(KnownFile { name: PathBuf::from(name), is_begun: row.get(1)? })
        });
        let known = known.optional().map_err(sorted)?;
        known.ok_or_else(|| DatabaseError::Missing { read_model: id.clone() })
    }

    /// Remembers that the read model's file has its tables.
    pub(crate) fn begin_file(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        let sql = "update read_models set begun = 1 where build = ?1 and projection = ?2";
        self.connection.execute(sql, params![id.build, id.projection]).map_err(sorted)?;
        Ok(())
    }

    /// Makes this read model the one that answers, and returns the others of its projection,
    /// which are dropped by the same transaction.
    pub(crate) fn switch_to(
        &mut self,
        id: &ReadModelId,
    ) -> Result<Vec<ReadModelId>, DatabaseError> {
        let drop_others = "update read_models set stage = 'dropped', retired = 0
                           where projection = ?1 and build <> ?2";
        self.switch(id, drop_others)
    }

    /// As [`switch_to`](Self::switch_to), but the one that answered before is retired.
    pub(crate) fn switch_keeping(
        &mut self,
        id: &ReadModelId,
    ) -> Result<Vec<ReadModelId>, DatabaseError> {
        // The right sides see the row as it was before.
        let retire = "update read_models set stage = 'dropped', retired = (stage = 'answering')
                      where projection = ?1 and build <> ?2";
        self.switch(id, retire)
    }

    /// Returns the read models that are no longer listed.
    fn switch(
        &mut self,
        id: &ReadModelId,
        end_others: &str,
    ) -> Result<Vec<ReadModelId>, DatabaseError> {
        self.file_of(id)?;
        let before = self.list(&id.projection)?;
        let switch = self.connection.transaction().map_err(sorted)?;
        switch.execute(end_others, params![id.projection, id.build]).map_err(sorted)?;
        let answer = "update read_models set stage = 'answering', retired = 0 where build = ?1";
        switch.execute(answer, [id.build]).map_err(sorted)?;
        switch.commit().map_err(sorted)?;
        let after = self.list(&id.projection)?;
        let is_gone = |one: &ReadModelId| after.iter().all(|listed| listed.id != *one);
        Ok(before.into_iter().map(|listed| listed.id).filter(is_gone).collect())
    }

    /// Turns a retired read model into one that is being filled.
    pub(crate) fn resume(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        self.file_of(id)?;
        let sql = "update read_models set stage = 'rebuilding', retired = 0
                   where build = ?1 and projection = ?2 and retired";
        self.connection.execute(sql, params![id.build, id.projection]).map_err(sorted)?;
        Ok(())
    }

    pub(crate) fn drop_read_model(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        let sql = "update read_models set stage = 'dropped', retired = 0
                   where build = ?1 and projection = ?2";
        self.connection.execute(sql, params![id.build, id.projection]).map_err(sorted)?;
        Ok(())
    }

    /// The files of dropped read models.
    pub(crate) fn dropped_files(&self) -> Result<Vec<DroppedFile>, DatabaseError> {
        let sql = "select file, build from read_models where stage = 'dropped' and not retired";
        let mut statement = self.connection.prepare(sql).map_err(sorted)?;
        let files = statement.query_map([], |row| {
            let name: String = row.get(0)?;
            Ok(DroppedFile { name: PathBuf::from(name), build: row.get(1)? })
        });
        files.map_err(sorted)?.map(|file| file.map_err(sorted)).collect()
    }

    /// Forgets a dropped read model, once its file is gone.
    pub(crate) fn forget(&self, file: &DroppedFile) -> Result<(), DatabaseError> {
        self.connection
            .execute("delete from read_models where build = ?1", [file.build])
            .map_err(sorted)?;
        Ok(())
    }
}

/// Adds the path and the way out.
fn named(error: DatabaseError, path: &Path) -> DatabaseError {
    let path = path.display();
    match error {
        DatabaseError::Corrupt { reason, source } => {
            let reason = format!(
                "the catalogue of read models {path} is damaged: {reason}; move it away (with \
                 its -wal and -shm) and start again: all read models are then \
                 filled from the first event on"
            );
            DatabaseError::Corrupt { reason, source }
        }
        DatabaseError::Unavailable { reason, source } => {
            let reason = format!(
                "the catalogue of read models {path} cannot be opened: {reason}; make it, its -wal \
                 and its -shm files that can be read and written, or move them away: all read \
                 models are then filled from the first event on"
            );
            DatabaseError::Unavailable { reason, source }
        }
        other => other,
    }
}

/// A projection's name as far as every file system takes it.
fn file_stem(projection: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    projection.chars().map(plain).take(100).collect()
}
