"""The training of one worker: what learns, its checkpoints, the loop, and what it leaves."""

from .distributed import World
from .loop import validation_loss
from .worker import train

__all__ = ["World", "train", "validation_loss"]
