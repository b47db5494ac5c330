//! What carries the bytes of a connection: a socket, or, in tests, memory.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;
use tracing::debug;

/// Bytes that the socket of a node of this host holds for us; the kernel makes it twice as much. A window that a busy
/// sender fills between two looks makes it gather (see [`super::reactor`]); less than the loopback device sends at once
/// would stall everything. The windows of other hosts are the kernel's business: they have to hold what is on the way.
const LOCAL_WINDOW_BYTES: usize = 32 << 10;

/// A stream of bytes to another node and back, after its handshake.
pub(super) trait Transport: Send + Sized + 'static {
    /// The half that receives.
    type Read: AsyncRead + Send + Unpin;
    /// The half that sends.
    type Write: AsyncWrite + Send + Unpin + 'static;

    /// Where the other node is.
    fn address(&self) -> SocketAddr;

    /// Lives on the threads of that runtime from now on.
    fn move_to(self, runtime: &Handle) -> io::Result<Self>;

    /// Its two halves.
    fn split(self) -> (Self::Read, Self::Write);

    /// Has the end of the stream drop what the other node has not taken, instead of keeping it for one that does not
    /// read.
    fn give_up(read: &Self::Read) -> io::Result<()>;
}

impl Transport for TcpStream {
    type Read = OwnedReadHalf;
    type Write = OwnedWriteHalf;

    fn address(&self) -> SocketAddr {
        self.peer_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into())
    }

    fn move_to(self, runtime: &Handle) -> io::Result<Self> {
        let address = self.address();
        if address.ip().to_canonical().is_loopback()
            && let Err(error) = SockRef::from(&self).set_recv_buffer_size(LOCAL_WINDOW_BYTES)
        {
            debug!(%address, "window not set: {error}");
        }
        // Watched by that thread from now on.
        let _there = runtime.enter();
        TcpStream::from_std(self.into_std()?)
    }

    fn split(self) -> (Self::Read, Self::Write) {
        self.into_split()
    }

    fn give_up(read: &Self::Read) -> io::Result<()> {
        SockRef::from(read.as_ref()).set_linger(Some(Duration::ZERO))
    }
}

#[cfg(test)]
impl Transport for tokio::io::DuplexStream {
    type Read = tokio::io::ReadHalf<Self>;
    type Write = tokio::io::WriteHalf<Self>;

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    fn move_to(self, _runtime: &Handle) -> io::Result<Self> {
        Ok(self)
    }

    fn split(self) -> (Self::Read, Self::Write) {
        tokio::io::split(self)
    }

    fn give_up(_read: &Self::Read) -> io::Result<()> {
        Ok(())
    }
}
