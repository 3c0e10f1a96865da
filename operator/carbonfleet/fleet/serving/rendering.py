"""From what is to be served to the file's bytes."""

import hashlib
import json
import shlex
from typing import Final

from carbonfleet.api.workload import SPOKE_STORE
from carbonfleet.fleet.manifests import (
    CPUS_PER_GPU,
    MEMORY_GIB_PER_GPU,
    MOST_GPUS,
    Block,
    Scalar,
    sealed,
    serving_path,
)
from carbonfleet.fleet.serving.scaling import Scaling
from carbonfleet.fleet.serving.sleeping import Sleep
from carbonfleet.fleet.serving.templates import SCALES, SLEEPS, template_of
from carbonfleet.fleet.serving.values import Serving, ServingRefused

MOST_ADAPTERS: Final = 64
_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's `--max-lora-rank` may be."""
_LONGEST_NAME: Final = 57
"""With `serve-` before it, a label of 63 characters."""


def render_serving(serving: Serving) -> bytes:
    """The file: equal inputs give equal bytes. Raises ServingRefused for what can't be served."""
    _check(serving)
    config, adapters = _config(serving), json.dumps({one.name: one.place for one in serving.adapters}, indent=1)
    values: dict[str, Scalar | Block] = {
        "object": serving.object_name,
        "name": serving.name,
        "namespace": serving.namespace,
        "cluster": serving.cluster,
        "pool": serving.pool,
        "data_class": serving.residency.data_class,
        "adapters": Block(adapters),
        "config": Block(config),
        "config_digest": f"sha256:{hashlib.sha256((adapters + config).encode()).hexdigest()}",
        "fetch_image": serving.fetch_image,
        "image": serving.image,
        "replicas": 1,
        "gpus": str(serving.gpus),
        "cpus": str(CPUS_PER_GPU * serving.gpus),
        "memory": f"{MEMORY_GIB_PER_GPU * serving.gpus}Gi",
    }
    kinds = []
    if serving.scaling is not None:
        kinds.append(SCALES)
        values |= _scaling_values(serving, serving.scaling)
    if serving.sleep is not None:
        kinds.append(SLEEPS)
        values |= _sleep_values(serving.sleep)
    if kinds:
        del values["replicas"]
    return template_of(kinds).fill(sealed(values)).encode()


def _scaling_values(serving: Serving, scaling: Scaling) -> dict[str, Scalar | Block]:
    return {
        "min_replicas": scaling.least,
        "max_replicas": scaling.most,
        "fallback_replicas": max(1, scaling.least),
        "formula": scaling.formula,
        "prometheus": scaling.prometheus,
        "load_query": scaling.load_of(serving.namespace, serving.object_name),
        "latency_query": scaling.latency_of(serving.namespace, serving.object_name),
        "carbon_url": scaling.zone_url,
    }


def _sleep_values(sleep: Sleep) -> dict[str, Scalar | Block]:
    return {
        "weekdays": sleep.weekdays,
        "sleep_at": sleep.sleep_at,
        "wake_up_at": sleep.wake_up_at,
        "time_zone": sleep.time_zone,
    }


def _check(serving: Serving) -> None:
    try:
        serving_path(serving.cluster, serving.namespace, serving.name)
    except ValueError as error:
        raise ServingRefused(str(error)) from error
    if len(serving.name) > _LONGEST_NAME:
        raise ServingRefused(f"the name {serving.name} is longer than {_LONGEST_NAME} characters; --name gives another")
    if not 1 <= len(serving.adapters) <= MOST_ADAPTERS:
        raise ServingRefused(f"{len(serving.adapters)} adapters; serve 1 to {MOST_ADAPTERS} together")
    most = serving.gpus * (serving.scaling.most if serving.scaling else 1)
    if most > MOST_GPUS:
        raise ServingRefused(f"it would take up to {most} GPUs; {MOST_GPUS} are the most: lower --max or --gpus")
    for one in serving.adapters:
        if "://" not in one.place and not one.place.startswith(f"{SPOKE_STORE}/"):
            all_of_them = " ".join(shlex.quote(f"{each.name}={each.place}") for each in serving.adapters)
            raise ServingRefused(
                f"{one.name} is in a folder of the machine that trained it, which no pod can see; serve it there:\n"
                f"python -m workloads.lora.serve {all_of_them}"
            )
        if one.rank > _RANKS[-1]:
            raise ServingRefused(f"{one.name} has rank {one.rank}; vLLM serves up to {_RANKS[-1]}")


def _config(serving: Serving) -> str:
    """What vLLM would be told on its command line, where no user's text belongs."""
    modules = [{"name": one.name, "path": f"/adapters/{one.name}"} for one in serving.adapters]
    most = max(one.rank for one in serving.adapters)
    config = {
        "model": serving.model,
        **({"revision": serving.revision, "tokenizer-revision": serving.revision} if serving.revision else {}),
        "served-model-name": serving.model,
        "port": 8000,
        "tensor-parallel-size": serving.gpus,
        "enable-lora": True,
        "max-loras": len(modules),
        "max-lora-rank": next(rank for rank in _RANKS if rank >= most),
        "lora-modules": [json.dumps(module) for module in modules],
    }
    return json.dumps(config, indent=1)
