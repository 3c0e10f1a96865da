"""EIA, ENTSO-E, Energy-Charts and Energinet: mixes that become intensities, each with its provider's quirks."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from carbon_servers import Fault
from fake_generation import (
    FUELS,
    KEY,
    QUARTER,
    FakeEia,
    FakeEnergyCharts,
    FakeEntsoe,
    FakeGenerationServer,
    FakeHydroQuebec,
    made,
)

from carbonfleet.api.signal import SignalKind
from carbonfleet.http import Key
from carbonfleet.signals import Reason
from carbonfleet.signals.source import (
    Ask,
    BadKeyError,
    Feed,
    MistrustedError,
    NoDataError,
    RefusedError,
    SourceError,
    UnavailableError,
    UnknownZoneError,
)
from carbonfleet.signals.sources import build_source
from carbonfleet.signals.sources.generation import (
    Eia930Settings,
    EnergyChartsSettings,
    EntsoeSettings,
    HydroQuebecSettings,
)
from carbonfleet.signals.sources.generation.mix import LIFECYCLE_GRAMS_PER_KWH, Fuel

LIFECYCLE, DIRECT = SignalKind.AVERAGE_LIFECYCLE, SignalKind.AVERAGE_DIRECT
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Provider:
    fake: type[FakeGenerationServer]
    settings: Callable[..., object]
    zone: str
    key: str
    """The name of the setting; empty where no key is needed."""


PROVIDERS = {
    "eia": Provider(FakeEia, Eia930Settings, "US-MIDA-PJM", "key"),
    "entsoe": Provider(FakeEntsoe, EntsoeSettings, "FR", "token"),
    "energy-charts": Provider(FakeEnergyCharts, EnergyChartsSettings, "FR", ""),
}
KEYED = [name for name, provider in PROVIDERS.items() if provider.key]


@dataclass
class Stand:
    """A provider's server, and our source before it."""

    server: FakeGenerationServer
    source: object
    zone: str
    clock: object

    def ask(self, hours: float = 24, kind=LIFECYCLE, feed=Feed.MEASURED, zone: str = "") -> Ask:
        now = self.clock.now()
        return Ask(zone or self.zone, kind, feed, now - timedelta(hours=hours), now)

    def fetch(self, hours: float = 24, **changes):
        return self.source.fetch(self.ask(hours, **changes), self.clock.now())


@pytest.fixture
def stands(clock, endpoint, tmp_path):
    opened = []

    def build(name: str, key: str = KEY, **changes) -> Stand:
        provider = PROVIDERS[name]
        server = provider.fake(clock.now)
        opened.append(server)
        (tmp_path / "key").write_text(key + "\n")
        keys = {provider.key: Key(file=tmp_path / "key")} if provider.key else {}
        source = build_source(provider.settings(endpoint=endpoint(server.url), **keys, **changes), clock)
        return Stand(server, source, provider.zone, clock)

    yield build
    for server in opened:
        server.stop()


@pytest.fixture(params=PROVIDERS)
def stand(request, stands) -> Stand:
    return stands(request.param)


def expected(slot, fuels=FUELS) -> float:
    amounts = {fuel: max(0.0, made(fuel, slot)) for fuel in fuels}
    return sum(LIFECYCLE_GRAMS_PER_KWH[fuel] * each for fuel, each in amounts.items()) / sum(amounts.values())


