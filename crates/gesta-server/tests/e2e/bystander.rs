//! A client that continues while others misbehave, and the server's memory in that time.
//!
//! Owns: [`Watch`]. Invariant: it appends and reads back without a pause, and fails if one call
//! takes longer than [`ANSWER_MAX`].

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{ANY, Client, Credentials, Read, append, append_resp, proposed, streams_client},
    gesta::{Gesta, resident_kib},
};

/// Time for one append or read. The machine is busy with the attack.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Time between two samples of the memory.
const SAMPLE_AFTER: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(2);

/// A client at work and samples of the memory.
pub(crate) struct Watch {
    stop: oneshot::Sender<()>,
    client: JoinHandle<Result<Answers>>,
    sampler: JoinHandle<u64>,
    resident_kib: u64,
}

/// Answers that a bystander got.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) count: usize,
    pub(crate) slowest: Duration,
}

/// Observations during an attack.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) answers: Answers,
    /// Resident memory of the server before the attack, and at most.
    pub(crate) before_kib: u64,
    pub(crate) peak_kib: u64,
}

impl Watch {
    /// Begins with the client's first answer, so that its connection is open.
    pub(crate) async fn begin(gesta: &Gesta) -> Result<Self> {
        let client = streams_client::StreamsClient::with_interceptor(
            gesta.channel().await,
            Credentials::default(),
        );
        Self::begin_with(gesta, client).await
    }

    /// Begins with this client.
    pub(crate) async fn begin_with(gesta: &Gesta, mut client: Client) -> Result<Self> {
        answer(&mut client, 0).await.context("before the attack")?;
        let before_kib = gesta.resident_kib()?;
        let (stop, mut stopped) = oneshot::channel::<()>();
        let client = tokio::spawn(async move {
            let mut answers = Answers::default();
            for number in 1.. {
                let begun = Instant::now();
                answer(&mut client, number).await?;
                answers.count += 1;
                answers.slowest = answers.slowest.max(begun.elapsed());
                if stopped.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
                    break;
                }
                sleep(PAUSE).await;
            }
            Ok(answers)
        });
        let process_id = gesta.process_id();
        let sampler = tokio::spawn(async move {
            let mut peak = 0;
            // The file is gone when the server is.
            while let Ok(resident) = resident_kib(process_id) {
                peak = peak.max(resident);
                sleep(SAMPLE_AFTER).await;
            }
            peak
        });
        Ok(Self { stop, client, sampler, resident_kib: before_kib })
    }

    /// Ends with the client's last answer. Ends the server.
    pub(crate) async fn end(self, mut gesta: Gesta) -> Result<Seen> {
        drop(self.stop);
        let answers = self.client.await?.context("another client")?;
        ensure!(gesta.is_running(), "the server has ended");
        gesta.kill()?;
        let peak_kib = self.sampler.await?;
        Ok(Seen { answers, before_kib: self.resident_kib, peak_kib })
    }
}

impl Seen {
    /// Fails if the memory has grown by more.
    pub(crate) fn grown_at_most_mib(self, mib: u64) -> Result<Self> {
        let grown = self.peak_kib.saturating_sub(self.before_kib) >> 10;
        ensure!(grown <= mib, "resident memory has grown by {grown} MiB: {self:?}");
        Ok(self)
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { answers: Answers { count, slowest }, before_kib, peak_kib } = self;
        write!(
            f,
            "{count} answers to another client, the slowest after {:.1} s; resident {} MiB before, \
             {} MiB at most",
            slowest.as_secs_f64(),
            before_kib >> 10,
            peak_kib >> 10
        )
    }
}

/// Appends an event and reads it back.
async fn answer(client: &mut Client, number: u64) -> Result<()> {
    let answered = timeout(ANSWER_MAX, async {
        let id = u128::from(number) + (1 << 100);
        let appended = append(client, "bystander", ANY, vec![proposed(id, "stood")]).await?;
        let append_resp::Result::Success(_) = appended else { bail!("{appended:?}") };
        let last = Read::stream("bystander").at_end().backwards().limit(1).run(client).await?;
        ensure!(last.len() == 1, "{last:?}");
        Ok(())
    });
    answered.await.context("no answer in time")?
}
