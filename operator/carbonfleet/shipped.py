"""Where the files lie that the commands use beside the code: definitions, fleet seed, kustomize, workloads."""

from pathlib import Path
from typing import Final

_IN_WHEEL: Final = Path(__file__).parent / "shipped_files"
SHIPPED: Final = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parents[2]
"""Holds `constraints.txt`, `crds/`, `fleet/`, `kustomize/`, `workloads/`: a folder of the wheel, or the checkout."""
EXAMPLES: Final = SHIPPED / "crds" / "examples"
FLEET_SEED: Final = SHIPPED / "fleet"