def test_every_slot_has_the_intensity_of_its_own_mix(stand):
    """Storage, load and trade count for nothing; hours and quarters stand at their begins."""
    batch = stand.fetch(hours=48)
    readings = batch.readings
    assert batch.rejected == ()
    assert len(readings) == (48 - 2) * (HOUR // stand.server.step)
    for reading in readings:
        assert reading.value == pytest.approx(expected(reading.start), rel=1e-9)
        assert (reading.zone, reading.kind, reading.step) == (stand.zone, LIFECYCLE, stand.server.step)


def test_direct_emissions_are_another_series(stand):
    (lifecycle, direct) = (stand.fetch(kind=kind).readings[-1] for kind in (LIFECYCLE, DIRECT))
    assert direct.value < lifecycle.value
    assert direct.kind is DIRECT


def test_hours_whose_coal_is_still_to_come_are_unknown_rather_than_clean(stand):
    stand.server.late[Fuel.COAL] = timedelta(hours=5)
    batch = stand.fetch()
    assert batch.readings[-1].end == stand.clock.now() - timedelta(hours=7)
    assert {rejection.reason for rejection in batch.rejected} == {Reason.NULL}


def test_a_fuel_that_is_days_late_is_missed_though_the_asked_day_never_shows_it(stand):
    stand.server.late[Fuel.COAL] = timedelta(days=3)
    with pytest.raises(NoDataError, match="Null"):
        stand.fetch(hours=26)


def test_a_month_comes_whole(stand):
    hours = 28 * 24
    assert len(stand.fetch(hours=hours).readings) == (hours - 2) * (HOUR // stand.server.step)


def test_averages_are_offered_and_neither_margins_nor_forecasts(stand):
    offers = stand.source.offers
    assert offers(stand.zone, LIFECYCLE, Feed.MEASURED)
    assert offers(stand.zone, DIRECT, Feed.PAST)
    assert not offers(stand.zone, SignalKind.MARGINAL, Feed.MEASURED)
    assert not offers(stand.zone, LIFECYCLE, Feed.FORECAST)
    assert not offers(stand.zone, LIFECYCLE, Feed.STATIC)
    assert not offers("IN-MH", LIFECYCLE, Feed.MEASURED)
    with pytest.raises(UnknownZoneError):
        stand.source.fetch(stand.ask(zone="IN-MH"), stand.clock.now())


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.HANG, Fault.DRIP)])
def test_however_it_fails_it_is_an_error_of_ours(stand, fault):
    stand.server.fault = fault
    with pytest.raises(SourceError):
        stand.fetch()
    findings = stand.source.check([stand.zone], stand.clock.now())
    assert [finding.ok for finding in findings] == [False]


def test_a_check_shows_the_newest_value_of_its_own_zones_and_that_imports_are_left_out(stand):
    (ready,) = stand.source.check([stand.zone, "ZA"], stand.clock.now())
    assert (ready.ok, ready.zone) == (True, stand.zone)
    assert f"average-lifecycle, measured: {ready.grams_per_kwh:.0f} g/kWh, " in ready.message
    assert 0 < ready.age_seconds <= 3 * 3600
    assert "without imports" in ready.message


def test_values_of_the_last_days_are_still_to_settle(stand):
    readings = stand.fetch(hours=72).readings
    assert {reading.settled for reading in readings} == {True, False}
    assert not readings[-1].settled


@pytest.mark.parametrize("name", KEYED)
def test_without_a_key_the_error_says_where_to_get_one_free(stands, name):
    with pytest.raises(BadKeyError, match=r"no .* is set: .* free .*https://"):
        stands(name, key="").fetch()


WAYS = ["refused", "error in 200", "cut off", "nobody there", "moved"]


