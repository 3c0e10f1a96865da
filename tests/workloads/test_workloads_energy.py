"""Energy counters: read where the machine has them, and never made up."""

import json
import signal
import sys

import lora_runs as runs
import pytest
from workloads.lora.energy import open_meter
from workloads.lora.energy.dcgm import Dcgm
from workloads.lora.energy.meter import NoMeter
from workloads.lora.energy.nvml import Nvml
from workloads.lora.energy.rapl import Rapl
from workloads.lora.training.report import energy_before

from fixtures.http_server import HttpServer, QuietHandler

GPU = "604ac76c-d9cf-fef3-62e9-d92044ab6e52"
PYNVML = '''
"""NVIDIA's library as it answered once: the readings of one GPU, one after another."""
import json
from pathlib import Path

class NVMLError(Exception):
    pass

READINGS = json.loads((Path(__file__).parent / "readings.json").read_text())

def nvmlInit():
    pass

def nvmlDeviceGetHandleByUUID(uuid):
    if uuid != READINGS["uuid"]:
        raise NVMLError("Not Found")
    return uuid

def nvmlDeviceGetTotalEnergyConsumption(handle):
    if "millijoules" not in READINGS:
        raise NVMLError("Not Supported")
    return READINGS["millijoules"].pop(0)

def nvmlDeviceGetPowerUsage(handle):
    return READINGS["milliwatts"].pop(0)
'''


@pytest.fixture
def nvml(tmp_path, monkeypatch):
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


def package(root, name: str, energy_uj: int) -> None:
    (root / name).mkdir(exist_ok=True)
    (root / name / "max_energy_range_uj").write_text("999999999\n")
    (root / "next").write_text(f"{energy_uj}\n")
    (root / "next").replace(root / name / "energy_uj")  # at once, for who reads it meanwhile


def test_rapl_adds_up_the_packages_and_their_wraps(tmp_path):
    package(tmp_path, "intel-rapl:0", 900_000_000)
    package(tmp_path, "intel-rapl:1", 0)
    package(tmp_path, "intel-rapl:0:0", 5)  # a part of package 0, which counts it already
    meter = Rapl(tmp_path)
    assert meter.kwh() == 0
    package(tmp_path, "intel-rapl:0", 60_000_000)  # wrapped: 160 J
    package(tmp_path, "intel-rapl:1", 200_000_000)  # 200 J
    assert meter.kwh() == pytest.approx(360 / 3_600_000)
    package(tmp_path, "intel-rapl:1", 560_000_000)  # 360 J more
    assert meter.kwh() == pytest.approx(720 / 3_600_000)


def test_nvml_counts_millijoules_from_where_it_began(nvml):
    nvml(millijoules=[7_412_003_114, 7_412_271_950, 7_773_203_114])
    meter = Nvml(GPU)
    assert meter.kwh() == pytest.approx(268.836 / 3_600_000)
    assert meter.kwh() == pytest.approx(361_200 / 3_600_000)


def test_a_board_without_a_counter_is_measured_by_its_power(nvml):
    nvml(milliwatts=[28_000, 312_000, 348_000])
    clock = Hand()
    meter = Nvml(GPU, clock)
    clock.seconds += 10
    assert meter.kwh() == pytest.approx((28 + 312) / 2 * 10 / 3_600_000)
    clock.seconds += 5
    assert meter.kwh() == pytest.approx(((28 + 312) / 2 * 10 + (312 + 348) / 2 * 5) / 3_600_000)


def test_dcgm_is_read_for_this_gpu_and_stands_still_while_it_is_away(exporter):
    other, clock = "aaaaaaaa-0000-4000-8000-000000000000", Hand()
    exporter.text = exported((other, "999"), (GPU, "3.6e+09"))
    meter = Dcgm(f"http://127.0.0.1:{exporter.server_port}/metrics", GPU, clock)
    exporter.text = exported((other, "5e+09"), (GPU, "7.2e+09"))
    assert meter.kwh() == 0, "not asked at every step"
    clock.seconds += 15
    assert meter.kwh() == pytest.approx(1.0)
    exporter.text = None
    clock.seconds += 15
    assert meter.kwh() == pytest.approx(1.0)


def test_dcgm_is_asked_where_its_exporter_is_named(exporter, monkeypatch):
    exporter.text = exported((GPU, "1000"))
    monkeypatch.setenv("LORA_DCGM_URL", f"http://127.0.0.1:{exporter.server_port}/metrics")
    assert open_meter(GPU, first_on_node=True).source == "dcgm"
    assert open_meter("another-gpu", first_on_node=True).source is None


def test_a_machine_that_measures_nothing_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        Rapl(tmp_path)
    assert NoMeter().kwh() is None
    assert NoMeter().source is None


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"attempt": 2}', b'{"attempt": 2, "energy_kwh": null}'])
def test_an_earlier_process_of_the_attempt_counts_and_nothing_else_does(junk):
    told = json.dumps({"attempt": 2, "energy_kwh": 0.25}).encode()
    assert energy_before(told, attempt=2) == 0.25
    assert energy_before(told, attempt=3) == 0
    assert energy_before(junk, attempt=2) == 0


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
