"""Answers and files with faults of every kind: each costs its own point, or is refused with a reason.

A short sample runs with all tests; the full count, 200,000 over all readers, with `-m soak`.
"""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from carbon_servers import (
    PASSWORD,
    USER,
    FakeCarbonAwareSdk,
    FakeElectricityMaps,
    FakePrices,
    FakeServer,
    FakeUkCarbon,
    FakeWattTime,
    Reply,
    Seen,
)
from fake_generation import (
    KEY,
    FakeEia,
    FakeEnerginet,
    FakeEnergyCharts,
    FakeEntsoe,
    FakeGenerationServer,
    FakeHydroQuebec,
)
from mutations import SCALARS, Mutated, mutated

from carbonfleet.api.signal import SignalKind
from carbonfleet.http import Key
from carbonfleet.signals import PriceKind, SettingsError, SourceError, TraceError, load_settings, read_trace
from carbonfleet.signals.prices.price_file import PriceFile
from carbonfleet.signals.prices.price_server import PriceServer, PriceServerSettings
from carbonfleet.signals.source import Ask, Feed
from carbonfleet.signals.sources import SourceSettings, build_source
from carbonfleet.signals.sources.carbonawaresdk import CarbonAwareSdkSettings
from carbonfleet.signals.sources.demo import DemoGridSettings
from carbonfleet.signals.sources.electricitymaps import ElectricityMapsSettings
from carbonfleet.signals.sources.energinet import EnerginetSettings
from carbonfleet.signals.sources.generation import (
    Eia930Settings,
    EnergyChartsSettings,
    EntsoeSettings,
    HydroQuebecSettings,
)
from carbonfleet.signals.sources.static import StaticSettings
from carbonfleet.signals.sources.trace import TraceSettings
from carbonfleet.signals.sources.ukcarbon import UkCarbonSettings
from carbonfleet.signals.sources.watttime import WattTimeSettings
from carbonfleet.signals.validation import FARTHEST_AHEAD, FARTHEST_BACK, number_problem

LIFECYCLE, DIRECT, MARGINAL = SignalKind
HOUR = timedelta(hours=1)
TOTAL = 200_000
SAMPLE = 60
REBUILT = 1500
"""A new client every so many answers: the clock stands still, and our own limit of requests counts by it."""


@dataclass(frozen=True)
class Reader:
    """A source, its server, and a question."""

    make_server: Callable[[Callable[[], datetime]], FakeServer]
    settings: Callable[..., Any]
    zone: str
    kind: Any
    feed: Feed
    keys: tuple[str, ...] = ()
    more: tuple[tuple[str, Any], ...] = ()
    is_json: bool = True


def maps(now) -> FakeServer:
    return FakeElectricityMaps(["NO-NO1"], now)


def em(feed: Feed, version: str = "v3", kind: Any = LIFECYCLE) -> Reader:
    return Reader(maps, ElectricityMapsSettings, "NO-NO1", kind, feed, ("token",), (("version", version),))


def watttime(feed: Feed) -> Reader:
    regions = (("regions", {"US-CAL-CISO": "CAISO_NORTH"}),)
    make = lambda now: FakeWattTime(["CAISO_NORTH"], now)  # noqa: E731
    return Reader(make, WattTimeSettings, "US-CAL-CISO", MARGINAL, feed, ("username", "password"), regions)


def sdk(feed: Feed) -> Reader:
    more = (("kind", LIFECYCLE), ("locations", {"US-MIDA-PJM": "eastus"}))
    return Reader(
        lambda now: FakeCarbonAwareSdk(["eastus"], now),
        CarbonAwareSdkSettings,
        "US-MIDA-PJM",
        LIFECYCLE,
        feed,
        (),
        more,
    )


