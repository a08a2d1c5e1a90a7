//! Bulk load of rows by `COPY`.
//!
//! Owns: the encoding of rows, in the binary format of `COPY`. Rows are sent in blocks. Not here:
//! the transaction ([`session`](super::session)).

use std::{fmt, pin::Pin};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt as _;
use gesta_store::DatabaseError;
use tokio_postgres::{
    CopyInSink,
    types::{IsNull, Type},
};

use super::session::{Parameter, Session};
use crate::schema_name::quoted;

/// Size of a block, in bytes, from which it is sent.
const BLOCK_BYTES: usize = 64 * 1024;
/// Signature, flags and length of the extension, which is empty.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Rows on their way into a table; see [`Tx::copy_in`](super::Tx::copy_in).
///
/// Without [`finish`](Self::finish) no row is added, and the transaction takes no further
/// statement.
pub struct CopyRows<'a> {
    session: &'a mut Session,
    sink: Pin<Box<CopyInSink<Bytes>>>,
    types: Vec<Type>,
    block: BytesMut,
}

impl<'a> CopyRows<'a> {
    pub(super) async fn begin(
        session: &'a mut Session,
        table: &str,
        columns: &[&str],
    ) -> Result<Self, DatabaseError> {
        if columns.is_empty() {
            return Err(DatabaseError::rejected("`copy_in` needs at least one column"));
        }
        let names: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
        let (names, table) = (names.join(", "), quoted(table));
        let types = session.types_of(&format!("SELECT {names} FROM {table} LIMIT 0")).await?;
        let copy = format!("COPY {table} ({names}) FROM STDIN WITH (FORMAT binary)");
        let sink = Box::pin(session.begin_copy(&copy).await?);
        let mut block = BytesMut::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 4);
        block.put_slice(HEADER);
        Ok(Self { session, sink, types, block })
    }

    /// Adds a row: a value for each column, in the order of [`Tx::copy_in`](super::Tx::copy_in).
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Rejected`] if a value does not fit its column, or their number is wrong. An
    /// error of the server may show with a later row.
    pub async fn write(&mut self, values: &[Parameter<'_>]) -> Result<(), DatabaseError> {
        self.encode(values)?;
        if self.block.len() >= BLOCK_BYTES { self.send().await } else { Ok(()) }
    }

    fn encode(&mut self, values: &[Parameter<'_>]) -> Result<(), DatabaseError> {
        let (expected, got) = (self.types.len(), values.len());
        if expected != got {
            return Err(DatabaseError::rejected(format!(
                "a row must have {expected} values; got {got}"
            )));
        }
        let begin = self.block.len();
        self.block.put_i16(i16::try_from(expected).unwrap_or(i16::MAX));
        for (nth, (value, kind)) in values.iter().zip(&self.types).enumerate() {
            let encoded = encode_value(&mut self.block, *value, kind);
            if let Err(reason) = encoded {
                // No part of the row is sent.
                self.block.truncate(begin);
                return Err(DatabaseError::rejected(format!("value {nth} of a row: {reason}")));
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), DatabaseError> {
        let block = self.block.split().freeze();
        let sink = &mut self.sink;
        let sent = async move {
            let Err(error) = sink.send(block).await else { return Ok(()) };
            // The server has ended the copy, and its answer says why.
            match sink.as_mut().finish().await {
                Err(reason) => Err(reason),
                Ok(_) => Err(error),
            }
        };
        self.session.copy_step(sent).await
    }

    /// Sends the rest of the rows, and returns the number of rows added.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Rejected`] if the server refuses a row, such as one with a key that exists.
    pub async fn finish(mut self) -> Result<u64, DatabaseError> {
        // The end of the rows.
        self.block.put_i16(-1);
        self.send().await?;
        let added = self.session.copy_step(self.sink.as_mut().finish()).await;
        self.session.end_copy();
        added
    }
}

impl fmt::Debug for CopyRows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyRows").field("types", &self.types).finish_non_exhaustive()
    }
}

/// Appends a value with its length in front.
fn encode_value(block: &mut BytesMut, value: Parameter<'_>, kind: &Type) -> Result<(), String> {
    let begin = block.len();
    block.put_i32(-1);
    let is_null = value.to_sql_checked(kind, block).map_err(|error| error.to_string())?;
    if let IsNull::No = is_null {
        let bytes = block.len() - begin - size_of::<i32>();
        let length = i32::try_from(bytes).map_err(|_| format!("{bytes} bytes are too many"))?;
        let place = block.get_mut(begin..begin + size_of::<i32>());
        place.ok_or("no place for a length")?.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
