"""What a decision says: why there, why then, why not elsewhere, in plain sentences and rounded figures."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import carbonfleet.placement
from carbonfleet.amounts import rounded
from carbonfleet.forecast import History
from carbonfleet.hub.observe import spokes as observed_spokes
from carbonfleet.placement import phrase
from carbonfleet.placement.decision import Outcome
from carbonfleet.placement.explain.without_window import OUT
from carbonfleet.placement.record import record_of
from carbonfleet.placement.snapshot import Reservation
from fixtures.placement_world import ANYWHERE, HOUR, LIFECYCLE, NOON, forecast, job, policy, spoke, world
from fixtures.placement_world import explained_plan as plan

OSLO, OHIO, QUEBEC = (
    spoke("oslo"),
    spoke("ohio", "US-MIDA-PJM", jurisdictions=("US",)),
    spoke("quebec", "CA-QC", jurisdictions=("CA",)),
)
GRIDS = {"NO-NO1": [30] * 48, "US-MIDA-PJM": [500] * 48, "CA-QC": [50] * 48}


def decision(snapshot, now=NOON):
    """The only one of a plan."""
    (only,) = plan(snapshot, now)
    return only


def test_a_job_that_waits_says_what_it_saves_and_a_neighbour_what_it_would_add():
    values = {"NO-NO1": [300, 300, 100, *[300] * 45], "US-MIDA-PJM": [500] * 48}
    found = decision(world([job(schedule={"max_delay": "6h"})], [OSLO, OHIO], values))
    assert found.message == (
        "Starts 2026-01-31 14:00 UTC on 1 GPU of oslo/main, ends 15:00: 100 gCO2e at 100 gCO2e/kWh, 2.00 USD. "
        "At once: 300 gCO2e; waiting saves 200 g (67 %). "
        "Next best is ohio, 2026-01-31 12:00 UTC: 500 gCO2e, 2.00 USD."
    )
    assert [candidate.message for candidate in found.candidates] == [
        "The least carbon of 2 spokes.",
        "400 gCO2e more at the same price: only carbon counts for this job.",
    ]


def test_a_job_that_policy_allows_nowhere_hears_it_once_for_all_spokes():
    germany = policy("de-only", scope={"data_classes": ["secret"]}, residency={"jurisdictions": ["DE"]})
    secret = job(data_class="secret")
    found = decision(world([secret], [OSLO, OHIO, QUEBEC], GRIDS, policies=[ANYWHERE, germany]))
    assert found.message == (
        "No spoke can take the job: policy allows none of 3 spokes. "
        "Policy de-only allows DE; ohio is in US; oslo is in EEA; quebec is in CA. "
        "Another data class or a change of the policy in the fleet repository would let it run."
    )


def test_spokes_that_fell_to_different_rules_are_named_by_rule():
    silent = spoke("oslo", healthy=False, reason="Unreachable", message="it is silent")
    wanted = job(resources={"gpu_types": ["H100"]})
    found = decision(world([wanted], [silent, OHIO, QUEBEC], GRIDS))
    assert "ohio and quebec are without GPUs that the job accepts; oslo is not heard from." in found.message


def test_a_job_that_waits_for_gpus_says_where_they_are_taken():
    taken = Reservation("other", "ml", "oslo", "main", 8, NOON, NOON + 400 * HOUR)
    only_eea = policy("eea", scope={"data_classes": ["secret"]}, residency={"jurisdictions": ["EEA"]})
    snapshot = world(
        [job(data_class="secret")], [OSLO, OHIO], GRIDS, policies=[ANYWHERE, only_eea], reservations=(taken,)
    )
    found = decision(snapshot)
    assert found.outcome is Outcome.WAIT
    assert found.message.startswith(
        "Waits: no GPUs are free where it may go: ohio is forbidden by policy; oslo is full. oslo never has"
    )
    assert "policy in the fleet" not in found.message


def test_a_single_spoke_is_named():
    found = decision(world([job(resources={"gpu_types": ["H100"]})], [OSLO], GRIDS))
    assert found.message == (
        "No spoke can take the job: oslo, the only spoke, is without GPUs that the job accepts. "
        "Pool main has A100; the job accepts H100. Accept other models in spec.resources.gpuTypes."
    )


def two_pools(name, first, second):
    """A spoke with a pool more."""
    one = spoke(name)
    pools = [
        one.facts.pools[0].model_copy(update=changes) for changes in ({"name": "a"} | first, {"name": "b"} | second)
    ]
    return replace(one, facts=one.facts.model_copy(update={"pools": tuple(pools)}))


@pytest.mark.parametrize(
    ("asked", "first", "second", "says"),
    [
        (
            {"gpu_types": ["H100"]},
            {},
            {"gpu_type": "L40S"},
            "Pool a has A100, pool b has L40S; the job accepts H100.",
        ),
        (
            {"gpu_memory_gib": 96},
            {},
            {"memory_gib": 48},
            "Pool a has GPUs of 80 GiB, pool b has GPUs of 48 GiB; the job needs 96 GiB.",
        ),
        ({"gpus": 32}, {}, {"gpus": 4}, "Pool a has 8 GPUs in all, pool b has 4 GPUs in all; the job needs 32."),
    ],
)
def test_what_each_pool_lacks_is_said_once(asked, first, second, says):
    found = decision(world([job(resources=asked)], [two_pools("oslo", first, second)], GRIDS))
    assert found.candidates[0].message == says


def test_a_cost_limit_names_the_cheapest_that_would_do():
    dear = two_pools("aahus", {"usd_per_gpu_hour": 9.0}, {"usd_per_gpu_hour": 7.0})
    cheap = two_pools("oslo", {"usd_per_gpu_hour": 6.0}, {"usd_per_gpu_hour": 0.5, "memory_gib": 8})
    wanted = job(resources={"gpu_memory_gib": 40}, objective={"max_cost_usd": 2})
    found = decision(world([wanted], [dear, cheap], GRIDS))
    assert [(one.cluster, one.message) for one in found.candidates] == [
        ("oslo", "It would cost 6.00 USD at least; the job's limit is 2.00 USD."),
        ("aahus", "It would cost 7.00 USD at least; the job's limit is 2.00 USD."),
    ]
    assert found.message == (
        "No spoke can take the job: all 2 spokes are above the job's cost limit. "
        "It would cost 6.00 USD at least; the job's limit is 2.00 USD. Raise spec.objective.maxCostUsd."
    )


@pytest.mark.parametrize("name", ["a100", "A100", "NVIDIA-A100", "nvidia-a100"])
def test_a_gpu_model_is_known_by_any_way_of_writing_it(name):
    option = {"gpu_type": name, "gpus": 3, "duration": "5h"}
    found = decision(world([job(resources={"gpu_types": [name], "options": [option]})], [OSLO], GRIDS))
    assert (found.window.gpus, found.window.end - found.window.start) == (3, 5 * HOUR)


def test_spokes_whose_ray_is_down_are_not_full():
    down = spoke("oslo", healthy=False, reason="RuntimeUnreachable", message="Ray unreachable: it is down")
    found = decision(world([job()], [down], GRIDS))
    assert found.message == (
        "No spoke can take the job: oslo, the only spoke, is without a runtime that answers. "
        "Ray unreachable: it is down"
    )


def history(values):
    """Measured hours before noon, the last of them from eleven on."""
    hours = tuple(NOON - HOUR * (len(values) - i) for i in range(len(values)))
    return {("US-MIDA-PJM", LIFECYCLE): History("US-MIDA-PJM", LIFECYCLE, tuple(values), hours)}


@pytest.mark.parametrize(
    ("measured", "baseline", "said"),
    [
        ([900, 800, 700, 600], 800, "waiting saves 300 g (38 %)"),
        ([900], 500, "No later start"),
    ],
    ids=["measured", "not measured"],
)
def test_the_baseline_began_at_submission_and_so_does_what_waiting_saves(measured, baseline, said):
    late = job(submitted=NOON - 3 * HOUR, schedule={"max_delay": "4h"}, baseline_region="ohio-region")
    found = decision(world([late], [OHIO], {"US-MIDA-PJM": [500] * 48}, histories=history(measured)))
    assert found.window.start == NOON
    assert found.baseline.grams_co2e == pytest.approx(baseline)
    assert said in found.message


def test_a_run_that_began_in_measured_hours_and_ends_in_the_forecast_is_reckoned_from_both():
    late = job(hours=2, submitted=NOON - HOUR, schedule={"max_delay": "2h"}, baseline_region="ohio-region")
    found = decision(world([late], [OHIO], {"US-MIDA-PJM": [500] * 48}, histories=history([900])))
    assert found.baseline.grams_per_kwh == pytest.approx((900 + 500) / 2)


@pytest.mark.parametrize(
    ("amount", "said"),
    [(0, "0 gCO2e"), (0.01234, "0.0123 gCO2e"), (21.345, "21.3 gCO2e"), (489.2, "489 gCO2e"), (1304, "1.30 kgCO2e")],
)
def test_three_digits_of_a_mass_are_said(amount, said):
    assert phrase.grams(amount) == said


@pytest.mark.parametrize(("amount", "kept"), [(0.83333, 0.8333), (489.234, 489.2), (1304567.8, 1304568), (0, 0)])
def test_figures_keep_four_digits_and_whole_numbers(amount, kept):
    assert rounded(amount) == kept


@pytest.mark.parametrize("seed", range(12))
def test_a_job_at_home_at_once_saves_nothing_and_no_figure_is_next_to_nothing(seed):
    """Window and baseline are summed in different ways; what is left of the difference is no saving."""
    dice = np.random.default_rng(seed)
    grid = forecast("US-MIDA-PJM", dice.uniform(1, 900, 60), doubt=dice.uniform(0, 90, 60))
    now = NOON + timedelta(minutes=float(dice.integers(0, 60)))
    hours, gpus = float(dice.uniform(0.2, 9)), int(dice.integers(1, 9))
    home = job(hours=hours, gpus=gpus, submitted=now, schedule={"tier": "urgent"}, baseline_region="ohio-region")
    ohio = spoke("ohio", "US-MIDA-PJM", jurisdictions=("US",), pue=1.13)
    found = decision(world([home], [ohio], [grid]), now)
    record = record_of(found.decision, found.explanation, now)
    assert record.expected.baseline_region == "ohio-region"
    assert (record.expected.saved_grams_co2e, record.expected.saved_percent) == (0, 0)
    for number in re.findall(r"(?<=[:\[ ])-?[0-9.]+(?:e-?[0-9]+)?(?=[,}\]])", record.model_dump_json()):
        assert abs(float(number)) > 1e-6 or number in {"0", "0.0"}, record.model_dump_json()
    assert not re.search(r"-0(?:\.0+)?(?![0-9.])|[0-9]e-[0-9]", found.message)


def test_a_long_text_ends_with_a_sentence_or_else_with_a_word():
    assert phrase.shortened("One is here. Two is there.", 20) == "One is here."
    assert phrase.shortened("A sentence that is too long", 16) == "A sentence that…"
    assert phrase.shortened("Short.", 16) == "Short."


def test_names_are_listed_as_people_say_them():
    assert phrase.listed(["a", "b", "c"]) == "a, b and c"
    assert phrase.listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_each_reason_that_keeps_a_spoke_out_has_words():
    package = Path(carbonfleet.placement.__file__).parent
    files = [*package.glob("rules/*.py"), *package.glob("search/**/*.py"), Path(observed_spokes.__file__)]
    sources = "\n".join(file.read_text() for file in files)
    refusals = re.compile(r'(?:\bRefusal\(|\bRuling\(False, |, False, |return False, |reason or )\s*"([A-Z]\w+)"')
    reasons = set(refusals.findall(sources)) - {"RequestedByJob"}
    assert {"AboveThreshold", "StaysInPlace", "Unreachable", "Unhealthy", "ResidencyPolicy"} <= reasons
    assert reasons - set(OUT) == set()


def test_spokes_above_a_threshold_that_is_met_elsewhere_are_said_so_in_words():
    schedule = {"max_delay": "4h", "max_intensity_grams_per_kwh": 40}
    found = decision(world([job(schedule=schedule)], [OSLO, OHIO, QUEBEC], GRIDS))
    assert found.message.endswith(
        "It runs only at 40.0 gCO2e/kWh or less here. Not elsewhere: ohio and quebec are above the job's threshold."
    )
    assert found.candidates[1].message == (
        "No run that starts by 2026-01-31 16:00 UTC is forecast at 40.0 gCO2e/kWh or less here."
    )


@pytest.mark.parametrize(
    ("schedule", "until"),
    [
        ({"max_delay": "4h"}, "2026-01-31 16:00 UTC"),
        ({"max_delay": "4h", "deadline": NOON + 2 * HOUR}, "2026-01-31 13:00 UTC"),
        ({"max_delay": "3650d"}, "2026-02-14 12:00 UTC"),
    ],
    ids=["delay", "deadline", "horizon"],
)
def test_no_later_start_is_spoken_of_than_those_that_were_weighed(schedule, until):
    found = decision(world([job(schedule=schedule)], [OSLO], {"NO-NO1": [30] * 24 * 20}))
    assert f"No later start until {until} is better." in found.message
    never = decision(
        world([job(schedule=schedule | {"max_intensity_grams_per_kwh": 9})], [OSLO], {"NO-NO1": [30] * 480})
    )
    assert f"No free run until {until} is forecast at its threshold (here 9.00 gCO2e/kWh)" in never.message
