//! Opening: the server is checked, and the catalogue created.

use std::sync::Arc;

use gesta_store::StoreError;

use super::{
    builds::{PREFIX_BYTES_MAX, SchemaNames},
    core::Opened,
    replica::Replica,
    tables::{self, CatalogueError, VERSION},
};
use crate::{
    connection::{Connection, Connector, database_of},
    errors::OpenError,
    url::PostgresUrl,
};

/// Oldest version of the server, as `server_version_num` counts.
const SERVER_VERSION_MIN: i32 = 150_000;

/// The state of the server that matters to read models.
const SERVER: &str = "
SELECT current_setting('server_version_num')::integer, current_setting('server_version'),
       current_setting('server_encoding'), current_setting('max_connections')::integer,
       (SELECT s.setting FROM pg_settings s WHERE s.name = 'statement_timeout')";

/// Connects, and creates the catalogue unless it is there.
pub(super) async fn open(
    url: &PostgresUrl,
    replica: Option<&PostgresUrl>,
) -> Result<Opened, OpenError> {
    let failed = |error| OpenError::Server { url: url.to_string(), error };
    if url.schema.len() > PREFIX_BYTES_MAX {
        let bytes = url.schema.len();
        return Err(OpenError::LongSchema { url: url.to_string(), bytes, max: PREFIX_BYTES_MAX });
    }
    let names = SchemaNames::beside(&url.schema);
    let connector = Arc::new(Connector::new(url)?);
    let mut connection = connector.connect().await.map_err(failed)?;
    check_server(url, &connector, &connection).await?;
    if connector.through_pooler() {
        // The first connection may have prepared statements, which later ones do not find.
        connection = connector.connect().await.map_err(failed)?;
    }
    tables::create(&names, &connection).await.map_err(|error| match error {
        CatalogueError::Newer { found } => {
            OpenError::NewerSchema { url: url.to_string(), found, known: VERSION }
        }
        CatalogueError::Foreign => {
            OpenError::ForeignSchema { url: url.to_string(), schema: names.catalogue.clone() }
        }
        CatalogueError::Failed(error) => failed(error),
    })?;
    let database = database_of(&connection).await;
    let replica = replica.map(Replica::new).transpose()?;
    let (url, readers) = (url.to_string(), url.readers);
    Ok(Opened { url, database, names, connector, connection, readers, replica })
}

/// Checks version and encoding, and learns whether a pooler is in between.
async fn check_server(
    url: &PostgresUrl,
    connector: &Connector,
    connection: &Connection,
) -> Result<(), OpenError> {
    let failed = |error| OpenError::Server { url: url.to_string(), error };
    let rows = connection.query(SERVER, &[]).await.map_err(|failure| failed(failure.of_read()))?;
    let Some(row) = rows.first() else {
        return Err(failed(StoreError::unreachable("the server did not describe itself")));
    };
    let text = |column| crate::read::cell::<String>(row, column).map_err(failed);
    let number = |column| crate::read::cell::<i32>(row, column).map_err(failed);
    if number(0)? < SERVER_VERSION_MIN {
        return Err(OpenError::ServerVersion { url: url.to_string(), version: text(1)? });
    }
    if text(2)? != "UTF8" {
        return Err(OpenError::Encoding { url: url.to_string(), encoding: text(2)? });
    }
    connector.set_connections_max(usize::try_from(number(3)?).unwrap_or_default());
    // Settings that did not arrive were kept by a pooler.
    if text(4)? != connector.limits().statement.as_millis().to_string() {
        connector.set_through_pooler();
    }
    Ok(())
}
