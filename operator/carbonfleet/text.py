"""Text from outside as people may see it."""


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


def _picture(char: str) -> str:
    return chr(0x2400 + ord(char)) if ord(char) < 0x20 else " " if char.isspace() else "\ufffd"
