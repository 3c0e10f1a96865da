"""Energy counters: read where the machine has them, and never made up."""

import json
import signal
import sys

import lora_runs as runs
import pytest
from hypothesis import given
from hypothesis import strategies as some
from workloads.lora.energy import Count, Meter, open_host_meter, open_meter
from workloads.lora.energy.dcgm import dcgm
from workloads.lora.energy.nvml import nvml
from workloads.lora.energy.rapl import rapl
from workloads.lora.energy.series import STUCK_SECONDS, Series
from workloads.lora.training.distributed import World
from workloads.lora.training.energy import Energy, Used, used_before

from fixtures.http_server import HttpServer, QuietHandler

GPU = "604ac76c-d9cf-fef3-62e9-d92044ab6e52"
PYNVML = '''
"""NVIDIA's library as it answered once: the readings of one GPU, one after another."""
import json
from pathlib import Path

class NVMLError(Exception):
    pass

READINGS = json.loads((Path(__file__).parent / "readings.json").read_text())

def _next(what):
    reading = READINGS[what].pop(0)
    if reading is None:
        raise NVMLError("Unknown Error")
    return reading

def nvmlInit():
    pass

def nvmlDeviceGetHandleByUUID(uuid):
    if uuid != READINGS["uuid"]:
        raise NVMLError("Not Found")
    return uuid

def nvmlDeviceGetPowerManagementLimitConstraints(handle):
    return [100_000, 400_000]

def nvmlDeviceGetTotalEnergyConsumption(handle):
    if "millijoules" not in READINGS:
        raise NVMLError("Not Supported")
    return _next("millijoules")

def nvmlDeviceGetPowerUsage(handle):
    return _next("milliwatts")
'''


@pytest.fixture
def pynvml(tmp_path, monkeypatch):
    """A library on the path that replays readings."""

    def build(**readings):
        (tmp_path / "readings.json").write_text(json.dumps({"uuid": f"GPU-{GPU}", **readings}))
        (tmp_path / "pynvml.py").write_text(PYNVML)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "pynvml", raising=False)

    yield build
    sys.modules.pop("pynvml", None)


@pytest.fixture
def exporter():
    """DCGM's exporter: what it serves is the text that stands in `text`; None: it is away."""

    class Handler(QuietHandler):
        def respond(self):
            text = self.server.text
            self.answer(503 if text is None else 200, (text or "").encode())

    with HttpServer(Handler) as server:
        yield server


def exported(*counts: tuple[str, str]) -> str:
    """As dcgm-exporter 3 writes it, in millijoules since boot."""
    labels = 'gpu="{}",UUID="GPU-{}",pci_bus_id="00000000:07:00.0",device="nvidia0",modelName="NVIDIA A100-SXM4-80GB"'
    lines = [
        "# HELP DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION Total energy consumption since boot (in mJ).",
        "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter",
    ]
    for number, (uuid, count) in enumerate(counts):
        lines.append(f"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{labels.format(number, uuid)}}} {count}")
        lines.append(f"DCGM_FI_DEV_POWER_USAGE{{{labels.format(number, uuid)}}} 58.4")
    return "\n".join(lines)


