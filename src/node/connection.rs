//! The two tasks of a connection: one reads, one writes.
//!
//! The reader hands messages to processes in runs: consecutive messages to one process are one call, so that an
//! instance takes all events of a socket read under one lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout_at;
use tracing::{debug, enabled, error, trace, warn};

use super::peer::Peer;
use super::task::{Owned, survive};
use super::transport::Transport;
use super::{ConnectError, Ended, Flow, Node, Process, refusal};
use crate::etf::TermRef;
use crate::proto::connection::{Inbound, Outbound, Received};
use crate::proto::control::{self, Destination};
use crate::proto::packet::{self, NextPacket, TICK};
use crate::proto::{PacketError, handshake};
use crate::strangers;
use crate::time::monotonic;

/// Bytes of output buffer kept between writes.
const KEEP_OUTPUT_BYTES: usize = 1 << 20;

/// Starts the tasks of a connection whose handshake is done.
///
/// # Errors
///
/// [`ConnectError::Io`]: the socket cannot be watched; it is closed.
pub(super) fn start<T: Transport>(
    node: &Node,
    stream: T,
    agreed: handshake::Agreed,
) -> Result<Arc<Peer>, ConnectError> {
    let address = stream.address();
    let reactor = node.0.reactors.next();
    let moved = stream.move_to(reactor.handle());
    let stream =
        moved.map_err(|source| ConnectError::Io { address: address.to_string(), source })?;
    let peer = Arc::new(Peer::new(agreed.peer, address, reactor));
    node.connected(&peer);
    node.run_on(peer.thread(), serve(node.clone(), peer.clone(), stream));
    Ok(peer)
}

/// Reads and writes until the connection is over, however it ends, and then tells the node.
///
/// # Invariants
///
/// - `one_end`: whether the socket, the peer, this side or a panic ends it, both tasks are over, the socket is
///   closed and the queue is freed before the node hears of it.
async fn serve<T: Transport>(node: Node, peer: Arc<Peer>, stream: T) {
    let net_ticktime = node.0.config.net_ticktime;
    let (mut read, write) = stream.split();
    let mut writer = Owned::spawn(write_packets(peer.clone(), write, net_ticktime));
    let why = tokio::select! {
        // Dropped only when the writer is over, and with it the connection.
        why = survive(read_packets(&node, &peer, &mut read, net_ticktime)) => {
            why.unwrap_or_else(Ended::Panicked)
        }
        // By itself it ends only after it has closed the peer and said why.
        ended = writer.join() => match ended {
            Some(Err(failure)) => Ended::Panicked(failure.to_string()),
            _ => Ended::Here,
        },
    };
    peer.close(why);
    let why = peer.take_reason().unwrap_or(Ended::Closed);
    if why.is_orderly() {
        // The writer ends when the queue is empty; a socket that does not take bytes is given a tick interval.
        let flushed = tokio::time::timeout(net_ticktime / 4, writer.join()).await;
        if flushed.is_err() {
            debug!(node = %peer.name(), "queued packets were not taken");
        }
    } else if let Err(error) = T::give_up(&read) {
        debug!(node = %peer.name(), "socket keeps lingering: {error}");
    }
    writer.abort();
    // Its half of the socket and its buffer are gone with it. It may have ended already.
    let _ = writer.join().await;
    drop(read);
    if let Ended::Panicked(_) = &why {
        error!(node = %peer.name(), "{why}");
    }
    node.disconnected(&peer, why);
}

async fn write_packets(
    peer: Arc<Peer>,
    mut socket: impl AsyncWrite + Unpin,
    net_ticktime: Duration,
) {
    let mut bytes = Vec::new();
    let mut outbound = Outbound::new(net_ticktime, monotonic());
    loop {
        // Losing the race against the tick drops nothing: `take_output` moves bytes only when it returns.
        let small = match timeout_at(outbound.tick_at().into(), peer.take_output(&mut bytes)).await
        {
            Ok(Some(small)) => small,
            Ok(None) => break,
            Err(_) => {
                if let Err(error) = socket.write_all(&TICK).await {
                    return peer.close(Ended::Io(error));
                }
                outbound.sent(monotonic());
                trace!(node = %peer.name(), "tick sent");
                continue;
            }
        };
        if enabled!(tracing::Level::TRACE) {
            trace_sent(&peer, &bytes);
        }
        let result = socket.write_all(&bytes).await;
        peer.written(bytes.len(), small);
        if let Err(error) = result {
            return peer.close(Ended::Io(error));
        }
        peer.metrics.sent_bytes.add(bytes.len() as u64);
        outbound.sent(monotonic());
        bytes.clear();
        bytes.shrink_to(KEEP_OUTPUT_BYTES);
    }
    // The peer sees an orderly end; an error only means that it went first.
    let _ = socket.shutdown().await;
}

/// Says of each packet in `bytes` that it is sent.
fn trace_sent(peer: &Peer, mut bytes: &[u8]) {
    while let Ok(NextPacket::Data(data)) = packet::next(bytes) {
        trace!(node = %peer.name(), operation = control::operation(data), bytes = data.len(), "packet sent");
        bytes = &bytes[packet::HEAD_BYTES + data.len()..];
    }
}

