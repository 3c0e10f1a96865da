"""Text from outside as people may see it."""

import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Final

_SECRETS: Final = re.compile(
    r"(?<=://)[^\s/@]+(?=@)|(?<=X-Amz-Signature=)[0-9a-f]+|(?<=Bearer )[^\s\"']+|\bhf_[A-Za-z0-9]{16,}"
)
"""What stands for itself in a program's output: names and passwords in addresses, signatures, tokens."""

_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def shown(text: str) -> str:
    """Text from outside with its control characters made visible, one for one, so that no terminal obeys them.

    Those of ASCII become their pictures (U+2400 and on), the others, marks of writing direction too, U+FFFD.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else _picture(char) for char in text)


def spreadsheet_cell(value: object) -> object:
    """A value of a table that people open in a spreadsheet: text that it would take for a formula gets a `'` before it.

    The signs are OWASP's (CSV Injection), their full-width forms too. Numbers stay as they are, also below zero.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_SIGNS) else value


def csv_line(values: Iterable[object]) -> str:
    """A line of CSV (RFC 4180): text in quotes, whatever it holds, and made safe for spreadsheets; nothing for None.

    Floats keep all their digits. The standard library's writer can't tell None from an empty text, and leaves a
    carriage return in a cell unquoted, after which a spreadsheet begins a new row.
    """
    return ",".join(map(_csv_field, values)) + "\n"


def _csv_field(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    escaped = str(spreadsheet_cell(str(value))).replace('"', '""')
    return f'"{escaped}"'


def without(text: str, secret: str) -> str:
    """What a server said to whom a secret was sent, should it quote that."""
    return text.replace(secret, "[hidden]") if secret else text


def masked(text: str) -> str:
    """A program's output without what looks like a secret."""
    return _SECRETS.sub("[hidden]", text)


def _picture(char: str) -> str:
    return chr(0x2400 + ord(char)) if ord(char) < 0x20 else " " if char.isspace() else "\ufffd"
