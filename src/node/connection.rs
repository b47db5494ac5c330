//! The two tasks of a connection: one reads, one writes.
//!
//! The reader hands messages to processes in runs: consecutive messages to one process are one call, so that an
//! instance takes all events of a socket read under one lock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout_at;
use tracing::{debug, enabled, error, trace, warn};

use super::peer::Peer;
use super::task::{Owned, survive};
use super::{ConnectError, Ended, Flow, Node, Process, refusal};
use crate::etf::TermRef;
use crate::proto::connection::{Input, TickTime};
use crate::proto::control::{self, Destination, Signal};
use crate::proto::packet::{self, Next, TICK};
use crate::proto::{PacketError, handshake};
use crate::strangers;
use crate::time::monotonic;

/// Bytes of output buffer kept between writes.
const KEEP_OUTPUT_BYTES: usize = 1 << 20;

/// Bytes that the socket of a node of this host holds for us; the kernel makes it twice as much. A window that a busy
/// sender fills between two looks makes it gather (see [`super::reactor`]); less than the loopback device sends at once
/// would stall everything. The windows of other hosts are the kernel's business: they have to hold what is on the way.
const LOCAL_WINDOW_BYTES: usize = 32 << 10;

/// Starts the tasks of a connection whose handshake is done.
///
/// # Errors
///
/// [`ConnectError::Io`]: the socket cannot be watched; it is closed.
pub(super) fn start(
    node: &Node,
    stream: TcpStream,
    agreed: handshake::Agreed,
) -> Result<Arc<Peer>, ConnectError> {
    let address = stream.peer_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
    if address.ip().to_canonical().is_loopback()
        && let Err(error) = SockRef::from(&stream).set_recv_buffer_size(LOCAL_WINDOW_BYTES)
    {
        debug!(%address, "window not set: {error}");
    }
    let reactor = node.0.reactors.next();
    let moved = {
        // Watched by that thread from now on.
        let _there = reactor.handle().enter();
        stream.into_std().and_then(TcpStream::from_std)
    };
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
async fn serve(node: Node, peer: Arc<Peer>, stream: TcpStream) {
    let ticks = TickTime::new(node.0.config.net_ticktime);
    let (mut read, write) = stream.into_split();
    let mut writer = Owned::spawn(write_packets(peer.clone(), write, ticks));
    let why = tokio::select! {
        // Dropped only when the writer is over, and with it the connection.
        why = survive(read_packets(&node, &peer, &mut read, ticks)) => {
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
        let flushed = tokio::time::timeout(node.0.config.net_ticktime / 4, writer.join()).await;
        if flushed.is_err() {
            debug!(node = %peer.name(), "queued packets were not taken");
        }
    } else if let Err(error) = SockRef::from(read.as_ref()).set_linger(Some(Duration::ZERO)) {
        // Without it the kernel would keep what it has for a peer that does not read.
        debug!(node = %peer.name(), "socket keeps lingering: {error}");
    }
    writer.abort();
    // Its half of the socket and its buffer are gone with it. It may have ended already.
    let _ = writer.join().await;
    drop(read);
    if let Ended::Panicked(_) = &why {
        error!(node = %peer.name(), "{why}");
    }
    node.disconnected(&peer, &why);
}

async fn write_packets(peer: Arc<Peer>, mut socket: OwnedWriteHalf, ticks: TickTime) {
    let mut bytes = Vec::new();
    let mut last_sent = monotonic();
    loop {
        // Losing the race against the tick drops nothing: `take_output` moves bytes only when it returns.
        let small =
            match timeout_at(ticks.tick_at(last_sent).into(), peer.take_output(&mut bytes)).await {
                Ok(Some(small)) => small,
                Ok(None) => break,
                Err(_) => {
                    if let Err(error) = socket.write_all(&TICK).await {
                        return peer.close(Ended::Io(error));
                    }
                    last_sent = monotonic();
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
        last_sent = monotonic();
        bytes.clear();
        bytes.shrink_to(KEEP_OUTPUT_BYTES);
    }
    // The peer sees an orderly end; an error only means that it went first.
    let _ = socket.shutdown().await;
}

/// Says of each packet in `bytes` that it is sent.
fn trace_sent(peer: &Peer, mut bytes: &[u8]) {
    while let Ok(Next::Data(data)) = packet::next(bytes) {
        trace!(node = %peer.name(), operation = control::operation(data), bytes = data.len(), "packet sent");
        bytes = &bytes[packet::HEAD_BYTES + data.len()..];
    }
}

async fn read_packets(
    node: &Node,
    peer: &Arc<Peer>,
    socket: &mut OwnedReadHalf,
    ticks: TickTime,
) -> Ended {
    let mut input = Input::new();
    let mut last_received = monotonic();
    loop {
        let read = timeout_at(ticks.down_at(last_received).into(), socket.read_buf(input.buffer()));
        let bytes = tokio::select! {
            // `read_buf` is cancel safe: what it has read is in the buffer.
            read = read => match read {
                Err(_) => return Ended::TickTimeout(ticks.down_at(last_received) - last_received),
                Ok(Err(error)) => return Ended::Io(error),
                Ok(Ok(0)) => return Ended::Closed,
                Ok(Ok(bytes)) => bytes,
            },
            // The connection is over: what it still had to say is moot.
            () = peer.closed() => return Ended::Here,
        };
        let taken = take_packets(node, peer, &mut input);
        peer.reactor().has_read(bytes, taken.packets);
        if let Flow::Wait(gates) = &taken.flow {
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
        last_received = monotonic();
        if let Some(error) = taken.error {
            node.0.counters.packets_malformed.inc();
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
    let mut taken = Taken { flow: Flow::Go, packets: 0, error: None };
    let mut run = Run { to: None, process: None, messages: Vec::new() };
    let mut at = input.start();
    loop {
        match input.packet_at(at) {
            Ok(Some((next, end))) => {
                at = end;
                let Next::Data(data) = next else {
                    trace!(node = %peer.name(), "tick received");
                    continue;
                };
                taken.packets += 1;
                trace!(node = %peer.name(), operation = control::operation(data), bytes = data.len(), "packet received");
                match control::parse(data) {
                    Ok(Signal::Message { to, message, needs }) => {
                        peer.abilities().learn(needs, message);
                        run.add(node, peer, to, message, &mut taken)
                    }
                    Ok(signal) => {
                        run.flush(node, peer, &mut taken);
                        taken.flow.and(node.signal(peer, signal));
                    }
                    Err(error) if error.is_refused_event() => {
                        node.0.counters.events_malformed.inc();
                        if strangers::MALFORMED.admit() {
                            let source = std::error::Error::source(&error).map(ToString::to_string);
                            warn!(node = %peer.name(), "event refused: {error}: {}", source.unwrap_or_default());
                        }
                        // What came before it is answered before it.
                        run.flush(node, peer, &mut taken);
                        refusal::answer(node, peer, data);
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
    node.0.counters.packets.add(taken.packets);
    peer.received.fetch_add(taken.packets, std::sync::atomic::Ordering::Relaxed);
    drop(run);
    input.consume(at);
    taken
}

/// When a handshake that begins now has failed.
pub(super) fn handshake_deadline() -> Instant {
    monotonic() + HANDSHAKE_TIME
}

/// How long a handshake may take, as `net_setuptime` in OTP.
pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(7);

#[cfg(test)]
mod tests;
