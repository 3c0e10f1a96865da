"""What can go wrong on a spoke, each ended where it is understood."""


class SpokeError(Exception):
    """Something that the agent needs is not there; the message says what a person can do."""


class RuntimeAwayError(SpokeError):
    """The runtime did not answer, so nothing is known of its attempts; try again."""


class RuntimeRefusedError(SpokeError):
    """The runtime answers, and will not do this; `is_final` says that it never will."""

    def __init__(self, reason: str, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.reason, self.is_final = reason, is_final


class SyncError(SpokeError):
    """The folder could not be read as it is now; what was read before still holds."""


class AllowListError(SpokeError):
    """The admin's list is configured and can't be read, so nothing new is let in."""


class MemoryInUseError(SpokeError):
    """Another agent of this spoke runs on the same state directory."""
