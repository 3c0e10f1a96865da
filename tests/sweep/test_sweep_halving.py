"""Early stopping on real loss curves: what it leaves untrained, and whether the best configuration is still found.

Jobs come by name, as kubectl applies the files of a folder.
"""

import pytest
from halving_replay import Replay, replay
from real_curves import SEEDS, configurations, kept, trained

from carbonfleet.sweep import read_sweep
from fixtures.hub_process import ROOT

RULE = read_sweep(ROOT / "workloads" / "sweep" / "small-21.yaml").early_stopping
KEPT = kept()
GPUS = (2, 3, 21)


def told(seed: int, gpus: int, found: Replay) -> str:
    place = found.place_of_best or "stopped"
    return f"seed {seed:2} on {gpus:2} GPUs: {found.unspent:.0%} of the steps not trained, the best is {place}"


def expect_worth(replays):
    """At least half is not spent in each sweep, and in nine of ten the best is among the first three."""
    assert min(found.unspent for found in replays) >= 0.5
    assert sum((found.place_of_best or 99) <= 3 for found in replays) >= 0.9 * len(replays)


@pytest.mark.parametrize("gpus", GPUS)
def test_on_kept_curves_half_is_not_spent_and_the_best_is_found(gpus):
    replays = {seed: replay(curves, RULE, gpus, sorted(curves)) for seed, curves in KEPT.items()}
    for seed, found in replays.items():
        print(told(seed, gpus, found))
    expect_worth(list(replays.values()))


def test_the_kept_curves_are_of_every_configuration_and_differ():
    assert set(KEPT) == set(SEEDS)
    assert all(set(curves) == set(configurations()) for curves in KEPT.values())
    for curves in KEPT.values():
        final = sorted(list(curve.values())[-1] for curve in curves.values())
        assert final[-1] > 1.5 * final[0]
        assert len(set(final)) >= 20


def test_a_kept_curve_is_trained_again_as_it_was():
    seed, name = min(KEPT), next(iter(configurations()))
    # Not to the digit: how samples are put into batches decides which inputs dropout takes.
    again = trained(seed, [name], last_step=4)[name]
    assert again == pytest.approx({step: KEPT[seed][name][step] for step in again}, abs=0.05)


@pytest.mark.soak
def test_twenty_sweeps_trained_anew_spend_half_and_find_the_best():
    found = {}
    for seed in SEEDS:
        curves = trained(seed, configurations())
        found[seed] = [replay(curves, RULE, gpus, sorted(curves)) for gpus in GPUS]
        for gpus, one in zip(GPUS, found[seed], strict=True):
            print(told(seed, gpus, one), flush=True)
    for replays in zip(*found.values(), strict=True):
        expect_worth(replays)
