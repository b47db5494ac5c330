//! Every counter of the program, with its unit and what it tells.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares a struct of counters and its table of names and helps, so that none can be forgotten.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $help:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $(#[doc = $help] pub $field: Counter,)*
        }

        impl $name {
            /// Name, help and value of each counter.
            pub fn table(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($field), $help, self.$field.get()),)*]
            }
        }
    };
}

counters! {
    /// What the node as a whole has seen.
    NodeCounters {
        connections: "Connections to other nodes that came up.",
        handshakes_failed: "Handshakes that failed, ours and theirs.",
        handshakes_displaced: "Unfinished handshakes that gave way to newer ones.",
        packets: "Packets received from other nodes.",
        packets_malformed: "Packets that broke the protocol and ended their connection.",
        events_malformed: "Messages refused because their payload is no well-formed term.",
        messages_unaddressed: "Messages to a process or name that is not here.",
        messages_dropped: "Messages dropped because a process's mailbox was full.",
        calls_refused: "rpc, erpc and net_kernel calls refused because nothing but logmachine's functions is served.",
        spawns_refused: "Spawn requests refused.",
    }
}

counters! {
    /// What one instance has seen.
    InstanceCounters {
        received: "Events taken in by cast or call, to be recorded.",
        received_bytes: "Bytes of those events, as external terms.",
        recorded: "Events written to the log, our own reports of drops among them.",
        dropped: "Events that came and are not in the log, because the recorder failed or overload drops.",
        refused: "Events refused because they are larger than max_event_bytes, or no term that is taken; calls of the latter kind too.",
        unknown: "Messages to the receiver that it does not understand.",
        delivered: "Entries sent to subscribers.",
        undecodable: "Entries replaced for a subscriber whose node cannot decode them.",
        unfiltered: "Entries withheld because a match spec reached its step or size budget.",
        sessions_refused: "Subscriptions and reads refused because there was no place, or no memory for their match spec.",
        acks_refused: "Acknowledgements of timestamps later than the newest entry, refused.",
        blocked: "Times that a peer was not read from because the recorder was behind.",
        commits: "Batches written to the log.",
    }
}
