"""What a release ships beside the code: definitions, fleet seed, kustomize and workloads, and its container images."""

from pathlib import Path
from typing import Final

_IN_WHEEL: Final = Path(__file__).parent / "shipped_files"
SHIPPED: Final = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parents[2]
"""Holds `constraints.txt`, `crds/`, `fleet/`, `kustomize/`, `workloads/`: a folder of the wheel, or the checkout."""
EXAMPLES: Final = SHIPPED / "crds" / "examples"
FLEET_SEED: Final = SHIPPED / "fleet"

REGISTRY: Final = "ghcr.io/carbonfleet"
TAG: Final = "0.1.0"
OPERATOR_IMAGE: Final = f"{REGISTRY}/operator:{TAG}"
"""The hub, the agent, and the fleet repository's own check."""
TRAINING_IMAGE: Final = f"{REGISTRY}/lora:{TAG}"
"""What a job runs that names no image."""
