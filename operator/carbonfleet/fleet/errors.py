"""What can go wrong with the fleet repository, and what a server's words mean."""

import re
from enum import StrEnum


class FleetError(Exception):
    """The fleet repository could not be read or written; `reason` is stable and in CamelCase."""

    reason = "FleetError"


class PushContended(FleetError):  # noqa: N818  named like its reason
    """Others kept moving the branch; try again in a later cycle."""

    reason = "PushContended"


class RepositoryUnreachable(FleetError):  # noqa: N818  named like its reason
    """The server did not answer, or not in time; try again in a later cycle."""

    reason = "RepositoryUnreachable"


class PushForbidden(FleetError):  # noqa: N818  named like its reason
    """The server will not take direct commits from us; a person must change something."""

    reason = "DirectPushForbidden"


class AccessDenied(FleetError):  # noqa: N818  named like its reason
    """The server does not accept our credentials; a person must change something."""

    reason = "AccessDenied"


class RepositoryInvalid(FleetError):  # noqa: N818  named like its reason
    """The address, the branch or the local clone can't be used; a person must change something."""

    reason = "RepositoryInvalid"


class HistoryUntrusted(FleetError):  # noqa: N818  named like its reason
    """A commit that counts is not signed by who may make it; a person must take it back or sign it."""

    reason = "UnsignedCommit"


class StateNotWritable(FleetError):  # noqa: N818  named like its reason
    """The local clone can't be written, as on a full disk; a person must make room."""

    reason = "StateNotWritable"


class Failure(StrEnum):
    """What to do after a failed fetch or push."""

    MOVED = "moved"
    """The branch is elsewhere now: fetch, render again, push again."""
    UNREACHABLE = "unreachable"
    """Nothing is known of the outcome: fetch and look for the placement ids."""
    FORBIDDEN = "forbidden"
    DENIED = "denied"
    INVALID = "invalid"
    """A person must change something about the repository."""
    BROKEN = "broken"
    """Objects are missing or cut, in the clone most likely: make it anew, and do the same again."""


_MEANINGS = (
    (
        Failure.BROKEN,
        r"object not found - no match for id|bad object|missing (delta|blob|tree|commit|necessary)|unresolved delta"
        r"|loose object .* is|object file .* is empty|corrupt|packfile .* (cannot|can't|is)|bad packed object",
    ),
    (Failure.INVALID, r"unknown remote object format|unsupported hash|hash algorithm"),
    (
        Failure.MOVED,
        r"contains commits that are not present|fetch first|non-fast-forward|failed to update ref"
        r"|cannot lock ref|incorrect old value provided|failed to lock|unable to create .*\.lock|stale info"
        r"|reference already exists|remote ref (is at|moved)|not a fast.forward|index\.lock|expected old",
    ),
    (
        Failure.FORBIDDEN,
        r"hook declined|protected branch|GH006|GH013|not allowed to push|branch is currently checked out"
        r"|deny(ing|Current)|repository rule|prohibited|read.only",
    ),
    (
        Failure.DENIED,
        r"\b(401|403|404)\b|authenticat|credential|permission denied|access denied|not authorized|host key"
        r"|certificate|repository not found|no such repository|not exported|service not enabled",
    ),
)


def classify(message: str) -> Failure:
    """What a server's or libgit2's message means; a message that nobody knows leaves the outcome open."""
    for failure, pattern in _MEANINGS:
        if re.search(pattern, message, re.IGNORECASE):
            return failure
    return Failure.UNREACHABLE
