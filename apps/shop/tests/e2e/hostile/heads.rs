//! Heads of requests: slow ones, and huge ones.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use gesta_services::e2e::figures;

use super::{
    bystander::Watch,
    served::{Served, status_at_the_end},
    short_or_full,
};

const GROWTH_MIB_MAX: u64 = 96;
const SLOW: (usize, usize) = (200, 4_000);
const HUGE_BYTES: usize = 10 << 20;
const HUGE: (usize, usize) = (8, 100);
/// Time after which the server has given up any head, with room for a busy machine.
const GIVEN_UP: Duration = Duration::from_secs(60);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A connection that sends a head byte by byte.
struct Drip {
    stream: TcpStream,
    said: Vec<u8>,
    is_open: bool,
}

impl Drip {
    fn new(stream: TcpStream, begin: &[u8]) -> Result<Self> {
        let mut stream = stream;
        stream.write_all(begin)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, said: Vec::new(), is_open: true })
    }

    /// Sends one more byte, and reads what has come.
    fn step(&mut self) {
        let mut part = [0; 1_024];
        // The server may have closed.
        let _ = self.stream.write(b"x");
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => self.is_open = false,
                Ok(read) => {
                    self.said.extend(part.iter().take(read));
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.is_open = false,
            }
            return;
        }
    }
}

#[test]
fn slow_heads_are_given_up_and_others_are_served() -> Result<()> {
    let connections = short_or_full(SLOW.0, SLOW.1);
    let mut shop = Served::start("shop-slow-heads")?;
    let watch = Watch::begin(&shop)?;
    let begun = Instant::now();
    let begins = [&b"G"[..], b"GET /v1/products HTTP/1.1\r\nhost: localhost\r\nx: "];
    let mut drips = Vec::new();
    for number in 0..connections {
        let begin = begins.get(number % begins.len()).copied().unwrap_or_default();
        drips.push(Drip::new(shop.connect_from(ATTACKER)?, begin)?);
    }
    while drips.iter().any(|drip| drip.is_open) {
        ensure!(begun.elapsed() < GIVEN_UP, "slow heads are waited for");
        thread::park_timeout(Duration::from_secs(1));
        drips.iter_mut().filter(|drip| drip.is_open).for_each(Drip::step);
    }
    let told = drips.iter().filter(|drip| drip.said.starts_with(b"HTTP/1.1 408")).count();
    ensure!(told * 2 > connections, "{told} of {connections} were told that they were too late");
    let last = begun.elapsed().as_secs();
    let seen = watch.end(&mut shop, GROWTH_MIB_MAX)?;
    figures(format!("{connections} slow heads given up after {last} s at most; {seen}"))
}

#[test]
fn heads_of_ten_megabytes_are_refused_unread() -> Result<()> {
    let connections = short_or_full(HUGE.0, HUGE.1);
    let mut shop = Served::start("shop-huge-heads")?;
    let watch = Watch::begin(&shop)?;
    let long = "x".repeat(HUGE_BYTES);
    let fields: String =
        (0..400_000).map(|number| format!("x-{number}: yyyyyyyyyyyyyyy\r\n")).collect();
    for number in 0..connections {
        let head = match number % 3 {
            0 => format!("GET /v1/products HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"),
            1 => format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            _ => format!("GET /v1/products HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n"),
        };
        let mut stream = shop.connect_from(ATTACKER)?;
        // The server stops to read, and may close before everything is sent.
        let mut writer = stream.try_clone()?;
        let sender = thread::spawn(move || drop(writer.write_all(head.as_bytes())));
        let status = status_at_the_end(&mut stream, GIVEN_UP)?;
        // A reset may overtake the answer to a client that is still sending.
        ensure!([431, 414, 0].contains(&status), "answered with {status}");
        drop(sender.join());
    }
    let seen = watch.end(&mut shop, GROWTH_MIB_MAX)?;
    figures(format!("{connections} heads of 10 MiB refused; {seen}"))
}
