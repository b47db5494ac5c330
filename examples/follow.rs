//! Follows an instance of a running node from Rust, as an Erlang process would: joins as a hidden node, subscribes,
//! prints what comes.
//!
//! ```sh
//! cargo run --example follow -- logmachine@127.0.0.1 COOKIE error_logger 10
//! ```
//!
//! Ends after so many entries.

use std::error::Error;
use std::sync::Arc;

use logmachine::etf::{TermRef, text};
use logmachine::instance::erlang::request::Subscribe;
use logmachine::instance::since::Since;
use logmachine::node::{Flow, Node, NodeConfig, Peer, Process, dialer};
use logmachine::proto::NodeName;
use logmachine::proto::handshake::Local;
use tokio::sync::mpsc;

/// The subscribing process: what comes for it is called on the connection's task and must not block.
struct Subscriber(mpsc::UnboundedSender<String>);

impl Process for Subscriber {
    fn messages(&self, _peer: &Arc<Peer>, messages: &[TermRef<'_>]) -> Flow {
        for message in messages {
            // `{Marker, {Timestamp, Event}}`
            if let Some([_marker, entry]) = message.as_tuple() {
                // The receiver is gone once enough has come.
                let _ = self.0.send(text::to_text(entry));
            }
        }
        Flow::Go
    }
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, cookie, instance, count] = &arguments[..] else {
        return Err("usage: follow NODE COOKIE INSTANCE COUNT".into());
    };
    let target = NodeName::new(target).ok_or("write the node as name@host")?;
    let name = NodeName::new(&format!("follow@{}", target.host())).ok_or("a node name")?;
    let local = Local { name, creation: std::process::id(), cookie: cookie.clone() };
    let config = NodeConfig::default();
    let node = Node::new(local, config);
    let peer = dialer::connect(&node, &target).await?;

    let (entries, mut arriving) = mpsc::unbounded_channel();
    let pid = node.spawn(|_| Arc::new(Subscriber(entries)));
    let subscribe =
        Subscribe { from: Since::Earliest, pid, marker: None, batch: None, credit: None };
    let receiver = format!(".{instance}.receiver.srv");
    let answer = node.call(&peer, &receiver, |out| subscribe.write(out));
    println!("subscribed: {}", text::to_text(answer.await?.as_term()));
    for _ in 0..count.parse()? {
        println!("{}", arriving.recv().await.ok_or("the connection is gone")?);
    }
    Ok(())
}
