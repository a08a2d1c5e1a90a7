//! Announcements between the processes of a store: of appends, and of released leases.
//!
//! Owns: the tasks that raise the known head ([`KnownHead`]). One connection listens for all
//! subscriptions of a process. A notification may be lost, with its connection or behind a
//! transaction pooler, so the head is looked at as well while a subscription waits. Not here: the
//! head that the process's own appends lead to, which their committer raises.

use std::{future::poll_fn, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_postgres::{AsyncMessage, types::Type};

use crate::{
    connection::{Connector, RawConnection},
    head::{HEAD, KnownHead},
    number::{from_sql, to_sql},
    shared::Core,
};

/// Time between two looks at the head while a listener is connected.
const LOOK_LISTENING: Duration = Duration::from_secs(1);
/// Time between two looks at the head without a listener.
const LOOK_ALONE: Duration = Duration::from_millis(100);
/// Pause before the listener connects again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// A notification is a hint, so its commit need not be durable. Otherwise each would cost a sync
/// next to those of appends.
const ANNOUNCE: &str = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)";
/// The notification of a released lease.
pub(crate) const LEASE_RELEASED: &str = "lease released";
/// Pause after an announcement, in which several appends become one.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(3);

/// Reads the head, and makes it known.
pub(crate) async fn look(core: &Core) -> Result<u64, gesta_store::StoreError> {
    let before = core.head.get();
    let rows = core.query(HEAD, &[]).await?;
    let head: i64 = rows.first().map(|row| crate::read::cell(row, 0)).transpose()?.unwrap_or(0);
    let head = from_sql(head);
    core.head.raise(before, head);
    Ok(head)
}

/// Looks at the head while a subscription waits: when another process announces an append, and now
/// and then.
pub(crate) async fn look_while_awaited(core: Arc<Core>) {
    loop {
        let pause = if core.head.is_listening() { LOOK_LISTENING } else { LOOK_ALONE };
        // A timeout is the look now and then.
        drop(timeout(pause, core.head.announced.notified()).await);
        if !core.head.is_awaited() {
            continue;
        }
        // The next look may succeed.
        if let Err(error) = look(&core).await {
            tracing::debug!(%error, "the head was not read");
        }
    }
}

/// Announces appends of this process to others. Several heads become one announcement while the
/// one before is on its way.
pub(crate) async fn announce(core: Arc<Core>, mut committed: watch::Receiver<u64>) {
    let channel = &core.channel;
    while committed.changed().await.is_ok() {
        let head = to_sql(*committed.borrow_and_update()).to_string();
        let announced = core.query(ANNOUNCE, &[(channel, Type::TEXT), (&head, Type::TEXT)]).await;
        // Others look at the head themselves after a while.
        if let Err(error) = announced {
            tracing::debug!(%error, "an append was not announced");
        }
        sleep(ANNOUNCE_PAUSE).await;
    }
}

/// Listens for announcements of other processes, and connects again when the connection breaks.
pub(crate) async fn listen(core: Arc<Core>, connector: Arc<Connector>) {
    loop {
        if connector.through_pooler() {
            tracing::info!(
                "a transaction pooler passes on no notifications: subscriptions look for events \
                 of other processes every {} ms; connect directly to be notified",
                LOOK_ALONE.as_millis()
            );
            return;
        }
        if let Err(error) = listen_once(&core, &connector).await {
            tracing::debug!(%error, "the connection for notifications broke");
        }
        core.head.set_listening(false);
        sleep(RECONNECT_PAUSE).await;
    }
}

async fn listen_once(core: &Core, connector: &Connector) -> Result<(), gesta_store::StoreError> {
    let (client, connection) = connector.connect_raw().await?;
    let driver = drive(connection, core.head.clone(), core.lease_released.clone());
    let driver = tokio::spawn(driver);
    let statement = format!("LISTEN \"{}\"", core.channel);
    if client.batch_execute(&statement).await.is_ok() {
        core.head.set_listening(true);
        // Appends before the statement were not announced to this connection.
        look(core).await?;
    }
    // The client keeps the connection open until the driver ends.
    drop(driver.await);
    drop(client);
    Ok(())
}

/// Drives the connection, and takes the announcements.
async fn drive(mut connection: RawConnection, head: KnownHead, lease_released: watch::Sender<()>) {
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(notification) = message {
            if notification.payload() == LEASE_RELEASED {
                lease_released.send_replace(());
                continue;
            }
            // Anyone may notify on the channel, so the number is compared and not believed.
            let announced = notification.payload().parse::<i64>().map_or(0, from_sql);
            if announced > head.get().position {
                head.announced.notify_one();
            }
        }
    }
}
