"""Settings, the region table, and the commands."""

import csv
import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import get_args

import pytest
from carbon_servers import Fault
from pydantic import TypeAdapter
from pydantic.alias_generators import to_camel
from typer.testing import CliRunner

import carbonfleet.signals
from carbonfleet.api import ClusterFacts
from carbonfleet.api.signal import SignalKind
from carbonfleet.api.wire import ZoneKey
from carbonfleet.cli.fleet.signals import app
from carbonfleet.http import Endpoint
from carbonfleet.signals import (
    SettingsError,
    SignalSettings,
    load_settings,
    open_signals,
    open_signals_file,
    zone_doubt,
    zone_of,
)
from carbonfleet.signals.regions import (
    annual_factors,
    cities,
    city_named,
    nearest_city,
    regions,
    watttime_regions,
)
from carbonfleet.signals.sources import SourceSettings

FULL = """
sources:
  - type: electricitymaps
    version: v4
    endpoint: {{url: {url}, requestsPerMinute: 6000, retrySeconds: 0.01}}
    token: {{file: {token}}}
    locations: {{DE: "gcp:europe-west3"}}
  - type: watttime
    regions: {{US-MIDA-PJM: PJM_SOUTHWEST_OH}}
  - type: uk-carbon-intensity
    endpoint: {{url: "http://127.0.0.1:9/"}}
  - type: carbon-aware-sdk
    endpoint: {{url: "http://127.0.0.1:9/"}}
    kind: marginal
    locations: {{SE: swedencentral}}
  - {{type: energy-charts, endpoint: {{url: "http://127.0.0.1:9/"}}}}
  - {{type: energinet, endpoint: {{url: "http://127.0.0.1:9/"}}}}
  - {{type: eia-930, endpoint: {{url: "http://127.0.0.1:9/"}}}}
  - {{type: entsoe, endpoint: {{url: "http://127.0.0.1:9/"}}}}
  - {{type: hydro-quebec, endpoint: {{url: "http://127.0.0.1:9/"}}}}
  - {{type: trace, path: {trace}}}
  - {{type: demo}}
  - type: static
    gramsPerKwh: {{NO-NO1: 30, CA-QC: 35}}
    annualAverages: true
prices:
  - {{type: price-server, endpoint: {{url: "http://127.0.0.1:9/"}}}}
chain: [forecast, profile, static]
limits: {{cached: 12h}}
refresh: 10m
store: "sqlite:///{store}"
"""


def test_the_settings_that_the_page_shows_are_accepted(tmp_path):
    page = (Path(carbonfleet.signals.__file__).parent / "README.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "signals.yaml").write_text(example)
    settings = load_settings(tmp_path / "signals.yaml")
    shown = {source.type for source in settings.sources}
    known = {form.model_fields["type"].default for form in get_args(get_args(SourceSettings)[0])}
    assert shown == known - {"trace", "demo"}, "the example in signals/README.md shows each source"
    assert settings.limits == SignalSettings().limits
    for field in Endpoint.model_fields:
        assert f"`{to_camel(field)}`" in page


@pytest.fixture
def settings_file(tmp_path, maps, token_file):
    trace = tmp_path / "trace.csv"
    trace.write_text("datetime_utc,zone,gco2_per_kwh,signal\n2025-12-15T12:00:00Z,FR,50,average_lifecycle\n")
    path = tmp_path / "signals.yaml"
    path.write_text(FULL.format(url=maps.url, token=token_file, trace=trace, store=tmp_path / "signals.db"))
    return path


def test_every_kind_of_source_can_be_declared(settings_file, clock):
    signals = open_signals_file(settings_file, clock)
    findings = signals.check(["NO-NO1", "FR", "US-MIDA-PJM", "CA-QC"])
    signals.close()
    assert {finding.source for finding in findings} >= {
        "electricitymaps/v4",
        "watttime/v3",
        "energy-charts",
        "eia-930",
        "entsoe",
        "hydro-quebec",
        "trace",
        "static",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sources: []", "sources"),
        ("sources: [{type: oracle}]", "oracle"),
        ("refresh: 1s", "between 10s and 1h"),
        ("chain: [luck]", "chain.0"),
        ("token: abc", "token"),
        ("sources: [{type: static, gramsPerKwh: {no: 3}}]", "gramsPerKwh"),
        ("sources: [{type: electricitymaps, endpoint: {url: 'https://user:pw@host'}}]", "url"),
        ("a: [", r"signals\.yaml:2: not YAML"),
    ],
)
def test_a_mistake_in_the_settings_is_named(tmp_path, text, words):
    path = tmp_path / "signals.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words):
        load_settings(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"absent\.yaml can't be read"):
        load_settings(tmp_path / "absent.yaml")