class Hand:
    """A clock moved by hand."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def package(root, name: str, energy_uj: int, called: str = "package-0") -> None:
    (root / name).mkdir(exist_ok=True)
    (root / name / "name").write_text(f"{called}\n")
    (root / name / "max_energy_range_uj").write_text("262143328850\n")
    (root / "next").write_text(f"{energy_uj}\n")
    (root / "next").replace(root / name / "energy_uj")  # at once, for who reads it meanwhile


def joules(meter: Meter) -> float:
    """All that it counted."""
    return meter.count().kwh * 3_600_000


def counted(*readings, every: float = 10.0, **settings) -> list[tuple[float, float] | None]:
    """What a series makes of readings, one each `every` seconds: joules in all, and estimated ones among them."""
    left, clock, series = list(readings), Hand(), None

    def read():
        reading = left.pop(0)
        if isinstance(reading, BaseException):
            raise reading
        return reading

    series = Series(read, **({"max_watts": 400.0} | settings))
    found = []
    while left:
        series.note(clock(), series.read())
        total = series.total(clock())
        found.append(total and (total[0] + total[1], total[1]))
        clock.seconds += every
    return found


def test_rapl_adds_up_packages_and_memory_and_what_wraps(tmp_path):
    package(tmp_path, "intel-rapl:0", 262_143_000_000)
    package(tmp_path, "intel-rapl:1", 0, "package-1")
    package(tmp_path, "intel-rapl:0:0", 5, "core")  # a part of package 0, which counts it already
    package(tmp_path, "intel-rapl:0:1", 0, "dram")
    package(tmp_path, "intel-rapl:2", 0, "psys")  # all of it once more
    clock = Hand()
    meter = rapl(tmp_path, clock)
    assert meter.count() == Count(0.0)
    clock.seconds += 10
    package(tmp_path, "intel-rapl:0", 60_000_000)  # wrapped: 60.33 J
    package(tmp_path, "intel-rapl:1", 200_000_000, "package-1")
    package(tmp_path, "intel-rapl:0:1", 30_000_000, "dram")
    package(tmp_path, "intel-rapl:0:0", 70_000_000, "core")
    package(tmp_path, "intel-rapl:2", 300_000_000, "psys")
    assert joules(meter) == pytest.approx(60.32885 + 200 + 30, abs=1e-6)


def test_nvml_counts_millijoules_from_where_it_began(pynvml):
    pynvml(millijoules=[7_412_003_114, 7_412_003_114, 7_412_271_950, 7_415_803_114])
    clock = Hand()
    meter = nvml(GPU, clock)
    clock.seconds += 1
    assert joules(meter) == pytest.approx(268.836)
    clock.seconds += 10
    assert joules(meter) == pytest.approx(3800)


def test_a_board_without_a_counter_is_measured_by_its_power(pynvml):
    pynvml(milliwatts=[28_000, 312_000, 348_000])
    clock = Hand()
    meter = nvml(GPU, clock)
    clock.seconds += 10
    assert joules(meter) == pytest.approx((28 + 312) / 2 * 10)
    clock.seconds += 5
    assert joules(meter) == pytest.approx((28 + 312) / 2 * 10 + (312 + 348) / 2 * 5)


def test_a_library_that_errs_in_the_middle_of_a_run_ends_nothing(pynvml):
    pynvml(millijoules=[0, 0, 3_000_000, None, None, 12_000_000])
    clock = Hand()
    meter = nvml(GPU, clock)
    found = []
    for _ in range(4):
        clock.seconds += 10
        count = meter.count()
        found.append((count.kwh * 3_600_000, count.estimated_kwh * 3_600_000))
    assert found == [pytest.approx(pair) for pair in ((3000, 0), (6000, 3000), (9000, 6000), (12_000, 0))]


def test_dcgm_is_read_for_this_gpu_and_filled_by_its_mean_power_while_it_is_away(exporter):
    other, clock = "aaaaaaaa-0000-4000-8000-000000000000", Hand()
    exporter.text = exported((other, "999"), (GPU, "3.6e+09"))
    meter = dcgm(f"http://127.0.0.1:{exporter.server_port}/metrics", GPU, clock)
    meter.sample()
    exporter.text = exported((other, "5e+09"), (GPU, "3.606e+09"))
    clock.seconds += 15
    assert joules(meter) == 0, "not asked at every step"
    meter.sample()
    assert meter.count() == Count(pytest.approx(6000 / 3_600_000))
    exporter.text = None
    clock.seconds += 15
    meter.sample()
    assert meter.count() == Count(pytest.approx(12_000 / 3_600_000), pytest.approx(6000 / 3_600_000))


def test_dcgm_is_asked_where_its_exporter_is_named(exporter, monkeypatch):
    exporter.text = exported((GPU, "1000"))
    monkeypatch.setenv("LORA_DCGM_URL", f"http://127.0.0.1:{exporter.server_port}/metrics")
    found, missing = open_meter(GPU, first_on_node=True), open_meter("another-gpu", first_on_node=True)
    assert (found.source, found.count()) == ("dcgm", Count(0.0))
    assert missing.count() is None
    found.close()
    missing.close()


def test_a_machine_that_measures_nothing_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_POWERCAP", str(tmp_path))
    with pytest.raises(FileNotFoundError):
        rapl(tmp_path)
    meter = open_meter(None, first_on_node=True)
    assert (meter.source, meter.count()) == (None, None)


def test_beside_a_gpu_the_counters_of_its_host_are_read_once_for_each_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_POWERCAP", str(tmp_path))
    package(tmp_path, "intel-rapl:0", 5)
    gpu, cpus = Meter("nvml"), Meter("rapl", covers_host=True)
    opened = [
        open_host_meter(gpu, first_on_node=True),
        open_host_meter(gpu, first_on_node=False),
        open_host_meter(cpus, first_on_node=True),
    ]
    assert [meter.source for meter in opened] == ["rapl", None, None]
    opened[0].close()


def test_a_counter_that_is_gone_for_a_while_has_counted_on():
    gone = FileNotFoundError("energy_uj")
    assert counted(0, 3000, gone, gone, 12_000) == [(0, 0), (3000, 0), (6000, 3000), (9000, 6000), (12_000, 0)]


def test_a_counter_that_begins_anew_is_filled_and_counted_from_there():
    assert counted(8900, 11_900, 0, 3000, 6000) == [(0, 0), (3000, 0), (6000, 3000), (9000, 3000), (12_000, 3000)]


def test_a_reading_on_another_level_that_no_other_confirms_is_passed_over():
    assert counted(0, 3000, 10**9, 9000, 12_000) == [(0, 0), (3000, 0), (6000, 3000), (9000, 0), (12_000, 0)]
    assert counted(0, 3000, 10**9, 10**9 + 3000) == [(0, 0), (3000, 0), (6000, 3000), (9000, 3000)]


def test_a_counter_that_stands_still_is_filled_once_it_should_have_moved():
    minutes = counted(0, 3000, *[3000] * 9)
    assert minutes[7] == (3000, 0)
    assert minutes[8] == (pytest.approx(3000 + 7 * 3000), 7 * 3000)
    assert STUCK_SECONDS == 60


def test_what_was_never_measured_is_not_guessed():
    assert counted(OSError(), OSError()) == [None, None]
    assert counted(5, OSError()) == [(0, 0), None]


def test_a_power_reading_that_is_missing_is_filled_by_the_mean():
    assert counted(300, 300, float("nan"), 300, is_power=True) == [(0, 0), (3000, 0), (6000, 3000), (9000, 6000)]


def test_a_clock_that_goes_back_takes_nothing_back():
    series = Series(lambda: 0, max_watts=400)
    found = []
    for moment, reading in ((100, 0), (110, 3000), (50, 3000), (111, 3300)):
        series.note(moment, reading)
        found.append(series.total(moment)[0])
    assert found == [0, 3000, 3000, 3300]


class DriverError(Exception):
    """Of a driver's own."""


