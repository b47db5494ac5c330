//! Integration tests: the real program, real files, real Erlang nodes.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test says what it skips, and why it failed"
)]

mod harness; // starts and stops what the tests need: the program, port mappers, Erlang nodes

mod capture; // handlers on other nodes: what they catch, that there is one, that they come back
mod chaos; // subscribers that die and freeze, and many of them
mod cluster; // joining, global names, nodes that come and go
mod command_line; // flags, configuration, exit codes, what the operator reads
mod crash; // kill -9 under load, a full disk
mod delivery; // each event once, in order, without a gap; also across kill -9
mod examples; // the Rust programs of examples/
mod first_session; // what a newcomer does, word for word
mod hostile; // peers that break the rules
mod layering; // modules use only modules to their left
mod log_files; // what OTP's disk_log makes of our files
mod releases; // every supported OTP release calls us
mod second_implementation; // erl_dist connects to us
mod subscriptions; // filters, durable cursors, the live registry, the Erlang application
mod sys_config; // the original's configuration file
mod ticks; // silence, tolerated and not
mod transfer; // verify, export, import
