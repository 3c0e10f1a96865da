"""The labels and annotations of a placement's file, each checked where it is read."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeVar

from carbonfleet.fleet.manifests.layout import check_uid, is_label
from carbonfleet.yaml_reader import FileInvalid, FileProblem, YamlDocument

Value = TypeVar("Value")
_PLACEMENT_ID: Final = re.compile(r"[a-z0-9]{8,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fields:
    """What an object says by label or annotation; every method raises FileInvalid, with the key's line, for what
    does not fit.
    """

    document: YamlDocument
    values: Mapping[str, Any]

    @classmethod
    def of(cls, document: YamlDocument) -> Self:
        """An object's labels and annotations. Raises FileInvalid where it has none."""
        try:
            metadata = document.data["metadata"]
            return cls(document, {**metadata["labels"], **metadata["annotations"]})
        except (KeyError, TypeError) as error:
            raise FileInvalid(document.problem(f"the {document.data.get('kind')} lacks {error}", "metadata")) from error

    def line(self, key: str) -> int:
        """Where a label or annotation stands."""
        places = (("metadata", kind, key) for kind in ("labels", "annotations"))
        return next((self.document.lines[place] for place in places if place in self.document.lines), 1)

    def text(self, key: str, default: str | None = None) -> str:
        """Any text; a number or boolean as YAML read it."""
        value = self.values.get(key, default)
        if value is None:
            raise self._invalid(key, f"the RayJob has no label or annotation {key!r}")
        return str(value)

    def uid(self, key: str) -> str:
        """A job's UID."""
        return self._read(key, check_uid, "must be a job's UID: letters, digits and dashes, at most 63")

    def label(self, key: str) -> str:
        """A DNS-1123 label, safe in a path, a trailer and a report."""
        return self._read(key, _label, "must be a lower-case DNS label of at most 63 characters")

    def placement_id(self, key: str) -> str:
        """8 to 64 lower-case letters and digits."""
        return self._read(key, _id, "must be 8 to 64 lower-case letters and digits")

    def whole(self, key: str, least: int, most: int) -> int:
        """A whole number between two, both included."""

        def read(text: str) -> int:
            if not re.fullmatch(r"[0-9]{1,20}", text, re.ASCII) or not least <= int(text) <= most:
                raise ValueError(text)
            return int(text)

        return self._read(key, read, f"must be a whole number from {least} to {most}")

    def time(self, key: str) -> datetime:
        """A moment with a time zone, in years that leave room for any run's length."""
        return self._read(key, _time, "must be a time like 2026-01-31T12:00:00Z in the years 1970 to 2999")

    def _read(self, key: str, read: Callable[[str], Value], wanted: str) -> Value:
        text = self.text(key)
        try:
            return read(text)
        except (ValueError, OverflowError) as error:
            raise self._invalid(key, f"{key} is {text[:80]!r}, but {wanted}") from error

    def _invalid(self, key: str, message: str) -> FileInvalid:
        return FileInvalid(FileProblem(self.document.path, self.line(key), message))


def _label(text: str) -> str:
    if not is_label(text):
        raise ValueError(text)
    return text


def _id(text: str) -> str:
    if not _PLACEMENT_ID.fullmatch(text):
        raise ValueError(text)
    return text


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or not 1970 <= moment.year < 3000:
        raise ValueError(text)
    return moment.astimezone(UTC)