READINGS = some.one_of(
    some.floats(),
    some.integers(),
    some.text(max_size=3),
    some.booleans(),
    some.none(),
    some.complex_numbers(),
    some.sampled_from([DriverError(), OSError(5, "Input/output error"), MemoryError(), StopIteration()]),
    some.floats(0, 5e4),
)


@given(
    readings=some.lists(some.tuples(READINGS, some.floats(-50, 500)), max_size=30),
    is_power=some.booleans(),
    wraps_at=some.sampled_from([None, 5e4]),
)
def test_whatever_a_meter_reads_the_count_rises_and_stays_within_what_the_device_can_draw(readings, is_power, wraps_at):
    """Any scalar and any exception at any reading, and a clock that goes back and forth."""
    clock, left = Hand(), iter(readings)

    def read():
        reading, seconds = next(left)
        clock.seconds += seconds
        if isinstance(reading, Exception):
            raise reading
        return reading

    series = Series(read, max_watts=400, is_power=is_power, wraps_at_joules=wraps_at)
    meter = Meter("nvml", [series], now=clock)
    began = clock.seconds
    latest, before = began, 0.0
    for _ in readings:
        count = meter.count()
        latest = max(latest, clock.seconds)
        if count is not None:
            assert before <= count.kwh <= 400 * (latest - began) / 3_600_000 * (1 + 1e-9)
            assert 0 <= count.estimated_kwh <= count.kwh
            before = count.kwh