READERS = {
    "maps v3 history": em(Feed.MEASURED),
    "maps v4 history": em(Feed.MEASURED, "v4", DIRECT),
    "maps v3 forecast": em(Feed.FORECAST),
    "maps v4 past": em(Feed.PAST, "v4"),
    "maps day-ahead prices": em(Feed.FORECAST, "v3", PriceKind.DAY_AHEAD),
    "watttime forecast": watttime(Feed.FORECAST),
    "watttime past": watttime(Feed.MEASURED),
    "uk forecast": Reader(FakeUkCarbon, UkCarbonSettings, "GB", DIRECT, Feed.FORECAST),
    "uk measured": Reader(FakeUkCarbon, UkCarbonSettings, "GB", DIRECT, Feed.MEASURED),
    "sdk forecast": sdk(Feed.FORECAST),
    "sdk measured": sdk(Feed.MEASURED),
    "eia": Reader(FakeEia, Eia930Settings, "US-MIDA-PJM", LIFECYCLE, Feed.MEASURED, ("key",)),
    "entsoe": Reader(FakeEntsoe, EntsoeSettings, "FR", LIFECYCLE, Feed.MEASURED, ("token",), (), is_json=False),
    "energy-charts": Reader(FakeEnergyCharts, EnergyChartsSettings, "FR", LIFECYCLE, Feed.MEASURED),
    "hydro-quebec": Reader(FakeHydroQuebec, HydroQuebecSettings, "CA-QC", LIFECYCLE, Feed.MEASURED),
    "energinet measured": Reader(FakeEnerginet, EnerginetSettings, "DK-DK1", DIRECT, Feed.MEASURED),
    "energinet forecast": Reader(FakeEnerginet, EnerginetSettings, "DK-DK1", DIRECT, Feed.FORECAST),
}
READ_FROM_FILES = {TraceSettings, DemoGridSettings, StaticSettings}
"""Sources that nobody is asked for."""
FILES = ("long trace", "portal trace", "price file")
ALL = (*READERS, "price server", *FILES, "static settings")
WHOLE_ITEMS = {"energy-charts"}
"""Whose items are whole series of a fuel, not points."""


def made_once(answer: Callable[[Seen], Reply]) -> Callable[[Seen], Reply]:
    """The clock stands still, so that the same question has the same answer."""
    known: dict[Any, Reply] = {}

    def reply(seen: Seen) -> Reply:
        if seen.path == "/login":
            return answer(seen)
        key = (seen.path, tuple(sorted(seen.query.items())))
        if key not in known:
            whole = answer(seen)
            known[key] = replace(whole, body=whole.raw())
        return known[key]

    return reply


class Client:
    """A reader at work."""

    def __init__(self, reader: Reader, server: FakeServer, clock, endpoint, folder: Path) -> None:
        self.reader, self.server, self.clock = reader, server, clock
        self.endpoint, self.folder = endpoint, folder
        self.source: Any = None
        server.reply = made_once(server.reply)
        if isinstance(server, FakeGenerationServer):
            server.kept = timedelta(hours=30)  # an answer is of a week otherwise
        self.rebuild()

    def rebuild(self) -> None:
        secrets = {"username": USER, "password": PASSWORD, "key": KEY, "token": KEY}
        if isinstance(self.server, FakeElectricityMaps):
            secrets["token"] = "em-secret-token-123"
        keys = {}
        for name in self.reader.keys:
            (self.folder / name).write_text(secrets[name])
            keys[name] = Key(file=self.folder / name)
        endpoint = self.endpoint(self.server.url, tries=1)
        self.source = build_source(
            self.reader.settings(endpoint=endpoint, **keys, **dict(self.reader.more)), self.clock
        )

    def fetch(self):
        now, half_a_day = self.clock.now(), timedelta(hours=12)
        span = (now, now + half_a_day) if self.reader.feed is Feed.FORECAST else (now - half_a_day, now)
        return self.source.fetch(Ask(self.reader.zone, self.reader.kind, self.reader.feed, *span), now)


def has_reason(error: Exception, may_be_whole: bool = True, raw: bytes = b"") -> None:
    """That a refusal says why, and is of more than a point only where more than a point is wrong."""
    assert str(error)
    assert may_be_whole, (error, raw[:3000])


def is_sane(batch, now: datetime) -> None:
    """What every batch is, whatever it came from."""
    starts = [each.start for each in batch.readings]
    assert starts == sorted(set(starts))
    for each in batch.readings:
        assert number_problem(each.value, each.kind) is None
        assert now - FARTHEST_BACK - timedelta(days=1) <= each.start <= now + FARTHEST_AHEAD
    assert batch.issued_at <= now


