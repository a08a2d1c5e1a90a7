//! Statements on the catalogue: the list of read models and their stages.

use gesta_store::{
    Checkpoint, CreateReadModel, DatabaseError, Incarnation, Position, ReadModel, ReadModelId,
    Stage,
};
use tokio_postgres::{Row, SimpleQueryRow, types::Type};
use uuid::Uuid;

use super::{core::ReadModelsCore, errors::of_catalogue};
use crate::{
    number::{from_sql, to_sql},
    read::cell,
};

const LIST: &str = "
SELECT m.build, m.version, m.stage, h.position, h.incarnation
  FROM {schema}.read_models m LEFT JOIN {schema}.handled h ON h.build = m.build
 WHERE m.projection = $1 AND m.stage IN ('rebuilding', 'live', 'retired') ORDER BY m.build";

const EXISTS: &str = "
SELECT 1 FROM {schema}.read_models m
 WHERE m.build = $1 AND m.projection = $2 AND m.stage IN ('rebuilding', 'live', 'retired')";

const RESUME: &str = "
UPDATE {schema}.read_models m SET stage = 'rebuilding'
 WHERE m.build = $1 AND m.projection = $2 AND m.stage = 'retired'";

/// Ends a read model that is not quarantined, and returns its schema.
const END: &str = "
UPDATE {schema}.read_models m SET stage = $3
 WHERE m.build = $1 AND m.projection = $2 AND m.stage <> 'quarantined' RETURNING m.rows_in";

pub(super) async fn list(
    core: &ReadModelsCore,
    projection: &str,
) -> Result<Vec<ReadModel>, DatabaseError> {
    let rows = core.query(LIST, &[(&projection, Type::TEXT)]).await?;
    rows.iter().map(|row| read_model(projection, row)).collect()
}

fn read_model(projection: &str, row: &Row) -> Result<ReadModel, DatabaseError> {
    let (build, version): (i64, i64) = (column(row, 0)?, column(row, 1)?);
    let stage = match column::<&str>(row, 2)? {
        "live" => Stage::Live,
        "retired" => Stage::Retired,
        _ => Stage::Rebuilding,
    };
    let id = ReadModelId { projection: projection.to_owned(), build: from_sql(build) };
    let version = u32::try_from(version).unwrap_or_default();
    Ok(ReadModel::new(id, version, stage).checkpoint(checkpoint_of(row, 3)?))
}

/// Reads a position and an incarnation from two columns, which may both be null.
pub(super) fn checkpoint_of(row: &Row, first: usize) -> Result<Option<Checkpoint>, DatabaseError> {
    let position: Option<i64> = column(row, first)?;
    let incarnation: Option<Uuid> = column(row, first + 1)?;
    Ok(position.zip(incarnation).map(checkpoint))
}

fn checkpoint((position, incarnation): (i64, Uuid)) -> Checkpoint {
    Checkpoint {
        position: Position::new(from_sql(position)),
        incarnation: Incarnation::new(incarnation),
    }
}

/// The same for the first two columns of an answer in text.
pub(super) fn checkpoint_in_text(
    row: &SimpleQueryRow,
) -> Result<Option<Checkpoint>, DatabaseError> {
    let Some((position, incarnation)) = row.get(0).zip(row.get(1)) else { return Ok(None) };
    let read = position.parse().ok().zip(incarnation.parse().ok());
    let read = read.ok_or_else(|| {
        let reason = format!("a checkpoint of the read models is {position}, {incarnation}");
        DatabaseError::Corrupt { reason, source: None }
    });
    read.map(checkpoint).map(Some)
}

/// Reads a column of a row of the catalogue.
pub(super) fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: usize,
) -> Result<T, DatabaseError> {
    cell(row, column).map_err(of_catalogue)
}

