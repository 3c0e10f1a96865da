"""Energy counters: read where the machine has them, and never made up."""

import pytest
from workloads.lora.energy import NoMeter, Rapl


def package(root, name: str, energy_uj: int) -> None:
    (root / name).mkdir(exist_ok=True)
    (root / name / "energy_uj").write_text(f"{energy_uj}\n")
    (root / name / "max_energy_range_uj").write_text("999999999\n")


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


def test_a_machine_that_measures_nothing_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        Rapl(tmp_path)
    assert NoMeter().kwh() is None
    assert NoMeter().source is None
