"""Several workers: Ray Train starts them and joins them into one group; each runs the same `train`."""

import asyncio
import os
import signal
import tempfile
import threading
from typing import Any

import ray
from ray.train import RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from .failure import Failure
from .settings import Job
from .stop import stop
from .storage import Lease, open_store

OF_A_MACHINE = {"LORA_METER_NODE", "LORA_METER_POD"}
OFFLINE = {"HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"}


def train_on_ray(job: Job, started: float) -> None:
    """Run the job on `training.workers` Ray workers, each with a GPU where the cluster has that many."""
    ray.init(ignore_reinit_error=True)
    signal.signal(signal.SIGTERM, stop.on_signal)  # Ray has put its own there
    workers = job.settings.training.workers
    on_gpu = ray.cluster_resources().get("GPU", 0) >= workers
    flag = ray.remote(Flag).options(num_cpus=0).remote()
    _pass_on(flag)
    with tempfile.TemporaryDirectory() as folder:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"job": job, "started": started, "flag": flag, "environment": _environment()},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=on_gpu),
            run_config=RunConfig(name="lora", storage_path=folder),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise _own(error) from error


class Flag:
    """Tells the workers, wherever they are, that the job was asked to stop."""

    def __init__(self) -> None:
        self._raised = asyncio.Event()

    async def set(self) -> None:
        """Raise the flag."""
        self._raised.set()

    async def wait(self) -> None:
        """Return when the flag is raised."""
        await self._raised.wait()


def _pass_on(flag: Any) -> None:  # noqa: ANN401  # Ray's actor handles have no type
    def watch() -> None:
        stop.event.wait()
        flag.set.remote()

    stop.heeded_by_loop = True
    threading.Thread(target=watch, daemon=True).start()


def _work(config: dict[str, Any]) -> None:
    """One worker, in a process of Ray's."""
    os.environ.update(config["environment"])  # before the libraries that read it when they are imported
    from ray.train import get_context
    from ray.train.torch import get_device

    def watch() -> None:
        ray.get(config["flag"].wait.remote())
        stop.event.set()

    threading.Thread(target=watch, daemon=True).start()
    job: Job = config["job"]
    context = get_context()
    store = open_store(job.output)
    lease = Lease.take(store, job.attempt, job.settings.digest) if context.get_world_rank() == 0 else None

    from .training import World, train

    first_on_node = context.get_local_rank() == 0
    world = World(context.get_world_rank(), context.get_world_size(), get_device(), first_on_node)
    train(job, world, store, lease, config["started"])


def _environment() -> dict[str, str]:
    """What the workers must know of ours; secrets are for their own machines to have."""
    told = {name: value for name, value in os.environ.items() if name.startswith("LORA_") or name in OFFLINE}
    return {name: value for name, value in told.items() if name not in OF_A_MACHINE}


def _own(error: Exception) -> Exception:
    """The reason that a worker gave, if it gave one; the others only say that it left them."""
    for failure in getattr(error, "worker_failures", {}).values():
        for candidate in (failure, failure.__cause__, getattr(failure, "cause", None)):
            if isinstance(candidate, Failure):
                return candidate
    return error
