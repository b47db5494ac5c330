//! Another implementation of the protocol, in Rust, connects to us and is understood.
//!
//! OTP cannot show what only OTP does; `erl_dist` was written by others from the same manual.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use erl_dist::DistributionFlags;
use erl_dist::epmd::EpmdClient;
use erl_dist::handshake::{ClientSideHandshake, HandshakeStatus};
use erl_dist::message::{Message, channel};
use erl_dist::node::{Creation, LocalNode};
use erl_dist::term::{Atom, Pid, Term, Tuple};
use futures::executor::block_on;
use futures::io::{AsyncRead, AsyncWrite};

use crate::harness::{World, wait_for};

/// A blocking socket that `futures` takes for an asynchronous one, and that can be cloned.
#[derive(Clone)]
struct Socket(Arc<TcpStream>);

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready((&*self.0).read(buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready((&*self.0).write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown(std::net::Shutdown::Both))
    }
}

/// Looks us up in our own port mapper, shakes hands, casts an event.
#[test]
fn erl_dist_finds_us_shakes_hands_and_casts() {
    let world = World::new();
    let _program = world.logmachine(&[]);
    let connect = |port: u16| Socket(Arc::new(TcpStream::connect(("127.0.0.1", port)).unwrap()));
    block_on(async {
        let epmd = EpmdClient::new(connect(world.epmd_port));
        let entry = epmd.get_node("logmachine").await.unwrap().expect("it is registered");
        let mut local = LocalNode::new("other@127.0.0.1".parse().unwrap(), Creation::random());
        local.flags = DistributionFlags::from_bits_truncate(0x4_0307_0F94 | 8);
        let mut handshake =
            ClientSideHandshake::new(connect(entry.port), local.clone(), &world.cookie());
        let status = handshake.execute_send_name(6).await.unwrap();
        assert!(matches!(status, HandshakeStatus::Ok), "{status:?}");
        let (connection, peer) = handshake.execute_rest(true).await.unwrap();
        assert_eq!(peer.name.to_string(), "logmachine@127.0.0.1");
        let (mut sender, _) = channel(connection, local.flags & peer.flags);
        let from = Pid::new(local.name.to_string(), 1, 0, local.creation.get());
        let event = Tuple::from(vec![Atom::from("$gen_cast").into(), Atom::from("hello").into()]);
        let to = Atom::from(".error_logger.receiver.srv");
        sender.send(Message::reg_send(from, to, Term::from(event))).await.unwrap();
    });
    let segment = world.path("data/error_logger/error_logger");
    wait_for("the event in the log", || {
        std::fs::read(&segment).ok().filter(|bytes| bytes.ends_with(b"hello"))
    });
}