def garbled(raw: bytes, chance: random.Random) -> Mutated:
    """For what is not JSON: one piece of text in it is another."""
    text = raw.decode()
    pieces = [piece for piece in text.replace("<", "\n<").replace(">", ">\n").splitlines() if piece.strip()]
    index = chance.randrange(len(pieces))
    pieces[index] = str(chance.choice((*SCALARS[:14], "", "-1", "1e9", "<", "&x;", "</Point>", "<Point>")))[:6000]
    return Mutated("".join(pieces).encode("utf-8", "replace"), "document")


def attempts(client: Client, count: int, seed: int) -> Iterator[tuple[Mutated, Any]]:
    """Mutations with the batch, or the error, that each led to."""
    chance, made = random.Random(seed), []

    def mangle(seen, reply):
        if reply.status != 200 or seen.path == "/login" or seen.path.endswith("/zones"):
            return reply
        found = (mutated if client.reader.is_json else garbled)(reply.raw(), chance)
        made.append(found)
        return replace(reply, body=found.raw)

    for number in range(count):
        if number % REBUILT == 0:
            client.rebuild()
        client.server.mangle = mangle
        made.clear()
        try:
            result: Any = client.fetch()
        except SourceError as error:
            result = error
        client.server.mangle = None
        if not made:  # the client leaves a server alone that failed five times in a row
            client.rebuild()
            continue
        yield made[-1], result


def check_source(name: str, client: Client, count: int, seed: int) -> dict[str, int]:
    good = {each.start: each.value for each in client.fetch().readings}
    met = {"item": 0, "order": 0, "document": 0, "refused": 0}
    for mutation, result in attempts(client, count, seed):
        met[mutation.what] += 1
        if isinstance(result, SourceError):
            has_reason(result, mutation.what == "document" or name in WHOLE_ITEMS, mutation.raw)
            met["refused"] += 1
            continue
        is_sane(result, client.clock.now())
        found = {each.start: each.value for each in result.readings}
        lost = {start for start in good if found.get(start) != pytest.approx(good[start])}
        if mutation.what == "order":
            assert not lost
        if mutation.what == "item" and name not in WHOLE_ITEMS:
            assert len(lost) <= 2, (lost, mutation.index, mutation.raw[:3000])
    return met


def check_price_server(clock, endpoint, count: int, seed: int) -> dict[str, int]:
    pools = [f"pool-{number}" for number in range(20)]
    prices = [{"cluster": "c", "pool": pool, "kind": "gpu-spot", "usdPerGpuHour": 1.5} for pool in pools]
    chance, met = random.Random(seed), {"item": 0, "order": 0, "document": 0, "refused": 0}
    with FakePrices(prices) as server:
        settings = PriceServerSettings(endpoint=endpoint(server.url, tries=1))
        for _ in range(count):
            made = mutated(json.dumps({"prices": prices}).encode(), chance)
            server.mangle = lambda _, reply, made=made: replace(reply, body=made.raw)
            met[made.what] += 1
            others = [pool for index, pool in enumerate(pools) if index != made.index]
            source, now = PriceServer(settings, clock), clock.now()
            try:
                found = [
                    source.fetch(Ask(f"c/{pool}", PriceKind.GPU_SPOT, Feed.MEASURED, now, now + HOUR), now)
                    .readings[0]
                    .value
                    for pool in others
                ]
            except SourceError as error:
                has_reason(error, made.what == "document", made.raw)
                met["refused"] += 1
            else:
                assert made.what == "document" or set(found) == {1.5}
    return met


BEGIN = datetime(2025, 12, 1, tzinfo=UTC)
HEADS = {
    "long trace": "datetime_utc,zone,gco2_per_kwh,signal",
    "portal trace": "Datetime (UTC),Zone id,Carbon intensity gCO2eq/kWh (Life cycle),Data estimated",
    "price file": "datetime_utc,cluster,pool,kind,usd_per_gpu_hour",
}


def row(name: str, hour: int) -> list[str]:
    at = f"{BEGIN + HOUR * hour:%Y-%m-%dT%H:%M:%SZ}"
    return {
        "long trace": [at, "DE", str(300 + hour), "average_lifecycle"],
        "portal trace": [at.replace("T", " ").removesuffix("Z"), "DE", str(300 + hour), "false"],
        "price file": [at, "c", "p", "gpu-spot", str(1 + hour)],
    }[name]


