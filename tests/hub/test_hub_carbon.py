"""A zone's carbon figures, as KEDA and others ask the hub for them: with a token, cached, and never a guess."""

import json
import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import requests
from pydantic import ValidationError

from carbonfleet.api.signal import SignalKind
from carbonfleet.forecast import Forecast, History
from carbonfleet.hub.listeners import ZoneFigures, serve_carbon
from carbonfleet.hub.listeners.carbon import FRESH_SECONDS, STRANGERS_AT_ONCE
from carbonfleet.hub.settings import HubSettings
from carbonfleet.signals import Signals, TraceSource, ZoneCarbon, zone_carbon
from fixtures.hand_clock import HandClock

KIND = SignalKind.AVERAGE_LIFECYCLE
TOKEN, NEXT = "0123456789abcdef-present", "0123456789abcdef-next"
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def swing(hour: datetime) -> float:
    """Cleanest at noon, dirtiest at midnight."""
    return 300 + 200 * math.cos(2 * math.pi * hour.hour / 24)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The server, its token file, and the statuses that it answered."""
    file = tmp_path_factory.mktemp("carbon") / "token"
    file.write_text(f"{NEXT}\n{TOKEN}\n")
    clock, statuses = HandClock(hands=[MIDNIGHT]), Counter()
    signals = Signals([TraceSource("grid", [("DE", KIND)], lambda _zone, _kind, hour: swing(hour))], clock)
    figures = ZoneFigures(signals, lambda: {"DE", "FR", "XX-NONE"}, clock.now, timedelta(hours=96))
    server = serve_carbon("127.0.0.1:0", file, figures, lambda status: statuses.update([status]))
    yield server, file, statuses
    server.close()
    signals.close()


@pytest.fixture
def ask(served):
    server, _, _ = served

    def ask(path="/carbon/v1/zones/DE", token=TOKEN, method="GET", **headers):
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"http://127.0.0.1:{server.server_address[1]}{path}"
        return requests.request(method, url, headers=sent | headers, timeout=60)

    return ask


def test_a_zone_is_told_with_its_next_day_its_percentile_and_a_cap(ask):
    answer = ask()
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    told = ZoneCarbon.model_validate(answer.json())
    assert (told.zone, told.signal, told.start, told.grams_per_kwh) == ("DE", KIND, MIDNIGHT, 500.0)
    assert (told.percentile, told.suggested_cap_percent, told.problem) == (pytest.approx(97.9, abs=0.2), 0, "")
    assert [hour.start for hour in told.forecast] == [MIDNIGHT + HOUR * ahead for ahead in range(24)]
    assert told.forecast[12].grams_per_kwh == 100.0


def test_who_has_the_answer_already_gets_it_no_second_time(ask):
    first = ask()
    assert first.headers["Cache-Control"] == f"private, max-age={FRESH_SECONDS}"
    again = ask(**{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    head = ask(method="HEAD")
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(first.content)))


def test_both_tokens_of_a_change_hold_and_a_changed_file_counts_at_once(ask, served):
    _, file, _ = served
    assert ask(token=NEXT).status_code == 200
    before = file.read_text()
    try:
        file.write_text(f"{NEXT}\n")
        assert ask(token=TOKEN).status_code == 401
        file.write_text("")
        assert ask(token=NEXT).status_code == 503
    finally:
        file.write_text(before)


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], f"{TOKEN}x", f"{TOKEN}, {NEXT}", "\xe9\xe8"])
def test_nobody_else_is_told_anything(ask, token):
    for path in ("/carbon/v1/zones/DE", "/", "/metrics"):
        answer = ask(path, token)
        assert (answer.status_code, "gramsPerKwh" in answer.text) == (401, False)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/carbon/v1/zones", "/carbon/v1/zones/", "/carbon/v1/zones/PL", "/carbon/v1/zones/../DE"),
        *("/carbon/v1/zones/de", "/carbon/v1/zones/DE?a=b", "/carbon/v1/zones/DE%00", "/carbon/v2/zones/DE"),
        "/carbon/v1/zones/" + "X" * 5000,
    ],
    ids=range(10),
)
def test_only_zones_of_the_fleet_are_there_and_no_text_of_the_caller_comes_back(ask, path):
    answer = ask(path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"problem"}
    assert "XXX" not in answer.text


def test_a_zone_that_nothing_is_known_of_is_no_clean_one(ask):
    answer = ask("/carbon/v1/zones/XX-NONE")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, str(FRESH_SECONDS))
    assert set(answer.json()) == {"problem"}
    annual = ask("/carbon/v1/zones/FR").json()
    assert (annual["link"], annual["suggestedCapPercent"], annual["percentile"]) == ("annual", None, None)
    assert annual["problem"]


def test_whoever_guesses_is_held_back_and_keeps_no_caller_out(ask, served):
    _, _, statuses = served
    statuses.clear()
    for _ in range(int(STRANGERS_AT_ONCE) + 20):
        ask(token="guess")
    assert statuses[401] <= STRANGERS_AT_ONCE + 5
    assert statuses[429] >= 15
    assert ask().status_code == 200


def test_a_fleet_that_cannot_be_read_is_said_and_ends_nothing(tmp_path):
    def fails():
        raise OSError("the remote https://user:secret@git.example is away")

    figures = ZoneFigures(Signals([], HandClock(hands=[MIDNIGHT])), fails, lambda: MIDNIGHT, timedelta(hours=96))
    answer = figures.of("DE")
    assert answer.status == 503
    assert b"secret" not in answer.body


@pytest.mark.parametrize(("text", "says"), [("", "holds no token"), ("guess-me\n", "shorter than 16")])
def test_without_a_fit_token_nobody_listens(tmp_path, text, says):
    (tmp_path / "token").write_text(text)
    with pytest.raises(ValueError, match=says) as error:
        serve_carbon("127.0.0.1:0", tmp_path / "token", None)
    assert "guess-me" not in str(error.value)


def test_the_address_and_the_token_belong_together(tmp_path):
    with pytest.raises(ValueError, match="host:port"):
        serve_carbon("127.0.0.1", tmp_path / "token", None)
    with pytest.raises(ValidationError, match="--carbon-token-file"):
        HubSettings(fleet_url="https://git.example/fleet.git", carbon_address="0.0.0.0:8082")


def figures_of(now_grams: float, past: list[float], link: str = "forecast") -> ZoneCarbon:
    values = np.full(30, float(now_grams))
    forecast = Forecast("DE", KIND, MIDNIGHT, HOUR, values, np.zeros(30), "made", link, MIDNIGHT)
    return zone_carbon(forecast, History("DE", KIND, tuple(past)), MIDNIGHT)


@pytest.mark.parametrize(
    ("grams", "percentile", "cap"), [(0, 0, 100), (100, 50, 100), (145, 72.5, 50), (190, 95, 0), (500, 100, 0)]
)
def test_the_cap_falls_from_the_median_to_the_dirtiest_twentieth(grams, percentile, cap):
    told = figures_of(grams, [hour + 0.5 for hour in range(200)])
    assert (told.percentile, told.suggested_cap_percent) == (percentile, cap)


def test_a_grid_that_hardly_changes_is_never_capped():
    assert figures_of(105, [100 + hour % 5 for hour in range(200)]).suggested_cap_percent == 100


@pytest.mark.parametrize(
    ("past", "link", "says"), [([1.0] * 100, "forecast", "100 measured hours"), ([1.0] * 200, "annual", "annual mean")]
)
def test_too_little_known_gives_no_cap_and_says_why(past, link, says):
    told = figures_of(100, past, link)
    assert (told.percentile, told.suggested_cap_percent) == (None, None)
    assert says in told.problem
    assert json.loads(json.dumps(told.model_dump(mode="json", by_alias=True)))["suggestedCapPercent"] is None
