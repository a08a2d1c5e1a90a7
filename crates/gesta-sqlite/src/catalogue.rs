//! The catalogue: which read models there are, and which of them answers.
//!
//! Always holds: at most one read model of a projection answers; a read model is listed before
//! its file exists and its file is gone before its row is, so nothing is ever left over that
//! nobody knows of.

use std::path::{Path, PathBuf};

use gesta_store::{CreateReadModel, DatabaseError, ReadModelId, Stage};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    connection::{self, Durable},
    error::sorted,
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

pub(crate) struct Catalogue(Connection);

/// A row of the catalogue.
pub(crate) struct Listed {
    pub(crate) id: ReadModelId,
    pub(crate) version: u32,
    pub(crate) stage: Stage,
}

impl Catalogue {
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
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
        connection.pragma_update(None, "user_version", LAYOUT).map_err(sorted)?;
        Ok(Self(connection))
    }

    pub(crate) fn list(&self, projection: &str) -> Result<Vec<Listed>, DatabaseError> {
        let sql = "select build, version, stage from read_models
                   where projection = ?1 and stage <> 'dropped' order by build";
        let mut statement = self.0.prepare_cached(sql).map_err(sorted)?;
        let rows = statement.query_map([projection], |row| {
            let stage: String = row.get(2)?;
            Ok(Listed {
                id: ReadModelId { projection: projection.to_owned(), build: row.get(0)? },
                version: row.get(1)?,
                stage: if stage == "answering" { Stage::Answering } else { Stage::Rebuilding },
            })
        });
        rows.map_err(sorted)?.collect::<Result<_, _>>().map_err(sorted)
    }

    pub(crate) fn create(&self, create: CreateReadModel<'_>) -> Result<ReadModelId, DatabaseError> {
        let stage = match create.stage {
            Stage::Rebuilding => "rebuilding",
            Stage::Answering => "answering",
        };
        // The build number makes the name unique, whatever the projection's name is reduced to.
        let sql = "insert into read_models (projection, version, stage, file)
                   values (?1, ?2, ?3, ?4 || '-' || (
                       select coalesce(max(seq), 0) + 1 from sqlite_sequence
                       where name = 'read_models'
                   ) || '.db') returning build";
        let values =
            params![create.projection, create.version, stage, file_stem(create.projection)];
        let build = self.0.query_row(sql, values, |row| row.get(0)).map_err(sorted)?;
        Ok(ReadModelId { projection: create.projection.to_owned(), build })
    }

    /// The file's name, unless the read model was dropped.
    pub(crate) fn file_of(&self, id: &ReadModelId) -> Result<PathBuf, DatabaseError> {
        let sql = "select file from read_models
                   where build = ?1 and projection = ?2 and stage <> 'dropped'";
        let file: Option<String> = self
            .0
            .query_row(sql, params![id.build, id.projection], |row| row.get(0))
            .optional()
            .map_err(sorted)?;
        file.map(PathBuf::from).ok_or_else(|| DatabaseError::Missing { read_model: id.clone() })
    }

    /// Makes this read model the one that answers, and returns the others of its projection,
    /// which are dropped by the same transaction.
    pub(crate) fn switch_to(
        &mut self,
        id: &ReadModelId,
    ) -> Result<Vec<ReadModelId>, DatabaseError> {
        self.file_of(id)?;
        let others = self.list(&id.projection)?.into_iter().map(|listed| listed.id);
        let others: Vec<_> = others.filter(|other| other != id).collect();
        let switch = self.0.transaction().map_err(sorted)?;
        let drop_others = "update read_models set stage = 'dropped'
                           where projection = ?1 and build <> ?2";
        switch.execute(drop_others, params![id.projection, id.build]).map_err(sorted)?;
        let answer = "update read_models set stage = 'answering' where build = ?1";
        switch.execute(answer, [id.build]).map_err(sorted)?;
        switch.commit().map_err(sorted)?;
        Ok(others)
    }

    pub(crate) fn drop_read_model(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        let sql = "update read_models set stage = 'dropped' where build = ?1 and projection = ?2";
        self.0.execute(sql, params![id.build, id.projection]).map_err(sorted)?;
        Ok(())
    }

    /// The files of dropped read models.
    pub(crate) fn dropped_files(&self) -> Result<Vec<PathBuf>, DatabaseError> {
        let sql = "select file from read_models where stage = 'dropped'";
        let mut statement = self.0.prepare(sql).map_err(sorted)?;
        let files = statement.query_map([], |row| row.get::<_, String>(0)).map_err(sorted)?;
        files.map(|file| file.map(PathBuf::from).map_err(sorted)).collect()
    }

    /// Forgets the dropped read models, once their files are gone.
    pub(crate) fn forget_dropped(&self) -> Result<(), DatabaseError> {
        self.0.execute("delete from read_models where stage = 'dropped'", []).map_err(sorted)?;
        Ok(())
    }
}

/// A projection's name as far as every file system takes it.
fn file_stem(projection: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    projection.chars().map(plain).take(100).collect()
}
