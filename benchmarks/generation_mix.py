"""Intensities made of EIA's generation by fuel beside Electricity Maps' of the same zones and hours.

python benchmarks/generation_mix.py [--data FOLDER] [--every HOURS]; the folder of recorded grids may also be given as
CARBONFLEET_DATA_DIR. Correlation and bias by zone, and what a plan that knows only the made history reaches of what it
reaches with theirs, both settled on theirs.
"""

import argparse
import csv
import gzip
import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from carbonfleet.api.signal import SignalKind
from carbonfleet.signals.sources.generation.mix import Fuel, mix_intensity
from carbonfleet.simulator.backtest import OURS, Backtest, Result, run_backtest
from carbonfleet.simulator.grid import FromHistory, Grid, open_grid
from carbonfleet.simulator.presets import HALF_YEAR
from carbonfleet.simulator.replay import every_hour, pools_of
from carbonfleet.simulator.replay.workers import cores

MIX = "eia_2022H1_fuel_mix.csv.gz"
ZONES = ("US-MIDA-PJM", "US-MIDW-MISO", "US-CAL-CISO", "US-TEX-ERCO", "US-NY-NYIS")
FUELS = {
    "wind": Fuel.WIND_ONSHORE,
    "solar": Fuel.SOLAR,
    "hydro": Fuel.HYDRO,
    "oil": Fuel.OIL,
    "gas": Fuel.GAS,
    "coal": Fuel.COAL,
    "nuclear": Fuel.NUCLEAR,
    "other": Fuel.OTHER,
}
MADE = f"{OURS} on the mix"


@dataclass(frozen=True)
class Likeness:
    """How far a made series is from theirs, hour by hour."""

    correlation: float
    bias_grams_per_kwh: float
    mean_grams_per_kwh: float
    """Theirs."""
    unknown_hours: int


def made_series(path: Path, zones: tuple[str, ...], start: datetime, hours: int) -> np.ndarray:
    """Lifecycle g/kWh from the file's MWh by fuel, shape (zones, hours), NaN where the mix is not whole."""
    mwh = {zone: {fuel: np.full(hours, np.nan) for fuel in FUELS.values()} for zone in zones}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            hour = int((datetime.fromisoformat(row["datetime_utc"]) - start).total_seconds() // 3600)
            if row["zone"] in mwh and 0 <= hour < hours:
                for name, fuel in FUELS.items():
                    mwh[row["zone"]][fuel][hour] = float(row[f"{name}_mwh"] or "nan")
    lifecycle = SignalKind.AVERAGE_LIFECYCLE
    return np.array([mix_intensity(list(made), np.array(list(made.values())), lifecycle) for made in mwh.values()])


def likeness(made: np.ndarray, theirs: np.ndarray) -> Likeness:
    """Over the hours that both know."""
    known = np.isfinite(made)
    correlation = float(np.corrcoef(made[known], theirs[known])[0, 1])
    bias = float((made[known] - theirs[known]).mean())
    return Likeness(correlation, bias, float(theirs.mean()), int((~known).sum()))


def carried(values: np.ndarray) -> np.ndarray:
    """Unknown hours as the one before."""
    known = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(values.size), 0))
    return values[known]


def grids(data: Path) -> tuple[Grid, Grid]:
    """Theirs, and the one that is made of the mixes of the same hours."""
    theirs = open_grid([data / HALF_YEAR], ZONES)
    made = made_series(data / MIX, ZONES, theirs.start, theirs.slots)
    return theirs, replace(theirs, grams_per_kwh=made)


def compared(theirs: Grid, made: Grid, zones: tuple[str, ...], hours: float, slack: float, every: int) -> Result:
    """A plan that learns from theirs, and one that learns from what is made, on the same jobs from the first zone."""
    rows = [theirs.row(zone) for zone in zones]
    truth = replace(theirs, zones=zones, grams_per_kwh=theirs.grams_per_kwh[rows])
    known = replace(truth, grams_per_kwh=np.array([carried(made.grams_per_kwh[row]) for row in rows]))
    jobs = every_hour(truth.moment(28 * 24), 3600, hours, slack)[::every]
    feeds = ((OURS, FromHistory), (MADE, lambda grid, first, last, ahead: FromHistory(known, first, last, ahead)))
    backtest = Backtest(truth, (jobs,), pools_of(zones, None), zones[0], feeds, minimum_gain=0)
    return run_backtest(backtest, only_ours=True, workers=cores())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("CARBONFLEET_DATA_DIR"))
    parser.add_argument("--every", type=int, default=7)
    options = parser.parse_args()
    theirs, made = grids(Path(options.data))
    print("zone          correlation   bias g/kWh (of mean)   hours unknown")
    for row, zone in enumerate(ZONES):
        found = likeness(made.grams_per_kwh[row], theirs.grams_per_kwh[row])
        bias, share = found.bias_grams_per_kwh, 100 * found.bias_grams_per_kwh / found.mean_grams_per_kwh
        print(f"{zone:14}{found.correlation:10.3f}{bias:13.1f} ({share:+.0f} %){found.unknown_hours:14}")
    print("\nzones          run/slack    share with theirs   with the mix   ratio")
    for zones in (ZONES, *((zone,) for zone in ZONES)):
        for hours, slack in ((1, 24), (4, 24)):
            result = compared(theirs, made, zones, hours, slack, options.every)
            known, guessed = (result.of(row).share_percent for row in (OURS, MADE))
            name = "all five" if len(zones) > 1 else zones[0]
            print(f"{name:14} {hours:3}/{slack} h {known:14.1f} % {guessed:15.1f} % {guessed / known:11.3f}")


if __name__ == "__main__":
    main()
