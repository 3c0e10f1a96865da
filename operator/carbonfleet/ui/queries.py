"""What a request asks for, checked."""

import re
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from carbonfleet.ui.pages import GROUPS, SORTS, JobQuery

NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
LONGEST_TEXT: Final = 200
_MOST_PAGES: Final = 10_000


def bad_request(why: str) -> web.HTTPBadRequest:
    """An answer to a request that can't be meant."""
    return web.HTTPBadRequest(text=f"This address can't be answered: {why}.")


def one_of(request: web.Request, name: str, known: Sequence[str], usual: str) -> str:
    """A parameter of the address that is one of some words. Raises HTTPBadRequest."""
    value = request.query.get(name) or usual
    if value not in known:
        raise bad_request(f"{name} is one of {', '.join(filter(None, known))}")
    return value


def job_query(request: web.Request) -> JobQuery:
    """Which jobs are asked for. Raises HTTPBadRequest."""
    page = request.query.get("page") or "1"
    if not page.isdecimal() or not page.isascii() or not 1 <= int(page[:9]) <= _MOST_PAGES:
        raise bad_request(f"page is a number from 1 to {_MOST_PAGES}")
    return JobQuery(
        text=request.query.get("q", "")[:LONGEST_TEXT],
        group=one_of(request, "group", ["", *GROUPS], ""),
        namespace=request.query.get("namespace", "")[:LONGEST_TEXT],
        sort=one_of(request, "sort", list(SORTS), "job"),
        is_descending=one_of(request, "order", ["up", "down"], "up") == "down",
        page=int(page),
    )
