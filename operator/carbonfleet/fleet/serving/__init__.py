"""What a cluster serves: a file that runs vLLM with adapters by name, scaled and asleep as declared."""

from carbonfleet.fleet.serving.publishing import Written, check_allowed, publish_serving
from carbonfleet.fleet.serving.reading import Served, ServingInvalid, read_serving
from carbonfleet.fleet.serving.rendering import render_serving
from carbonfleet.fleet.serving.scaling import Scaling
from carbonfleet.fleet.serving.sleeping import EXAMPLE, WAKE_LEAD, Sleep
from carbonfleet.fleet.serving.values import VLLM_IMAGE, Adapter, Serving, ServingRefused

__all__ = [
    "EXAMPLE",
    "VLLM_IMAGE",
    "WAKE_LEAD",
    "Adapter",
    "Scaling",
    "Served",
    "Serving",
    "ServingInvalid",
    "ServingRefused",
    "Sleep",
    "Written",
    "check_allowed",
    "publish_serving",
    "read_serving",
    "render_serving",
]
