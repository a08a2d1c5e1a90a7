//! Clients that ask and read nothing.

use std::{
    io::{ErrorKind, Write as _},
    net::{Ipv4Addr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use gesta_services::e2e::{figures, is_full};

use super::{bystander::Watch, served::Served, short_or_full};

const READERS: (usize, usize) = (120, 2_000);
/// Requests that each reader sends at once: more than the buffers of a connection can answer.
const REQUESTS: usize = 400;
/// One of so many asks for answers that are computed and compressed, so that the readers wait for
/// the network and not for the processor.
const COMPUTED_EACH: usize = 40;
/// Resident memory of a reader that takes nothing, in KiB, and room for the rest.
const READER_KIB_MAX: u64 = 256;
const GROWTH_MIB_MAX: u64 = 96;
/// Time for which the short form looks on.
const LOOK_ON: Duration = Duration::from_secs(5);
/// Time after which the server has closed the connections, with room for a busy machine.
const CLOSED: Duration = Duration::from_secs(240);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[test]
fn readers_that_take_nothing_hold_up_nobody() -> Result<()> {
    let count = short_or_full(READERS.0, READERS.1);
    let mut shop = Served::start("shop-slow-readers")?;
    let watch = Watch::begin(&shop)?;
    let targets = [
        ("/openapi.json", "identity"),
        ("/docs/swagger-ui-bundle.js", "gzip"),
        ("/docs/swagger-ui-bundle.js", "identity"),
        ("/v1/events", "gzip"),
    ];
    let mut readers: Vec<TcpStream> = Vec::new();
    for number in 0..count {
        let (path, coding) = match number % COMPUTED_EACH {
            0 => ("/v1/products?limit=100", "br"),
            _ => targets.get(number % targets.len()).copied().unwrap_or_default(),
        };
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept-encoding: {coding}\r\n\r\n");
        let mut reader = shop.connect_from(ATTACKER)?;
        reader.set_nonblocking(true)?;
        // The rest is left out once the server has stopped to read.
        let _ = reader.write(request.repeat(REQUESTS).as_bytes());
        readers.push(reader);
    }
    let begun = Instant::now();
    let mut open = readers.len();
    while begun.elapsed() < short_or_full(LOOK_ON, CLOSED) && open > 0 {
        thread::park_timeout(Duration::from_secs(1));
        open = readers.iter_mut().filter_map(|reader| is_open(reader).then_some(())).count();
    }
    let mib = GROWTH_MIB_MAX + ((READER_KIB_MAX * count as u64) >> 10);
    let seen = watch.end(&mut shop, mib)?;
    // A feed without events has nothing that its reader could leave unread.
    let feeds = count / targets.len();
    ensure!(!is_full() || open <= feeds, "{open} readers are still waited for");
    let seconds = begun.elapsed().as_secs();
    let each = seen.grown_kib() / count as u64;
    figures(format!(
        "{count} readers that take nothing, of {each} KiB at most, {open} open after {seconds} s; \
         {seen}"
    ))
}

/// Returns whether the server still has the connection. Nothing of the answer is read.
fn is_open(reader: &mut TcpStream) -> bool {
    match reader.write(b"\r\n") {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
