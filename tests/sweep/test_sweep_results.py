"""From the hub's jobs to progress, leaderboard and plot."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from carbonfleet.api import CarbonTrainingJob, JobStatus
from carbonfleet.api.job_status import Figures, Phase, RungStatus
from carbonfleet.api.report import Progress
from carbonfleet.api.wire import API_VERSION
from carbonfleet.cli.sweeps.sweep import _delay, _grams
from carbonfleet.kube import ours
from carbonfleet.sweep import BASELINE, SWEEP, TIER, jobs_of, leaderboard, progress_by_tier

NAMESPACE = "results"
SPEC = {
    "workload": {"model": "carbonfleet/tiny-qwen2", "dataset": {"name": "carbonfleet/tiny-instructions"}},
    "resources": {"duration": "1h"},
    "residency": {"dataClass": "public"},
}


def figures(energy_kwh, grams):
    return Figures(energy_kwh=energy_kwh, grams_co2e=grams, grams_per_kwh=100.0)


def trained(loss, step=60):
    return Progress(step=step, total_steps=60, validation_loss=loss)


SUCCEEDED = {"phase": Phase.SUCCEEDED, "cluster": "no-osl-1", "attempt": 1}
STANDS = {
    "base": ("tier-1", SUCCEEDED | {"progress": trained(1.5), "actual": figures(2.0, 200.0)}, 1),
    "better": ("tier-3", SUCCEEDED | {"progress": trained(1.25), "actual": figures(3.0, 80.0)}, 40),
    "worse": ("tier-1", SUCCEEDED | {"progress": trained(1.75), "actual": figures(2.0, 240.0)}, 2),
    "runs": ("tier-3", {"phase": Phase.RUNNING, "progress": trained(1.0, 30), "expected": figures(3.0, 90.0)}, 3),
    "waits": ("tier-3", {"phase": Phase.WAITING, "expected": figures(3.0, 95.0)}, 50),
    "fails": ("tier-1", {"phase": Phase.FAILED, "progress": trained(None, 10), "actual": figures(0.5, 50.0)}, 1),
    "stuck": ("tier-1", {"phase": Phase.BLOCKED}, None),
}
"""Name to tier, status, and hours from submission to start."""


def put(kube, name, namespace, sweep, tier="tier-1", status=None, hours=None):
    """Create a job, and write its status as the hub does."""
    labels = {SWEEP: sweep, TIER: tier} | ({BASELINE: "true"} if name == "base" else {})
    body = {"apiVersion": API_VERSION, "kind": "CarbonTrainingJob", "metadata": {"name": name, "labels": labels}}
    made = kube.create(ours("carbontrainingjobs", namespace), body | {"spec": SPEC})
    if status is None:
        return
    submitted = CarbonTrainingJob.model_validate(made).metadata.creation_timestamp
    start = None if hours is None else submitted + timedelta(hours=hours)
    written = JobStatus(**status, start=start, first_start=start if "progress" in status else None).to_wire()
    kube.patch(ours("carbontrainingjobs", namespace, name, "status"), {"status": written})


@pytest.fixture(scope="module")
def sweep(hub, kube):
    """Seven jobs of one sweep in every state, and one of another; the sweep's name."""
    for namespace in (NAMESPACE, "split-a", "split-b"):
        assert hub.kubectl("create", "namespace", namespace).returncode == 0
    for name, (tier, status, hours) in STANDS.items():
        put(kube, name, NAMESPACE, "ranks", tier, status, hours)
    put(kube, "alien", NAMESPACE, "other")
    for namespace in ("split-a", "split-b"):
        put(kube, "one", namespace, "split")
    return "ranks"


@pytest.fixture
def places(kube, sweep):
    return {place.standing.job: place for place in leaderboard(jobs_of(kube, sweep))}


def test_a_job_that_succeeded_stands_by_its_loss_above_one_that_runs(places):
    assert list(places) == ["better", "base", "worse", "runs", "fails", "stuck", "waits"]
    assert [place.place for place in places.values()] == [1, 2, 3, None, None, None, None]


def test_each_job_stands_beside_the_baseline(places):
    less = places["better"].difference
    assert (less.validation_loss, less.energy_kwh, less.grams_co2e) == (-0.25, 1.0, -120.0)
    less = places["base"].difference
    assert (less.validation_loss, less.energy_kwh, less.grams_co2e) == (0, 0, 0)


def test_a_plan_is_not_compared_with_what_was_measured(places):
    one = places["runs"]
    assert (one.standing.grams_co2e, one.standing.is_accounted) == (90.0, False)
    assert (one.difference.validation_loss, one.difference.grams_co2e) == (None, None)


def test_a_failed_job_has_emitted_but_is_not_compared(places):
    one = places["fails"]
    assert (one.standing.grams_co2e, one.difference.grams_co2e, one.difference.validation_loss) == (50.0, None, None)


