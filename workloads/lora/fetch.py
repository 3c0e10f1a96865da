"""Copy finished adapters from where they were saved to a local folder, for a server that wants files.

LORA_ADAPTERS='{"NAME": "PATH OR URL", ...}' python -m workloads.lora.fetch FOLDER
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

from .failure import Failure, explain
from .finished import ADAPTER, open_finished

VARIABLE = "LORA_ADAPTERS"


def main(arguments: list[str] | None = None) -> int:
    """Copy each adapter to FOLDER/NAME; the exit code says why not."""
    parser = argparse.ArgumentParser(description="Copy finished adapters to a folder.")
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    try:
        for name, place in wanted(os.environ.get(VARIABLE, "")).items():
            target = given.folder / name
            if target.exists():  # a pod's container was started again
                continue
            copied = open_finished(place).copy(ADAPTER, given.folder / f".{name}")
            copied.rename(target)
            copied.parent.rmdir()
            print(f"{name}: {place}", flush=True)
    except Exception as error:  # noqa: BLE001  # one line, one code
        failure = explain(error)
        print(failure, file=sys.stderr)
        return failure.exit_code
    return 0


def wanted(text: str) -> dict[str, str]:
    """The places by name; raise `BadConfig` for a name that is no plain folder's."""
    try:
        places = json.loads(text)
        items = {str(name): str(place) for name, place in places.items()}
    except (ValueError, AttributeError) as error:
        raise Failure("BadConfig", f"{VARIABLE} must be a JSON object of names and places") from error
    for name in items:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
            raise Failure("BadConfig", f"{VARIABLE}: {name[:100]!r} is not a name")
    return items


if __name__ == "__main__":
    sys.exit(main())
