"""What a commit says of itself, whoever wrote it: text in any encoding, and any number for a time."""

from datetime import UTC, datetime
from typing import Final

import pygit2

_LATEST_SECOND: Final = 32_503_679_999
"""Of the year 2999."""


def message_of(commit: pygit2.Commit) -> str:
    """The message; what is not UTF-8 in it is replaced, whatever encoding the commit names."""
    return commit.raw_message.decode("utf-8", "replace")


def name_of(person: pygit2.Signature) -> str:
    """An author's or committer's name."""
    return person.raw_name.decode("utf-8", "replace")


def email_of(person: pygit2.Signature) -> str:
    """An author's or committer's address."""
    return person.raw_email.decode("utf-8", "replace")


def time_of(commit: pygit2.Commit) -> datetime:
    """When it was committed, by its own word; the nearest time of the years 1970 to 2999."""
    return datetime.fromtimestamp(min(max(commit.commit_time, 0), _LATEST_SECOND), UTC)