@pytest.mark.parametrize("name", KEYED)
@pytest.mark.parametrize("way", WAYS)
def test_a_key_in_the_query_stands_in_no_message_and_no_log(stands, name, way, caplog):
    caplog.set_level(logging.DEBUG)
    key = "wrong-MARKER/9+secret" if way == "refused" else KEY
    stand = stands(name, key=key)
    if way == "error in 200":
        stand.server.error_in_200 = True
        stand.server.places = []
    if way == "cut off":
        stand.server.fault = Fault.TRUNCATED
    if way == "nobody there":
        stand.server.stop()
    if way == "moved":
        stand.server.fault = Fault.REDIRECT
    with pytest.raises(SourceError) as caught:
        stand.fetch()
    chain, error = [], caught.value
    while error is not None:
        chain.append(f"{error} {error!r} {vars(error)}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    findings = str(stand.source.check([stand.zone], stand.clock.now()))
    for text in (*chain, findings, caplog.text, repr(stand.source)):
        assert "marker" not in text.lower()


@pytest.mark.parametrize("name", KEYED)
def test_a_wrong_key_is_a_bad_key(stands, name):
    with pytest.raises(BadKeyError, match="refuses the"):
        stands(name, key="wrong").fetch()


# EIA-930


def test_eia_is_read_page_by_page(stands):
    stand = stands("eia")
    stand.fetch(hours=60 * 24)
    assert [seen.query["offset"] for seen in stand.server.asked()] == ["0", "5000", "10000"]


def test_eia_that_never_ends_is_given_up(stands):
    stand = stands("eia")
    stand.server.extra = [{"respondent": "PJM", "fueltype": "COL", "period": "x", "value": 1}] * 120_000
    with pytest.raises(MistrustedError, match="no end of rows"):
        stand.fetch()


def test_eia_gives_values_as_text_and_as_numbers(stands):
    stand = stands("eia")
    as_text = stand.fetch()
    stand.server.as_text = False
    assert stand.fetch().readings == as_text.readings


def test_eia_rows_of_another_respondent_repeated_or_absurd_change_nothing(stands):
    stand = stands("eia")
    usual = stand.fetch().readings
    row = {
        "respondent": "PJM",
        "fueltype": "COL",
        "period": "2025-12-15T05",
        "value": "99999",
        "value-units": "megawatthours",
    }
    stand.server.extra = [
        row,
        row | {"respondent": "MISO"},
        row | {"period": "2025-12-15T99"},
        row | {"period": None},
        row | {"value": None, "fueltype": "NG"},
        row | {"value": "1e400", "fueltype": "SUN"},
        row | {"value": [3], "fueltype": "WAT"},
    ]
    assert stand.fetch().readings == usual


def test_eia_in_another_unit_is_not_believed(stands):
    stand = stands("eia")
    stand.server.units = "thousand megawatthours"
    with pytest.raises(MistrustedError, match="thousand megawatthours"):
        stand.fetch()


def test_eia_that_knows_no_such_authority_has_no_data(stands):
    stand = stands("eia", respondents={"US-NE-ISNE": "ISNEX"})
    with pytest.raises(NoDataError, match="ISNEX"):
        stand.fetch(zone="US-NE-ISNE")


def test_an_error_of_eia_in_http_200_is_one(stands):
    stand = stands("eia")
    stand.server.error_in_200 = True
    with pytest.raises(UnavailableError, match="no data for"):
        stand.fetch()


# ENTSO-E


@pytest.mark.parametrize("status", [200, 400])
def test_entsoe_without_matching_data_has_none_whatever_the_status(stands, status):
    stand = stands("entsoe")
    stand.server.places, stand.server.no_data_status = [], status
    with pytest.raises(NoDataError, match="No matching data found"):
        stand.fetch()


def test_entsoe_that_refuses_the_question_is_quoted(stands):
    stand = stands("entsoe")
    stand.server.reply = lambda seen: type(stand.server).reply(
        stand.server, type(seen)(**(vars(seen) | {"query": {**seen.query, "processType": "A01"}}))
    )
    with pytest.raises(RefusedError, match="process type is not valid"):
        stand.fetch()


ENTITIES = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
FILES = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("prefix", [ENTITIES, FILES, "<!DOCTYPE html>", "junk", "<a/>"])
def test_entsoe_documents_that_declare_entities_or_are_none_are_not_read(stands, prefix):
    stand = stands("entsoe")
    stand.server.prefix = prefix
    with pytest.raises(UnavailableError, match="HTTP 200 without a document that can be read"):
        stand.fetch()


def test_entsoe_of_countless_elements_is_not_read(stands):
    stand = stands("entsoe")
    stand.server.prefix = "<a>" + "<b/>" * 1_000_001 + "</a>"
    with pytest.raises(UnavailableError, match="HTTP 200 without a document that can be read"):
        stand.fetch()


def test_entsoe_in_another_unit_is_not_believed(stands):
    stand = stands("entsoe")
    stand.server.unit = "MWH"
    with pytest.raises(MistrustedError, match="answered MWH"):
        stand.fetch()


def test_entsoe_in_a_newer_version_of_its_document_is_read(stands):
    stand = stands("entsoe")
    usual = stand.fetch().readings
    stand.server.namespace = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:9:9"
    assert stand.fetch().readings == usual


def test_entsoe_points_that_are_no_number_are_gaps_and_repeat_nothing(stands):
    stand = stands("entsoe")
    whole = stand.server.reply

    def spoilt(seen):
        reply = whole(seen)
        return type(reply)(200, reply.body.replace(b"<quantity>4250.0<", b"<quantity>n/a<"), reply.headers)

    usual = {reading.start: reading.value for reading in stand.fetch().readings}
    stand.server.reply = spoilt
    left = {reading.start: reading.value for reading in stand.fetch().readings}
    assert set(usual) - set(left) == {slot for slot in usual if made(Fuel.GAS, slot) == 4250.0}
    assert left.items() <= usual.items()


def test_an_entsoe_point_without_a_position_costs_what_may_stand_there(stands):
    """Gas changes each quarter: the point before the lost one and the one after it are sure."""
    stand = stands("entsoe")
    usual = {reading.start: reading.value for reading in stand.fetch().readings}
    lost = next(slot for slot in usual if slot.hour == 20)
    position = (lost - (stand.clock.now() - timedelta(days=7))) // QUARTER + 1
    point, whole = f"<position>{position}</position><quantity>{made(Fuel.GAS, lost)}".encode(), stand.server.reply
    odd = f"<position>?</position><quantity>{made(Fuel.GAS, lost)}".encode()

    def spoilt(seen):
        reply = whole(seen)
        assert point in reply.body
        return type(reply)(200, reply.body.replace(point, odd), reply.headers)

    stand.server.reply = spoilt
    left = {reading.start: reading.value for reading in stand.fetch().readings}
    assert set(usual) - set(left) == {lost}
    assert left.items() <= usual.items()


def test_entsoe_asks_for_whole_hours(stands, clock):
    clock.forward(minutes=17)
    stand = stands("entsoe")
    assert stand.fetch().readings
    assert {seen.query["periodEnd"][-2:] for seen in stand.server.asked()} == {"00"}


# Energy-Charts


def test_energycharts_names_to_come_count_as_unnamed_fuels_unless_they_are_none(stands):
    stand = stands("energy-charts")
    usual = stand.fetch().readings
    slots = 7 * 96 + 1
    stand.server.extra = [{"name": "Storage import balance", "data": [9000.0] * slots}]
    assert stand.fetch().readings == usual
    stand.server.extra = [{"name": "Fusion", "data": [1000.0] * slots}]
    assert stand.fetch().readings[-1].value != usual[-1].value


@pytest.mark.parametrize("data", [[], [1.0], "abc", {}])
def test_energycharts_series_that_fit_no_times_are_not_believed(stands, data):
    stand = stands("energy-charts")
    stand.server.extra = [{"name": "Biomass", "data": data}]
    with pytest.raises(MistrustedError):
        stand.fetch()


def test_a_part_of_a_fuel_that_is_still_to_come_leaves_the_slot_unknown(stands):
    """Coal is two series: that the small one is there does not make up for the other."""
    stand = stands("energy-charts")
    slots = 7 * 96 + 1
    stand.server.extra = [{"name": "Fossil coal-derived gas", "data": [50.0] * slots}]
    stand.server.late[Fuel.COAL] = 5 * HOUR
    assert stand.fetch().readings[-1].start <= stand.clock.now() - 7 * HOUR


def test_a_part_of_a_country_is_served_only_where_a_person_says_so(stands):
    assert not stands("energy-charts").source.offers("NO-NO1", LIFECYCLE, Feed.MEASURED)
    stand = stands("energy-charts", countries={"NO-NO1": "fr"})
    assert stand.fetch(zone="NO-NO1").readings[-1].zone == "NO-NO1"


def test_energycharts_allows_four_requests_at_once_and_two_a_minute():
    endpoint = EnergyChartsSettings().endpoint
    assert (endpoint.requests_per_minute, endpoint.burst) == (2, 4)


def test_quarters_reach_the_planner_as_whole_hours(stands, make_signals, read):
    signals = make_signals(stands("energy-charts").source)
    forecast = read(signals, "FR").forecasts["FR", LIFECYCLE]
    assert forecast.link == "profile"
    readings = signals.intensities("FR", LIFECYCLE, *(stands("eia").ask().start, stands("eia").ask().end))
    assert {reading.step for reading in readings} == {QUARTER}


# Hydro-Québec


def test_quebecs_hours_to_come_are_no_output_of_zero(clock, endpoint):
    with FakeHydroQuebec(clock.now) as server:
        source = build_source(HydroQuebecSettings(endpoint=endpoint(server.url)), clock)
        stand = Stand(server, source, "CA-QC", clock)
        readings = stand.fetch(hours=26).readings
        assert {round(reading.value, 6) for reading in readings} == {round((20 * 24 + 2 * 11) / 22, 6)}
        assert readings[-1].start == clock.now() - HOUR
        asked = len(server.asked())
        with pytest.raises(NoDataError, match="the last two days"):
            source.fetch(
                Ask("CA-QC", LIFECYCLE, Feed.PAST, clock.now() - 200 * HOUR, clock.now() - 100 * HOUR), clock.now()
            )
        assert len(server.asked()) == asked
