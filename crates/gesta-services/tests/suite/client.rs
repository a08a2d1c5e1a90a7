//! A client of PostgreSQL that knows one kind of query, for the tests of this crate only.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
};

/// A connection as role `postgres` to the database `postgres`.
pub(crate) struct Client {
    connection: TcpStream,
}

impl Client {
    /// Connects, and returns when the server is ready for queries.
    ///
    /// # Errors
    ///
    /// If the connection breaks, or the server refuses it: then with the server's message.
    pub(crate) fn connect(url: &str) -> io::Result<Self> {
        let (_, host) = url.rsplit_once('@').expect("a URL of these tests names a role");
        let (host, _) = host.split_once('/').expect("a URL of these tests names a database");
        let mut client = Self { connection: TcpStream::connect(host)? };
        let version = 196_608_u32.to_be_bytes();
        let body = [&version[..], b"user\0postgres\0database\0postgres\0\0"].concat();
        client.send(b"", &body)?;
        client.rows()?;
        Ok(client)
    }

    /// Runs SQL and returns the first column of all rows.
    ///
    /// # Errors
    ///
    /// If the connection breaks, or the server reports an error.
    pub(crate) fn query(&mut self, sql: &str) -> io::Result<Vec<String>> {
        self.ask(sql)?;
        self.rows()
    }

    /// Sends SQL without waiting for the answer.
    pub(crate) fn ask(&mut self, sql: &str) -> io::Result<()> {
        self.send(b"Q", &[sql.as_bytes(), b"\0"].concat())
    }

    fn send(&mut self, kind: &[u8], body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(4 + body.len()).expect("queries of tests are short");
        self.connection.write_all(&[kind, &length.to_be_bytes(), body].concat())
    }

    /// Reads messages until the server is ready for the next query.
    fn rows(&mut self) -> io::Result<Vec<String>> {
        let (mut rows, mut error) = (Vec::new(), None);
        loop {
            let (kind, body) = self.receive()?;
            match kind {
                b'D' => rows.push(first_column(&body)),
                b'E' => error = Some(String::from_utf8_lossy(&body).replace('\0', " ")),
                b'Z' => return error.map_or(Ok(rows), |text| Err(io::Error::other(text))),
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        self.connection.read_exact(&mut header)?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut body = vec![0; usize::try_from(length).expect("fits") - 4];
        self.connection.read_exact(&mut body)?;
        Ok((header[0], body))
    }
}

/// A row has the number of columns in two bytes, then each column's length in four, and its text.
fn first_column(row: &[u8]) -> String {
    let length = row.iter().skip(2).take(4);
    let length = length.fold(0, |number, byte| (number << 8) | usize::from(*byte));
    let text: Vec<u8> = row.iter().skip(6).take(length).copied().collect();
    String::from_utf8(text).expect("the test's values are texts")
}
