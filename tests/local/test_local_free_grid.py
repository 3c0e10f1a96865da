"""From nothing to a plan with grid data that cost nothing: the settings of `up --grid free`, against their servers."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from carbon_servers import FakeUkCarbon
from fake_generation import KEY, FakeEia, FakeEnergyCharts, FakeEntsoe, FakeHydroQuebec

from carbonfleet.cli import app
from carbonfleet.local.grid_settings import write_signals

ROOT = Path(__file__).parents[2]
KEYS = ("ELECTRICITY_MAPS_TOKEN", "EIA_API_KEY", "ENTSOE_TOKEN", "CARBONFLEET_SIGNALS", "CARBONFLEET_CLOCK")


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Path:
    """The file that `up` writes, pointed at servers on loopback and at nothing else."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    path = write_signals(tmp_path, "free")
    servers = {
        "uk-carbon-intensity": FakeUkCarbon(now),
        "energy-charts": FakeEnergyCharts(now),
        "eia-930": FakeEia(now),
        "entsoe": FakeEntsoe(now),
        "hydro-quebec": FakeHydroQuebec(now),
    }
    servers["energy-charts"].places = ["de", "fr", "no"]
    data = yaml.safe_load(path.read_text())
    for source in data["sources"]:
        server = servers.get(source["type"])
        source["endpoint"] = {"url": server.url if server else "http://127.0.0.1:9", "retrySeconds": 0}
    path.write_text(yaml.safe_dump(data | {"patienceSeconds": 60}))
    yield path
    for server in servers.values():
        server.stop()


def signals(settings: Path, *zones: str):
    chosen = [part for zone in zones for part in ("--zone", zone)]
    return CliRunner().invoke(app, ["signals", *chosen, "--settings", str(settings), "--json"])


def test_without_any_key_great_britain_and_europe_are_served_and_forecast(settings):
    done = signals(settings, "GB", "DE", "FR", "NO-NO1", "CA-QC")
    views = {view["zone"]: view for view in json.loads(done.stdout)}
    assert done.exit_code == 0
    assert {zone: (view["source"].partition(",")[0], view["link"]) for zone, view in views.items()} == {
        "GB": ("uk-carbon-intensity", "profile"),
        "DE": ("energy-charts", "profile"),
        "FR": ("energy-charts", "profile"),
        "NO-NO1": ("energy-charts", "profile"),
        "CA-QC": ("hydro-quebec", "profile"),
    }
    assert all(view["hours"] >= 24 and view["grams_per_kwh"] > 10 for view in views.values())


@pytest.mark.parametrize(
    ("zone", "variable", "where"),
    [
        ("US-MIDA-PJM", "EIA_API_KEY", "https://www.eia.gov/opendata/register.php"),
        ("SE-SE3", "ENTSOE_TOKEN", "https://transparency.entsoe.eu"),
    ],
)
def test_a_zone_that_wants_a_key_says_which_and_where_it_is_free(settings, zone, variable, where):
    (view,) = json.loads(signals(settings, zone).stdout)
    said = " ".join((view["problem"], *view["troubles"]))
    assert variable in said
    assert where in said
    assert view["link"] in ("", "annual"), "nothing but a mean of the year is known"


def test_with_the_free_key_the_united_states_are_served_too(settings, monkeypatch):
    monkeypatch.setenv("EIA_API_KEY", KEY)
    (view,) = json.loads(signals(settings, "US-MIDA-PJM").stdout)
    assert (view["problem"], view["link"]) == ("", "profile")
    assert view["source"].startswith("eia-930")


def test_a_job_is_planned_on_data_that_cost_nothing(settings):
    arguments = [str(ROOT / "crds/examples/minimal.yaml"), "--fleet", str(ROOT / "fleet"), "--signals", str(settings)]
    done = CliRunner().invoke(app, ["explain", *arguments, "-o", "json"])
    (told,) = json.loads(done.stdout)
    assert done.exit_code == 0
    assert told["outcome"] in ("Start", "Wait")
    assert told["cluster"] in ("no-osl-1", "ca-qc-1"), "Ohio's mean of the year is far dirtier"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--grid", "free", "--speed", "60"], "live data go by real time"),
        (["--grid", "free", "--signals", "mine.yaml"], "leave --grid away"),
        (["--grid", "luck"], "'luck' is not one of"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_starts(tmp_path, arguments, words):
    done = CliRunner().invoke(app, ["up", "--state", str(tmp_path / "s"), *arguments])
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())
    assert not (tmp_path / "s").exists()
