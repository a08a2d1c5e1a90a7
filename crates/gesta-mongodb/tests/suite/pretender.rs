//! A proxy that makes FerretDB look like a replica set with transactions to a client.
//!
//! It answers the ends of transactions itself, takes what belongs to them out of commands, and
//! keeps a list of all commands in the order of their arrival. Nothing is undone by it: it shows
//! what a store asks for, and not what a server makes of it.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use mongodb::bson::{Bson, Document, doc};

/// Length, id of the request, id of the request that is answered, kind of message; then flags, and
/// the kind of the first section, whose document is the command or the answer.
const HEADER_BYTES: usize = 16;
const BODY_STARTS: usize = HEADER_BYTES + 4 + 1;
const OP_MSG: i32 = 2_013;

/// A command in a transaction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    pub(crate) name: String,
    /// The collection.
    pub(crate) on: String,
    pub(crate) transaction: Option<i64>,
    pub(crate) starts_transaction: bool,
}

/// A proxy on a loopback port. It ends with the test's process.
pub(crate) struct Pretender {
    address: SocketAddr,
    commands: Arc<Mutex<Vec<Command>>>,
}

impl Pretender {
    pub(crate) fn start(server: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = server.strip_prefix("mongodb://").unwrap().to_owned();
        let commands = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&commands);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&server).unwrap();
                open(client, server, address, &noted);
            }
        });
        Self { address, commands }
    }

    pub(crate) fn url(&self) -> String {
        format!("mongodb://{}", self.address)
    }

    /// Takes the commands that have arrived since the last call.
    pub(crate) fn take_commands(&self) -> Vec<Command> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn open(
    client: TcpStream,
    server: TcpStream,
    address: SocketAddr,
    commands: &Arc<Mutex<Vec<Command>>>,
) {
    let (answers, asker) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        drop(pass_answers(answers, &asker, address));
        drop(asker.shutdown(Shutdown::Both));
    });
    let commands = Arc::clone(commands);
    thread::spawn(move || {
        drop(pass_commands(client, &server, &commands));
        drop(server.shutdown(Shutdown::Both));
    });
}

fn pass_commands(
    mut client: TcpStream,
    mut server: &TcpStream,
    commands: &Mutex<Vec<Command>>,
) -> io::Result<()> {
    loop {
        let message = read(&mut client)?;
        let (mut body, rest) = body_of(&message);
        let command = command_of(&body);
        let ends = matches!(command.name.as_str(), "commitTransaction" | "abortTransaction");
        commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        if ends {
            client.write_all(&answer_to(&message))?;
            continue;
        }
        for field in ["lsid", "txnNumber", "autocommit", "startTransaction", "readConcern"] {
            body.remove(field);
        }
        server.write_all(&with_body(&message, &body, rest))?;
    }
}

fn pass_answers(
    mut server: TcpStream,
    mut client: &TcpStream,
    address: SocketAddr,
) -> io::Result<()> {
    loop {
        let message = read(&mut server)?;
        let (mut body, rest) = body_of(&message);
        if body.contains_key("maxWireVersion") {
            body.insert("setName", "rs0");
            body.insert("hosts", vec![Bson::String(address.to_string())]);
            body.insert("me", address.to_string());
        }
        body.remove("ferretdbVersion");
        client.write_all(&with_body(&message, &body, rest))?;
    }
}

pub(crate) fn read(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut message = length.to_vec();
    message.resize(usize::try_from(u32::from_le_bytes(length)).unwrap(), 0);
    from.read_exact(message.get_mut(4..).unwrap())?;
    Ok(message)
}

/// Returns the first section's document, and the sections after it.
pub(crate) fn body_of(message: &[u8]) -> (Document, &[u8]) {
    let mut rest = message.get(BODY_STARTS..).unwrap();
    let body = Document::from_reader(&mut rest).unwrap();
    (body, rest)
}

pub(crate) fn with_body(message: &[u8], body: &Document, rest: &[u8]) -> Vec<u8> {
    let mut new = message.get(..BODY_STARTS).unwrap().to_vec();
    new.extend(body.to_vec().unwrap());
    new.extend(rest);
    let length = u32::try_from(new.len()).unwrap().to_le_bytes();
    new.get_mut(..4).unwrap().copy_from_slice(&length);
    new
}

fn answer_to(message: &[u8]) -> Vec<u8> {
    let mut answer = new_message(&doc! { "ok": 1.0 });
    let asked = message.get(4..8).unwrap();
    answer.get_mut(8..12).unwrap().copy_from_slice(asked);
    answer
}

/// Returns a message of one document, without ids.
pub(crate) fn new_message(body: &Document) -> Vec<u8> {
    let mut message = vec![0; HEADER_BYTES - 4];
    message.extend(OP_MSG.to_le_bytes());
    message.resize(BODY_STARTS, 0);
    with_body(&message, body, &[])
}

fn command_of(body: &Document) -> Command {
    let (name, on) = body.iter().next().unwrap();
    let in_transaction = body.get_bool("autocommit").is_ok_and(|value| !value);
    Command {
        name: name.clone(),
        on: on.as_str().unwrap_or_default().to_owned(),
        transaction: body.get_i64("txnNumber").ok().filter(|_| in_transaction),
        starts_transaction: body.get_bool("startTransaction").unwrap_or(false),
    }
}
