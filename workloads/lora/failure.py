"""Why a run ended early: a reason for machines, a sentence for people, an exit code of its own."""

import errno
import re
from typing import Literal

Reason = Literal[
    "BadConfig",
    "UnknownModel",
    "UnknownDataset",
    "OutOfMemory",
    "NonFiniteLoss",
    "CorruptCheckpoint",
    "DiskFull",
    "StoreUnavailable",
    "Fenced",
    "Stopped",
    "Unexpected",
]

EXIT_CODES: dict[Reason, int] = {
    "Unexpected": 1,
    "BadConfig": 2,
    "UnknownModel": 10,
    "UnknownDataset": 11,
    "OutOfMemory": 12,
    "NonFiniteLoss": 13,
    "CorruptCheckpoint": 14,
    "DiskFull": 15,
    "StoreUnavailable": 16,
    "Fenced": 42,
    "Stopped": 143,  # as a shell says it: 128 + SIGTERM
}
MORE_ROOM = "Free some, or give it a larger disk; the last checkpoint is safe"
LESS_MEMORY = "Lower the batch size or the sequence length, or give it more memory"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_MEMORY = re.compile(r"(can't|cannot) allocate memory|bad_alloc", re.IGNORECASE)


class Failure(Exception):  # noqa: N818  # not every reason is an error: Stopped is a wish
    """A known reason to end the run."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)  # both, so that it survives pickling between workers
        self.reason: Reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        return EXIT_CODES[self.reason]


def explain(error: BaseException) -> Failure:
    """The failure that `error` stands for: itself, one that its causes tell, or unexpected."""
    if isinstance(error, Failure):
        return error
    for cause in _chain(error):
        if isinstance(cause, Failure):
            return cause
        if is_full_disk(cause):
            return Failure("DiskFull", f"no space left to write: {cause}. {MORE_ROOM}")
        if is_out_of_memory(cause):
            return Failure("OutOfMemory", f"memory ran out{_plain(cause)}. {LESS_MEMORY}")
        if type(cause).__module__.startswith(("botocore", "aiobotocore")):
            return Failure("StoreUnavailable", f"the object store did not do its part: {_first_line(cause)}")
    return Failure("Unexpected", f"{type(error).__name__}: {_first_line(error)}")


def brief(error: BaseException) -> str:
    """What an error says, in one line and shortened, or its kind where it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def is_full_disk(error: BaseException) -> bool:
    """Whether the file system refused a write for want of space, quota or file size."""
    return isinstance(error, OSError) and error.errno in _FULL


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the accelerator or the host; torch and safetensors say the latter only in words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | OSError) and _NO_MEMORY.search(str(error)) is not None


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain


def _plain(error: BaseException) -> str:
    """Its words, if any, without where in torch's source it happened."""
    words = _first_line(error).rpartition("DefaultCPUAllocator: ")[2].rstrip(".")
    return f": {words}" if words else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:500]
