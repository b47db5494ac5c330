//! Integration tests: the real program, real files, real Erlang nodes.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test says what it skips, and why it failed; it waits with a deadline"
)]

mod harness; // starts and stops what the tests need: the program, port mappers, Erlang nodes

mod analyses; // what is computed of windows of time, also across kill -9
mod backup; // copies of the log of a running node
mod capture; // handlers on other nodes: what they catch, that there is one, that they come back
mod chaos; // subscribers that die and freeze, and many of them
mod check_config; // what configurations are refused, and in which words
mod cluster; // joining, global names, nodes that come and go
mod command_line; // flags, configuration, exit codes, what the operator reads
mod console; // the pages, in a real browser: each does what it should, and nothing else
mod crash; // kill -9 under load, a full disk
mod delivery; // each event once, in order, without a gap; also across kill -9
mod deployments; // nodes that come up and go, and what runs on them
mod doors; // strangers of this host and others: what they learn, take and write
mod examples; // the Rust programs of examples/
mod faults; // what keeps breaking, what people decide about it, what is different now
mod first_session; // what a newcomer does, word for word
mod formats; // texts are those of every release's io_lib and logger_formatter
mod grpc; // two clients of gRPC: append, read, subscribe across kills and cuts, who may; floods
mod hostile; // peers that break the rules
mod http; // programs in any language: append, read, follow, count, watch, and who may
mod inquiries; // what operators' tools ask of any process
mod layering; // modules use only modules to their left
mod log_files; // what OTP's disk_log makes of our files
mod names; // the global name: nodes that can't tell, frozen ones, takeover, lost links
mod neighbours; // RabbitMQ and ejabberd are captured event for event
mod other_languages; // Java, C, Python and Rust nodes that others wrote, and nodes without a name
mod pressure; // more than the recorder, a peer or a host can take
mod releases; // every supported OTP release calls us
mod rules; // what somebody is told of: once and in order, across kill -9, webhooks, processes, silences
mod second_implementation; // erl_dist connects to us
mod sessions; // what one subscriber costs the others: filters, credit, files, places, shared directories
mod standard_streams; // readers of diagnostics that are stuck, gone, or a full disk
mod streams; // server-sent events: each entry once, whatever is cut; a thousand of them; clients that break the rules
mod subscriptions; // filters, durable cursors, the live registry, the Erlang application
mod sys_config; // the original's configuration file
mod terminal; // a running node from a terminal: tail, read, send, info, token
mod terms; // what every release decodes, and who gets what it cannot
mod ticks; // silence, tolerated and not
mod transfer; // verify, export, import
mod views; // views have the texts of every release, and of Elixir
