"""Answers of providers of generation that are spoilt in some places: only what is spoilt is lost, or all is refused."""

import contextlib
import itertools
import json
import random
import re
from datetime import timedelta

import pytest
from fake_generation import (
    FUELS,
    KEY,
    FakeEia,
    FakeEnergyCharts,
    FakeEntsoe,
    FakeHydroQuebec,
)
from fake_http import Reply

from carbonfleet.api.signal import SignalKind
from carbonfleet.http import Key
from carbonfleet.signals.source import Ask, Feed, SourceError
from carbonfleet.signals.sources import HydroQuebecSettings, build_source
from carbonfleet.signals.sources.generation import Eia930Settings, EnergyChartsSettings, EntsoeSettings, Fuel

NUMBER = (
    r"(?<=: )\"?[\d.]+\"?(?=, \"value-units)|(?<=[\[ ])[\d.]+(?=[,\]])|(?<=<quantity>)[\d.]+|(?<=hydraulique\": )[\d.]+"
)
DIRTIEST = [
    r'"fueltype": "COL"[^}]*',
    r'"name": "Fossil hard coal", "data": \[[^\]]*\]',
    r"B05</psrType>.*?</TimeSeries>",
    r'"valeurs_hydraulique": [\d.]+',
]
"""Where each provider gives its coal, or in Québec most of all."""
LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
DAY = timedelta(days=1)
ODD = [
    None,
    "",
    "x",
    "NaN",
    [],
    {},
    [None],
    True,
    -1,
    0,
    1.5,
    1e300,
    -1e300,
    10**400,
    "9" * 400,
    "0001-01-01T00",
    "é\x00",
]
PROVIDERS = {
    "eia": (FakeEia, Eia930Settings, "US-MIDA-PJM", "key"),
    "entsoe": (FakeEntsoe, EntsoeSettings, "FR", "token"),
    "energy-charts": (FakeEnergyCharts, EnergyChartsSettings, "FR", ""),
    "hydro-quebec": (FakeHydroQuebec, HydroQuebecSettings, "CA-QC", ""),
}


@pytest.fixture(params=PROVIDERS)
def provider(request) -> str:
    return request.param


@pytest.fixture
def stand(provider, clock, endpoint, tmp_path):
    """A server, and a function that asks our source before it for the last day."""
    fake, settings, zone, key = PROVIDERS[provider]
    (tmp_path / "key").write_text(KEY)
    keys = {key: Key(file=tmp_path / "key")} if key else {}
    with fake(clock.now) as server:
        source = build_source(settings(endpoint=endpoint(server.url, tries=1), **keys), clock)
        yield (
            server,
            lambda: source.fetch(Ask(zone, LIFECYCLE, Feed.MEASURED, clock.now() - DAY, clock.now()), clock.now()),
        )


