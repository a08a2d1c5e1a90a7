//! Assertions on stored snapshots.

use crate::Gesta;

/// Asserts that stored snapshots agree with replays, for every stream of every aggregate with
/// snapshots. Compares a load from the stored snapshot with a full replay, and a replay that
/// encodes and decodes the state after each event with one that does not.
///
/// Detects changes without a shape: a changed `evolve` or upcaster with an unchanged
/// `fold_version`, and state that a snapshot omits. Run it on a copy of real data.
///
/// ```
/// use gesta::{Gesta, testing::assert_snapshots_hold};
///
/// # gesta::store::conformance::block_on(async {
/// let gesta = Gesta::at("memory:").open().await?;
/// assert_snapshots_hold(&gesta).await;
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
///
/// # Panics
/// If states differ, with both and the stream; if an aggregate registered for snapshots takes none,
/// because its shape is hidden; if the store or an event cannot be read.
#[track_caller]
pub fn assert_snapshots_hold(gesta: &Gesta) -> impl Future<Output = ()> + Send {
    let caller = std::panic::Location::caller();
    async move {
        match gesta.snapshots().differences(gesta.store().as_ref()).await {
            Ok(differences) if differences.is_empty() => {}
            Ok(differences) => {
                panic!("snapshots differ from a replay (at {caller}): {}", differences.join("; "))
            }
            Err(error) => panic!("snapshots at {caller} cannot be checked: {error}"),
        }
    }
}
