"""What a run tells whoever started it: files of its output by name, and lines of its log."""

import json
from typing import Any

PROGRESS, METRICS, FAILURE, DONE = "progress.json", "metrics.json", "failure.json", "DONE"


def print_line(what: str, numbers: dict[str, Any]) -> None:
    """Print one line for whoever reads the log: `LORA_<what> {json}`."""
    print(f"LORA_{what} {json.dumps(numbers)}", flush=True)


def encode(value: dict[str, Any]) -> bytes:
    """JSON for a file that people open too."""
    return json.dumps(value, indent=1).encode() + b"\n"
