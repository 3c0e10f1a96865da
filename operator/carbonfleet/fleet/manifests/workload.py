"""What train.py is told: the job's workload as its settings, where it saves, and where it is placed."""

import json
from typing import Any, Final

from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.api.job_status import DecisionRecord
from carbonfleet.api.workload import SPOKE_STORE, Dataset, Lora, Training, Workload
from carbonfleet.placement.decision import Window
from carbonfleet.placement.hardware import machine_kw, pool_profile

MOST_WORKERS: Final = 1024


def config_of(workload: Workload, gpus: int) -> str:
    """The settings as JSON in ASCII, a worker for each GPU; what is unset is left to the script."""
    config = {
        "model": workload.model,
        "model_revision": workload.model_revision,
        "dataset": _dataset(workload.dataset),
        "lora": _lora(workload.lora),
        "training": _training(workload.training, min(gpus, MOST_WORKERS)),
        "checkpoint": _checkpoint(workload),
    }
    return json.dumps(_present(config), indent=1)


def placed_on(window: Window, record: DecisionRecord, facts: ClusterFacts, pool: GpuPool) -> str:
    """Where a run is and what it was expected to emit there, as JSON: what its model card tells."""
    watts = 1000 * machine_kw(pool_profile(pool), window.gpus, 1.0)
    source = next((each.source for each in record.candidates if each.cluster == facts.name), "")
    placed = {
        "cluster": facts.name,
        "region": facts.region,
        "zone": facts.zone,
        "gpuType": pool.gpu_type,
        "gpus": window.gpus,
        "simulated": pool.simulated,
        "watts": round(watts, 1),
        "pue": facts.pue,
        "gramsPerKwh": record.grams_per_kwh,
        "source": source,
    }
    return json.dumps(_present(placed), indent=1)


def output_of(workload: Workload, uid: str) -> str:
    """The place that all attempts of a job share."""
    return f"{(workload.checkpoints.uri or SPOKE_STORE).rstrip('/')}/{uid}"


def _dataset(dataset: Dataset) -> dict[str, Any]:
    source = "path" if dataset.is_file else "name"
    parts = ("config", "revision", "split", "samples", "max_dropped_percent")
    return _present({source: dataset.name, **{part: getattr(dataset, part) for part in parts}})


def _lora(lora: Lora) -> dict[str, Any]:
    alpha = int(lora.alpha) if float(lora.alpha).is_integer() else lora.alpha
    modules = list(lora.target_modules) or None
    return _present({"rank": lora.rank, "alpha": alpha, "dropout": lora.dropout, "target_modules": modules})


def _training(training: Training, workers: int) -> dict[str, Any]:
    return _present(
        {
            "learning_rate": training.learning_rate,
            "schedule": training.schedule.value,
            "warmup_ratio": training.warmup_ratio,
            "epochs": training.epochs,
            "steps": training.steps,
            # The script counts the samples of a step over all workers.
            "batch_size": training.batch_size * workers,
            "gradient_accumulation": training.gradient_accumulation,
            "sequence_length": training.sequence_length,
            "validations": training.validations,
            "group_by_length": training.group_by_length or None,
            "packing": training.packing or None,
            "quantization": training.quantization.value if training.quantization else None,
            "compile": training.compile or None,
            "seed": training.seed,
            "workers": workers,
        }
    )


def _checkpoint(workload: Workload) -> dict[str, Any]:
    checkpoints = workload.checkpoints
    if checkpoints.every_steps is not None:
        return {"every_steps": checkpoints.every_steps}
    return {"every_minutes": checkpoints.every.total_seconds() / 60}


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
