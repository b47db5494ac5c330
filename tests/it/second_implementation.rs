//! Another implementation of the protocol, in Rust, connects to us and is understood.
//!
//! OTP cannot show what only OTP does; `erl_dist` was written by others from the same manual. Its node has neither
//! monitors nor payloads in exit signals, unless it says so.

use std::net::TcpStream;

use erl_dist::DistributionFlags;
use erl_dist::epmd::EpmdClient;
use erl_dist::handshake::{ClientSideHandshake, HandshakeStatus};
use erl_dist::message::{Message, Receiver, Sender, channel};
use erl_dist::node::{Creation, LocalNode, NodeName};
use erl_dist::term::{Atom, FixInteger, List, Map, Mfa, Pid, Reference, Term, Tuple};
use futures::executor::block_on;
use futures::io::AllowStdIo;

use crate::harness::{World, wait_for};

type Socket = AllowStdIo<&'static TcpStream>;

/// A node that is connected to the program of a world.
struct Client {
    sender: Sender<Socket>,
    receiver: Receiver<Socket>,
    me: Pid,
    calls: u32,
}

fn atom(name: &str) -> Term {
    Atom::from(name).into()
}

fn tuple(elements: Vec<Term>) -> Term {
    Tuple::from(elements).into()
}

impl Client {
    /// Looks the program up in its port mapper and shakes hands, with these flags besides those of `erl_dist`.
    fn connect(world: &World, flags: DistributionFlags) -> Client {
        let connect = |port: u16| {
            let socket: &'static TcpStream =
                Box::leak(Box::new(TcpStream::connect(("127.0.0.1", port)).unwrap()));
            AllowStdIo::new(socket)
        };
        block_on(async {
            let epmd = EpmdClient::new(connect(world.epmd_port));
            let entry = epmd.get_node("logmachine").await.unwrap().expect("it is registered");
            let mut local = LocalNode::new("other@127.0.0.1".parse().unwrap(), Creation::random());
            local.flags |= flags;
            let socket = connect(entry.port);
            let mut handshake = ClientSideHandshake::new(socket, local.clone(), &world.cookie());
            match handshake.execute_send_name(6).await.unwrap() {
                HandshakeStatus::Named { name, creation } => {
                    local.name = NodeName::new(&name, "127.0.0.1").unwrap();
                    local.creation = creation;
                }
                status => assert_eq!(status, HandshakeStatus::Ok),
            }
            let (connection, peer) = handshake.execute_rest(true).await.unwrap();
            assert_eq!(peer.name.to_string(), "logmachine@127.0.0.1");
            let (sender, receiver) = channel(connection, local.flags & peer.flags);
            let me = Pid::new(local.name.to_string(), 1, 0, local.creation.get());
            Client { sender, receiver, me, calls: 0 }
        })
    }

    fn send(&mut self, message: Message) {
        block_on(self.sender.send(message)).unwrap();
    }

    /// The next message that is no tick.
    fn receive(&mut self) -> Message {
        loop {
            match block_on(self.receiver.recv()).unwrap() {
                Message::Tick => {}
                message => return message,
            }
        }
    }

    fn reference(&mut self) -> Reference {
        self.calls += 1;
        let (node, creation) = (self.me.node.clone(), self.me.creation);
        Reference { node, id: vec![self.calls, 0, 0], creation }
    }

    /// Sends a call to the receiver of `error_logger`.
    fn ask(&mut self, request: Term) -> Reference {
        let tag = self.reference();
        let from = tuple(vec![self.me.clone().into(), tag.clone().into()]);
        let call = tuple(vec![atom("$gen_call"), from, request]);
        let name = Atom::from(".error_logger.receiver.srv");
        self.send(Message::reg_send(self.me.clone(), name, call));
        tag
    }

