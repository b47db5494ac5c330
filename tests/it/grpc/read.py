"""Reads: each selection gives what HTTP gives for the same, in every format. Arguments: CLIENT PORT INSTANCE"""

import urllib.parse

from client import *


def of_http(port, instance, selection, format):
    """The same entries as HTTP has them."""
    names = {"after": "cursor", "from_": "from"}
    query = {names.get(name, name): value for name, value in selection.items() if name != "newest_first"}
    if "newest_first" in selection:
        query["order"] = "desc"
    query = {"limit": 10_000, "format": format, **query}
    return json.loads(http(port, f"/api/v1/instances/{instance}/entries?{urllib.parse.urlencode(query)}"))["entries"]


def view_of(entry):
    """A view as HTTP has it."""
    if not entry.HasField("view"):
        return None
    view = entry.view
    found = {name: getattr(view, name) for name in ("level", "kind", "message", "detail")}
    found["domain"] = list(view.domain)
    for name in ("node", "pid", "registered_name", "module", "function", "line", "reason"):
        found[name] = getattr(view, name) if view.HasField(name) else None

    def call(frame):
        optional = {name: getattr(frame, name) if frame.HasField(name) else None for name in ("file", "line")}
        return {"module": frame.module, "function": frame.function, "arity": frame.arity, **optional}

    found["stacktrace"] = [call(frame) for frame in view.stacktrace]
    return found


def plain(view):
    """Without what is not there."""
    if isinstance(view, dict):
        return {name: plain(value) for name, value in view.items() if value is not None and value != []}
    return [plain(value) for value in view] if isinstance(view, list) else view


async def main(Client, port, instance):
    client = Client(port)
    everything = of_http(port, instance, {}, "text")
    assert len(everything) > 50
    tenth, fortieth = everything[10]["micros"], everything[40]["micros"]
    first = next(entry["view"] for entry in everything if entry["view"])
    faults = json.loads(http(port, "/api/v1/faults"))["faults"]
    selections = [
        {},
        {"from_": "earliest"},
        {"from_": "1h"},
        {"from_": str(tenth), "to": str(fortieth)},
        {"from_": everything[10]["ts"], "to": everything[40]["ts"], "limit": 7},
        {"after": tenth},
        {"after": tenth, "from_": "now", "limit": 3},
        {"after": fortieth, "newest_first": True},
        {"newest_first": True, "limit": 5},
        {"newest_first": True, "from_": str(tenth), "to": str(fortieth)},
        {"level": "error"},
        {"level": "warning", "newest_first": True},
        {"node": first["node"]},
        {"node": "*@nowhere"},
        {"node": first["node"][:2] + "*", "level": "error", "limit": 2},
        {"kind": "log"},
        {"kind": "crash"},
        {"module": "kettle"},
        {"pid": first["pid"]},
        {"grep": "badmatch|boils"},
        {"grep": r"^\{quote,"},
        {"match": "[{{quote,'$1','$2'},[{'>','$2',5}],[{{'$2','$1'}}]}]"},
        {"match": "[{{quote,'$1','$2'},[],['$_']}]", "limit": 4, "newest_first": True},
        {"from_": "now"},
        {"to": "1h"},
        *[{"fault": fault["id"]} for fault in faults],
    ]
    found_some = 0
    for selection in selections:
        expected = of_http(port, instance, selection, "text")
        entries = await read_all(client, instance, pb.FORMAT_TEXT, views=True, **selection)
        found_some += bool(entries)
        assert [(entry.micros, entry.event.text) for entry in entries] == [
            (entry["micros"], entry["event"]) for entry in expected
        ], selection
        for entry, other in zip(entries, expected):
            assert plain(view_of(entry)) == plain(other["view"]), (entry, other)
        expected = of_http(port, instance, selection, "json")
        entries = await read_all(client, instance, pb.FORMAT_JSON, **selection)
        assert [(entry.micros, json.loads(entry.event.json)) for entry in entries] == [
            (entry["micros"], entry["event"]) for entry in expected
        ], selection
        assert not any(entry.HasField("view") for entry in entries), "none was asked for"
    assert found_some > 18 and len(faults) > 0, (found_some, faults)
    # The log's own records are <<Size:32, 98,87,76,65, Term/binary>>, each `{Timestamp, Event}`.
    records = http(port, f"/api/v1/instances/{instance}/entries", Accept="application/x-erlang-etf")
    for format in (pb.FORMAT_ETF, pb.FORMAT_UNSPECIFIED):
        left = records
        for entry in await read_all(client, instance, format):
            size = int.from_bytes(left[:4], "big")
            record, left = left[8 : 8 + size], left[8 + size :]
            assert entry.event.etf[:1] == record[:1] == b"\x83" and record.endswith(entry.event.etf[1:]), entry
        assert left == b""
    for selection, field in [
        ({"from_": "soon"}, "from"),
        ({"to": "x"}, "to"),
        ({"level": "loud"}, "level"),
        ({"kind": "odd"}, "kind"),
        ({"grep": "("}, "grep"),
        ({"match": "["}, "match"),
        ({"match": "[{a}]"}, "match"),
    ]:
        failure = await refused(read_all(client, instance, **selection))
        assert (failure.code, failure.reason, failure.fields) == ("INVALID_ARGUMENT", "bad_request", [field]), (failure, failure.fields)
    assert (await refused(read_all(client, instance, 9))).fields == ["format"]
    assert (await refused(read_all(client, "nobody"))).code == "NOT_FOUND"
    await client.close()


run(main)
