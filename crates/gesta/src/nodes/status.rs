//! The states in which a task of a node learns of its lease, and of the end of the application.

use gesta_store::NodeName;
use tokio::{sync::watch, task::JoinHandle};

/// The node that has the lease, as this node has last heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holder {
    /// False until the first answer. Until then the task may start any moment.
    pub(crate) is_known: bool,
    pub(crate) node: Option<NodeName>,
    /// The error of the last call.
    pub(crate) trouble: Option<String>,
}

impl Holder {
    pub(super) fn of_trouble(trouble: String) -> Self {
        Self { is_known: true, node: None, trouble: Some(trouble) }
    }

    /// No lease is asked for.
    pub(super) fn of_no_lease() -> Self {
        Self { is_known: true, ..Self::default() }
    }

    /// Returns the trouble for the status of a task.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.as_ref()?;
        Some(format!("the lease cannot be asked for: {trouble}"))
    }
}

/// The end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// The application was closed.
    Closed,
    /// A write was refused, because a later lease has written.
    Fenced,
}

/// The close of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    NotYet,
    Asked,
    /// The caller has stopped waiting for the close.
    Abandoned,
}

/// Waits for the close of a task. Returns `false` if its handle was dropped instead.
pub(crate) async fn closed(closing: &mut watch::Receiver<Closing>) -> bool {
    closing.wait_for(|closing| *closing != Closing::NotYet).await.is_ok()
}

/// Waits until the caller of a close has stopped waiting, or the handle is dropped.
pub(crate) async fn abandoned(closing: &mut watch::Receiver<Closing>) {
    // An error means that the handle was dropped.
    let _ = closing.wait_for(|closing| *closing == Closing::Abandoned).await;
}

/// Closes a task and waits for its end. Dropping the returned future abandons the close.
pub(crate) async fn close(closing: &watch::Sender<Closing>, task: JoinHandle<()>) {
    closing.send_replace(Closing::Asked);
    let _caller = ClosingCaller(closing);
    // An error is a panic that was logged already.
    let _ = task.await;
}

/// The caller of a close.
struct ClosingCaller<'h>(&'h watch::Sender<Closing>);

impl Drop for ClosingCaller<'_> {
    fn drop(&mut self) {
        self.0.send_replace(Closing::Abandoned);
    }
}
