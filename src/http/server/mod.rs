//! The loop that accepts connections and serves them. It bounds how many there are and how long a client may keep one
//! waiting, and ends what takes too long; what a request may ask is for the router.

mod connection;
mod stream;

use crate::telemetry::metric;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::{io, iter};

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, body::Body as _};
use hyper_util::rt::TokioIo;
use metrics::counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::client_ip::Peer;
pub(super) use connection::AnswerDeadline;
pub use connection::Deadlines;
use connection::{Connection, UNREAD_GRACE};
pub(super) use stream::RequestBody;
use stream::{ResponseBody, TrackedIo};

/// Largest head of a request, in bytes: a JWT of 16 KiB in a cookie, with room to spare.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How often connections are looked at.
const TICK: Duration = Duration::from_millis(500);
/// The same at the end.
const ENDING_TICK: Duration = Duration::from_millis(50);
/// How long to leave a listener alone that cannot accept: without file descriptors, it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a peer may be silent before TCP asks whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long a peer may leave data without acknowledgement before TCP gives it up.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// How many connections a server holds, and how long it waits for them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The listener's name in metrics.
    pub listener: &'static str,
    /// Most connections at a time. Beyond it, the one that has kept us waiting longest makes room; while all of them are
    /// being served, new ones wait in the system's queue.
    pub connections: usize,
    /// How long clients may keep us waiting.
    pub deadlines: Deadlines,
}

/// Serves `app` at `listener` until `shutdown`, then until the open requests are answered; clients who have not sent
/// theirs are not waited for. Dropped, it closes every connection.
pub async fn serve(listener: TcpListener, app: App, limits: Limits, shutdown: CancellationToken) {
    if let Err(error) = enable_tcp_keepalive(&listener) {
        tracing::warn!(%error, "failed to set TCP keep-alive");
    }
    let mut http = http1::Builder::new();
    // Deadlines are kept by the connections' states, which also know what is idle. Of header fields, hyper takes 100 unless
    // it is told a number, for which it would prepare a list with each request.
    http.header_read_timeout(None)
        .max_header_size(MAX_HEAD_BYTES);
    let mut open = OpenConnections::new(limits);
    let serve_one = |open: &mut OpenConnections, stream, peer: SocketAddr| {
        let connection = Arc::new(Connection::new());
        let served = serve_connection(
            http.clone(),
            app.clone(),
            stream,
            Peer(peer.ip()),
            Arc::clone(&connection),
            shutdown.clone(),
        );
        open.add(connection, served);
    };
    let mut ticks = tokio::time::interval(TICK.min(limits.deadlines.shortest() / 4));
    let mut paused_until: Option<Instant> = None;
    while !shutdown.is_cancelled() {
        let pause = paused_until.unwrap_or_else(Instant::now);
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = ticks.tick() => open.enforce(),
            Some(()) = open.ended() => {}
            () = tokio::time::sleep_until(pause), if paused_until.is_some() => paused_until = None,
            accepted = listener.accept(), if paused_until.is_none() && open.has_room() => match accepted {
                Ok((stream, peer)) => {
                    open.make_room();
                    serve_one(&mut open, stream, peer);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, open = open.len(), "failed to accept a connection; is the limit on open files too low?");
                    open.evict();
                    paused_until = Some(Instant::now() + ACCEPT_PAUSE);
                }
            },
        }
    }
    for (stream, peer) in accept_the_last(listener) {
        serve_one(&mut open, stream, peer);
    }
    let ending = Instant::now();
    let mut ticks = tokio::time::interval(ENDING_TICK);
    while open.len() > 0 {
        tokio::select! {
            _ = ticks.tick() => open.release(ending.elapsed()),
            _ = open.ended() => {}
        }
    }
}

/// Accepted connections inherit these. A dead peer of a stream would else go unnoticed for a quarter of an hour.
fn enable_tcp_keepalive(listener: &TcpListener) -> io::Result<()> {
    let socket = socket2::SockRef::from(listener);
    let keep_alive = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE);
    socket.set_tcp_keepalive(&keep_alive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}

/// Closes the listener; whoever has connected before that, and would be cut off with it.
fn accept_the_last(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    #[cfg(target_os = "linux")]
    refuse_new_connections(&listener);
    let last = listener.into_std().map(|listener| {
        let accepted = iter::from_fn(|| listener.accept().ok());
        accepted
            .filter_map(|(stream, peer)| {
                stream.set_nonblocking(true).ok()?;
                Some((TcpStream::from_std(stream).ok()?, peer))
            })
            .collect()
    });
    last.unwrap_or_else(|error| {
        tracing::warn!(%error, "failed to accept the last connections");
        Vec::new()
    })
}

