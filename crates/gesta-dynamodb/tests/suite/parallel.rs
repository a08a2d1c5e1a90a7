//! Checks that wait for a server more than they work, several at a time.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Checks that run at the same time: more, and requests to an emulator take too long.
const AT_ONCE: usize = 3;

/// Runs a check for each item. Returns the outcomes in the order of the items, `None` for a check
/// that panicked.
pub(crate) fn each<T: Sync, O: Send>(
    items: &[T],
    check: impl Fn(&T) -> O + Sync,
) -> Vec<Option<O>> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<Option<O>>> = Mutex::new(items.iter().map(|_| None).collect());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { return };
            let outcome = catch_unwind(AssertUnwindSafe(|| check(item))).ok();
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = outcomes.get_mut(number) {
                *place = outcome;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn outcomes_are_in_the_order_of_the_items() {
    let items: Vec<u32> = (0..100).collect();
    let outcomes = each(&items, |item| {
        assert!(item % 7 != 3, "a check that fails");
        item * 2
    });
    let expected: Vec<_> = items.iter().map(|item| (item % 7 != 3).then_some(item * 2)).collect();
    assert_eq!(outcomes, expected);
}
