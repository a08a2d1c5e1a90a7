//! Snapshots that are stored, held against replays.

use crate::Gesta;

/// Compares, for every aggregate that has snapshots and every stream of it, what is loaded from
/// the stored snapshot with what a replay of all events makes, and a replay that is stored and
/// read back after each event with one that is not.
///
/// Finds what no shape tells: a changed `evolve` or upcaster whose `fold_version` was not raised,
/// and state that a snapshot loses. Run it over a copy of real data.
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
/// When states differ, with both and the stream; when an aggregate was to have snapshots and has
/// none, since its shape is hidden; when the store or an event cannot be read.
#[track_caller]
pub fn assert_snapshots_hold(gesta: &Gesta) -> impl Future<Output = ()> + Send {
    let caller = std::panic::Location::caller();
    async move {
        match gesta.snapshots().differences(gesta.store().as_ref()).await {
            Ok(differences) if differences.is_empty() => {}
            Ok(differences) => {
                panic!("snapshots at {caller} do not hold: {}", differences.join("; "))
            }
            Err(error) => panic!("snapshots at {caller} cannot be checked: {error}"),
        }
    }
}
