//! A walk over all rows of a read model: those by key, and those of its own tables.
//!
//! Rows become texts of JSON as the server writes them, and come some at a time, by a cursor within
//! the reader's transaction. Views are left out.

use gesta_store::{DatabaseError, VisitRows};

use super::session::Session;
use crate::schema_name::quoted;

/// Number of rows that come at a time.
const ROWS: &str = "1000";

/// All rows by key, each with its table.
const BY_KEY: &str = r#"
    select name::text, '{"key":' || to_json(key) || ',"value":' || value || '}'
    from "#;

/// The other tables of a schema, by name.
const TABLES: &str = r#"
    select relname::text from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where '"' || replace(nspname, '"', '""') || '"' = $1 and relkind in ('r', 'p')
        and not relispartition and relname not like 'gesta\_%'
    order by relname"#;

pub(super) async fn visit_rows(
    session: &mut Session,
    visitor: &mut impl VisitRows,
) -> Result<(), DatabaseError> {
    let schema = session.schema.clone();
    visit_query(session, &format!("{BY_KEY}{schema}.gesta_rows"), visitor).await?;
    let tables = session.read(TABLES, &[&schema], |row| row.try_get::<_, String>(0)).await?;
    for table in tables {
        let (name, relation) = (table.replace('\'', "''"), quoted(&table));
        let rows =
            format!("select '{name}'::text, row_to_json(one)::text from {schema}.{relation} one");
        visit_query(session, &rows, visitor).await?;
    }
    Ok(())
}

/// Hands on the rows of a query, which has the table and the row as texts. All queries have the
/// same columns, because the statement that fetches them is prepared once.
async fn visit_query(
    session: &mut Session,
    query: &str,
    visitor: &mut impl VisitRows,
) -> Result<(), DatabaseError> {
    session.execute(&format!("declare gesta_walk no scroll cursor for {query}"), &[]).await?;
    let fetch = format!("fetch {ROWS} from gesta_walk");
    loop {
        let visited = session.read(&fetch, &[], |row| {
            visitor.visit(row.try_get(0)?, row.try_get(1)?);
            Ok(())
        });
        if visited.await?.is_empty() {
            break;
        }
    }
    session.execute("close gesta_walk", &[]).await?;
    Ok(())
}