def test_delay_is_from_submission_to_start_and_only_once_started(places):
    delays = {name: place.standing.delay for name, place in places.items()}
    hours = {name: delay and delay / timedelta(hours=1) for name, delay in delays.items()}
    assert hours == {"base": 1, "better": 40, "worse": 2, "runs": 3, "fails": 1, "waits": None, "stuck": None}


def test_progress_counts_each_job_of_a_tier_once(kube, sweep):
    one, three = progress_by_tier(jobs_of(kube, sweep))
    assert (one.tier, one.jobs, one.waiting, one.running, one.succeeded, one.failed, one.held) == (
        *("tier-1", 4),
        *(0, 0, 2, 1, 1),
    )
    assert (one.steps, one.total_steps, one.energy_kwh, one.grams_co2e) == (130, 180, 4.5, 490.0)
    assert (three.tier, three.jobs, three.waiting, three.running, three.succeeded, three.failed, three.held) == (
        *("tier-3", 3),
        *(1, 1, 1, 0, 0),
    )
    assert (three.steps, three.total_steps, three.grams_co2e) == (90, 120, 80.0)


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_is_counted_exactly_once(phase):
    job = CarbonTrainingJob.model_validate({"metadata": {"name": "one"}, "spec": SPEC, "status": {"phase": phase}})
    (tier,) = progress_by_tier([job])
    counts = (tier.waiting, tier.running, tier.succeeded, tier.stopped_early, tier.failed, tier.held)
    assert sum(counts) == 1


def test_a_sweep_without_a_baseline_has_no_differences(kube, sweep):
    jobs = [job for job in jobs_of(kube, sweep) if job.metadata.name != "base"]
    assert {place.difference.validation_loss for place in leaderboard(jobs)} == {None}


def test_status_shows_the_tiers(hub, command, sweep):
    done = command("sweep", "status", sweep, "--kubeconfig", hub.kubeconfig)
    rows = [line.split() for line in done.output.splitlines() if line.strip()]
    assert rows[0] == [
        "tier",
        "jobs",
        "waiting",
        "running",
        "done",
        "stopped",
        "failed",
        "held",
        "steps",
        "kWh",
        "gCO2e",
    ]
    assert rows[1] == ["tier-1", "4", "0", "0", "2", "0", "1", "1", "130/180", "4.5", "490"]
    assert rows[2] == ["tier-3", "3", "1", "1", "1", "0", "0", "0", "90/120", "3", "80"]


def test_results_show_the_leaderboard(hub, command, sweep):
    output = command("sweep", "results", sweep, "--kubeconfig", hub.kubeconfig, "-o", "wide").output
    rows = [line.split() for line in output.splitlines()]
    assert next(row for row in rows if row[:2] == ["1", "better"])[:9] == [
        "1",
        "better",
        "tier-3",
        "Succeeded",
        "no-osl-1",
        "1.2500",
        "-0.2500",
        "3.000",
        "+1.000",
    ]
    assert "base *" in output
    assert next(row for row in rows if row[:2] == ["-", "runs"])[-3:] == ["-", "3.0", "h"]


HALVED = {"percent": 30, "step": 18, "time": datetime(2026, 1, 31, tzinfo=UTC), "kept": 2, "cut_loss": 1.75}


def on_rung(rank, reached, **more):
    return RungStatus(validation_loss=2.0, rank=rank, reached=reached, **HALVED | {"goes_on": rank <= 2} | more)


STOPS = {
    "base": (
        "tier-1",
        SUCCEEDED | {"progress": trained(1.5), "actual": figures(2.0, 200.0), "rungs": (on_rung(1, 1),)},
    ),
    "r32-a128-lr1e-4-d0p05": (
        "tier-3",
        {
            "phase": Phase.STOPPED_EARLY,
            "cluster": "no-osl-1",
            "progress": trained(2.0, 20),
            "actual": figures(0.5, 40.0),
            "rungs": (on_rung(2, 7, percent=10), on_rung(5, 6)),
        },
    ),
    "r32-a128-lr1e-4-d0p1": ("tier-3", {"phase": Phase.STOPPED_EARLY, "progress": trained(1.0, 30)}),
    "r32-a64-lr1e-4-d0p15": ("tier-3", {"phase": Phase.RUNNING, "progress": trained(1.0, 30)}),
}


@pytest.fixture(scope="module")
def halved(hub, kube):
    """A sweep of which two jobs were stopped early; its name."""
    assert hub.kubectl("create", "namespace", "halved").returncode == 0
    for name, (tier, status) in STOPS.items():
        put(kube, name if name == "base" else f"halved-{name}", "halved", "halved", tier, status, 1)
    return "halved"


def test_results_fit_80_columns_and_show_rungs_and_what_was_not_spent(hub, command, halved):
    output = command("sweep", "results", halved, "--kubeconfig", hub.kubeconfig).output
    assert max(map(len, output.splitlines())) <= 80
    rows = [" ".join(line.split()) for line in output.splitlines()]
    assert "1 base * 1.5000 +0.0000 1/1 200 -" in rows
    assert "stopped 30% r32-a128-lr1e-4-d0p05 2.0000 - 2/7 5/6 40 80" in rows
    assert "Running 50% r32-a64-lr1e-4-d0p15 1.0000 - - - -" in rows
    assert "1 of 4 stopped early: 240 g in place of 320 g, 80 g (25 %) not spent" in rows


