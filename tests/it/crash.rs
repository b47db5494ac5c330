//! `kill -9` under load, again and again; a disk that fills up.

use std::process::Command;

use crate::harness::{World, has_erlang};

const NAME: &str = "{error_logger, 0}";

/// Twenty rounds: no acknowledged append and nothing a subscriber saw is ever missing, nothing is there twice,
/// stamps rise. Rotation happens all the time.
#[test]
fn twenty_kills_under_load_cost_nothing_that_was_acknowledged_or_seen() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let config = "[instance_defaults]\nsegment_bytes = \"64KiB\"\nsync = \"200ms\"\ncache_bytes = \"100KiB\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let data = world.path("data").display().to_string();
    let flags = ["--connect", "a@127.0.0.1", "--data-dir", &data, "--config", "c.toml"];
    let mut a = world.erl("a");
    a.load("lm_collect");
    a.eval("lm_collect:book(), ok");
    let mut program = world.logmachine(&flags);
    a.wait_for_name(NAME);
    a.eval("lm_collect:append_for_ever(3), ok");
    for round in 0..20 {
        a.eval(&format!("lm_collect:watch(), Before{round} = lm_collect:booked()"));
        // A different moment each time: after so many acknowledgements.
        let enough = 50 + round * 13;
        a.wait_until(&format!("lm_collect:booked() - Before{round} > {enough}"), "true");
        program.kill();
        program = world.logmachine(&flags);
        a.wait_for_name(NAME);
    }
    a.eval("lm_collect:stop_appending()");
    let check = "(fun() ->
        Log = lm_collect:take(earliest, []),
        Stamps = [T || {T, _} <- Log],
        {lm_collect:missing(Log), Stamps =:= lists:usort(Stamps), length(Log) >= 20 * 50}
    end)()";
    assert_eq!(a.eval(check), "{[],true,true}");
}

/// A file system of 16 MiB in memory.
pub(crate) struct SmallDisk(pub(crate) std::path::PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(&at);
        let is_mounted = mount.status().is_ok_and(|status| status.success());
        is_mounted.then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The disk fills up while events come: readers go on, `info` says so, recording goes on when there is space, and
/// nothing that was accepted is lost or torn.
#[test]
fn a_full_disk_stops_recording_alone_and_space_starts_it_again() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let Some(disk) = SmallDisk::mount(world.path("disk")) else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![0; 8 << 20]).unwrap();
    let config = "[instance_defaults]\nmin_free_bytes = \"none\"\nsegment_bytes = \"1MiB\"\n";
    std::fs::write(world.path("c.toml"), config).unwrap();
    let data = disk.0.join("data").display().to_string();
    let mut a = world.erl("a");
    let program =
        world.logmachine(&["--connect", "a@127.0.0.1", "--data-dir", &data, "--config", "c.toml"]);
    a.wait_for_name(NAME);
    a.eval(&format!("R = global:whereis_name({NAME}), Pad = binary:copy(<<7>>, 1000)"));
    a.eval("[gen_server:cast(R, {N, Pad}) || N <- lists:seq(1, 12000)], ok");
    a.wait_until("element(1, gen_server:call(R, {info, recording}))", "waiting");
    assert!(program.diagnostics().contains("no space left"));
    let readable = "element(1, gen_server:call(R, {read, earliest, #{limit => 100}}))";
    assert_eq!(a.eval(readable), "ok");
    std::fs::remove_file(&ballast).unwrap();
    a.wait_until("gen_server:call(R, {info, recording})", "running");
    a.eval("{ok, _} = gen_server:call(R, {append, {12001, Pad}}, 30000)");
    a.load("lm_collect");
    assert_eq!(
        a.eval("[N || {_, {N, _}} <- lm_collect:take(earliest, [])] =:= lists:seq(1, 12001)"),
        "true"
    );
    assert_eq!(program.stop(), Some(0));
}
