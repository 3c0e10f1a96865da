"""GPU prices from an HTTP server: one list of all its pools, as JSON."""

import threading
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from carbonfleet.api.wire import Duration, Foreign, Wire
from carbonfleet.clock import Clock
from carbonfleet.http import Endpoint, Key
from carbonfleet.signals.reading import Kind, PriceKind, subject
from carbonfleet.signals.source import (
    Ask,
    BadKeyError,
    Batch,
    Feed,
    Finding,
    MistrustedError,
    NoDataError,
    SourceError,
    provider_client,
)
from carbonfleet.signals.validation import Frame, Point, parse_time, read_items, validate

_STEP: Final = timedelta(seconds=1)


class _Price(Foreign):
    cluster: object = None
    pool: object = None
    kind: object = None
    usd_per_gpu_hour: object = None
    valid_from: object = None

    @property
    def subject(self) -> str:
        """What it is the price of."""
        named = isinstance(self.cluster, str) and isinstance(self.pool, str)
        return subject(str(self.cluster), str(self.pool)) if named else ""


class PriceServerSettings(Wire):
    """A server that lists GPU prices."""

    type: Literal["price-server"] = "price-server"
    endpoint: Endpoint
    path: Annotated[str, Field(max_length=512)] = "prices"
    token: Key | None = None
    """Sent as a bearer token."""
    refresh: Duration = Field(default="5m", validate_default=True)


class PriceServer:
    """`{"prices": [{"cluster", "pool", "kind", "usdPerGpuHour", "validFrom"}]}`, read once per refresh."""

    name = "price-server"
    remote = True

    def __init__(self, settings: PriceServerSettings, clock: Clock) -> None:
        self._settings = settings
        self._client = provider_client(settings.endpoint, clock)
        self._list: tuple[_Price, ...] = ()
        self._read_at: datetime | None = None
        self._lock = threading.Lock()

    def offers(self, zone: str, kind: Kind, feed: Feed) -> bool:
        """Any pool may be on the list."""
        return feed is Feed.MEASURED and kind in {PriceKind.GPU_ON_DEMAND, PriceKind.GPU_SPOT}

    def fetch(self, ask: Ask, now: datetime) -> Batch:
        """The pool's price on the newest list. Raises SourceError."""
        found = [price for price in self._prices(now) if price.subject == ask.zone and price.kind == ask.kind.value]
        points = [_point(price, now) for price in found]
        readings, rejected = validate(points, Frame(ask, self.name, _STEP, now))
        if not readings:
            why = f"; the first: {rejected[0]}" if rejected else ""
            raise (MistrustedError if rejected else NoDataError)(f"{self.name} has no price of {ask.zone}{why}")
        return Batch(ask, self.name, now, now, readings[-1:], rejected)

    def check(self, zones: Collection[str], now: datetime) -> tuple[Finding, ...]:
        """Whether the list can be read, and names the pools."""
        try:
            listed = {price.subject for price in self._prices(now)}
        except SourceError as error:
            return (Finding(self.name, "", False, error.reason, error.message),)
        return tuple(Finding(self.name, pool, True, "Ready", "listed") for pool in sorted(listed & set(zones)))

    def _prices(self, now: datetime) -> tuple[_Price, ...]:
        with self._lock:
            if self._read_at is None or now - self._read_at >= self._settings.refresh:
                self._list, self._read_at = self._read(), now
            return self._list

    def _read(self) -> tuple[_Price, ...]:
        token = self._settings.token.read().get_secret_value() if self._settings.token else ""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = self._client.get(self._settings.path, {}, headers)
        if answer.status in {401, 403}:
            raise BadKeyError(f"the price server refuses us (HTTP {answer.status})")
        if answer.status != 200:
            raise NoDataError(f"the price server answered HTTP {answer.status}")
        found = answer.body.get("prices") if isinstance(answer.body, dict) else None
        if not isinstance(found, list):
            raise MistrustedError("the price server's list is not as documented")
        return tuple(read_items(found, _Price))


def _point(price: _Price, now: datetime) -> Point:
    """A price without a time holds from now; one from long ago is not current any more."""
    if price.valid_from is None:
        return Point(now.replace(microsecond=0).isoformat(), price.usd_per_gpu_hour)
    since = parse_time(price.valid_from)
    at = price.valid_from if since is None or since > now else now.replace(microsecond=0).isoformat()
    return Point(at, price.usd_per_gpu_hour)
