//! Hears of changes that other replicas have made, on a connection of its own: at once by notifications, and where a pooler
//! swallows those, by looking every now and then.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};

use super::connector::Connector;
use super::writer::CHANNEL;

/// Longest wait for an answer of the server.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Longest that a notification may take.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// The task that listens; it ends with its owner.
pub(super) struct Listener {
    task: AbortHandle,
    hears: Arc<AtomicBool>,
}

impl Listener {
    /// Has `wake` called when calls may have changed: when a replica says so, and after at most `poll` in any case.
    pub(super) fn start(
        connector: Connector,
        poll: Duration,
        replica: String,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let hears = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&hears);
        let task = tokio::spawn(async move {
            let mut seen = None;
            let mut is_lost = false;
            loop {
                let Err(error) = listen(&connector, poll, &replica, &wake, &mut seen, &heard).await;
                heard.store(false, Ordering::Relaxed);
                if !std::mem::replace(&mut is_lost, true) {
                    let error = format!("{error:#}");
                    tracing::warn!(
                        error,
                        "failed to listen for changes by other replicas; trying until it works"
                    );
                }
                sleep(poll).await;
            }
        });
        Self {
            task: task.abort_handle(),
            hears,
        }
    }

    /// Whether notifications come. Where they do not, changes of other replicas are noticed by looking.
    pub(super) fn hears(&self) -> bool {
        self.hears.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Listens until the connection is lost.
async fn listen(
    connector: &Connector,
    poll: Duration,
    replica: &str,
    wake: &(impl Fn() + Sync),
    seen: &mut Option<i64>,
    hears: &Arc<AtomicBool>,
) -> anyhow::Result<Infallible> {
    let told = Arc::new(Notify::new());
    let is_idle = Arc::new(AtomicBool::new(false));
    let ear = Ear {
        told: Arc::clone(&told),
        replica: replica.to_owned(),
        is_idle: Arc::clone(&is_idle),
        hears: Arc::clone(hears),
    };
    let (client, driver) = connect(connector, Some(ear)).await?;
    answered(client.batch_execute(&format!("LISTEN {CHANNEL}"))).await?;
    let mut has_tried = false;
    loop {
        is_idle.store(false, Ordering::Relaxed);
        let row = answered(client.query_typed("SELECT rev FROM latest_rev", &[])).await?;
        let rev: i64 = row.first().context("no rev")?.try_get(0)?;
        if seen.replace(rev) != Some(rev) {
            wake();
        }
        is_idle.store(true, Ordering::Relaxed);
        if !std::mem::replace(&mut has_tried, true) {
            // Said on another connection: what comes back shows that the word of others does.
            let (other, _) = connect(connector, None).await?;
            answered(other.batch_execute(&format!("NOTIFY {CHANNEL}, '{replica}'"))).await?;
        }
        tokio::select! {
            () = told.notified() => wake(),
            () = sleep(poll) => {}
        }
        anyhow::ensure!(!driver.is_finished(), "the connection was lost");
    }
}

/// Whether who listens at the one end hears what is said at the other.
pub(super) async fn is_heard(listening: &Connector, telling: &Connector) -> anyhow::Result<bool> {
    let told = Arc::new(Notify::new());
    let ear = Ear {
        told: Arc::clone(&told),
        // Of nobody, so that replicas look once more, and find nothing.
        replica: String::new(),
        is_idle: Arc::default(),
        hears: Arc::default(),
    };
    let (client, _) = connect(listening, Some(ear)).await?;
    answered(client.batch_execute(&format!("LISTEN {CHANNEL}"))).await?;
    let (other, _) = connect(telling, None).await?;
    answered(other.batch_execute(&format!("NOTIFY {CHANNEL}, 'doctor'"))).await?;
    let heard = timeout(HEARD_WITHIN, told.notified()).await.is_ok();
    answered(client.batch_execute(&format!("UNLISTEN {CHANNEL}"))).await?;
    Ok(heard)
}

/// Who hears the notifications of a connection.
struct Ear {
    told: Arc<Notify>,
    replica: String,
    /// Whether no statement is under way. What comes with an answer may be by chance: a pooler has lent the session that
    /// listens.
    is_idle: Arc<AtomicBool>,
    hears: Arc<AtomicBool>,
}

async fn connect(
    connector: &Connector,
    ear: Option<Ear>,
) -> anyhow::Result<(Client, JoinHandle<()>)> {
    let connecting = connector.address().config.connect(connector.tls().clone());
    let connected = timeout(ANSWERS_WITHIN, connecting).await;
    let (client, mut connection) = connected.context("the server does not let us connect")??;
    let driver = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let (AsyncMessage::Notification(said), Some(ear)) = (message, &ear) {
                if ear.is_idle.load(Ordering::Relaxed) {
                    ear.hears.store(true, Ordering::Relaxed);
                }
                // What this replica changes it knows.
                if said.payload() != ear.replica {
                    ear.told.notify_one();
                }
            }
        }
    });
    Ok((client, driver))
}

async fn answered<T>(
    statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> anyhow::Result<T> {
    let answer = timeout(ANSWERS_WITHIN, statement).await;
    Ok(answer.context("the server does not answer")??)
}
