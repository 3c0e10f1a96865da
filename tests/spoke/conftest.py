"""A hub, a Git server and a Ray head for spokes: all real, all on loopback."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from spoke_stack import bare_stack, hub_api, stack

from fixtures.git_server import git_server
from fixtures.kubeapi_server import kube_api, make_kube_api
from fixtures.ray_head import ray_head

__all__ = [
    "bare_stack",
    "git_server",
    "hub_api",
    "kube_api",
    "make_kube_api",
    "ray_head",
    "stack",
]
