"""What is unforeseen in one item of many ends at that item, is named there, and the others go on."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

logger = logging.getLogger(__name__)
LONGEST_FAULT: Final = 300
"""Characters of an error's own text."""


def said(error: BaseException) -> str:
    """An error in one printable line, whatever it holds, also where its own text can't be had."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - an error may be anything
        text = ""
    kind = type(error).__name__
    told = f"{kind}: {text[:LONGEST_FAULT]}" if text else kind
    return "".join(each if each.isprintable() else "?" for each in told)


def _nobody(_fault: str) -> None:
    """For an item that has nowhere to be told but the log."""


@contextmanager
def only(
    what: str, blame: Callable[[str], object] = _nobody, *, but: type[Exception] | tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Whatever goes wrong inside is one item's fault: it is logged and told to `blame`, and the caller goes on.

    `what` names item and step for people; errors of `but` are not the item's, and are raised.
    """
    try:
        yield
    except but:
        raise
    except Exception as error:
        fault = f"{what}: {said(error)}"
        logger.warning("%s", fault, exc_info=error)
        blame(fault)
