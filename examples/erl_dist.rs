//! Writes to an instance of a logmachine node and follows it, with the crate `erl_dist`.
//!
//! ```sh
//! cargo run --example erl_dist -- logmachine@127.0.0.1 COOKIE 10
//! ```
//!
//! Ends after so many entries. `follow.rs` does the same with this crate's own implementation.

use std::error::Error;
use std::net::TcpStream;

use erl_dist::epmd::EpmdClient;
use erl_dist::handshake::{ClientSideHandshake, HandshakeStatus};
use erl_dist::message::{Message, channel};
use erl_dist::node::{Creation, LocalNode, NodeName};
use erl_dist::term::{Atom, List, Map, Pid, Reference, Term, Tuple};
use futures::executor::block_on;
use futures::io::AllowStdIo;

fn atom(name: &str) -> Term {
    Atom::from(name).into()
}

fn tuple(elements: Vec<Term>) -> Term {
    Tuple::from(elements).into()
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
async fn follow(logmachine: &NodeName, cookie: &str, entries: usize) -> Result<(), Box<dyn Error>> {
    let epmd_port = std::env::var("ERL_EPMD_PORT").unwrap_or("4369".into()).parse()?;
    let epmd = TcpStream::connect((logmachine.host(), epmd_port))?;
    let entry = EpmdClient::new(AllowStdIo::new(&epmd)).get_node(logmachine.name()).await?;
    let port = entry.ok_or("no such node")?.port;

    let name = format!("rust@{}", logmachine.host()).parse()?;
    let local = LocalNode::new(name, Creation::random());
    let socket = TcpStream::connect((logmachine.host(), port))?;
    let mut handshake = ClientSideHandshake::new(AllowStdIo::new(&socket), local.clone(), cookie);
    if handshake.execute_send_name(6).await? != HandshakeStatus::Ok {
        return Err("the node did not accept us".into());
    }
    let (connection, peer) = handshake.execute_rest(true).await?;
    let (mut sender, mut receiver) = channel(connection, local.flags & peer.flags);

    let me = Pid::new(local.name.to_string(), 1, 0, local.creation.get());
    let mut number = 0;
    let mut call = |name: &str, request| {
        number += 1;
        let creation = local.creation.get();
        let tag = Reference { node: me.node.clone(), id: vec![number, 0, 0], creation };
        let from = tuple(vec![me.clone().into(), tag.into()]);
        let message = tuple(vec![atom("$gen_call"), from, request]);
        Message::reg_send(me.clone(), Atom::from(name), message)
    };

    // A cast is recorded and not answered.
    let event = tuple(vec![atom("hello"), atom("rust")]);
    let cast = tuple(vec![atom("$gen_cast"), event.clone()]);
    let name = ".error_logger.receiver.srv";
    sender.send(Message::reg_send(me.clone(), Atom::from(name), cast)).await?;
    // Calls are answered in any order, tagged with their reference. An `append` is answered once the event is as
    // durable as `sync` says.
    sender.send(call(name, tuple(vec![atom("append"), event]))).await?;
    // `rpc` reaches the functions of the Erlang module `logmachine`, and nothing else.
    let arguments = List::from(vec![atom("error_logger"), atom("events")]).into();
    let info = [atom("call"), atom("logmachine"), atom("info"), arguments, atom("user")];
    sender.send(call("rex", tuple(info.into()))).await?;
    // First the past, then entries as they are recorded.
    let options = [
        (atom("from"), atom("earliest")),
        (atom("pid"), me.clone().into()),
        (atom("marker"), atom("entry")),
    ];
    let options = Map::from(options).into();
    sender.send(call(name, tuple(vec![atom("subscribe"), options]))).await?;

    // Three calls are answered, whenever that is.
    let mut left = entries + 3;
    while left > 0 {
        // Links, which a subscription makes, and ticks are not for us.
        let Message::Send(message) = receiver.recv().await? else { continue };
        let Term::Tuple(message) = message.message else { continue };
        match &message.elements[..] {
            [Term::Atom(marker), entry] if marker.name == "entry" => {
                println!("entry: {entry}");
                left -= 1;
            }
            [_reference, answer] => {
                println!("answer: {answer}");
                left -= 1;
            }
            _ => {}
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [logmachine, cookie, entries] = &arguments[..] else {
        return Err("usage: erl_dist NODE COOKIE ENTRIES".into());
    };
    block_on(follow(&logmachine.parse()?, cookie, entries.parse()?))
}