def test_no_secret_is_in_the_settings_words(settings_file):
    assert "em-secret-token" not in repr(load_settings(settings_file))


def test_the_demo_needs_no_settings_beyond_its_name(clock, read):
    signals = open_signals(SignalSettings(sources=[{"type": "demo"}]), clock)
    reading = read(signals)
    signals.close()
    assert {forecast.source for forecast in reading.forecasts.values()} == {"demo-trace"}


@pytest.mark.parametrize(
    ("region", "zone"),
    [("us-east-2", "US-MIDA-PJM"), ("ca-central-1", "CA-QC"), ("europe-west3", "DE"), ("norwayeast", None)],
)
def test_a_regions_zone_is_the_tables(region, zone):
    assert zone_of(region) == zone


def test_the_table_is_whole_and_sane():
    assert len(regions()) == 94
    assert watttime_regions()["CA-QC"] == "HQ"
    lifecycle, marginal = annual_factors(SignalKind.AVERAGE_LIFECYCLE), annual_factors(SignalKind.MARGINAL)
    assert lifecycle["CA-QC"] == (28.5, "annual mean 2021, Electricity Maps")
    assert lifecycle["SE"][1].endswith("GSF"), "a zone that the means leave out has the region table's"
    assert len(lifecycle) == 129
    assert lifecycle["NO-NO1"][0] < lifecycle["US-MIDA-PJM"][0] / 10
    assert marginal["CA-QC"][0] > 400, "a hydro exporter is dirty at the margin: kinds must not mix"
    assert not annual_factors(SignalKind.AVERAGE_DIRECT)


@pytest.mark.skipif("CARBONFLEET_DATA_DIR" not in os.environ, reason="CARBONFLEET_DATA_DIR is not set")
def test_the_table_has_the_newest_year_of_each_figure_of_its_source():
    columns = {"zone": "em-zone-id", "pue": "power-usage-effectiveness"}
    newest: dict[str, dict[str, str]] = {}
    with (Path(os.environ["CARBONFLEET_DATA_DIR"]) / "Cloud_Region_Metadata.csv").open(encoding="utf-8-sig") as lines:
        for row in sorted(csv.DictReader(lines), key=lambda row: row["year"]):
            known = {name: row[column] for name, column in columns.items() if row[column]}
            newest.setdefault(row["cloud-region"], {}).update(known)
    placed = {region: figures for region, figures in newest.items() if "zone" in figures}
    assert regions().keys() == placed.keys(), "regions whose zone the source does not say are left out"
    for name, figures in placed.items():
        pue = float(figures["pue"]) if "pue" in figures else None
        assert (regions()[name].zone, regions()[name].pue) == (figures["zone"], pue)


def test_every_city_lies_where_it_is_nearest_to_itself_in_a_zone_that_is_a_key():
    for place in cities():
        assert nearest_city(place.latitude, place.longitude) == (place, 0.0)
        assert city_named(place.name) == place
        assert TypeAdapter(ZoneKey).validate_python(place.zone) == place.zone


def test_distances_are_great_circles():
    oslo, sydney = city_named("Oslo"), city_named("Sydney")
    assert oslo.kilometres(59.33, 18.07) == pytest.approx(417, abs=3)
    assert sydney.kilometres(59.91, 10.75) == pytest.approx(15_960, rel=0.01)
    assert nearest_city(0.0, -179.9)[1] == pytest.approx(nearest_city(0.0, 180.0)[1], rel=0.01)


