//! Leases in memory pass every clause, and their system clock moves.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use gesta_store::{
    AcquireLease, LeaseError, LeaseName, Leases as _, MemoryLeases, NodeName,
    conformance::{block_on, leases::LeaseFixture},
};

gesta_store::lease_conformance!(fixture);

fn fixture() -> LeaseFixture {
    let time = Arc::new(Mutex::new(Duration::ZERO));
    let clock = Arc::clone(&time);
    let leases = MemoryLeases::with_clock(move || *clock.lock().expect("no clause panics in it"));
    LeaseFixture::new(
        move || Box::new(leases.clone()),
        move |duration| *time.lock().expect("no clause panics in it") += duration,
    )
}

#[test]
fn the_system_clock_ends_a_term() -> Result<(), LeaseError> {
    let leases = MemoryLeases::new();
    let acquire = |node: &str| {
        let name = LeaseName::new("task")?;
        let acquire = AcquireLease::new(name, NodeName::new(node)?, AcquireLease::TERM_MIN);
        block_on(leases.acquire(acquire))
    };
    let first = acquire("one")?;
    // The loop ends with the term, after a tenth of a second.
    let second = std::iter::repeat_with(|| acquire("two")).find_map(Result::ok);
    assert!(second.is_some_and(|second| second.token > first.token));
    Ok(())
}

#[test]
fn errors_say_who_and_what() -> Result<(), LeaseError> {
    let leases = MemoryLeases::with_clock(|| Duration::ZERO);
    let acquire = |node: &str, term| {
        let (name, node) = (LeaseName::new("task")?, NodeName::new(node)?);
        block_on(leases.acquire(AcquireLease::new(name, node, term)))
    };
    let lease = acquire("node 1", Duration::from_secs(10))?;
    let held = acquire("node 2", Duration::from_secs(10)).expect_err("node 1 has it");
    let text = "node 1 holds the lease task for another 10.0 s unless it renews it";
    assert_eq!(held.to_string(), text);
    assert!(held.is_transient());
    let term = acquire("node 2", Duration::ZERO).expect_err("the term is too short");
    let text = "the term of a lease must be between 100 ms and 86400000 ms; got 0 ms";
    assert_eq!(term.to_string(), text);
    block_on(leases.release(&lease))?;
    let lost = block_on(leases.renew(&lease)).expect_err("it was released");
    assert_eq!(lost.to_string(), "the lease task with token 1 is over");
    assert!(!lost.is_transient());
    Ok(())
}