pub(super) async fn create(
    core: &ReadModelsCore,
    create: CreateReadModel<'_>,
) -> Result<ReadModelId, DatabaseError> {
    let stage = match create.stage {
        Stage::Rebuilding => "rebuilding",
        Stage::Live => "live",
        Stage::Retired => {
            let reason = "a read model must be live before it can be retired";
            return Err(DatabaseError::rejected(reason));
        }
    };
    let (build, id) = new_build(core, create.projection).await?;
    let (version, schema) = (i64::from(create.version), core.names.schema_of(&id));
    let call = "SELECT {schema}.create_read_model($1, $2, $3, $4, $5)";
    let values: [crate::connection::Value<'_>; 5] = [
        (&build, Type::INT8),
        (&create.projection, Type::TEXT),
        (&version, Type::INT8),
        (&stage, Type::TEXT),
        (&schema, Type::TEXT),
    ];
    let created = match core.query(call, &values).await {
        Ok(rows) => rows.first().map_or(Ok(false), |row| column(row, 0))?,
        // A first attempt may have succeeded although its connection broke.
        Err(error) if !exists(core, &id).await? => return Err(error),
        Err(_) => true,
    };
    if !created {
        return Err(DatabaseError::rejected(format!(
            "projection {} has a live read model; create another one as rebuilding, and switch",
            create.projection
        )));
    }
    Ok(id)
}

/// Returns the next build of a projection. Passes over those whose schemas an earlier catalogue has
/// left, which another program dropped: they belong to nothing.
async fn new_build(
    core: &ReadModelsCore,
    projection: &str,
) -> Result<(i64, ReadModelId), DatabaseError> {
    loop {
        let rows = core.query("SELECT nextval('{schema}.builds')", &[]).await?;
        let build: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
        let id = ReadModelId { projection: projection.to_owned(), build: from_sql(build) };
        let schema = core.names.schema_of(&id);
        let left = "SELECT 1 FROM pg_namespace n WHERE n.nspname = $1";
        if core.query(left, &[(&schema, Type::TEXT)]).await?.is_empty() {
            return Ok((build, id));
        }
    }
}

pub(super) async fn exists(core: &ReadModelsCore, id: &ReadModelId) -> Result<bool, DatabaseError> {
    let build = to_sql(id.build);
    let rows = core.query(EXISTS, &[(&build, Type::INT8), (&id.projection, Type::TEXT)]).await?;
    Ok(!rows.is_empty())
}

pub(super) async fn check_exists(
    core: &ReadModelsCore,
    id: &ReadModelId,
) -> Result<(), DatabaseError> {
    match exists(core, id).await? {
        true => Ok(()),
        false => Err(DatabaseError::Missing { read_model: id.clone() }),
    }
}

/// Makes a read model live. The one before is dropped, or kept as retired.
pub(super) async fn switch(
    core: &ReadModelsCore,
    id: &ReadModelId,
    keeps: bool,
) -> Result<(), DatabaseError> {
    let build = to_sql(id.build);
    let call = "SELECT {schema}.switch_read_model($1, $2, $3)";
    let values: [crate::connection::Value<'_>; 3] =
        [(&build, Type::INT8), (&id.projection, Type::TEXT), (&keeps, Type::BOOL)];
    let rows = core.query(call, &values).await?;
    match rows.first().map_or(Ok(false), |row| column(row, 0))? {
        true => Ok(()),
        false => Err(DatabaseError::Missing { read_model: id.clone() }),
    }
}

pub(super) async fn resume(core: &ReadModelsCore, id: &ReadModelId) -> Result<(), DatabaseError> {
    let build = to_sql(id.build);
    core.query(RESUME, &[(&build, Type::INT8), (&id.projection, Type::TEXT)]).await?;
    check_exists(core, id).await
}

/// Takes a read model out of use, as dropped or quarantined. Returns its schema.
pub(super) async fn end(
    core: &ReadModelsCore,
    id: &ReadModelId,
    stage: &'static str,
) -> Result<Option<String>, DatabaseError> {
    let build = to_sql(id.build);
    let values: [crate::connection::Value<'_>; 3] =
        [(&build, Type::INT8), (&id.projection, Type::TEXT), (&stage, Type::TEXT)];
    let rows = core.query(END, &values).await?;
    rows.first().map(|row| column(row, 0)).transpose()
}
