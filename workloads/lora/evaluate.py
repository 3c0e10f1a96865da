"""Load a finished adapter onto its base in a fresh process, and measure the validation loss again.

python -m workloads.lora.evaluate OUTPUT
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from .failure import EXIT_CODES, Failure, explain
from .report import METRICS
from .settings import TINY_MODEL, Settings
from .store import Store, open_store

TOLERANCE = 1e-4


def main(arguments: list[str] | None = None) -> int:
    """Print the logged and the measured loss; exit 0 if they agree to `TOLERANCE`."""
    parser = argparse.ArgumentParser(description="Measure a finished adapter's validation loss again.")
    parser.add_argument("output", help="path or fsspec URL that the job wrote to")
    given = parser.parse_args(arguments)
    try:
        store = open_store(given.output)
        metrics = read_metrics(store, given.output)
        measured = evaluate(store, Settings.model_validate(metrics["settings"]))
    except Exception as error:  # noqa: BLE001  # one line, one code
        failure = explain(error)
        print(failure, file=sys.stderr)
        return failure.exit_code
    print(json.dumps({"logged": metrics["validation_loss"], "measured": measured}))
    return 0 if abs(measured - metrics["validation_loss"]) <= TOLERANCE else EXIT_CODES["Unexpected"]


def read_metrics(store: Store, output: str) -> dict[str, Any]:
    """What the finished run said of itself; raise `BadConfig` if it did not finish."""
    found = store.load(METRICS)
    if found is None:
        raise Failure("BadConfig", f"{output} holds no {METRICS}: the run has not finished")
    metrics: dict[str, Any] = json.loads(found[0])
    return metrics


def evaluate(store: Store, settings: Settings) -> float:
    """The validation loss of the stored adapter, in nats per response token."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from .data import load_data
    from .distributed import World
    from .loop import validation_loss
    from .model import load_base

    world, plan = World.alone(), settings.training
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        download(store, "adapter", Path(folder))
        tokenizer = AutoTokenizer.from_pretrained(f"{folder}/adapter")
        if settings.model == TINY_MODEL:  # as it was stored, not as the seed would make it
            download(store, "base", Path(folder))
            base = AutoModelForCausalLM.from_pretrained(f"{folder}/base").to(world.device)
        else:
            base, _ = load_base(settings.model, plan.seed, world.device)
        model = PeftModel.from_pretrained(base, f"{folder}/adapter")
    return validation_loss(model, load_data(settings, tokenizer), plan, world)


def download(store: Store, name: str, folder: Path) -> None:
    """Copy one folder of the store to a local one."""
    (folder / name).mkdir()
    for file in store.names(name):
        (folder / name / file).write_bytes(store.read(f"{name}/{file}"))


if __name__ == "__main__":
    sys.exit(main())
