"""A small OpenAI-compatible server for finished adapters on one machine, to try them; vLLM is for many users.

python -m workloads.lora.serve NAME=OUTPUT [NAME=OUTPUT ...] [--port 8000]
"""

from .server import main

__all__ = ["main"]
