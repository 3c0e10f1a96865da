"""Our own container images: their one registry path, and this release's tag."""

from typing import Final

REGISTRY: Final = "ghcr.io/carbonfleet"
TAG: Final = "0.1.0"
OPERATOR_IMAGE: Final = f"{REGISTRY}/operator:{TAG}"
"""The hub, the agent, and the fleet repository's own check."""
TRAINING_IMAGE: Final = f"{REGISTRY}/lora:{TAG}"
"""What a job runs that names no image."""
