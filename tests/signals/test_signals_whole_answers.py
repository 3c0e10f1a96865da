"""Answers that are odd as a whole, through every source that speaks JSON: each is sane, or refused with a reason."""

import json
from dataclasses import replace

import pytest
from mutations import longest
from test_signals_mutations import READERS, Client, is_sane

from carbonfleet.signals import SourceError


def numbers(change):
    """Every number of an answer put through `change`; UNIX seconds are left alone."""

    def changed(node):
        if isinstance(node, dict):
            return {name: changed(each) for name, each in node.items()}
        if isinstance(node, list):
            return [changed(each) for each in node]
        is_number = isinstance(node, int | float) and not isinstance(node, bool) and abs(node) < 1e8
        return change(node) if is_number else node

    return changed


def times(change):
    """Every time that is text put through `change`."""

    def changed(node):
        if isinstance(node, dict):
            return {name: changed(each) for name, each in node.items()}
        if isinstance(node, list):
            return [changed(each) for each in node]
        return change(node) if isinstance(node, str) and node.startswith("20") and len(node) > 12 else node

    return changed


def items(change):
    """The longest list of an answer put through `change`."""

    def changed(body):
        held = longest(body)
        held[:] = change(list(held))
        return body

    return changed


ODD = {
    "text for numbers": numbers(str),
    "thousandfold": numbers(lambda value: value * 1000),
    "a thousandth": numbers(lambda value: value / 1000),
    "signs turned": numbers(lambda value: -value),
    "nothing but zeros": numbers(lambda value: 0),
    "not a number": numbers(lambda value: float("nan")),
    "truth for numbers": numbers(lambda value: True),
    "beyond all": numbers(lambda value: 10**400),
    "no item": items(lambda held: []),
    "one item": items(lambda held: held[:1]),
    "every second": items(lambda held: held[::2]),
    "twice": items(lambda held: held * 2),
    "twice and otherwise": items(lambda held: held + numbers(lambda value: value / 2)(held)),
    "newest first": items(lambda held: held[::-1]),
    "nulls between": items(lambda held: [each for item in held for each in (item, None)]),
    "text between": items(lambda held: [each for item in held for each in (item, "x")]),
    "a list too many": items(lambda held: [held]),
    "twenty thousand": items(lambda held: held * (20_000 // max(1, len(held)))),
    "wrapped": lambda body: {"data": body},
    "in a list": lambda body: [body],
    "as text": json.dumps,
    "nothing": lambda body: None,
    "keys in capitals": lambda body: json.loads(json.dumps(body).upper()),
    "an error beside": lambda body: body | {"error": "partial"} if isinstance(body, dict) else [*body, {"error": 1}],
    "no offset": times(lambda at: at.replace("Z", "").replace("+00:00", "")),
    "another offset": times(lambda at: at.replace("Z", "+05:45").replace("+00:00", "+05:45")),
    "a space for T": times(lambda at: at.replace("T", " ")),
    "another century": times(lambda at: f"19{at[2:]}"),
    "a century ahead": times(lambda at: f"21{at[2:]}"),
    "half a minute late": times(lambda at: at.replace(":00:00", ":00:30")),
    "one time for all": times(lambda at: "2025-12-15T10:00:00Z"),
    "30 February": times(lambda at: f"2025-02-30{at[10:]}"),
}


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.is_json])
def test_an_answer_that_is_odd_as_a_whole_is_sane_or_refused(name, clock, endpoint, tmp_path):
    refused = set()
    with READERS[name].make_server(clock.now) as server:
        server.as_text = False  # EIA has written numbers both ways
        client = Client(READERS[name], server, clock, endpoint, tmp_path)
        for odd, change in ODD.items():

            def mangle(seen, reply, change=change):
                if reply.status != 200 or seen.path == "/login" or seen.path.endswith("/zones"):
                    return reply
                return replace(reply, body=json.dumps(change(json.loads(reply.raw()))).encode())

            client.rebuild()
            server.mangle = mangle
            try:
                is_sane(client.fetch(), clock.now())
            except SourceError as error:
                refused.add(odd)
                assert str(error)  # noqa: PT017 - either way is right
    assert {"no item", "in a list", "as text", "nothing", "not a number", "beyond all"} <= refused
    if name != "energy-charts":  # whose items are whole series
        assert not {"twice", "nulls between", "text between"} & refused
