"""Explanations of jobs in fleets of more spokes than are shown."""

import random
from copy import copy
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from carbonfleet.placement import Assumptions, explain, plan
from fixtures.placement_world import HOUR, NOON, forecast, job, policy, spoke, world

TIERS = (
    {"name": "standard", "priority": 50, "max_delay": "24h"},
    {"name": "eager", "priority": 20, "max_delay": "24h", "minimum_gain_percent_per_hour": 1},
)
ANYWHERE = policy("default", residency={"anywhere": True}, tiers=TIERS)


def fleet(seed, price_of, gpus=8, spokes=45):
    """Many spokes with a grid each, and jobs that want them."""
    draw = random.Random(seed)
    zones = [f"AA-{number}" for number in range(spokes)]
    places = [spoke(zone.lower(), zone, gpus=gpus, price=price_of(draw), overhead="10m") for zone in zones]
    grids = [forecast(z, [draw.randint(20, 900) for _ in range(48)], doubt=draw.choice([0, 30])) for z in zones]
    jobs = [
        job(
            f"job-{number:02}",
            hours=draw.choice([0.5, 1, 2.7]),
            gpus=draw.choice([1, 2, 4]),
            schedule={"tier": draw.choice(["standard", "eager"])}
            | draw.choice([{}, {"deadline": NOON + 9 * HOUR}, {"earliest_start": NOON + 3 * HOUR}]),
            objective={"minimize": draw.choice(["carbon", "carbon", "cost", "composite"])}
            | draw.choice([{}, {"max_cost_usd": 4.0}]),
        )
        for number in range(40)
    ]
    assumptions = Assumptions(slot=timedelta(minutes=30), improvement_cells=0)
    return world(jobs, places, grids, policies=[ANYWHERE], assumptions=assumptions)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gpus", [2, 4, 8])
@pytest.mark.parametrize("prices", [(1.0,), (0.5, 1.0, 1.01, 2.0)], ids=["one price", "prices"])
def test_a_shortlist_says_what_weighing_every_spoke_says(seed, gpus, prices):
    planned = plan(fleet(seed, lambda draw: draw.choice(prices), gpus), NOON + timedelta(minutes=7))
    index = copy(planned.index)
    index.plain = np.zeros_like(index.plain)
    weighing_all = replace(planned, index=index)
    for decision in planned:
        assert explain(planned, decision) == explain(weighing_all, decision)


def test_an_explanation_shows_twenty_spokes_and_counts_all():
    planned = plan(fleet(1, lambda draw: 1.0), NOON)
    explanations = [explain(planned, decision) for decision in planned]
    assert {(len(found.candidates), found.total) for found in explanations} == {(20, 45)}


def test_a_job_without_a_window_is_told_of_reasons_beyond_the_spokes_that_are_shown():
    snapshot = fleet(1, lambda draw: 1.0)
    small = tuple(replace(place, healthy=False) for place in snapshot.spokes[:1])
    wide = job("wide", gpus=64)
    planned = plan(replace(snapshot, jobs=(wide,), spokes=small + snapshot.spokes[1:]), NOON)
    found = explain(planned, planned.decisions[0])
    assert (len(found.candidates), found.total, set(found.reasons)) == (20, 45, {"Unhealthy", "GpuCount"})
