//! Waits after failed logins.
//!
//! Owns: how many failures are free and how long the waits are, for each login from an address and
//! for each address. Invariants: the time is passed in; at most [`ENTRIES_MAX`] entries are kept.
//! A success forgets the failures of its login from its address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// FailureCount of one login from one address before the first wait.
const FREE_OF_LOGIN: u32 = 5;
/// FailureCount of any logins from one address before the first wait.
const FREE_OF_ADDRESS: u32 = 20;
/// The first wait; each further one is twice as long.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Time without a failure after which failures are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);
const ENTRIES_MAX: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LoginSource {
    Login(String, IpAddr),
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct FailureCount {
    count: u32,
    last: Duration,
    wait: Duration,
}

/// Failed logins of the last minutes.
#[derive(Debug, Default)]
pub(super) struct FailedLogins {
    entries: HashMap<LoginSource, FailureCount>,
}

impl FailedLogins {
    /// Returns the time until the next attempt of a login from an address is allowed; zero if it is
    /// allowed now.
    pub(super) fn wait(&self, login: &str, address: IpAddr, now: Duration) -> Duration {
        let sources = Self::sources(login, address);
        let waits = sources.iter().filter_map(|source| self.entries.get(source));
        waits
            .map(|failures| (failures.last + failures.wait).saturating_sub(now))
            .max()
            .unwrap_or_default()
    }

    pub(super) fn failed(&mut self, login: &str, address: IpAddr, now: Duration) {
        for source in Self::sources(login, address) {
            let free = match source {
                LoginSource::Login(..) => FREE_OF_LOGIN,
                LoginSource::Address(_) => FREE_OF_ADDRESS,
            };
            self.make_room(&source, now);
            let nothing = FailureCount { count: 0, last: now, wait: Duration::ZERO };
            let failures = self.entries.entry(source).or_insert(nothing);
            if now.saturating_sub(failures.last) > FORGOTTEN_AFTER {
                *failures = nothing;
            }
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
            failures.wait = wait_after(failures.count, free);
        }
    }

    pub(super) fn succeeded(&mut self, login: &str, address: IpAddr) {
        self.entries.remove(&LoginSource::Login(login.to_owned(), network(address)));
    }

    fn sources(login: &str, address: IpAddr) -> [LoginSource; 2] {
        let address = network(address);
        [LoginSource::Login(login.to_owned(), address), LoginSource::Address(address)]
    }

    fn make_room(&mut self, source: &LoginSource, now: Duration) {
        if self.entries.len() < ENTRIES_MAX || self.entries.contains_key(source) {
            return;
        }
        self.entries.retain(|_, failures| now.saturating_sub(failures.last) <= FORGOTTEN_AFTER);
        if self.entries.len() >= ENTRIES_MAX {
            // Addresses are kept before logins: one that tries many logins is slowed down by its
            // own entry.
            let oldest = self.entries.iter().min_by_key(|(source, failures)| {
                (matches!(source, LoginSource::Address(_)), failures.last)
            });
            if let Some(oldest) = oldest.map(|(source, _)| source.clone()) {
                self.entries.remove(&oldest);
            }
        }
    }
}

/// Returns the address, or the network of an IPv6 address that one customer has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let host_bits = u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !host_bits))
        }
    }
}

fn wait_after(count: u32, free: u32) -> Duration {
    match count.checked_sub(free) {
        None | Some(0) => Duration::ZERO,
        Some(beyond) => WAIT_MIN.saturating_mul(1 << (beyond - 1).min(16)).min(WAIT_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_begin_after_free_failures_and_double_up_to_a_minute() {
        let mut logins = FailedLogins::default();
        let mut waits = Vec::new();
        for _ in 0..13 {
            logins.failed("ann", HERE, SECOND);
            waits.push(logins.wait("ann", HERE, SECOND).as_secs());
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(logins.wait("ann", HERE, SECOND * 62), Duration::ZERO);
    }

    #[test]
    fn an_attacker_does_not_lock_a_user_out_at_another_address() {
        let mut logins = FailedLogins::default();
        for _ in 0..30 {
            logins.failed("ann", HERE, SECOND);
        }
        assert_eq!(logins.wait("ann", THERE, SECOND), Duration::ZERO);
        assert!(logins.wait("bob", HERE, SECOND) > Duration::ZERO, "the address waits");
    }

    #[test]
    fn a_success_forgets_the_failures_of_the_login() {
        let mut logins = FailedLogins::default();
        for _ in 0..8 {
            logins.failed("ann", HERE, SECOND);
        }
        logins.succeeded("ann", HERE);
        assert_eq!(logins.wait("ann", HERE, SECOND), Duration::ZERO);
    }

    #[test]
    fn failures_are_forgotten_after_a_while() {
        let mut logins = FailedLogins::default();
        for _ in 0..8 {
            logins.failed("ann", HERE, SECOND);
        }
        let later = SECOND + FORGOTTEN_AFTER + SECOND;
        logins.failed("ann", HERE, later);
        assert_eq!(logins.wait("ann", HERE, later), Duration::ZERO);
    }

    #[test]
    fn memory_is_bounded_and_an_address_is_not_forgotten_for_its_many_logins() {
        let mut logins = FailedLogins::default();
        for number in 0..ENTRIES_MAX + 100 {
            logins.failed(&number.to_string(), HERE, SECOND);
        }
        assert!(logins.entries.len() <= ENTRIES_MAX);
        assert_eq!(logins.wait("new", HERE, SECOND), WAIT_MAX);
    }

    #[test]
    fn the_addresses_of_one_network_count_as_one() {
        let mut logins = FailedLogins::default();
        for host in 0..30_u128 {
            let address = Ipv6Addr::from_bits((0x2001_0db8 << 96) | host);
            logins.failed("ann", address.into(), SECOND);
        }
        let other = "2001:db8::ffff".parse().unwrap();
        assert!(logins.wait("ann", other, SECOND) > Duration::ZERO);
    }
}
