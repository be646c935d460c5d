//! The socket of one connection: whole messages in, buffered bytes out.
//!
//! Nothing is allocated because a length field says so: the inbound buffer grows with the bytes that came, and a
//! message beyond its bound is refused by its header. Every method that waits may be dropped while it waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use super::tls::Identity;

/// Bytes of a startup packet, and of any message before authentication (PostgreSQL: MAX_STARTUP_PACKET_LENGTH).
pub(super) const STARTUP_BYTES_MAX: usize = 10_000;
/// Bytes of a message.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a Query or a Parse.
pub(super) const STATEMENT_BYTES_MAX: usize = 1024 * 1024;
/// Buffered bytes that are sent without waiting for more.
pub(super) const FLUSH_BYTES: usize = 64 * 1024;
/// Bytes read ahead while a statement runs.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// How often a client is looked after whose messages are not read for now.
const CLOSED_CHECK: Duration = Duration::from_secs(1);
/// An inbound buffer that grew beyond this is let go when it is empty.
const KEPT_BYTES: usize = 256 * 1024;

/// Why the connection cannot go on.
#[derive(Debug)]
pub(super) enum WireError {
    /// The client is gone.
    Gone,
    /// The client does not speak the protocol; it is told so before the connection closes.
    Protocol(String),
}

impl From<io::Error> for WireError {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// One message of the client: its type byte and its body.
#[derive(Debug)]
pub(super) enum Frame {
    Message(u8, Bytes),
    /// A Query or a Parse that was too long; it was read past, not kept.
    TooLong(u8, usize),
}

/// A connection's socket, encrypted or not.
enum Stream {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
    /// A handshake failed, or was left.
    Broken,
}

impl Stream {
    /// The socket itself.
    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Encrypted(stream) => Some(stream.get_ref().0),
            Self::Broken => None,
        }
    }
}

fn broken<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(context, into),
            Self::Broken => broken(),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Broken => broken(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(context),
            Self::Broken => broken(),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Broken => broken(),
        }
    }
}