def test_a_spokes_own_zone_stands_over_the_table_and_is_pointed_out():
    pool = {"name": "a", "gpuType": "A100", "gpus": 1, "memoryGib": 80}
    spoke = {"name": "ohio", "region": "us-east-2", "jurisdictions": ["US"], "pools": [pool]}
    assert not zone_doubt(ClusterFacts.model_validate({**spoke, "zone": "US-MIDA-PJM"}))
    doubt = zone_doubt(ClusterFacts.model_validate({**spoke, "zone": "US-NY-NYIS"}))
    assert doubt == "ohio declares zone US-NY-NYIS; region us-east-2 usually draws from US-MIDA-PJM"


def run(*arguments, settings=None):
    chosen = ["--settings", str(settings)] if settings else []
    return CliRunner().invoke(app, [*arguments, *chosen], env={"CARBONFLEET_CLOCK": ""})


def only(settings_file, *kinds):
    """The settings with these sources alone."""
    import yaml

    data = yaml.safe_load(settings_file.read_text())
    data["sources"] = [source for source in data["sources"] if source["type"] in kinds]
    settings_file.write_text(yaml.safe_dump(data))
    return settings_file


def test_signals_shows_each_zone_with_its_source(settings_file):
    done = run("--zone", "NO-NO1", "--zone", "CA-QC", settings=only(settings_file, "demo"))
    assert done.exit_code == 0, done.output
    assert "NO-NO1" in done.output
    assert "demo-tra" in done.output


def test_signals_as_json_holds_what_the_table_shows(settings_file):
    done = run("--zone", "CA-QC", "--json", settings=only(settings_file, "demo"))
    (view,) = json.loads(done.output)
    assert (view["zone"], view["link"], view["source"]) == ("CA-QC", "forecast", "demo-trace")
    assert 40 <= view["grams_per_kwh"] <= 63


def test_signals_names_what_it_lacks_and_fails(settings_file):
    done = run("--zone", "XX", settings=only(settings_file, "demo"))
    assert done.exit_code == 1
    assert "no usable average-lifecycle data of XX: no source offers it" in done.output


def test_what_ails_several_zones_is_said_once(settings_file, maps):
    maps.fault = Fault.UNAUTHORIZED
    done = run("--zone", "NO-NO1", "--zone", "CA-QC", settings=only(settings_file, "electricitymaps"))
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert line.startswith("CA-QC, NO-NO1: no usable average-lifecycle data of the zone: ")
    assert line.count("refuses the token") == 1
    assert "no forecast" not in line


def test_check_names_a_bad_key_and_fails(settings_file, maps):
    maps.fault = Fault.UNAUTHORIZED
    done = run("check", "--zone", "NO-NO1", settings=only(settings_file, "electricitymaps"))
    assert done.exit_code == 1
    assert "FAIL electricitymaps/v4: BadKey: Electricity Maps refuses the token" in done.output
    assert "no source is ready for NO-NO1" in done.output


def test_check_passes_where_one_source_is_ready(settings_file, maps):
    maps.fault = Fault.ERROR
    done = run("check", "--zone", "NO-NO1", settings=only(settings_file, "electricitymaps", "demo"))
    assert done.exit_code == 0
    assert "ok   demo-trace NO-NO1: Ready" in done.output


def test_a_mistake_in_the_settings_is_one_line(tmp_path):
    (tmp_path / "s.yaml").write_text("sources: 3")
    done = run("--zone", "SE", settings=tmp_path / "s.yaml")
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
    assert len(done.output.splitlines()) == 1


def test_the_annual_means_travel_with_their_notice():
    notice = resources.files("carbonfleet.signals").joinpath("zone_means.LICENSE").read_text()
    assert notice.startswith("Carbon intensity data © Electricity Maps\n")
    assert "opendatacommons.org/licenses/odbl/1-0/" in notice
