//! Every supported OTP release calls us.

use std::path::{Path, PathBuf};

use crate::harness::{Erl, World, has_erlang};

/// The releases that `make test` could install, as `(name, erl)`; where they are is told by `LOGMACHINE_OTP_DIR`.
pub(crate) fn releases() -> Vec<(&'static str, PathBuf)> {
    let dir = std::env::var_os("LOGMACHINE_OTP_DIR").map(PathBuf::from);
    let dir = dir.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.otp"));
    let suites =
        [("23", "bullseye"), ("25", "bookworm"), ("27", "trixie"), ("28", "pypi28"), ("29", "sid")];
    let mut found = Vec::new();
    for (release, suite) in suites {
        let erl = dir.join(suite).join("bin/erl");
        if erl.exists() {
            found.push((release, erl));
        } else {
            println!("skipped: OTP {release} is not installed");
        }
    }
    found
}

/// The functions that `rpc` and `erpc` may call, and a few that they may not.
#[test]
fn every_release_subscribes_reads_and_appends_by_rpc_and_runs_nothing_else() {
    if !has_erlang() {
        return;
    }
    for (release, erl) in releases() {
        let world = World::with_epmd();
        let program = world.logmachine(&["--connect", "local"]);
        let mut node = Erl::start(&world, &erl, &["-name", "n@127.0.0.1"]);
        assert_eq!(node.eval("erlang:system_info(otp_release)"), format!("{release:?}"));
        node.wait_for_name("{error_logger, 0}");
        let check = |node: &mut Erl, expression: &str, expected: &str| {
            assert_eq!(node.eval(expression), expected, "OTP {release}: {expression}");
        };
        node.eval("L = 'logmachine@127.0.0.1'");
        check(&mut node, "net_adm:ping(L)", "pong");
        check(
            &mut node,
            "{lists:member(L, nodes()), lists:member(L, nodes(hidden))}",
            "{false,true}",
        );
        check(&mut node, "element(1, rpc:call(L, logmachine, append, [error_logger, one]))", "ok");
        check(
            &mut node,
            "element(1, erpc:call(L, logmachine, append, [error_logger, #{two => 2.5}]))",
            "ok",
        );
        check(
            &mut node,
            "S = rpc:call(L, logmachine, subscribe, [error_logger, earliest, self(), marker]), is_pid(S)",
            "true",
        );
        check(
            &mut node,
            "[receive {marker, {{_, _, _}, E}} -> E after 5000 -> none end || _ <- [1, 2]]",
            "[one,#{two => 2.5}]",
        );
        check(&mut node, "{links, Ls} = process_info(self(), links), lists:member(S, Ls)", "true");
        check(
            &mut node,
            "gen_server:cast({global, {error_logger, 0}}, {three, self()}), receive {marker, {_, {three, P}}} -> P =:= self() after 5000 -> none end",
            "true",
        );
        check(
            &mut node,
            "{ok, [{_, one}], Next} = rpc:call(L, logmachine, read, [error_logger, earliest, #{limit => 1}]), element(2, hd(element(2, rpc:call(L, logmachine, read, [error_logger, Next, #{}]))))",
            "#{two => 2.5}",
        );
        check(&mut node, "rpc:call(L, logmachine, info, [error_logger, events])", "3");
        check(&mut node, "is_list(rpc:call(L, logmachine, info, [error_logger]))", "true");
        check(
            &mut node,
            "rpc:call(L, logmachine, info, [nowhere])",
            "{error,{unknown_instance,nowhere}}",
        );
        check(
            &mut node,
            "gen_server:call({'.error_logger.receiver.srv', L}, get_global_alias)",
            "{error_logger,0}",
        );
        check(
            &mut node,
            "gen_server:call({logmachine, L}, {get_global_alias, error_logger})",
            "{error_logger,0}",
        );
        check(
            &mut node,
            "gen_server:call({global, {error_logger, 0}}, nonsense)",
            "{error,unsupported}",
        );
        check(
            &mut node,
            "rpc:call(L, os, cmd, [\"touch ran\"])",
            r#"{badrpc,{'EXIT',{undef,[{os,cmd,["touch ran"],[]}]}}}"#,
        );
        check(
            &mut node,
            "try erpc:call(L, os, cmd, [\"touch ran\"]) catch C:R -> {C, R} end",
            r#"{error,{exception,undef,[{os,cmd,["touch ran"],[]}]}}"#,
        );
        check(
            &mut node,
            "try spawn(L, os, cmd, [\"touch ran\"]) catch error:Undef -> Undef end",
            "undef",
        );
        check(
            &mut node,
            "try spawn_link(L, fun() -> os:cmd(\"touch ran\") end) catch error:U2 -> U2 end",
            "undef",
        );
        check(&mut node, "rpc:cast(L, os, cmd, [\"touch ran\"])", "true");
        // After the cast, on the same connection.
        check(&mut node, "net_adm:ping(L)", "pong");
        assert!(!world.path("ran").exists(), "nothing ran");
        check(&mut node, "unlink(S), gen_server:stop(S)", "ok");
        assert!(program.diagnostics().contains("refused to run os:cmd"));
        println!("OTP {release}: fine");
    }
}

/// A pid of one release reaches a subscriber of another: identifiers of both forms.
#[test]
fn releases_read_each_others_events() {
    let found = releases();
    for pair in [("23", "25"), ("25", "27"), ("25", "28"), ("25", "29"), ("27", "28")] {
        let erl = |release: &str| {
            found.iter().find(|(name, _)| *name == release).map(|(_, erl)| erl.clone())
        };
        let (Some(one), Some(other)) = (erl(pair.0), erl(pair.1)) else { continue };
        let world = World::with_epmd();
        let _program = world.logmachine(&["--connect", "local"]);
        let mut a = Erl::start(&world, &one, &["-name", "a@127.0.0.1"]);
        let mut b = Erl::start(&world, &other, &["-name", "b@127.0.0.1"]);
        for (release, node) in [(pair.0, &mut a), (pair.1, &mut b)] {
            assert_eq!(node.eval("erlang:system_info(otp_release)"), format!("{release:?}"));
            node.wait_for_name("{error_logger, 0}");
            node.eval("R = {global, {error_logger, 0}}");
            node.eval("{ok, _} = gen_server:call(R, {append, {ids, self(), make_ref(), hd(erlang:ports()), fun lists:map/2, fun() -> ok end}})");
        }
        for node in [&mut a, &mut b] {
            node.eval(
                "{ok, _} = gen_server:call(R, {subscribe, #{from => earliest, pid => self()}})",
            );
            let kinds = "[receive {_, {_, {ids, P, Ref, Port, F, G}}} -> {is_pid(P), is_reference(Ref), is_port(Port), is_function(F, 2), is_function(G)}; {_, {_, O}} -> O after 5000 -> none end || _ <- [1, 2]]";
            assert_eq!(
                node.eval(kinds),
                "[{true,true,true,true,true},{true,true,true,true,true}]",
                "{pair:?}"
            );
        }
        println!("OTP {} with {}: fine", pair.0, pair.1);
    }
}
