"""How far other machines' clocks are from ours, by the Date of their HTTP answers."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import urllib3

from carbonfleet.doctor.check import CheckResult, missing, ok, unknown
from carbonfleet.fleet import RepositorySettings
from carbonfleet.hub.observe import MOST_SKEW

_SECONDS = urllib3.Timeout(connect=5, read=10)
_ADVICE = "set the clocks of both machines by NTP (chronyc tracking, timedatectl)"


def in_step(name: str, ask: Callable[[], datetime | None]) -> CheckResult:
    """Whether a server's clock and ours differ by no more than the hub bears with."""
    before = datetime.now(UTC)
    said = ask()
    after = datetime.now(UTC)
    if said is None:
        return unknown(name, "the server's answers bear no Date", "compare its clock by hand")
    # The Date was cut to whole seconds somewhere between the question and the answer.
    ahead = max(said - after, before - said - timedelta(seconds=1), timedelta(0))
    if ahead <= MOST_SKEW:
        return ok(name, f"within {max(1, round(ahead.total_seconds()))} s of ours")
    way = "ahead of" if said > after else "behind"
    return missing(name, f"the server's clock is {ahead.total_seconds():.0f} s {way} ours", _ADVICE)


def git_in_step(name: str, repository: RepositorySettings) -> Iterator[CheckResult]:
    """The same of a Git server by HTTP; others tell no time."""
    if repository.scheme in {"http", "https"}:
        yield in_step(name, lambda: _date_at(repository.url, repository.ca_file))


def _date_at(url: str, ca_file: Path | None) -> datetime | None:
    """Of whatever is answered to who shows no token."""
    with urllib3.PoolManager(ca_certs=str(ca_file) if ca_file else None) as pool:
        parts = urlsplit(url)
        asked = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}/info/refs?service=git-upload-pack"
        answer = pool.request("GET", asked, timeout=_SECONDS, retries=False, redirect=False, preload_content=False)
        said = answer.headers.get("Date", "")
        answer.close()
    try:
        return parsedate_to_datetime(said)
    except ValueError:
        return None
