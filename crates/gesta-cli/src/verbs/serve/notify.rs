//! Tells systemd that the server is ready, and that it stops: `sd_notify(3)`, one datagram each.
//!
//! Invariant: without a socket in `NOTIFY_SOCKET` nothing happens, and a failure changes nothing.

use std::{
    env, io,
    os::unix::{ffi::OsStrExt as _, net::SocketAddr, net::UnixDatagram},
};

/// Environment variable with the path of the socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Says that calls are answered.
pub(super) fn ready() {
    tell(b"READY=1\n");
}

/// Says that the end has begun.
pub(super) fn stopping() {
    tell(b"STOPPING=1\n");
}

fn tell(message: &[u8]) {
    let Some(socket) = env::var_os(SOCKET).filter(|socket| !socket.is_empty()) else { return };
    let sent = address(socket.as_bytes())
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(message, &address).map(drop));
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager was not told");
    }
}

/// Returns the address of a socket: a path, or a name that begins with `@` in the abstract
/// namespace of Linux.
fn address(socket: &[u8]) -> io::Result<SocketAddr> {
    match socket.strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            SocketAddr::from_abstract_name(name)
        }
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket)),
    }
}