    /// The answer to a call; everything else that comes before it goes to `others`.
    fn answer(&mut self, tag: &Reference, others: &mut Vec<Message>) -> Term {
        loop {
            match self.receive() {
                Message::Send(message) => {
                    if let Term::Tuple(elements) = &message.message
                        && elements.elements.first() == Some(&tag.clone().into())
                    {
                        return elements.elements[1].clone();
                    }
                    others.push(Message::Send(message));
                }
                message => others.push(message),
            }
        }
    }

    /// Subscribes; the session's pid.
    fn subscribe(&mut self, others: &mut Vec<Message>) -> Pid {
        let options = [(atom("from"), atom("now")), (atom("pid"), self.me.clone().into())];
        let tag = self.ask(tuple(vec![atom("subscribe"), Map::from(options).into()]));
        match self.answer(&tag, others) {
            Term::Tuple(answer) => match &answer.elements[..] {
                [ok, Term::Pid(session)] if *ok == atom("ok") => session.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn wait_for_no_session(&mut self) {
        wait_for("the session has ended", || {
            let tag = self.ask(tuple(vec![atom("info"), atom("sessions")]));
            let sessions = self.answer(&tag, &mut Vec::new());
            (sessions == Term::from(List::nil())).then_some(())
        });
    }
}

/// Its process is linked to, as it can't be monitored; ends go both ways in signals without payload.
#[test]
fn a_node_without_monitors_is_linked_to_and_told_of_ends_without_payload() {
    let world = World::new();
    let program = world.logmachine(&[]);
    let mut client = Client::connect(&world, DistributionFlags::mandatory());
    let mut others = Vec::new();
    let session = client.subscribe(&mut others);
    let me = client.me.clone();
    assert_eq!(others, [Message::link(session.clone(), me.clone())]);

    client.send(Message::exit(me.clone(), session, atom("tired")));
    client.wait_for_no_session();

    others.clear();
    let session = client.subscribe(&mut others);
    client.send(Message::exit2(me.clone(), session.clone(), atom("enough")));
    let exit = client.receive();
    assert_eq!(exit, Message::exit(session.clone(), me.clone(), atom("enough")));

    // A link to what is gone.
    client.send(Message::link(me.clone(), session.clone()));
    let exit = client.receive();
    assert_eq!(exit, Message::exit(session, me, atom("noproc")));
    assert!(!program.diagnostics().contains("protocol broken"), "{}", program.diagnostics());
}

/// What the crate `erl_rpc` does: without a name, by `SPAWN_REQUEST`, told the result by a monitor without payload.
#[test]
fn a_nameless_node_calls_by_spawn_request_as_erl_rpc_does() {
    let world = World::new();
    let _program = world.logmachine(&[]);
    let flags = DistributionFlags::NAME_ME
        | DistributionFlags::SPAWN
        | DistributionFlags::DIST_MONITOR
        | DistributionFlags::DIST_MONITOR_NAME;
    let mut client = Client::connect(&world, flags);
    assert!(
        client.me.node.name.ends_with("@127.0.0.1") && client.me.node.name != "other@127.0.0.1"
    );
    let (id, result, me) = (client.reference(), client.reference(), client.me.clone());
    let execute =
        Mfa { module: "erpc".into(), function: "execute_call".into(), arity: FixInteger::from(4) };
    let arguments = List::from(vec![atom("error_logger"), atom("hello")]);
    let arguments =
        vec![result.clone().into(), atom("logmachine"), atom("append"), arguments.into()];
    let options = List::from(vec![atom("monitor")]);
    let request =
        Message::spawn_request(id.clone(), me.clone(), me, execute, options, arguments.into());
    client.send(request);
    assert!(matches!(client.receive(), Message::SpawnReply(reply) if reply.req_id == id));
    let Message::MonitorPExit(exit) = client.receive() else { panic!("no exit without payload") };
    let text = exit.reason.to_string();
    assert!(exit.reference == id && text.contains(",'return',{'ok',{"), "{text}");
}