/// Has the system leave new connections unanswered: who tries again after the listener is closed is refused, and asks another
/// replica. Between the last that is accepted and that moment, some would be let in and cut off.
#[cfg(target_os = "linux")]
fn refuse_new_connections(listener: &TcpListener) {
    use socket2::{SockFilter, SockRef};
    /// By the numbers of the system's packet filter: the byte of TCP's flags, without all but SYN and ACK, is SYN alone.
    const PROGRAM: [SockFilter; 5] = [
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x54, 0, 0, 0x12),
        SockFilter::new(0x15, 0, 1, 0x02),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    if let Err(error) = SockRef::from(listener).attach_filter(&PROGRAM) {
        tracing::debug!(%error, "failed to hold back new connections at the end");
    }
}

/// Whether the client went away between its knock and our answer.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Serves one connection to its end; aborted, it closes the connection.
async fn serve_connection(
    http: http1::Builder,
    app: App,
    stream: TcpStream,
    peer: Peer,
    connection: Arc<Connection>,
    shutdown: CancellationToken,
) {
    // Answers are small and complete; waiting to fill a packet only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    let io = TokioIo::new(TrackedIo::new(stream, Arc::clone(&connection)));
    let service = service_fn(|request: Request<Incoming>| {
        let working = connection.take_up_request(!request.body().is_end_stream());
        let deadline = AnswerDeadline(Arc::clone(&connection));
        let request = request.map(|body| RequestBody::new(body, Arc::clone(&connection)));
        let answer = app.answer(request, peer, deadline);
        answer
            .map(|answer| Ok::<_, Infallible>(answer.map(|body| ResponseBody::new(body, working))))
    });
    let mut serving = pin!(http.serve_connection(io, service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            // The request of a new connection may be here and not read yet: hyper would close it at once.
            let first_read = poll_fn(|context| match serving.as_mut().poll(context) {
                Poll::Pending if connection.is_new() => Poll::Pending,
                polled => Poll::Ready(polled),
            });
            match timeout(UNREAD_GRACE, first_read).await {
                Ok(Poll::Ready(ended)) => ended,
                Ok(Poll::Pending) | Err(_) => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended with an error");
    }
}

/// The connections of one server.
struct OpenConnections {
    limits: Limits,
    tasks: JoinSet<()>,
    open: HashMap<Id, (Arc<Connection>, AbortHandle)>,
}

impl OpenConnections {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            tasks: JoinSet::new(),
            open: HashMap::new(),
        }
    }

    fn len(&self) -> usize {
        self.open.len()
    }

    fn add(
        &mut self,
        connection: Arc<Connection>,
        served: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(served);
        self.open.insert(task.id(), (connection, task));
    }

    /// Whether one more may be accepted. One beyond the limit: whoever knocks may get the place of another.
    fn has_room(&self) -> bool {
        self.len() <= self.limits.connections
    }

    fn make_room(&mut self) {
        if self.len() >= self.limits.connections {
            self.evict();
        }
    }

    /// Closes the connection that has kept us waiting longest, if any keeps us waiting.
    fn evict(&mut self) -> bool {
        let waiting = self
            .open
            .iter()
            .filter_map(|(id, (connection, _))| Some((connection.waiting_since()?, *id)));
        let Some((_, longest)) = waiting.min() else {
            return false;
        };
        self.close(longest, "displaced");
        true
    }

    /// Closes those who have kept us waiting too long, and whatever is beyond the limit.
    fn enforce(&mut self) {
        self.enforce_answers();
        let overdue: Vec<_> = self
            .open
            .iter()
            .filter_map(|(id, (connection, _))| {
                Some((*id, connection.overdue(&self.limits.deadlines)?))
            })
            .collect();
        for (id, waits) in overdue {
            self.close(id, waits.name());
        }
        while self.len() > self.limits.connections && self.evict() {}
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!(metric::CONNECTIONS_OPEN, "listener" => self.limits.listener)
            .set(self.len() as f64);
    }

    /// Has those answered whose request takes too long.
    fn enforce_answers(&self) {
        let all = self.open.values();
        all.for_each(|(connection, _)| connection.enforce_answer());
    }

    /// Closes those who would hold up the end.
    fn release(&mut self, ending_for: Duration) {
        self.enforce_answers();
        let held_up_by: Vec<_> = self
            .open
            .iter()
            .filter(|(_, (connection, _))| connection.holds_up_the_end(ending_for))
            .map(|(id, _)| *id)
            .collect();
        for id in held_up_by {
            self.close(id, "shutdown");
        }
    }

    fn close(&mut self, id: Id, reason: &'static str) {
        if let Some((_, task)) = self.open.remove(&id) {
            task.abort();
            let listener = self.limits.listener;
            counter!(metric::CONNECTIONS_CLOSED_TOTAL, "listener" => listener, "reason" => reason)
                .increment(1);
            tracing::debug!(listener, reason, "closed a connection");
        }
    }

    /// Waits for a connection to end; `None` when there is none.
    async fn ended(&mut self) -> Option<()> {
        let id = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "connection task panicked");
                }
                error.id()
            }
        };
        self.open.remove(&id);
        Some(())
    }
}
