//! Nodes that come up and go, and what runs on them: events of the instance `nodes`.

use std::path::Path;

use crate::harness::{Erl, World, has_erlang};
use crate::hostile::{connect, connect_with};
use crate::releases::releases;

/// `DFLAG_DIST_HDR_ATOM_CACHE`, which tells an emulator.
const ATOM_CACHE: u64 = 1 << 13;

const CONNECT: &str = "net_kernel:connect_node('logmachine@127.0.0.1')";

/// A node that reads what was recorded: `Es(Node)` are the events about one, each `{Change, About}`.
fn reader(world: &World) -> Erl {
    let mut reader = world.erl("reader");
    assert_eq!(reader.eval(CONNECT), "true");
    reader.eval(
        "Es = fun(Node) ->
             {ok, All, eof} = gen_server:call({'.nodes.receiver.srv', 'logmachine@127.0.0.1'}, {read, earliest, #{}}),
             [{Change, About} || {_, {node, Change, N, About}} <- All, N =:= Node]
         end,
         Changes = fun(Node) -> [Change || {Change, _} <- Es(Node)] end",
    );
    reader
}

/// Makes an application on a node, with modules that were compiled from these sources, and loads it.
fn load(node: &mut Erl, world: &World, name: &str, version: &str, needs: &str, sources: &[&str]) {
    let ebin = world.path(&format!("{name}-{version}/ebin"));
    std::fs::create_dir_all(&ebin).unwrap();
    let mut modules = Vec::new();
    for source in sources {
        let source = world.path(source);
        std::fs::create_dir_all(source.parent().unwrap()).unwrap();
        let module = source.file_stem().unwrap().to_str().unwrap().to_owned();
        std::fs::write(&source, format!("-module({module}).\n")).unwrap();
        assert_eq!(
            node.eval(&format!("element(1, compile:file({source:?}, [{{outdir, {ebin:?}}}]))")),
            "ok"
        );
        modules.push(module);
    }
    let app = format!(
        "{{application, {name}, [{{vsn, {version:?}}}, {{modules, [{}]}}, {{registered, []}}, {{applications, [{needs}]}}]}}.",
        modules.join(", ")
    );
    std::fs::write(ebin.join(format!("{name}.app")), app).unwrap();
    let loaded = node.eval(&format!("code:add_patha({ebin:?}), application:load({name})"));
    assert_eq!(loaded, "ok");
}

/// Two lives of a node, with two versions.
#[test]
fn a_node_is_up_with_its_applications_and_down_with_a_reason() {
    if !has_erlang() {
        return;
    }
    for (release, erl) in releases() {
        let world = World::with_epmd();
        let _program = world.logmachine(&[]);
        let mut reader = reader(&world);
        let start = |version: &str| {
            let mut node = Erl::start(&world, &erl, &["-name", "n@127.0.0.1"]);
            let sources = ["apps/shop/src/shop.erl", "apps/shop/src/shop_cart.erl"];
            load(&mut node, &world, "shop", version, "kernel, jsx, billing, lager", &sources);
            load(&mut node, &world, "jsx", "3.1.0", "kernel", &["deps/jsx/src/jsx.erl"]);
            let cowboy = "_build/default/lib/cowboy/src/cowboy.erl";
            load(&mut node, &world, "cowboy", "2.10.0", "kernel", &[cowboy]);
            load(&mut node, &world, "billing", "0.1.0", "", &["apps/billing/src/billing.erl"]);
            load(&mut node, &world, "lager", "3.9", "", &[]);
            assert_eq!(node.eval(CONNECT), "true");
            node
        };
        let node = start("1.4.2");
        reader.wait_until("Changes('n@127.0.0.1')", "[up]");
        reader.eval("[{up, Up}] = Es('n@127.0.0.1'), #{applications := As} = Up");
        assert_eq!(
            reader.eval("maps:get(shop, As)"),
            "#{modules => [shop,shop_cart],origin => own,version => <<\"1.4.2\">>}"
        );
        assert_eq!(
            reader.eval("lists:sort([{O, A} || {A, #{origin := O}} <- maps:to_list(maps:without([compiler], As))])"),
            "[{dependency,cowboy},{dependency,jsx},{dependency,lager},{otp,kernel},{otp,stdlib},{own,billing},{own,shop}]"
        );
        assert_eq!(
            reader.eval("#{kernel := #{modules := Ms}} = As, lists:member(code, Ms)"),
            "true"
        );
        assert_eq!(
            reader.eval("#{answered := true, node_type := visible, otp_release := R, erts_version := V} = Up, {R, is_binary(V)}"),
            format!("{{<<{release:?}>>,true}}")
        );
        assert_eq!(
            reader.eval("#{since := {_, _, _}, creation := C} = Up, lists:sort(maps:keys(Up)) -- [answered, applications, creation, erts_version, node_type, otp_release, since]"),
            "[]"
        );
        node.kill();
        reader.wait_until("Changes('n@127.0.0.1')", "[up,down]");
        assert_eq!(
            reader.eval("{down, Down} = lists:last(Es('n@127.0.0.1')), #{detail := <<_/binary>>} = Down, maps:remove(detail, Down) =:= #{creation => C, since => maps:get(since, Up), node_type => visible, reason => connection_closed}"),
            "true"
        );
        let _node = start("1.4.3");
        reader.wait_until("Changes('n@127.0.0.1')", "[up,down,up]");
        assert_eq!(
            reader.eval("{up, Next} = lists:last(Es('n@127.0.0.1')), #{applications := #{shop := #{version := Later}}} = Next, {Later, maps:get(creation, Next) =:= C}"),
            "{<<\"1.4.3\">>,false}"
        );
    }
}

/// Hundreds of times, each is recorded, and the applications but once.
#[test]
fn a_node_whose_connection_flaps_is_asked_once() {
    if !has_erlang() {
        return;
    }
    const TIMES: usize = 200;
    let world = World::with_epmd();
    let program = world.logmachine(&[]);
    let mut reader = reader(&world);
    let mut node = world.erl("n");
    assert_eq!(node.eval(CONNECT), "true");
    reader.wait_until("Changes('n@127.0.0.1')", "[up]");
    let flap = format!(
        "[begin erlang:disconnect_node('logmachine@127.0.0.1'), {CONNECT} end || _ <- lists:seq(1, {TIMES})], ok"
    );
    assert_eq!(node.eval(&flap), "ok");
    reader.wait_until("length(Es('n@127.0.0.1'))", &(1 + 2 * TIMES).to_string());
    assert_eq!(
        reader.eval("Order = Changes('n@127.0.0.1'), Order =:= [up | lists:append([[down, up] || _ <- tl(Order), _ <- [x]])] orelse length([x || {up, down} <- lists:zip(lists:droplast(Order), tl(Order))])"),
        TIMES.to_string()
    );
    assert_eq!(
        reader.eval("[{up, First} | Rest] = Es('n@127.0.0.1'), {maps:is_key(applications, First), [x || {_, #{applications := _}} <- Rest], lists:usort([A || {up, #{applications_at := A, otp_release := _, answered := true}} <- Rest]) =:= [T || {T, {node, up, 'n@127.0.0.1', _}} <- [hd([E || {_, {node, _, 'n@127.0.0.1', _}} = E <- element(2, gen_server:call({'.nodes.receiver.srv', 'logmachine@127.0.0.1'}, {read, earliest, #{}}))])]]}"),
        "{true,[],true}"
    );
    assert_eq!(program.stop(), Some(0));
}

/// A hidden node is asked as well; one that only looks like an emulator has its time; others are not asked at all.
#[test]
fn nodes_that_do_not_answer_are_up_all_the_same() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let _program = world.logmachine(&[]);
    let mut reader = reader(&world);
    let flags = ["-name", "hidden@127.0.0.1", "-hidden"];
    let mut hidden = Erl::start(&world, Path::new("erl"), &flags);
    assert_eq!(hidden.eval(CONNECT), "true");
    let told = "[{N, A, maps:get(detail, U, none)} || {up, #{node_type := N, answered := A} = U} <- Es(Node)]";
    let mut expect = |node: &str, expected: &str| {
        reader.wait_until(&told.replace("Node", &format!("'{node}@127.0.0.1'")), expected);
    };
    expect("hidden", "[{hidden,true,none}]");
    let cookie = world.cookie();
    let stranger = connect(&world, "stranger@127.0.0.1", &cookie).unwrap();
    expect("stranger", "[{hidden,false,<<\"it is no Erlang emulator\">>}]");
    let mute = connect_with(|flags| flags | ATOM_CACHE, &world, "mute@127.0.0.1", &cookie).unwrap();
    expect("mute", "[{hidden,false,<<\"no answer within 5s\">>}]");
    let brief = connect_with(|flags| flags | ATOM_CACHE, &world, "brief@127.0.0.1", &cookie);
    drop((stranger, mute, brief));
    for node in ["stranger", "mute", "brief"] {
        reader.wait_until(&format!("Changes('{node}@127.0.0.1')"), "[up,down]");
    }
    let name = ["--name", "other@127.0.0.1", "--setcookie", &cookie, "--data-dir", "other"];
    let flags = [&name[..], &["--connect", "logmachine@127.0.0.1"]].concat();
    let _other = crate::harness::LogMachine::start(&world, &flags);
    reader.wait_until(
        "[D || {up, #{answered := false, detail := D}} <- Es('other@127.0.0.1')]",
        "[<<\"it is no Erlang emulator\">>]",
    );
}

/// What is loaded later, as by a node that is still starting, or upgraded while it runs.
#[test]
fn other_applications_of_a_node_that_stays_are_a_change() {
    if !has_erlang() {
        return;
    }
    let world = World::with_epmd();
    let _program = world.logmachine(&[]);
    let mut reader = reader(&world);
    let mut node = world.erl("n");
    assert_eq!(node.eval(CONNECT), "true");
    reader.wait_until("Changes('n@127.0.0.1')", "[up]");
    load(&mut node, &world, "shop", "2.0", "kernel", &["src/shop.erl"]);
    reader.wait_until("Changes('n@127.0.0.1')", "[up,changed]");
    assert_eq!(
        reader.eval("[{up, Up}, {changed, Now}] = Es('n@127.0.0.1'), {maps:keys(maps:get(applications, Now)) -- maps:keys(maps:get(applications, Up)), maps:get(since, Up) =:= maps:get(since, Now)}"),
        "{[shop],true}"
    );
}
