"""How fast an auditor finds one altered gram in an export of 10,000 lines, and derives every line again.

First `carbonfleet report verify` as a process of its own, its start included: on the honest export, and with one gram
taken from one line. Then the walk along the chain and the derivation alone, by the processor's clock. Limits: the walk
within 1 s, the derivation within 60 s.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "fixtures"))

from accounted_attempts import lines, recorded

from carbonfleet.hub.accounting import Derivation
from carbonfleet.ledger import Document, chain_faults, exported
from carbonfleet.ledger.store import Ledger

FOUND_SECONDS, DERIVED_SECONDS = 1.0, 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; {options.lines:,} lines\n")
    with tempfile.TemporaryDirectory(prefix="carbonfleet-bench-") as folder:
        export = Path(folder) / "export.jsonl"
        ledger = Ledger(f"sqlite:///{folder}/ledger.sqlite")
        recorded(ledger, lines(options.lines * 2 // 3))
        with export.open("w") as out:
            count = ledger.export(out)
        ledger.close()
        print(f"{count:,} lines, {export.stat().st_size / count / 1024:.1f} KiB each with their evidence\n")
        first, whole, said = verify(export)
        assert said[-1] == f"{count} lines derive again from their evidence", said
        print(f"honest: chain after {first:.2f} s, all derived after {whole:.2f} s")
        altered = take_a_gram(export, random.Random(1).randrange(count))
        first, _, said = verify(export)
        assert said[0].startswith(f"line {altered} "), said
        print(f"one gram less in line {altered}: told after {first:.2f} s, the command's start included")
        walked, derived = walk(export, altered), derive(export)
        print(f"the walk that finds it: {walked:.2f} s of the processor; the derivation {derived:.2f} s")
        if walked > FOUND_SECONDS or derived > DERIVED_SECONDS:
            raise SystemExit(f"slower than {FOUND_SECONDS:.0f} s and {DERIVED_SECONDS:.0f} s")


def walk(export: Path, altered: int) -> float:
    """Processor's seconds of the walk along the chain."""
    began = time.process_time()
    with export.open(encoding="utf-8") as text:
        found = [fault.number for fault in chain_faults(line for _, line in exported(text, with_evidence=False))]
    assert found == [altered], found
    return time.process_time() - began


def derive(export: Path) -> float:
    """Processor's seconds of the derivation, the reading of the evidence included."""
    began = time.process_time()
    with export.open(encoding="utf-8") as text:
        evidence = {one.digest: one.text for _, one in exported(text) if isinstance(one, Document)}
    derivation = Derivation(lambda _: evidence)
    with export.open(encoding="utf-8") as text:
        assert len(list(derivation.faults(line for _, line in exported(text, with_evidence=False)))) == 1
    return time.process_time() - began


def verify(export: Path) -> tuple[float, float, list[str]]:
    """Seconds until the first line of output and until the end, and the output."""
    command = [sys.executable, "-u", "-m", "carbonfleet", "report", "verify", str(export)]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline()]
        first = time.perf_counter() - began
        said += process.stdout.readlines()
    return first, time.perf_counter() - began, [line.rstrip() for line in said]


def take_a_gram(export: Path, number: int) -> int:
    """Alter one line of the ledger; its number in the chain."""
    kept = export.read_text().splitlines()
    at = [index for index, line in enumerate(kept) if '"id"' in line][number]
    row = json.loads(kept[at])
    row["grams"] -= 1.0
    kept[at] = json.dumps(row, sort_keys=True)
    export.write_text("\n".join(kept) + "\n")
    return row["number"]


if __name__ == "__main__":
    main()
