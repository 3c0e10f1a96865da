"""What the tests of signals share: a clock moved by hand, and signals over fake providers."""

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from carbon_servers import TOKEN, FakeElectricityMaps, HandClock

from carbonfleet.api.signal import SignalKind
from carbonfleet.http import Endpoint, Key
from carbonfleet.signals import ElectricityMapsSettings, SignalReading, Signals, SignalSettings
from carbonfleet.signals.sources.electricitymaps import ElectricityMaps

LIFECYCLE = SignalKind.AVERAGE_LIFECYCLE
ZONES = ("NO-NO1", "CA-QC", "US-MIDA-PJM")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def maps(clock: HandClock) -> Iterator[FakeElectricityMaps]:
    with FakeElectricityMaps(ZONES, clock.now) as server:
        yield server


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def endpoint() -> Callable[[str], Endpoint]:
    """Pauses short enough for a test."""

    def build(url: str, **changes: object) -> Endpoint:
        usual = {"connect_seconds": 2, "read_seconds": 60, "retry_seconds": 0.01, "requests_per_minute": 6000}
        return Endpoint(url=url, **(usual | changes))

    return build


@pytest.fixture
def electricitymaps(maps, clock, token_file, endpoint) -> Callable[..., ElectricityMaps]:
    def build(version: str = "v3", url: str = "", **changes: object) -> ElectricityMaps:
        limits = {key: changes.pop(key) for key in list(changes) if key in Endpoint.model_fields}
        settings = ElectricityMapsSettings(
            version=version, endpoint=endpoint(url or maps.url, **limits), token=Key(file=token_file), **changes
        )
        return ElectricityMaps(settings, clock)

    return build


@pytest.fixture
def make_signals(clock) -> Iterator[Callable[..., Signals]]:
    """Makes services that are closed after the test."""
    opened: list[Signals] = []

    def build(*sources, store=None, **settings) -> Signals:
        opened.append(Signals(sources, clock, store, SignalSettings(**({"patience_seconds": 60} | settings))))
        return opened[-1]

    yield build
    for signals in opened:
        signals.close()


@pytest.fixture
def read(clock) -> Callable[..., SignalReading]:
    """One cycle's question to the service."""

    def ask(signals: Signals, *zones: str, hours: int = 24, kind: SignalKind = LIFECYCLE) -> SignalReading:
        now = clock.now()
        return signals.forecasts([(zone, kind) for zone in zones or ZONES], now, now + timedelta(hours=hours))

    return ask