def leaves(node, path=()):
    """The paths to everything in a JSON value."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield (*path, name)
        yield from leaves(child, (*path, name))


def mutated(reply: Reply, dice: random.Random) -> Reply:
    """The same answer, wrong in one to three places."""
    if isinstance(reply.body, bytes):
        text = reply.body.decode()
        for _ in range(dice.randint(1, 3)):
            found = dice.choice(list(re.finditer(r"(?<=>)[^<>]+(?=<)" if dice.random() < 0.9 else r"</?\w+", text)))
            first, last = found.span()
            text = text[:first] + str(dice.choice(ODD)) + text[last:]
        return Reply(200, text.encode(), reply.headers)
    body = json.loads(json.dumps(reply.body))
    for _ in range(dice.randint(1, 3)):
        *way, last = dice.choice(list(leaves(body)) or [(None,)])
        if last is None:
            break
        parent = body
        for step in way:
            parent = parent[step]
        if dice.random() < 0.3:
            del parent[last]
        else:
            parent[last] = dice.choice(ODD)
    return Reply(200, body, reply.headers)


def survives(stand, count: int) -> tuple[int, int]:
    """How many answers gave readings, and how many were refused; anything else is raised."""
    server, fetch = stand
    dice, whole, kept = random.Random(11), server.reply, 0
    server.reply = lambda seen: mutated(whole(seen), dice)
    for _ in range(count):
        try:
            batch = fetch()
        except SourceError:
            continue
        kept += 1
        starts = [reading.start for reading in batch.readings]
        assert starts == sorted(set(starts))
        assert all(5 <= reading.value <= 1100 for reading in batch.readings)
    return kept, count - kept


def test_an_answer_that_is_spoilt_anywhere_is_an_error_of_ours_or_less_of_it(stand):
    kept, refused = survives(stand, 60)
    assert kept + refused == 60
    assert kept > 5, "one spoilt value need not lose the whole answer"


@pytest.mark.soak
def test_a_thousand_spoilt_answers_too(stand):
    kept, refused = survives(stand, 1000)
    assert kept > refused / 5


PARTS = {
    "eia": ("fueltype", "period", "value", "value-units", "respondent"),
    "entsoe": (
        *("psrType", "quantity", "position", "resolution", "start", "end"),
        *("inBiddingZone_Domain.mRID", "quantity_Measure_Unit.name", "curveType"),
    ),
    "energy-charts": ("name", "data"),
    "hydro-quebec": ("date", *FakeHydroQuebec.sources),
}
"""What each provider says of a series."""
AMOUNTS = {"quantity", "value", *FakeHydroQuebec.sources}
MAY_BE = (-1, 0, 1.5, None, "")


def odd_series(reply: Reply, part: str, index: int, odd: object) -> Reply:
    """The same answer, with `odd` for one part of all that it says of one series."""
    if isinstance(reply.body, bytes):
        series = list(re.finditer(r"<TimeSeries>.*?</TimeSeries>", reply.body.decode(), re.DOTALL))[index]
        said = "" if odd is None else str(odd)
        wrong = re.sub(rf"(<{part}[^>]*>)[^<]*(</{part}>)", lambda found: f"{found[1]}{said}{found[2]}", series[0])
        return Reply(200, reply.body.replace(series[0].encode(), wrong.encode()), reply.headers)
    body = json.loads(json.dumps(reply.body))
    if "production_types" in body:
        body["production_types"][index][part] = odd
    elif "results" in body:
        body["results"] = [record | {part: odd} for record in body["results"]]
    else:
        rows, code = body["response"]["data"], list(FakeEia.codes.values())[index]
        body["response"]["data"] = [row | {part: odd} if row["fueltype"] == code else row for row in rows]
    return Reply(200, body, reply.headers)


def oddities(provider: str) -> list[tuple[str, int, object]]:
    """Every part of every series with every odd value but those that it may have."""
    series = range(1 if provider == "hydro-quebec" else len(FUELS))
    return [
        (part, index, odd)
        for part, index, odd in itertools.product(PARTS[provider], series, ODD)
        if not (part in AMOUNTS and odd in MAY_BE and odd is not True)
    ]


def looks_cleaner(stand, found: list[tuple[str, int, object]], *, has_answered: bool) -> list[tuple[str, int, object]]:
    """Those that make a mix look cleaner than it is."""
    server, fetch = stand
    whole, cleaner, served = server.reply, [], 0
    usual = {each.start: each.value for each in fetch().readings}
    for each in found:
        if has_answered:
            server.reply = whole
            fetch(), fetch()
        server.reply = lambda seen, each=each: odd_series(whole(seen), *each)
        with contextlib.suppress(SourceError):
            readings = fetch().readings
            served += 1
            if any(reading.value < 0.9 * usual[reading.start] for reading in readings):
                cleaner.append(each)
    assert served < len(found)
    assert served or not has_answered
    return cleaner


def test_whatever_is_odd_in_one_series_the_mix_never_looks_cleaner(provider, stand):
    assert looks_cleaner(stand, random.Random(5).sample(oddities(provider), 15), has_answered=True) == []


@pytest.mark.soak
@pytest.mark.parametrize("has_answered", [False, True])
def test_nothing_odd_in_any_series_makes_the_mix_look_cleaner(provider, stand, has_answered):
    found = oddities(provider)
    assert looks_cleaner(stand, found, has_answered=has_answered) == []
    print(f"{provider}: {len(found)} odd series, none looks cleaner")


def test_a_series_that_one_answer_alone_names_is_not_missed_in_the_next(provider, stand):
    server, fetch = stand
    whole, name = server.reply, PARTS[provider][0]
    fetch(), fetch()
    renamed = {"eia": "NUL", "entsoe": "B99", "energy-charts": "Atoms", "hydro-quebec": "2025-12-15"}[provider]
    server.reply = lambda seen: odd_series(whole(seen), name, 2 * (provider != "hydro-quebec"), renamed)
    for _ in range(3):
        with contextlib.suppress(SourceError):
            fetch()
        server.reply, odd = whole, server.reply
        assert fetch().readings
        server.reply = odd


@pytest.mark.parametrize("fuel", FUELS)
def test_a_series_that_is_gone_is_missed_for_two_days_if_it_matters(provider, stand, clock, fuel):
    server, fetch = stand
    if provider == "hydro-quebec":
        pytest.skip("names every source in every record")
    fetch(), fetch()
    server.late[fuel] = timedelta(days=30)
    if fuel is Fuel.OTHER:
        assert fetch().readings
        return
    for _ in range(4):
        with pytest.raises(SourceError, match="no whole mix"):
            fetch()
        clock.forward(hours=11)
    clock.forward(hours=5)
    assert fetch().readings


def test_a_fuel_none_of_whose_values_can_be_read_leaves_no_mix_that_looks_clean(stand):
    server, fetch = stand
    assert fetch().readings
    whole = server.reply

    def without_the_dirtiest(seen):
        reply = whole(seen)
        text = reply.raw().decode()
        for pattern in DIRTIEST:
            text = re.sub(pattern, lambda found: re.sub(NUMBER, '"n/a"', found[0]), text)
        assert "n/a" in text
        return Reply(200, text.encode(), reply.headers)

    server.reply = without_the_dirtiest
    with pytest.raises(SourceError, match="no whole mix"):
        fetch()