/// A connection's socket and its buffers.
pub(super) struct Wire {
    stream: Stream,
    /// The certificates that a password can be bound to, in PEM.
    binding: Option<Vec<u8>>,
    inbound: BytesMut,
    /// What is to be sent.
    pub(super) out: BytesMut,
    /// A message that is being read past: its type, its length, and the bytes still to come.
    skipping: Option<(u8, usize, usize)>,
    flushed_at: Instant,
    bytes_sent: u64,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        let (inbound, out) = (BytesMut::with_capacity(8 * 1024), BytesMut::with_capacity(8 * 1024));
        let stream = Stream::Plain(stream);
        Self { stream, binding: None, inbound, out, skipping: None, flushed_at: Instant::now(), bytes_sent: 0 }
    }

    /// The body of the next packet without a type byte: startup and what precedes it.
    ///
    /// # Errors
    /// `Protocol` for a length out of bounds.
    pub(super) async fn read_startup_packet(&mut self) -> Result<Bytes, WireError> {
        loop {
            if let Some(header) = self.inbound.first_chunk::<4>() {
                let length = usize::try_from(i32::from_be_bytes(*header)).unwrap_or(0);
                if !(8..=STARTUP_BYTES_MAX).contains(&length) {
                    return Err(WireError::Protocol("invalid length of startup packet".into()));
                }
                if self.inbound.len() >= length {
                    self.inbound.advance(4);
                    return Ok(self.inbound.split_to(length - 4).freeze());
                }
            }
            self.fill().await?;
        }
    }

    /// Goes on encrypted: the client begins a TLS handshake now.
    ///
    /// # Errors
    /// `Gone` if the handshake fails.
    pub(super) async fn encrypt(&mut self, identity: &Identity) -> Result<(), WireError> {
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Broken) else {
            return Err(WireError::Protocol("the connection is encrypted already".into()));
        };
        self.stream = Stream::Encrypted(Box::new(identity.acceptor.accept(stream).await?));
        self.binding = identity.binding.clone();
        Ok(())
    }

    /// True behind a TLS handshake.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Encrypted(_))
    }

    /// The certificates that a password can be bound to, in PEM; none where nothing is encrypted.
    pub(super) fn binding(&self) -> Option<&[u8]> {
        self.binding.as_deref()
    }

    /// True if bytes came that nobody asked for yet.
    pub(super) fn has_inbound(&self) -> bool {
        !self.inbound.is_empty()
    }

    /// The next message.
    ///
    /// # Errors
    /// `Protocol` for an unknown type or a length out of bounds.
    pub(super) async fn read_frame(&mut self, bytes_max: usize) -> Result<Frame, WireError> {
        loop {
            if let Some(frame) = self.take_frame(bytes_max)? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    fn take_frame(&mut self, bytes_max: usize) -> Result<Option<Frame>, WireError> {
        if let Some((tag, length, left)) = self.skipping {
            let now = left.min(self.inbound.len());
            self.inbound.advance(now);
            self.skipping = (now < left).then_some((tag, length, left - now));
            return Ok((now == left).then_some(Frame::TooLong(tag, length)));
        }
        let Some(tag) = self.inbound.first().copied() else { return Ok(None) };
        if !matches!(
            tag,
            b'Q' | b'P' | b'B' | b'D' | b'E' | b'C' | b'S' | b'H' | b'X' | b'd' | b'c' | b'f' | b'F' | b'p'
        ) {
            return Err(WireError::Protocol(format!("invalid frontend message type {tag}")));
        }
        let Some(header) = self.inbound.get(1..5) else { return Ok(None) };
        let length = i32::from_be_bytes(header.try_into().expect("four bytes"));
        let Some(length) = usize::try_from(length).ok().and_then(|l| l.checked_sub(4)).filter(|l| *l <= bytes_max)
        else {
            return Err(WireError::Protocol(format!("invalid message length {length}")));
        };
        if matches!(tag, b'Q' | b'P') && length > STATEMENT_BYTES_MAX {
            self.inbound.advance(5);
            self.skipping = Some((tag, length, length));
            return self.take_frame(bytes_max);
        }
        if self.inbound.len() < length + 5 {
            return Ok(None);
        }
        self.inbound.advance(5);
        let body = self.inbound.split_to(length).freeze();
        if self.inbound.is_empty() && self.inbound.capacity() > KEPT_BYTES {
            self.inbound = BytesMut::with_capacity(8 * 1024);
        }
        Ok(Some(Frame::Message(tag, body)))
    }

    /// Reads what has come; at least one byte.
    async fn fill(&mut self) -> Result<(), WireError> {
        self.inbound.reserve(8 * 1024);
        match self.stream.read_buf(&mut self.inbound).await? {
            0 => Err(WireError::Gone),
            _ => Ok(()),
        }
    }

    /// Waits until the client is gone. Reads ahead what it sends meanwhile, up to a bound.
    pub(super) async fn closed(&mut self) {
        while self.inbound.len() < READ_AHEAD_BYTES {
            if self.fill().await.is_err() {
                return;
            }
        }
        // The bytes already here would make the socket ready at once, again and again: look now and then instead.
        loop {
            tokio::time::sleep(CLOSED_CHECK).await;
            let Some(socket) = self.stream.socket() else { return };
            match socket.ready(Interest::READABLE).await {
                Ok(ready) if !ready.is_read_closed() => {}
                _ => return,
            }
        }
    }

    /// Sends everything buffered.
    ///
    /// # Errors
    /// `Gone`.
    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        while !self.out.is_empty() {
            match self.stream.write_buf(&mut self.out).await? {
                0 => return Err(WireError::Gone),
                sent => self.bytes_sent += u64::try_from(sent).unwrap_or(0),
            }
        }
        // What was encrypted may not have left yet.
        self.stream.flush().await?;
        self.flushed_at = Instant::now();
        if self.out.capacity() > KEPT_BYTES {
            self.out = BytesMut::with_capacity(8 * 1024);
        }
        Ok(())
    }

    /// How long ago the last bytes were sent.
    pub(super) fn since_flush(&self) -> Duration {
        self.flushed_at.elapsed()
    }

    /// The bytes sent since this was last asked.
    pub(super) fn take_bytes_sent(&mut self) -> u64 {
        std::mem::take(&mut self.bytes_sent)
    }

    /// Closes the sending side, so that the client reads what was sent before the end.
    pub(super) async fn close(&mut self) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        // Unread bytes would make the kernel answer with a reset, which can overtake the last message.
        let mut sink = [0; 1024];
        let drain = async { while matches!(self.stream.read(&mut sink).await, Ok(1..)) {} };
        // A client that never closes is left to itself after a moment; there is nothing to report.
        let _ = tokio::time::timeout(Duration::from_millis(500), drain).await;
    }
}
