"""What a store of files must do: whole writes everywhere, and compare-and-swap for the one file that needs it."""

from typing import Protocol


class Conflict(Exception):  # noqa: N818  # an answer, not an error
    """A compare-and-swap found another version than it expected."""


class Store(Protocol):
    """Files of one job by name (`/` separates folders). A write is there whole or not at all."""

    place: str
    """The path or URL, for people."""
    report_seconds: float
    """How long to wait between two small writes of mere news."""

    def read(self, name: str) -> bytes:
        """The file's bytes; raise `FileNotFoundError`."""

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Write or replace the file; durable means that it survives a power cut."""

    def remove(self, name: str) -> None:
        """Remove the file if it is there."""

    def names(self, folder: str) -> list[str]:
        """Names of the files directly under `folder`."""

    def load(self, name: str) -> tuple[bytes, str] | None:
        """The file's bytes and version, or None where there is no file."""

    def compare_and_swap(self, name: str, data: bytes, version: str | None) -> str:
        """Replace the file only if it still has `version` (None: only if absent); return the new version.

        Raises `Conflict`.
        """