def test_a_worker_whose_meter_is_silent_counts_as_the_others_do():
    """Two of three workers count; the third is taken to use as much as they."""

    class Peers(World):
        def sum(self, values):
            return [3.0, 2.0, 0.4, 0.1, 1.0, 1.0, 0.2, 0.0]

    energy = Energy(Meter(None), Meter(None), "nvml", covers_host=False, is_per_gpu=True)
    energy.count(Peers())
    assert energy.used == Used(pytest.approx(0.6), 0.2, pytest.approx(0.3))
    assert energy.numbers() == {
        "energy_kwh": pytest.approx(0.6),
        "energy_source": "nvml",
        "energy_covers_host": False,
        "host_energy_kwh": 0.2,
        "energy_estimated_share": pytest.approx(0.3 / 0.8),
    }


def test_where_nothing_measures_no_figure_is_told():
    energy = Energy(Meter(None), Meter(None), None, covers_host=False, is_per_gpu=False)
    energy.count(World())
    assert set(energy.numbers().values()) == {None}


@pytest.mark.parametrize(
    "figure", ["null", "-8900", "NaN", "Infinity", '"much"', "[]", "{}", "true", "1" * 400, '{"attempt": 2}']
)
def test_a_figure_of_an_earlier_process_that_is_none_counts_as_nothing(figure):
    told = f'{{"attempt": 2, "energy_kwh": {figure}}}'.encode()
    assert used_before(told, attempt=2).kwh in (0.0, 1.0)


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"null", b"\xff", b'{"attempt": 2}'])
def test_an_earlier_process_of_the_attempt_counts_and_nothing_else_does(junk):
    told = {"attempt": 2, "energy_kwh": 0.25, "host_energy_kwh": 0.05, "energy_estimated_share": 0.1}
    assert used_before(json.dumps(told).encode(), attempt=2) == Used(0.25, 0.05, pytest.approx(0.03))
    assert used_before(json.dumps(told).encode(), attempt=3) == Used()
    assert used_before(junk, attempt=2) == Used()


def test_a_run_goes_on_when_its_counter_is_gone(tmp_path):
    counters, store = tmp_path / "powercap", tmp_path / "job"
    counters.mkdir()
    package(counters, "intel-rapl:0", 5_000)
    run = runs.start(runs.tiny(8), store, halt=(3, 5), LORA_POWERCAP=str(counters))
    run.reach(3)
    package(counters, "intel-rapl:0", 5_000 + 3 * 3_600_000)
    run.signal(signal.SIGCONT)
    assert run.reach(5)["energy_kwh"] == pytest.approx(3e-6)
    (counters / "intel-rapl:0" / "energy_uj").unlink()
    run.signal(signal.SIGCONT)
    assert run.wait() == 0
    told = runs.metrics(store)
    assert told["energy_kwh"] > 3e-6
    assert told["energy_estimated_share"] == pytest.approx(1 - 3e-6 / told["energy_kwh"])


def test_a_run_counts_the_energy_of_all_processes_of_its_attempt(tmp_path):
    """Three watt hours while the first process trains, and two more after it was killed and came back."""
    counters, store, steps = tmp_path / "powercap", tmp_path / "job", runs.tiny(8, checkpoint={"every_steps": 2})
    counters.mkdir()
    package(counters, "intel-rapl:0", 5_000)
    first = runs.start(steps, store, halt=(3, 5), LORA_POWERCAP=str(counters))
    assert first.reach(3)["energy_kwh"] == 0
    package(counters, "intel-rapl:0", 5_000 + 3 * 3_600_000)
    first.signal(signal.SIGCONT)
    assert first.reach(5)["energy_kwh"] == pytest.approx(3e-6)
    first.signal(signal.SIGKILL)
    first.wait()

    package(counters, "intel-rapl:0", 900_000_000)  # of others, while nothing of ours ran
    again = runs.start(steps, store, halt=(6,), LORA_POWERCAP=str(counters))
    assert again.reach(6)["energy_kwh"] == pytest.approx(3e-6)
    package(counters, "intel-rapl:0", 900_000_000 + 2 * 3_600_000)
    again.signal(signal.SIGCONT)
    assert again.wait() == 0
    assert runs.metrics(store)["energy_source"] == "rapl"
    assert runs.metrics(store)["energy_kwh"] == pytest.approx(5e-6)
