"""What is to be served, and where: adapters, how far they scale and when they sleep, as plain values."""

from dataclasses import dataclass
from typing import Final

from carbonfleet.api.job import ResidencyRequest
from carbonfleet.fleet.manifests import serving_path
from carbonfleet.fleet.serving.scaling import Scaling
from carbonfleet.fleet.serving.sleeping import Sleep

VLLM_IMAGE: Final = "vllm/vllm-openai:v0.12.0@sha256:6766ce0c459e24b76f3e9ba14ffc0442131ef4248c904efdcbf0d89e38be01fe"


class ServingRefused(ValueError):  # noqa: N818  named like its reason
    """It must not be served there, or can't be; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter: the name that clients ask for, its job's output as pods see it, and its rank."""

    name: str
    place: str
    rank: int


@dataclass(frozen=True, slots=True)
class Serving:
    """Adapters of one base model, and where they are served."""

    name: str
    namespace: str
    cluster: str
    pool: str
    model: str
    adapters: tuple[Adapter, ...]
    residency: ResidencyRequest
    fetch_image: str
    """The training image, which copies the adapters to the pod."""
    revision: str | None = None
    """Of the model: the commit, tag or branch that the adapters were trained on; None for the newest."""
    image: str = VLLM_IMAGE
    gpus: int = 1
    """Of each replica."""
    scaling: Scaling | None = None
    """None for one replica at all times."""
    sleep: Sleep | None = None

    @property
    def object_name(self) -> str:
        """What the Deployment and the Service are called."""
        return f"serve-{self.name}"

    @property
    def path(self) -> str:
        """Its file. Raises ValueError for a name that is no label."""
        return serving_path(self.cluster, self.namespace, self.name)
