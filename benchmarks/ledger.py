"""How fast a ledger of many attempts adds up a month, and integrates one, beside doing it one by one.

Three questions: the report of a month from the database; the integration of the month's energy against a
grid's hours; and whether both equal an independent computation to 1e-9.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "fixtures"))

import numpy as np
from ledger_values import HOUR, NOON, many, settled

from carbonfleet.ledger import Entry
from carbonfleet.ledger.emissions import EnergyUse, Intensities, emitted_grams_each
from carbonfleet.ledger.page import page
from carbonfleet.ledger.report import Report, report
from carbonfleet.ledger.store import By, Ledger, Query

MONTH = Query(since=NOON.replace(hour=0), until=NOON.replace(month=2, day=1, hour=0))
TOLERANCE = 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--url", default="", help="a database in place of a SQLite file; it must be empty")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; {options.attempts:,} attempts\n")
    entries = sorted(many(options.attempts), key=lambda entry: entry.end)  # They are recorded as they end.
    print("| what | best s | CPU s | largest relative error |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="carbonfleet-bench-") as folder:
        ledger = Ledger(options.url or f"sqlite:///{folder}/ledger.sqlite")
        one_pass("record them, in one transaction", lambda: ledger.record_all(entries))
        months(ledger, entries, options.rounds, "")
        later = [settled(each, grams=each.grams * 1.1) for each in entries[::2]]
        ledger.record_all(later)
        latest = {each.placement_id: each for each in [*entries, *later]}
        months(ledger, list(latest.values()), options.rounds, ", half of them settled")
        ledger.close()
    integration(entries, options.rounds)


def months(ledger: Ledger, entries: list[Entry], rounds: int, note: str) -> None:
    """The month's totals, and whole reports of it."""
    inside = [each for each in entries if MONTH.since <= each.end < MONTH.until]
    [total] = (found := timed(f"total of the month{note}", rounds, lambda: ledger.sums(By.ALL, MONTH)))[0]
    names = ("grams", "energy_kwh", "operational_grams", "embodied_grams", "baseline_grams", "gpu_hours", "cost_usd")
    wrong = [abs(getattr(total, name) / math.fsum(getattr(e, name) or 0.0 for e in inside) - 1) for name in names]
    show(*found[1:], max(wrong))
    for by in (By.NAMESPACE, By.SWEEP, By.MONTH):
        made, *cost = timed(f"report by {by.value}{note}", rounds, lambda by=by: report(ledger, by, MONTH, NOON))
        lines = math.fsum(line.sums.grams for line in made.lines)
        wanted = math.fsum(each.grams for each in inside if by is not By.SWEEP or each.sweep)
        show(*cost, abs(lines / wanted - 1))
    made, *cost = timed(f"report by job, with plots{note}", 1, lambda: paged(ledger))
    show(*cost, abs(math.fsum(line.sums.grams for line in made.lines) / math.fsum(e.grams for e in inside) - 1))


def paged(ledger: Ledger) -> Report:
    made = report(ledger, By.JOB, MONTH, NOON, with_months=True)
    page(made)
    return made


def integration(entries: list[Entry], rounds: int) -> None:
    """Energy against the grid's hours: all at once, and each by hand."""
    held = Intensities("NO-NO1", NOON.replace(hour=0), HOUR, np.random.default_rng(1).uniform(5, 900, 32 * 24))

    def ours() -> np.ndarray:
        return emitted_grams_each([EnergyUse.constant(e.start, e.end, e.energy_kwh) for e in entries], held)

    grams, *cost = timed("integrate each attempt of the month", rounds, ours)
    began = time.perf_counter()
    wanted = np.array([by_hand(each, held) for each in entries])
    seconds = time.perf_counter() - began
    show(*cost, float(np.max(np.abs(grams / wanted - 1))))
    print(f"| the same hour by hour, in plain Python | {seconds:.2f} | | |")


def by_hand(entry: Entry, held: Intensities) -> float:
    """Hour by hour with exact fractions of time."""
    parts, at, length = [], entry.start, (entry.end - entry.start).total_seconds()
    while at < entry.end:
        after = min(entry.end, at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
        index = min((at - held.start) // HOUR, held.grams_per_kwh.size - 1)
        parts.append(entry.energy_kwh * (after - at).total_seconds() / length * float(held.grams_per_kwh[index]))
        at = after
    return math.fsum(parts)


def timed(what: str, rounds: int, work: Callable[[], object]) -> tuple[object, str, float, float]:
    """The result, and the best of so many rounds in seconds, by the wall and of the processor."""
    best = (math.inf, math.inf)
    for _ in range(rounds):
        began, used = time.perf_counter(), time.process_time()
        result = work()
        best = min(best, (time.perf_counter() - began, time.process_time() - used))
    return result, what, *best


def one_pass(what: str, work: Callable[[], object]) -> None:
    _, *cost = timed(what, 1, work)
    print(f"| {cost[0]} | {cost[1]:.2f} | {cost[2]:.2f} | |")


def show(what: str, seconds: float, used: float, error: float) -> None:
    if error > TOLERANCE:
        raise SystemExit(f"{what}: off by {error:.1e}, more than {TOLERANCE:.0e}")
    print(f"| {what} | {seconds:.2f} | {used:.2f} | {error:.1e} |")


if __name__ == "__main__":
    main()
