"""Text from outside as people may see it."""

import re
from typing import Final

_SECRETS: Final = re.compile(
    r"(?<=://)[^\s/@]+(?=@)|(?<=X-Amz-Signature=)[0-9a-f]+|(?<=Bearer )[^\s\"']+|\bhf_[A-Za-z0-9]{16,}"
)
"""What stands for itself in a program's output: names and passwords in addresses, signatures, tokens."""


def shown(text: str) -> str:
    """Text from outside with its control characters made visible, one for one, so that no terminal obeys them.

    Those of ASCII become their pictures (U+2400 and on), the others, marks of writing direction too, U+FFFD.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else _picture(char) for char in text)


def without(text: str, secret: str) -> str:
    """What a server said to whom a secret was sent, should it quote that."""
    return text.replace(secret, "[hidden]") if secret else text


def masked(text: str) -> str:
    """A program's output without what looks like a secret."""
    return _SECRETS.sub("[hidden]", text)


def _picture(char: str) -> str:
    return chr(0x2400 + ord(char)) if ord(char) < 0x20 else " " if char.isspace() else "\ufffd"
