"""An attempt's account against sums made by hand."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hub_values import NOON, body, record, report

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.hub.accounting import account, attempt_of, figures_of
from carbonfleet.hub.accounting.account import derived
from carbonfleet.hub.energy import is_beyond_hardware
from carbonfleet.ledger.emissions import Intensities, settlement
from carbonfleet.placement import Assumptions
from carbonfleet.placement.inputs.options import options_of
from carbonfleet.placement.snapshot import Spoke
from fixtures.fleet_values import facts_of

CLUSTERS = {name: facts_of(name).model_copy(update={"pue": pue}) for name, pue in (("no-osl-1", 1.1), ("us-oh-1", 1.5))}
GRAMS = {"NO-NO1": (30.0, 50.0), "US-MIDA-PJM": (500.0, 400.0)}
"""Of the hours from 11 and from 12 on."""
BARE = Assumptions(embodied_share=0)
MEASURED = {
    "gpus": 4,
    "end_time": NOON + timedelta(hours=2),
    "energy": {"method": "nvml", "kwh": 3.0, "samples": [{"time": NOON + timedelta(hours=1), "energy_kwh": 1.0}]},
}


def grid(zone, kind, start, end):
    """Two hours that are known; before and after, the nearest holds."""
    values = GRAMS.get(zone)
    if values is None:
        return None
    return Intensities(zone, NOON - timedelta(hours=1), timedelta(hours=1), np.array(values), "meter", True)


def entry_of(clusters=CLUSTERS, region="us-east-2", **said):
    """The line of an attempt of a job that was submitted at 11 and ran from 12 to 14."""
    found = accounted(clusters, region, **said)
    return found and found[0]


def accounted(clusters=CLUSTERS, region="us-east-2", record=None, **said):
    """The same line, with its evidence."""
    told = report(**({"phase": "Succeeded"} | MEASURED | said))
    job = CarbonTrainingJob.model_validate(body())
    attempt = attempt_of(job, told, record, clusters, region, BARE, commit="c" * 40)
    return account(attempt, grid, NOON + timedelta(hours=3)) if attempt else None


def test_measured_energy_times_the_grid_as_it_was_times_the_building():
    entry = entry_of()
    assert entry.energy_kwh == pytest.approx(3.0)
    assert entry.grams == pytest.approx(1.1 * (1.0 * 50 + 2.0 * 50))
    assert (entry.zone, entry.settled, entry.energy_method) == ("NO-NO1", True, "nvml")


def test_the_line_keeps_the_account_that_its_clusters_file_names_and_derives_with_it():
    named = {name: facts.model_copy(update={"account": "123456789012"}) for name, facts in CLUSTERS.items()}
    line, documents = accounted(named)
    assert (entry_of().account, line.account) == ("", "123456789012")
    assert derived(line, None, {each.digest: each.text for each in documents}) == line


def test_the_baseline_is_the_same_work_at_submission_in_its_region():
    entry = entry_of()
    assert entry.baseline_grams == pytest.approx(1.5 * (1.0 * 500 + 2.0 * 400))
    assert entry.same_spoke_grams == pytest.approx(1.1 * (1.0 * 30 + 2.0 * 50))
    assert entry.saved_grams == pytest.approx(1950 - 165)
    assert (entry.best_static_region, entry.best_static_grams) == ("europe-north1", pytest.approx(143))


def test_a_baseline_region_without_a_spoke_is_found_in_the_region_table():
    """Its zone is the table's, its building ours."""
    entry = entry_of(clusters={"no-osl-1": CLUSTERS["no-osl-1"]})
    assert entry.baseline_grams == pytest.approx(1.1 * (1.0 * 500 + 2.0 * 400))
    assert (entry.baseline_zone, entry.baseline_pue) == ("US-MIDA-PJM", 1.1)
    assert (entry.best_static_region, entry.settled) == ("europe-north1", True)
    assert entry_of(region="nowhere-1").baseline_grams is None


def hosting(watts: float) -> dict[str, ClusterFacts]:
    """The same clusters, whose machines of four draw so much beside their GPUs."""

    def pool(each: GpuPool) -> GpuPool:
        return each.model_copy(update={"host_watts": watts, "gpus_per_node": 4})

    return {name: facts.model_copy(update={"pools": tuple(map(pool, facts.pools))}) for name, facts in CLUSTERS.items()}


