//! Connections that can be cut and slowed.
//!
//! A handler answers as always, but tells its [`Line`] how many bytes may still leave. Past them the
//! connection is gone: what was received and not read makes it a reset.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{extract::connect_info::Connected, serve::IncomingStream, serve::Listener};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};

/// How often a slow line lets bytes through.
const TICK: Duration = Duration::from_millis(50);

/// What a handler may do to its connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    /// Bytes that may still be sent before the line is cut.
    left: AtomicU64,
    /// Bytes a tick.
    pace: AtomicU64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { left: AtomicU64::new(u64::MAX), pace: AtomicU64::new(u64::MAX) }
    }
}

impl Line {
    /// Cuts the line after so many more bytes of the answer, its head included.
    pub(super) fn cut_after(&self, bytes: u64) {
        self.0.left.store(bytes, Ordering::SeqCst);
    }

    /// Sends at most so many bytes a second from now on; at least 20.
    pub(super) fn slow_down(&self, bytes_per_second: u64) {
        let ticks = 1000 / u64::try_from(TICK.as_millis()).expect("a tick is short");
        self.0.pace.store((bytes_per_second / ticks).max(1), Ordering::SeqCst);
    }
}

/// Accepts connections that can be cut.
#[derive(Debug)]
pub(super) struct Lines(pub(super) TcpListener);

impl Listener for Lines {
    type Io = Stream;
    type Addr = (SocketAddr, Line);

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (tcp, address) = Listener::accept(&mut self.0).await;
        let line = Line::default();
        (Stream { tcp, line: line.clone(), wait: None }, (address, line))
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok((self.0.local_addr()?, Line::default()))
    }
}

impl Connected<IncomingStream<'_, Lines>> for Line {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.remote_addr().1.clone()
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Stream {
    tcp: TcpStream,
    line: Line,
    /// Until the next tick of a slow line.
    wait: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(context));
            self.wait = None;
        }
        let limits = Arc::clone(&self.line.0);
        let (left, pace) = (limits.left.load(Ordering::SeqCst), limits.pace.load(Ordering::SeqCst));
        if left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let most = usize::try_from(left.min(pace)).unwrap_or(usize::MAX).min(bytes.len());
        let sent = ready!(Pin::new(&mut self.tcp).poll_write(context, &bytes[..most]))?;
        if left != u64::MAX {
            limits.left.fetch_sub(sent as u64, Ordering::SeqCst);
        }
        if pace != u64::MAX {
            self.wait = Some(Box::pin(sleep(TICK)));
        }
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
