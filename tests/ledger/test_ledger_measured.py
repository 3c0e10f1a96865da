"""Energy from meters: recorded-style samples with gaps, jumps and strangers among them."""

import json
from datetime import timedelta

import numpy as np
import pytest
from ledger_values import HOUR, NOON

from carbonfleet.api.cluster import GpuPool
from carbonfleet.api.report import ReportSpec
from carbonfleet.hub.energy import AttemptEnergy, energy_of
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


@pytest.mark.parametrize("method", ["nvml", "dcgm", "rapl", "prometheus"])
def test_a_reported_meter_is_taken_as_it_counts(method):
    found = energy_of(reported(method=method, kwh=0.931, samples=RECORDED), POOL, pool_profile(POOL), END, 1.0)

    assert (found.use.total_kwh, found.method, found.uncertainty) == (pytest.approx(0.931), method, pytest.approx(0.05))
    assert (found.use.times.size, found.host_kwh, found.estimated_share) == (7, 0, 0)


def test_samples_without_a_total_are_filled_up_with_more_doubt():
    found = energy_of(reported(method="nvml", samples=RECORDED), POOL, pool_profile(POOL), END, 1.0)

    filled, total = 0.8 * 10 / 60, found.use.total_kwh
    assert (total, found.method) == (pytest.approx(0.8551 + filled), "nvml+estimate")
    assert found.uncertainty == pytest.approx((0.8551 * 0.05 + filled * 0.2) / total)
    assert found.estimated_share == pytest.approx(filled / total)


def test_what_a_training_filled_itself_counts_as_estimated():
    told = reported(method="nvml", kwh=0.931, samples=RECORDED, estimatedShare=0.25)
    found = energy_of(told, POOL, pool_profile(POOL), END, 1.0)

    assert (found.use.total_kwh, found.method) == (pytest.approx(0.931), "nvml+estimate")
    assert found.estimated_share == pytest.approx(0.25)
    assert found.uncertainty == pytest.approx(0.75 * 0.05 + 0.25 * 0.2)


HOSTED = POOL.model_copy(update={"host_watts": 400.0, "gpus_per_node": 8})
"""Two GPUs of eight take a quarter of the 400 W: 0.2 kWh in two hours."""


def hosted(**energy) -> AttemptEnergy:
    """The energy of the attempt in that pool."""
    return energy_of(reported(**energy), HOSTED, pool_profile(HOSTED), END, 1.0)


def test_a_hosts_declared_power_is_counted_beside_the_gpus():
    estimated, metered = hosted(), hosted(method="nvml", kwh=0.931, samples=RECORDED)

    assert (estimated.use.total_kwh, estimated.host_kwh) == (pytest.approx(PROFILE_KWH + 0.2), pytest.approx(0.2))
    assert (metered.use.total_kwh, metered.host_kwh) == (pytest.approx(1.131), pytest.approx(0.2))
    assert (metered.method, metered.estimated_share) == ("nvml", 0)
    assert metered.uncertainty == pytest.approx((0.931 * 0.05 + 0.2 * 0.2) / 1.131)
    assert np.diff(metered.use.kwh).min() > 0


def test_a_measured_host_counts_by_its_share_and_in_place_of_the_declared_power():
    found = hosted(method="nvml", kwh=0.931, samples=RECORDED, hostKwh=1.2)

    assert (found.use.total_kwh, found.host_kwh) == (pytest.approx(0.931 + 0.3), pytest.approx(0.3))
    assert found.uncertainty == pytest.approx(0.05)


def test_a_measured_host_goes_on_with_the_gpus_after_the_last_sample():
    found = hosted(method="nvml", samples=RECORDED, hostKwh=1.2)

    whole = 0.8551 + 0.8 * 10 / 60
    assert found.host_kwh == pytest.approx(0.3 * whole / 0.8551)
    assert found.estimated_share == pytest.approx(1 - 0.8551 / whole)


@pytest.mark.parametrize("energy", [{"method": "rapl"}, {"method": "prometheus", "coversHost": True}], ids=json.dumps)
def test_a_meter_of_whole_machines_counts_their_hosts_once(energy):
    found = hosted(kwh=0.931, samples=RECORDED, **energy)

    assert (found.use.total_kwh, found.host_kwh) == (pytest.approx(0.931), 0)


def test_a_host_that_counts_more_than_any_can_draw_is_not_believed():
    found = hosted(method="nvml", kwh=0.931, samples=RECORDED, hostKwh=5.0)

    assert (found.method, found.use.total_kwh) == ("estimate", pytest.approx(PROFILE_KWH + 0.2))


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
    found = energy_of(reported(**energy), POOL, pool_profile(POOL), END, 1.0)

    assert (found.use.total_kwh, found.method, found.uncertainty) == (pytest.approx(PROFILE_KWH), "estimate", 0.2)
    assert found.estimated_share == 1