def test_hosts_are_in_the_line_with_the_building_and_in_its_baseline():
    entry = entry_of(hosting(500.0))
    assert (entry.energy_kwh, entry.host_kwh) == (pytest.approx(4.0), pytest.approx(1.0))
    assert entry.grams == pytest.approx(1.1 * (1.5 * 50 + 2.5 * 50))
    assert entry.baseline_grams == pytest.approx(1.5 * (1.5 * 500 + 2.5 * 400))


def test_a_plan_and_the_account_of_an_estimate_count_the_same_hosts():
    clusters = hosting(500.0)
    options = options_of([Spoke(clusters["no-osl-1"])], (), BARE)
    row = next(row for row, option in enumerate(options.entries) if option.pool.name == "a100")
    planned = 4 * options.kw_per_gpu[row] * 2
    entry = entry_of(clusters, energy=None)
    assert (entry.energy_kwh, entry.host_kwh) == (pytest.approx(planned), pytest.approx(1.0))
    assert planned == pytest.approx(4 * 0.4 * 2 + 1.0)


def test_a_line_from_before_hosts_and_gaps_were_told_apart_derives_as_it_was():
    told = report("Succeeded", **(MEASURED | {"energy": MEASURED["energy"] | {"kwh": None}}))
    attempt = attempt_of(CarbonTrainingJob.model_validate(body()), told, None, CLUSTERS, "us-east-2", BARE)
    old = replace(attempt, inputs=attempt.inputs.model_copy(update={"arithmetic": 1}))
    (before, _), (now, _) = (account(each, grid, NOON + timedelta(hours=3)) for each in (old, attempt))
    assert (before.energy_method, before.estimated_share, before.host_kwh) == ("nvml+estimate", 0, 0)
    assert (now.energy_kwh, now.energy_uncertainty) == (before.energy_kwh, before.energy_uncertainty)
    assert now.estimated_share == pytest.approx(1 - 1.0 / now.energy_kwh)


def test_the_price_is_of_gpus_and_hours():
    assert entry_of(gpus=4).cost_usd == pytest.approx(2.5 * 4 * 2)


def simulated(phase="Succeeded", hours=2, **said):
    """The line of an estimated attempt on GPUs that do not exist, planned for an hour."""
    facts = CLUSTERS["no-osl-1"]
    pools = tuple(pool.model_copy(update={"simulated": True}) for pool in facts.pools)
    clusters = CLUSTERS | {"no-osl-1": facts.model_copy(update={"pools": pools})}
    decided = record(start=NOON, end=NOON + timedelta(hours=1))
    told = said | {"phase": phase, "end_time": NOON + timedelta(hours=hours), "energy": None}
    return accounted(clusters, record=decided, **told)[0]


def test_what_simulated_gpus_used_does_not_grow_with_how_long_this_machine_took():
    once, slowly, fast = simulated(hours=1), simulated(hours=7), simulated(hours=0.5)
    assert once.grams == pytest.approx(1.1 * once.energy_kwh * 50)
    for other in (slowly, fast):
        figures = [(entry.energy_kwh, entry.grams, entry.baseline_grams, entry.cost_usd) for entry in (other, once)]
        assert figures[0] == pytest.approx(figures[1])
    assert slowly.end - slowly.start == timedelta(hours=7)


@pytest.mark.parametrize(("hours", "counted"), [(0.5, 0.5), (7, 1)])
def test_work_that_simulated_gpus_did_not_finish_counts_as_far_as_it_was_planned(hours, counted):
    whole = simulated()
    assert simulated("Failed", hours).energy_kwh == pytest.approx(counted * whole.energy_kwh)


def test_a_whole_run_takes_as_much_more_than_declared_as_this_attempt_took_more_than_planned():
    """It declares two hours; what was left was planned for one, and took two."""
    planned = record(start=NOON, end=NOON + timedelta(hours=1))
    ended = entry_of(record=planned)
    assert (ended.profile, ended.run_hours) == ("acme/base, all samples of acme/data, 3 epochs", pytest.approx(4))
    assert entry_of(record=planned, phase="Failed").run_hours == 0
    assert entry_of().run_hours == 0  # nobody knows what was planned
    assert entry_of(record=record(start=NOON, end=NOON + timedelta(minutes=59))).run_hours == 0  # too little of it


