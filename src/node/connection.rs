//! The two tasks of a connection: one reads, one writes.
//!
//! The reader hands messages to processes in runs: consecutive messages to one process are one call, so that an
//! instance takes all events of a socket read under one lock.

use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout_at;
use tracing::{debug, warn};

use super::peer::Peer;
use super::{Ended, Flow, Node, Process};
use crate::etf::TermRef;
use crate::proto::connection::{Input, TickTime};
use crate::proto::control::{self, Destination, Signal};
use crate::proto::packet::{Next, TICK};
use crate::proto::{PacketError, handshake};
use crate::time::monotonic;

/// Bytes of output buffer kept between writes.
const KEEP_OUTPUT_BYTES: usize = 1 << 20;

/// Starts the tasks of a connection whose handshake is done.
pub(super) fn start(node: &Node, stream: TcpStream, agreed: handshake::Agreed) -> Arc<Peer> {
    let address = stream.peer_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
    let peer = Arc::new(Peer::new(agreed.peer.name, agreed.peer.flags, address));
    let (read, write) = stream.into_split();
    let ticks = TickTime::new(node.0.config.net_ticktime);
    node.connected(&peer);
    tokio::spawn({
        let (node, peer) = (node.clone(), peer.clone());
        async move {
            let writer = tokio::spawn(write_packets(peer.clone(), write, ticks));
            let why = read_packets(&node, &peer, read, ticks).await;
            peer.close(why);
            // The writer ends by itself: the queue is closed, and a socket that does not take bytes is
            // given a tick interval.
            let flushed = tokio::time::timeout(node.0.config.net_ticktime / 4, writer).await;
            if flushed.is_err() {
                debug!(node = %peer.name(), "queued packets were not taken");
            }
            let why = peer.take_reason().unwrap_or(Ended::Closed);
            node.disconnected(&peer, &why);
        }
    });
    peer
}

async fn write_packets(peer: Arc<Peer>, mut socket: OwnedWriteHalf, ticks: TickTime) {
    let mut bytes = Vec::new();
    let mut last_sent = monotonic();
    loop {
        // Losing the race against the tick drops nothing: `take_output` moves bytes only when it returns.
        match timeout_at(ticks.tick_at(last_sent).into(), peer.take_output(&mut bytes)).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => {
                if let Err(error) = socket.write_all(&TICK).await {
                    return peer.close(Ended::Io(error));
                }
                last_sent = monotonic();
                continue;
            }
        }
        let result = socket.write_all(&bytes).await;
        peer.written(bytes.len());
        if let Err(error) = result {
            return peer.close(Ended::Io(error));
        }
        last_sent = monotonic();
        bytes.clear();
        bytes.shrink_to(KEEP_OUTPUT_BYTES);
    }
    // The peer sees an orderly end; an error only means that it went first.
    let _ = socket.shutdown().await;
}

async fn read_packets(
    node: &Node,
    peer: &Arc<Peer>,
    mut socket: OwnedReadHalf,
    ticks: TickTime,
) -> Ended {
    let mut input = Input::new();
    let mut last_received = monotonic();
    loop {
        let read = timeout_at(ticks.down_at(last_received).into(), socket.read_buf(input.buffer()));
        tokio::select! {
            // `read_buf` is cancel safe: what it has read is in the buffer.
            read = read => match read {
                Err(_) => return Ended::TickTimeout(ticks.down_at(last_received) - last_received),
                Ok(Err(error)) => return Ended::Io(error),
                Ok(Ok(0)) => return Ended::Closed,
                Ok(Ok(_)) => {}
            },
            // The connection is over: what it still had to say is moot.
            () = peer.closed() => return Ended::Here,
        }
        let mut taken = take_packets(node, peer, &mut input);
        if let Some(process) = taken.wait_for.take() {
            tokio::select! {
                // The process only tells that it has caught up; asking again later is as good.
                () = process.ready() => {}
                () = peer.closed() => return Ended::Here,
            }
        }
        // Time spent waiting for ourselves is not the peer's silence.
        last_received = monotonic();
        if let Some(error) = taken.error {
            node.0.counters.packets_malformed.inc();
            warn!(node = %peer.name(), "closing: {error}");
            return Ended::Packet(error);
        }
    }
}

/// What became of one read's packets.
struct Taken {
    wait_for: Option<Arc<dyn Process>>,
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
                if process.messages(peer, &self.messages) == Flow::Wait {
                    taken.wait_for = Some(process.clone());
                }
            }
            None => {
                let count = self.messages.len();
                node.0.counters.messages_unaddressed.add(count as u64);
                debug!(node = %peer.name(), count, to = ?self.to, "messages to nobody");
            }
        }
        self.messages.clear();
        // The process may be gone after what it was told.
        self.to = None;
    }
}

/// Takes every whole packet that has been received.
fn take_packets(node: &Node, peer: &Arc<Peer>, input: &mut Input) -> Taken {
    let mut taken = Taken { wait_for: None, error: None };
    let mut run = Run { to: None, process: None, messages: Vec::new() };
    let mut at = input.start();
    let mut packets = 0;
    loop {
        match input.packet_at(at) {
            Ok(Some((next, end))) => {
                at = end;
                let Next::Data(data) = next else { continue };
                packets += 1;
                match control::parse(data) {
                    Ok(Signal::Message { to, message }) => {
                        run.add(node, peer, to, message, &mut taken)
                    }
                    Ok(signal) => {
                        run.flush(node, peer, &mut taken);
                        node.signal(peer, signal);
                    }
                    Err(error) if error.is_refused_event() => {
                        node.0.counters.events_malformed.inc();
                        let source = std::error::Error::source(&error).map(ToString::to_string);
                        warn!(node = %peer.name(), "event refused: {error}: {}", source.unwrap_or_default());
                    }
                    Err(error) => {
                        taken.error = Some(error);
                        break;
                    }
                }
            }
            Ok(None) => break,
            Err(error) => {
                taken.error = Some(error);
                break;
            }
        }
    }
    run.flush(node, peer, &mut taken);
    node.0.counters.packets.add(packets);
    peer.received.fetch_add(packets, std::sync::atomic::Ordering::Relaxed);
    drop(run);
    input.consume(at);
    taken
}

/// When a handshake that begins now has failed.
pub(super) fn handshake_deadline() -> Instant {
    monotonic() + HANDSHAKE_TIME
}

/// How long a handshake may take, as `net_setuptime` in OTP.
pub(super) const HANDSHAKE_TIME: std::time::Duration = std::time::Duration::from_secs(7);
