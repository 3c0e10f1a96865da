"""What a line of the ledger is derived from: documents in canonical JSON, each named by its digest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: object) -> str:
    """JSON that is the same for equal values: sorted keys, no blanks, ASCII. Raises ValueError for NaN."""
    return _ENCODER.encode(value)


def digest_of(text: str) -> str:
    """SHA-256 of a text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Document:
    """A piece of evidence, kept under its digest."""

    digest: str
    text: str

    @classmethod
    def of(cls, value: object) -> Self:
        """The document that says `value`. Raises ValueError for NaN."""
        text = canonical(value)
        return cls(digest_of(text), text)


class EvidenceError(Exception):
    """A document that a line names is not there, or is not what it must be."""


def document_in(documents: Mapping[str, str], digest: str) -> Any:  # noqa: ANN401 - any JSON
    """What a document says, after it was held against its digest. Raises EvidenceError."""
    text = documents.get(digest)
    if text is None:
        raise EvidenceError(f"its evidence {digest} is missing")
    if digest_of(text) != digest:
        raise EvidenceError(f"its evidence {digest} was altered")
    try:
        return json.loads(text)
    except ValueError as error:
        raise EvidenceError(f"its evidence {digest} is no JSON: {error}") from error