@pytest.mark.parametrize(
    ("dataset", "minutes", "speed"),
    [
        ({"sizeGib": 100}, 29, 250),  # five minutes of the 29 are declared for the image and the model
        ({"sizeGib": 100, "region": "eu-north-1"}, 29, 250),
        ({"sizeGib": 100, "region": "europe-north1"}, 29, 0),  # it lies there
        ({"sizeGib": 0.5}, 29, 0),
        ({"sizeGib": 100}, 5, 0),
        ({"sizeGib": 100}, None, 0),
    ],
)
def test_how_fast_data_came_in_is_told_by_the_first_step(dataset, minutes, speed):
    first = None if minutes is None else NOON + timedelta(minutes=minutes)
    asked = body()
    asked["spec"]["workload"]["dataset"] |= dataset
    told = report("Succeeded", **MEASURED, progress={"step": 1, "first_step_time": first})
    attempt = attempt_of(CarbonTrainingJob.model_validate(asked), told, None, CLUSTERS, "us-east-2", BARE)
    entry, _ = account(attempt, grid, NOON + timedelta(hours=3))
    assert entry.ingress_gib_per_hour == pytest.approx(speed)


def test_without_a_baseline_region_nothing_is_claimed_to_be_saved():
    figures = figures_of([entry_of(region="")])
    assert (figures.baseline_grams_co2e, figures.saved_grams_co2e, figures.saved_percent) == (None, None, None)
    assert figures.grams_co2e == pytest.approx(165)


def test_an_attempt_that_never_ran_has_no_line():
    assert entry_of(start_time=None) is None


def test_an_attempt_on_a_spoke_that_nobody_remembers_has_no_line():
    assert entry_of(clusters={"us-oh-1": CLUSTERS["us-oh-1"]}) is None


def test_the_figures_of_a_job_are_those_of_all_its_attempts():
    first, second = entry_of(), entry_of(attempt=2)
    figures = figures_of([first, second])
    assert figures.energy_kwh == pytest.approx(6.0)
    assert figures.grams_co2e == pytest.approx(330)
    assert figures.baseline_grams_co2e == pytest.approx(3900)
    assert figures.saved_percent == pytest.approx(91.5, abs=0.05)
    assert figures.grams_per_kwh == pytest.approx(50)


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ({"method": "nvml", "kwh": 4.8}, True),
        ({"method": "nvml", "kwh": 5.0}, False),
        ({"method": "dcgm", "samples": [{"time": NOON + timedelta(hours=2), "energy_kwh": 5.0}]}, False),
        ({"method": "rapl", "kwh": 7.5}, True),
        ({"method": "rapl", "kwh": 8.0}, False),
        ({"method": "nvml", "kwh": 1e308}, False),
        ({"method": "estimate", "kwh": 1e308}, True),
    ],
)
def test_no_meter_counts_more_than_four_boards_of_400_watts_can_draw_in_two_hours(said, counts):
    pool = CLUSTERS["no-osl-1"].pools[0]
    told = report("Succeeded", **(MEASURED | {"energy": said}))
    assert is_beyond_hardware(told, pool) is not counts
    assert (entry_of(energy=said).energy_method == "estimate") is (not counts or said["method"] == "estimate")


def test_a_model_that_no_profile_tells_of_may_draw_as_much_as_any():
    pool = CLUSTERS["no-osl-1"].pools[0].model_copy(update={"gpu_type": "X9000"})
    told = report("Succeeded", **(MEASURED | {"energy": {"method": "nvml", "kwh": 40.0}}))
    assert not is_beyond_hardware(told, pool)
    assert is_beyond_hardware(told, pool.model_copy(update={"peak_watts": 1400.0}))


PAUSED = {
    "end_time": NOON + timedelta(hours=7),
    "stints": [
        {"start": NOON, "end": NOON + timedelta(hours=1)},
        {"start": NOON + timedelta(hours=6), "end": NOON + timedelta(hours=7)},
    ],
}


def test_in_a_pause_nothing_is_used_and_nothing_costs():
    whole, cut = entry_of(), entry_of(**PAUSED)
    assert cut.end - cut.start == timedelta(hours=7)
    assert (cut.energy_kwh, cut.cost_usd) == (whole.energy_kwh, whole.cost_usd)
    assert cut.energy_curve == "[[0.0, 0.0], [3600.0, 1.0], [21600.0, 1.0], [25200.0, 3.0]]"
    assert cut.baseline_grams == pytest.approx(whole.baseline_grams)
    assert settlement(cut, grid, NOON + timedelta(days=3)).baseline_grams == pytest.approx(whole.baseline_grams)


def test_the_profile_counts_the_hours_in_which_gpus_were_held():
    whole, cut = entry_of(energy=None), entry_of(energy=None, **PAUSED)
    assert cut.energy_method == whole.energy_method == "estimate"
    assert cut.energy_kwh == pytest.approx(whole.energy_kwh)
