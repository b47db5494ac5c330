//! Readers of diagnostics and of standard output that are stuck, gone, or a full disk.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Write};
use std::process::{Child, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{World, has_erlang, wait_for};

const NAME: &str = "{error_logger, 0}";

/// A pipe that is full: who writes to it waits until somebody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe can be made");
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    for size in [4096, 1] {
        while writer.write(&vec![b'.'; size]).is_ok() {}
    }
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

/// Ends the program with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// With these streams, to which the shell does `first`, the node takes events, loses none, and stops in order.
fn check(what: &str, first: &str, output: Stdio, errors: Stdio) {
    let world = World::with_epmd();
    let mut a = world.erl("a");
    let cookie = world.cookie();
    let mut command = world.command_after(first, "run");
    command.args(["--name", "logmachine@127.0.0.1", "--setcookie", &cookie, "-vv"]);
    command.args(["--connect", "a@127.0.0.1"]).stdout(output).stderr(errors);
    let mut program = Program(command.spawn().expect("the program runs"));
    // Only this process's copies of the streams are left to the test.
    drop(command);
    a.wait_for_name(NAME);
    let append = format!(
        "R = {{global, {NAME}}}, [{{ok, _}} = gen_server:call(R, {{append, N}}) || N <- lists:seq(1, 200)],
            {{ok, Es, eof}} = gen_server:call(R, {{read, earliest, #{{}}}}), length([N || {{_, N}} <- Es, is_integer(N)])"
    );
    assert_eq!(a.eval(&append), "200", "{what}");
    assert_eq!(a.eval("gen_server:call(R, {info, recording})"), "running", "{what}");
    kill_process(Pid::from_child(&program.0), Signal::TERM).expect("it is running");
    let status = wait_for(what, || program.0.try_wait().expect("it was started here"));
    assert_eq!(status.code(), Some(0), "{what}");
}

#[test]
fn a_full_pipe_that_nobody_reads_stops_nothing() {
    if !has_erlang() {
        return;
    }
    let (_output, output) = full_pipe();
    let (_errors, errors) = full_pipe();
    check("full pipes", ":", output.into(), errors.into());
}

#[test]
fn streams_that_are_closed_or_whose_readers_are_gone_stop_nothing() {
    if !has_erlang() {
        return;
    }
    let (output, errors) = (std::io::pipe().unwrap().1, std::io::pipe().unwrap().1);
    check("broken pipes", ":", output.into(), errors.into());
    check("closed", "exec >&- 2>&-", Stdio::null(), Stdio::null());
}

#[test]
fn a_full_disk_behind_the_diagnostics_stops_nothing() {
    if !has_erlang() {
        return;
    }
    let full = || File::options().write(true).open("/dev/full").expect("Linux has it");
    check("/dev/full", ":", full().into(), full().into());
}

/// What can't be written anywhere still has its exit code.
#[test]
fn a_wrong_flag_is_exit_code_2_though_nobody_hears_why() {
    let world = World::new();
    let (_errors, full) = full_pipe();
    let broken = std::io::pipe().unwrap().1;
    for errors in [Stdio::from(full), broken.into()] {
        let mut command = world.command("run");
        command.args(["--name", "nohost"]).stdout(Stdio::null()).stderr(errors);
        let mut program = Program(command.spawn().expect("the program runs"));
        let ended = || program.0.try_wait().expect("it was started here");
        assert_eq!(wait_for("the end", ended).code(), Some(2));
    }
}
