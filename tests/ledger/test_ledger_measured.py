"""Energy from meters: recorded-style samples with gaps, jumps and strangers among them."""

import json
from datetime import timedelta

import numpy as np
import pytest
from ledger_values import HOUR, NOON

from carbonfleet.api.cluster import GpuPool
from carbonfleet.api.report import ReportSpec
from carbonfleet.hub.energy import energy_of
from carbonfleet.ledger.emissions import Intensities, emitted_grams, metered_use
from carbonfleet.placement.hardware import pool_profile

END = NOON + 2 * HOUR
POOL = GpuPool.model_validate({"name": "a100", "gpuType": "A100", "gpus": 8, "memoryGib": 80})
PROFILE_KWH = 2 * 0.4 * 2
"""Two boards of 400 W for two hours."""


def at(minutes: float, kwh: float):
    return NOON + timedelta(minutes=minutes), kwh


def read(samples, total=None):
    return metered_use(NOON, END, samples, total, estimated_kw=0.8)


def curve(metered):
    minutes = (metered.use.times - NOON.timestamp()) / 60
    return [(float(minute), round(float(kwh), 9)) for minute, kwh in zip(minutes, metered.use.kwh, strict=True)]


def test_samples_say_when_energy_was_used():
    found = read([at(30, 0.1), at(60, 0.2), at(90, 1.0)], total=1.2)

    assert curve(found) == [(0, 0), (30, 0.1), (60, 0.2), (90, 1.0), (120, 1.2)]
    assert found.filled_kwh == 0
    held = Intensities("NO-NO1", NOON, HOUR, np.array([100.0, 500.0]))
    assert emitted_grams(found.use, held) == pytest.approx(0.2 * 100 + 1.0 * 500)


def test_a_gap_hides_when_not_how_much():
    assert curve(read([at(10, 0.1), at(110, 1.1)], total=1.2)) == [(0, 0), (10, 0.1), (110, 1.1), (120, 1.2)]


def test_samples_out_of_order_and_doubled_are_put_right():
    shuffled = [at(90, 0.9), at(30, 0.3), at(90, 0.9), at(60, 0.6), at(60, 0.55)]

    assert curve(read(shuffled, 1.2)) == [(0, 0), (30, 0.3), (60, 0.6), (90, 0.9), (120, 1.2)]


def test_a_count_that_wavers_stays_level():
    assert curve(read([at(30, 0.5), at(60, 0.49), at(90, 0.8)], 1.0))[1:4] == [(30, 0.5), (60, 0.5), (90, 0.8)]


def test_a_meter_that_began_anew_is_added():
    found = read([at(30, 0.5), at(60, 0.1), at(90, 0.4), at(120, 0.7)])

    assert curve(found) == [(0, 0), (30, 0.5), (60, 0.6), (90, 0.9), (120, 1.2)]


def test_samples_outside_the_attempt_are_not_its_energy():
    found = read([at(-60, 5.0), at(0, 9.0), at(60, 0.6), at(180, 1.8)])

    assert curve(found) == [(0, 0), (60, 0.6), (120, 1.2)]
    assert found.filled_kwh == 0


def test_what_the_meter_did_not_see_is_estimated_and_said():
    found = read([at(60, 0.6)])

    assert found.filled_kwh == pytest.approx(0.8)
    assert found.use.total_kwh == pytest.approx(1.4)


def test_a_total_below_its_samples_can_not_be():
    assert read([at(60, 1.5)], total=1.0).use.total_kwh == 1.5


def test_no_sample_of_the_attempt_is_no_measurement():
    assert read([at(-5, 1.0)]) is None
    assert read([]) is None


RECORDED = [
    # As NVML's counter of millijoules gives it every ten minutes, with two readings lost.
    {"time": "2026-01-01T12:10:00Z", "energyKwh": 0.0713},
    {"time": "2026-01-01T12:20:00Z", "energyKwh": 0.1498},
    {"time": "2026-01-01T12:50:00Z", "energyKwh": 0.3842},
    {"time": "2026-01-01T13:00:00Z", "energyKwh": 0.4629},
    {"time": "2026-01-01T13:50:00Z", "energyKwh": 0.8551},
]


def reported(**energy) -> ReportSpec:
    return ReportSpec.model_validate(
        {
            "spoke": "no-osl-1",
            "job": {"namespace": "ml", "name": "job", "uid": "4a1b2c3d-0000-4000-8000-000000000001"},
            "placementId": "abcdefgh12345678",
            "attempt": 1,
            "pool": "a100",
            "gpus": 2,
            "phase": "Succeeded",
            "startTime": "2026-01-01T12:00:00Z",
            "endTime": "2026-01-01T14:00:00Z",
            "observedAt": "2026-01-01T14:00:05Z",
            "energy": energy or None,
        }
    )


@pytest.mark.parametrize("method", ["nvml", "dcgm", "rapl"])
def test_a_reported_meter_is_taken_as_it_counts(method):
    use, how, doubt = energy_of(
        reported(method=method, kwh=0.931, samples=RECORDED), POOL, pool_profile(POOL), END, 1.0
    )

    assert (use.total_kwh, how, doubt) == (pytest.approx(0.931), method, pytest.approx(0.05))
    assert use.times.size == 7


def test_samples_without_a_total_are_filled_up_with_more_doubt():
    use, how, doubt = energy_of(reported(method="nvml", samples=RECORDED), POOL, pool_profile(POOL), END, 1.0)

    filled = 0.8 * 10 / 60
    assert (use.total_kwh, how) == (pytest.approx(0.8551 + filled), "nvml+estimate")
    assert doubt == pytest.approx((0.8551 * 0.05 + filled * 0.2) / use.total_kwh)


@pytest.mark.parametrize(
    "energy",
    [
        {},
        {"method": "estimate"},
        {"method": "nvml"},
        {"method": "nvml", "kwh": 931.0},  # watt hours, by mistake
        {"method": "estimate", "kwh": 0.5},
    ],
    ids=json.dumps,
)
def test_without_a_meter_to_believe_the_profile_estimates(energy):
    use, how, doubt = energy_of(reported(**energy), POOL, pool_profile(POOL), END, 1.0)

    assert (use.total_kwh, how, doubt) == (pytest.approx(PROFILE_KWH), "estimate", 0.2)
