"""Load a finished adapter onto its base in a fresh process, and measure the validation loss again.

python -m workloads.lora.evaluate OUTPUT
"""

import argparse
import json
import sys

from .failure import EXIT_CODES, Failure, explain
from .finished import Finished, load_adapters, open_finished

TOLERANCE = 1e-4


def main(arguments: list[str] | None = None) -> int:
    """Print the logged and the measured loss; exit 0 if they agree to `TOLERANCE`."""
    parser = argparse.ArgumentParser(description="Measure a finished adapter's validation loss again.")
    parser.add_argument("output", help="path or fsspec URL that the job wrote to")
    given = parser.parse_args(arguments)
    try:
        output = open_finished(given.output)
        logged, measured = output.metrics["validation_loss"], evaluate(output)
    except Exception as error:  # noqa: BLE001  # one line, one code
        failure = explain(error)
        print(failure, file=sys.stderr)
        return failure.exit_code
    print(json.dumps({"logged": logged, "measured": measured}))
    return 0 if abs(measured - logged) <= TOLERANCE else EXIT_CODES["Unexpected"]


def evaluate(output: Finished) -> float:
    """The validation loss of the stored adapter, in nats per response token."""
    import torch

    from .data import load_data
    from .training import World, validation_loss

    world, settings = World.alone(), output.settings
    torch.set_num_threads(1)
    loaded = load_adapters({"default": output}, world.device)
    data = load_data(settings, loaded.tokenizer, output.template_time)
    if data.digest != output.metrics["data_digest"]:
        raise Failure("UnknownDataset", "the data are not those that the adapter was trained on: its loss says nothing")
    return validation_loss(loaded.model, data, settings.training, world)


if __name__ == "__main__":
    sys.exit(main())