def check_file(name: str, folder: Path, count: int, seed: int) -> dict[str, int]:
    chance, met = random.Random(seed), {"item": 0, "document": 0, "refused": 0}
    rows = [row(name, hour) for hour in range(48)]
    path = folder / "file.csv"
    for _ in range(count):
        changed, index = [list(each) for each in rows], chance.randrange(len(rows))
        is_cell = chance.random() < 0.7
        if is_cell:
            changed[index][chance.randrange(len(rows[0]))] = str(chance.choice(SCALARS[:13] + SCALARS[15:])).replace(
                ",", ";"
            )
        else:
            changed[index] = chance.choice(([], ["x"], changed[index] * 2, changed[index][:-1]))
        raw = "\n".join([HEADS[name], *map(",".join, changed)]).encode("utf-8", "replace")
        if not is_cell and chance.random() < 0.5:
            raw = bytes(chance.randrange(256) if chance.random() < 0.01 else byte for byte in raw)
        path.write_bytes(raw)
        met["item" if is_cell else "document"] += 1
        try:
            kept = values_in(name, path)
        except TraceError as error:
            has_reason(error)
            met["refused"] += 1
            continue
        if is_cell:
            assert (
                sum(
                    kept.get(BEGIN + HOUR * hour) != float(rows[hour][-1 if name[0] == "p" and name[1] == "r" else 2])
                    for hour in range(48)
                )
                <= 1
            )
    return met


def values_in(name: str, path: Path) -> dict[datetime, float]:
    if name == "price file":
        return dict(PriceFile(path)._series.get(("c/p", "gpu-spot"), ()))
    found = read_trace(path).series.get(("DE", LIFECYCLE))
    return {start: value for start, (value, _) in found.values.items()} if found else {}


def check_settings(folder: Path, count: int, seed: int) -> dict[str, int]:
    chance, met = random.Random(seed), {"document": 0, "refused": 0}
    path = folder / "signals.yaml"
    good = {"sources": [{"type": "static", "gramsPerKwh": {"FR": 50, "DE": 400}}], "chain": ["static"]}
    for _ in range(count):
        body = json.loads(json.dumps(good))
        holder = chance.choice(
            [body, body["sources"], body["sources"][0], body["sources"][0]["gramsPerKwh"], body["chain"]]
        )
        key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        holder[key] = chance.choice([each for each in SCALARS if not isinstance(each, str) or each.isprintable()])
        path.write_text(yaml.safe_dump(body, allow_unicode=True), errors="replace")
        met["document"] += 1
        try:
            load_settings(path)
        except SettingsError as error:
            has_reason(error)
            met["refused"] += 1
    return met


def check(name: str, clock, endpoint, folder: Path, count: int, seed: int) -> dict[str, int]:
    """What was met, by kind of fault; raises where a fault cost more than its point."""
    if name in FILES:
        return check_file(name, folder, count, seed)
    if name == "price server":
        return check_price_server(clock, endpoint, count, seed)
    if name == "static settings":
        return check_settings(folder, count, seed)
    with ExitStack() as stack:
        server = stack.enter_context(READERS[name].make_server(clock.now))
        return check_source(name, Client(READERS[name], server, clock, endpoint, folder), count, seed)


def test_every_source_that_is_asked_over_a_network_is_tried_here():
    asked = set(get_args(get_args(SourceSettings)[0])) - READ_FROM_FILES
    untried = asked - {reader.settings for reader in READERS.values()}
    assert not untried, "give each a line in READERS, with the server of tests/fixtures that plays it"


@pytest.mark.parametrize("name", ALL)
def test_a_fault_costs_its_own_point_or_is_refused_with_a_reason(name, clock, endpoint, tmp_path):
    met = check(name, clock, endpoint, tmp_path, SAMPLE, seed=1)
    assert sum(count for what, count in met.items() if what != "refused") >= 0.9 * SAMPLE


@pytest.mark.soak
@pytest.mark.parametrize("name", ALL)
def test_two_hundred_thousand_faults_cost_their_own_points_or_are_refused(name, clock, endpoint, tmp_path):
    print(f"{name}: {check(name, clock, endpoint, tmp_path, -(-TOTAL // len(ALL)), seed=2)}")