@pytest.mark.parametrize("form", ["text", "wide"])
def test_any_name_of_a_job_is_shown_whole(hub, kube, command, form):
    name = "a" * 63
    namespace = f"long-{form}"
    assert hub.kubectl("create", "namespace", namespace).returncode == 0
    put(kube, name, namespace, namespace, "tier-1", SUCCEEDED | {"progress": trained(1.5)}, 1)
    output = command("sweep", "results", namespace, "--kubeconfig", hub.kubeconfig, "-o", form).output
    assert output.count("a") >= 63
    assert max(map(len, output.splitlines())) <= (180 if form else 80)


def test_results_for_machines_hold_the_rungs(hub, command, halved):
    found = json.loads(command("sweep", "results", halved, "-o", "json", "--kubeconfig", hub.kubeconfig).output)
    one = found["jobs"][1]
    assert (one["phase"], one["unspent_grams"], one["unspent_kwh"]) == ("StoppedEarly", 80.0, 1.0)
    assert [(rung["percent"], rung["rank"], rung["goesOn"]) for rung in one["rungs"]] == [(10, 2, True), (30, 5, False)]


def test_an_output_that_is_none_is_refused(hub, command, halved):
    done = command("sweep", "results", halved, "-o", "xml", "--kubeconfig", hub.kubeconfig)
    assert done.exit_code == 2
    assert "'xml' is not one of 'text', 'wide', 'name', 'json', 'yaml'" in " ".join(
        done.output.replace("│", "").split()
    )


@pytest.mark.parametrize(
    ("delay", "shown"),
    [(None, "-"), (timedelta(seconds=9.6), "10 s"), (timedelta(minutes=3), "3 min"), (timedelta(hours=40), "40.0 h")],
)
def test_a_delay_is_shown_in_the_unit_that_fits(delay, shown):
    assert _delay(delay) == shown


@pytest.mark.parametrize(("grams", "shown"), [(None, "-"), (0.237, "0.24"), (9.96, "10"), (1204.4, "1,204")])
def test_small_jobs_show_their_tenths_of_grams(grams, shown):
    assert _grams(grams) == shown


def test_results_for_machines(hub, command, sweep):
    found = json.loads(command("sweep", "results", sweep, "--json", "--kubeconfig", hub.kubeconfig).output)
    first = found["jobs"][0]
    assert (first["job"], first["place"], first["tier"], first["grams_co2e"]) == ("better", 1, "tier-3", 80.0)
    assert (first["delay_seconds"], first["less_baseline"]["grams_co2e"]) == (144_000, -120.0)
    assert [tier["tier"] for tier in found["tiers"]] == ["tier-1", "tier-3"]


def test_the_plot_is_a_picture_of_what_succeeded(hub, command, sweep, tmp_path):
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
    plot = tmp_path / "plot.png"
    done = command("sweep", "results", sweep, "--plot", plot, "--kubeconfig", hub.kubeconfig)
    assert done.exit_code == 0, done.output
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "3 jobs" in done.output


def test_without_matplotlib_the_table_stands_and_the_message_says_what_to_do(hub, sweep, tmp_path):
    script = "import sys; sys.modules['matplotlib'] = None; from carbonfleet.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "sweep", "results", sweep, "--plot", str(tmp_path / "plot.png")],
        capture_output=True,
        text=True,
        timeout=180,
        env=os.environ | {"KUBECONFIG": str(hub.kubeconfig)},
    )
    assert done.returncode == 2
    assert "better" in done.stdout
    assert done.stderr == "error: no plot: it needs matplotlib (pip install matplotlib)\n"


def test_a_plot_of_nothing_is_refused(hub, command, sweep, tmp_path):
    plot = tmp_path / "plot.png"
    done = command("sweep", "results", "other", "--plot", plot, "--kubeconfig", hub.kubeconfig)
    assert (done.exit_code, plot.exists()) == (2, False)
    assert "no job has succeeded and been accounted for yet" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "no job in any namespace bears the label carbonfleet.dev/sweep=nothing"),
        (("ranks", "-n", "split-a"), "no job in namespace split-a bears the label"),
        (("split",), "sweep split is in the namespaces split-a, split-b; choose one with -n"),
        (("a,b&limit=1",), "'a,b&limit=1' is no name"),
        (("ranks", "-n", "../nodes"), "'../nodes' is no name"),
    ],
)
def test_a_sweep_that_is_not_there_is_an_error(hub, command, sweep, arguments, message):
    done = command("sweep", "status", *arguments, "--kubeconfig", hub.kubeconfig)
    assert done.exit_code == 2
    assert message in done.output
