"""SIGTERM: ends the process at once while there is nothing to save; after that the loop looks at it."""

import threading
from types import FrameType

from .failure import Failure


class Stop:
    """Whether this process was asked to stop, and who heeds it."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.heeded_by_loop = False

    @property
    def asked(self) -> bool:
        """Whether the signal came."""
        return self.event.is_set()

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        self.event.set()
        if not self.heeded_by_loop:
            raise Failure("Stopped", "asked to stop before the first step")


stop = Stop()
