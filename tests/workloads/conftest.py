"""The workload lives beside the package, not in it."""

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client, which reads it then
