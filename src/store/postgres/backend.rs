//! Which process of the server a connection was told that it is with. A pooler, which lends sessions, tells a number of its own.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Error};

/// The id of the process, as the server told it when the connection was made. The driver keeps it for requests to cancel a
/// statement, and says it nowhere else: so it writes such a request, which is not sent.
pub(super) async fn told_backend(client: &Client) -> Result<Option<i32>, Error> {
    let mut written = Written(Vec::new());
    let cancel = client.cancel_token();
    cancel.cancel_query_raw(&mut written, Unencrypted).await?;
    // Its last eight bytes are the id and the key of the process.
    let id = written.0.iter().rev().skip(4).take(4).rev();
    let id: Vec<u8> = id.copied().collect();
    Ok(id.try_into().ok().map(i32::from_be_bytes))
}

/// Keeps what is written to it. Asked whether it is encrypted, it says yes, and is not.
struct Written(Vec<u8>);

struct Unencrypted;

impl<'a> TlsConnect<&'a mut Written> for Unencrypted {
    type Stream = &'a mut Written;
    type Error = io::Error;
    type Future = Ready<io::Result<&'a mut Written>>;

    fn connect(self, stream: &'a mut Written) -> Self::Future {
        ready(Ok(stream))
    }
}

impl TlsStream for &mut Written {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Written {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.put_slice(b"S");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Written {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
