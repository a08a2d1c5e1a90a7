//! A proxy that lets clients of MongoDB log in to FerretDB with a password.
//!
//! Clients leave out the last message of a login, which is empty, as MongoDB allows. FerretDB waits
//! for it, so the proxy sends it. Passwords are checked by the server and the client alone.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use mongodb::bson::{Binary, doc, spec::BinarySubtype};

use crate::pretender::{body_of, new_message, read, with_body};

/// A proxy on a loopback port. It ends with the test's process.
pub(crate) struct Logins {
    address: SocketAddr,
}

impl Logins {
    pub(crate) fn start(server: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = server.strip_prefix("mongodb://").unwrap().to_owned();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // The server may be away: the client sees its connection end.
                if let Ok(server) = TcpStream::connect(&server) {
                    open(client, server);
                }
            }
        });
        Self { address }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}

fn open(mut client: TcpStream, server: TcpStream) {
    let (answers, asker) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        drop(pass_answers(answers, &asker));
        drop(asker.shutdown(Shutdown::Both));
    });
    thread::spawn(move || {
        let mut server = server;
        // Either side may be gone.
        drop(io::copy(&mut client, &mut server));
        drop(server.shutdown(Shutdown::Both));
    });
}

fn pass_answers(mut server: TcpStream, mut client: &TcpStream) -> io::Result<()> {
    loop {
        let message = read(&mut server)?;
        let (mut body, rest) = body_of(&message);
        // The signature of the server: the password was right, and the client is satisfied by it.
        let is_signed = body.get_binary_generic("payload").is_ok_and(|it| it.starts_with(b"v="));
        if is_signed {
            server.write_all(&last_message())?;
            read(&mut server)?;
            body.insert("done", true);
        }
        client.write_all(&with_body(&message, &body, rest))?;
    }
}

fn last_message() -> Vec<u8> {
    let payload = Binary { subtype: BinarySubtype::Generic, bytes: Vec::new() };
    new_message(&doc! {
        "saslContinue": 1, "conversationId": 1, "payload": payload, "$db": "shop",
    })
}