async fn read_packets(
    node: &Node,
    peer: &Arc<Peer>,
    socket: &mut (impl AsyncRead + Unpin),
    net_ticktime: Duration,
) -> Ended {
    let mut inbound = Inbound::new(net_ticktime, monotonic());
    loop {
        let down_at = inbound.down_at().into();
        let read = timeout_at(down_at, socket.read_buf(inbound.buffer()));
        let bytes = tokio::select! {
            // `read_buf` is cancel safe: what it has read is in the buffer.
            read = read => match read {
                Err(_) => return Ended::TickTimeout(inbound.patience()),
                Ok(Err(error)) => return Ended::Io(error),
                Ok(Ok(0)) => return Ended::Closed,
                Ok(Ok(bytes)) => bytes,
            },
            // The connection is over: what it still had to say is moot.
            () = peer.closed() => return Ended::Here,
        };
        let taken = take_packets(node, peer, &mut inbound);
        peer.reactor().has_read(bytes, taken.packets);
        peer.metrics.received_bytes.add(bytes as u64);
        if let Flow::Wait(gates) = &taken.flow {
            peer.metrics.paused.inc();
            let opened = async {
                // Each has a time of its own that runs for all, so waiting in turn takes no longer.
                for gate in gates {
                    gate.opened().await;
                }
            };
            tokio::select! {
                // A gate only tells that it is open; asking again later is as good.
                () = opened => {}
                () = peer.closed() => return Ended::Here,
            }
        }
        // Time spent waiting for ourselves is not the peer's silence.
        inbound.heard(monotonic());
        if let Some(error) = taken.error {
            node.0.metrics.packets_malformed.inc();
            if strangers::MALFORMED.admit() {
                warn!(node = %peer.name(), "closing: {error}");
            }
            return Ended::Packet(error);
        }
    }
}

/// What became of one read's packets.
struct Taken {
    /// What the packets filled, to be waited for before more is read.
    flow: Flow,
    packets: u64,
    error: Option<PacketError>,
}

/// Consecutive messages to one process.
struct Run<'a> {
    to: Option<Destination<'a>>,
    process: Option<Arc<dyn Process>>,
    messages: Vec<TermRef<'a>>,
}

impl<'a> Run<'a> {
    fn add(
        &mut self,
        node: &Node,
        peer: &Arc<Peer>,
        to: Destination<'a>,
        message: TermRef<'a>,
        taken: &mut Taken,
    ) {
        if self.to != Some(to) {
            self.flush(node, peer, taken);
            self.to = Some(to);
            self.process = node.resolve(to);
        }
        self.messages.push(message);
    }

    /// Hands the messages gathered so far to their process.
    fn flush(&mut self, node: &Node, peer: &Arc<Peer>, taken: &mut Taken) {
        if self.messages.is_empty() {
            return;
        }
        match &self.process {
            Some(process) => {
                taken.flow.and(process.messages(peer, &self.messages));
            }
            None => {
                let count = self.messages.len();
                node.0.metrics.messages_unaddressed.add(count as u64);
                debug!(node = %peer.name(), count, to = ?self.to, "messages to nobody");
            }
        }
        self.messages.clear();
        // The process may be gone after what it was told.
        self.to = None;
    }
}

/// Takes every whole packet that has been received.
fn take_packets(node: &Node, peer: &Arc<Peer>, inbound: &mut Inbound) -> Taken {
    let mut taken = Taken { flow: Flow::Go, packets: 0, error: None };
    let mut run = Run { to: None, process: None, messages: Vec::new() };
    let mut at = inbound.start();
    loop {
        let packet = match inbound.packet_at(at, peer.remote()) {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(error) => {
                taken.error = Some(error);
                break;
            }
        };
        at = packet.end;
        if enabled!(tracing::Level::TRACE) {
            trace_received(peer, packet.data);
        }
        taken.packets += u64::from(!packet.data.is_empty());
        match packet.received {
            Received::Tick => {}
            Received::Message(to, message) => run.add(node, peer, to, message, &mut taken),
            Received::Signal(signal) => {
                run.flush(node, peer, &mut taken);
                taken.flow.and(node.signal(peer, signal));
            }
            Received::Refused(error) => {
                node.0.metrics.events_malformed.inc();
                if strangers::MALFORMED.admit() {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    warn!(node = %peer.name(), "event refused: {error}: {}", source.unwrap_or_default());
                }
                // What came before it is answered before it.
                run.flush(node, peer, &mut taken);
                refusal::answer(node, peer, packet.data);
            }
        }
    }
    run.flush(node, peer, &mut taken);
    node.0.metrics.packets.add(taken.packets);
    peer.metrics.received.add(taken.packets);
    drop(run);
    inbound.consume(at);
    taken
}

fn trace_received(peer: &Peer, data: &[u8]) {
    if data.is_empty() {
        trace!(node = %peer.name(), "tick received");
    } else {
        trace!(node = %peer.name(), operation = control::operation(data), bytes = data.len(), "packet received");
    }
}

/// When a handshake that begins now has failed.
pub(super) fn handshake_deadline() -> Instant {
    monotonic() + HANDSHAKE_TIME
}

/// How long a handshake may take, as `net_setuptime` in OTP.
pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(7);

#[cfg(test)]
mod tests;
