"""Checks of the fleet repository: read, signatures, and whether we may write, on a clone that is gone afterwards."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from carbonfleet.clock import Clock
from carbonfleet.doctor.check import CheckResult, missing, ok
from carbonfleet.doctor.cluster import listed
from carbonfleet.fleet import FleetError, Repository, RepositorySettings, Tip
from carbonfleet.fleet.git import TransportFailure, Trust, is_signer, signer_of, trusted_by
from carbonfleet.fleet.publish import NO_CHANGES, CloneSession, in_our_words

SCRATCH: Final = "carbonfleet-doctor"
"""Begins the name of the branch that is made and removed again."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The branch as the server has it, whoever signed it."""

    session: CloneSession
    tip: Tip


def fetched(settings: RepositorySettings, clock: Clock, folder: Path) -> Fetched:
    """Clone into a folder of our own: the hub's may be in use. Raises FleetError."""
    own = settings.model_copy(update={"directory": folder / "fleet.git", "allowed_signers": None})
    repository = Repository(own, clock)
    return Fetched(repository.session, repository.fetch())


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with TemporaryDirectory(prefix="carbonfleet-doctor-") as folder:
        yield Path(folder)


def branch_is_read(name: str, settings: RepositorySettings, got: Fetched) -> CheckResult:
    """What was fetched."""
    tip = got.tip
    return ok(name, f"{settings.url}, branch {settings.branch} at {tip.commit[:10]}, {len(tip.clusters)} clusters")


def read_failed(name: str, error: FleetError) -> CheckResult:
    """Why nothing was fetched; the error says what to do."""
    return missing(name, f"{error.reason}: {error}", "give address, branch and token or key as the server wants them")


def files_are_read(name: str, tip: Tip) -> CheckResult:
    """Whether all files say something."""
    broken = dict.fromkeys((*tip.policies.problems, *tip.cluster_problems.values(), *tip.problems.values()))
    if not broken:
        return ok(name, "policies, clusters and placements can be read")
    return missing(name, listed(broken), "mend them: carbonfleet policy check in a checkout says the same")


def may_push(name: str, got: Fetched) -> CheckResult:
    """Whether we may write: a branch of no other use is made, and removed again."""
    branch, commit = f"{SCRATCH}/{secrets.token_hex(4)}", got.session.head.id
    try:
        got.session.push_branch(branch, commit, None)
    except TransportFailure as failure:
        told = in_our_words(failure, got.session.settings)
        return missing(name, f"{told.reason}: {told}", "give its token or key the right to write to the repository")
    try:
        got.session.push_branch(branch, None, commit)
    except TransportFailure as failure:
        return missing(name, f"the branch {branch} was made, and could not be removed: {failure}", f"remove {branch}")
    return ok(name, f"the branch {branch} was made, and removed again")


def history_is_trusted(
    name: str, got: Fetched, signers: Path, *, begins_anywhere: bool, clone: Path | None = None
) -> CheckResult:
    """Whether all that counts on the branch is signed by who may.

    `clone` is the one of the process that follows the branch: what came since it last looked is what it will look at.
    """
    git, tip = got.session.git, got.session.head.id
    trust = Trust(git, signers, got.session.settings.author_email, begins_anywhere)
    seen = trusted_by(clone) if clone is not None else ""
    if seen and not (seen in git and (git[seen].id == tip or git.descendant_of(tip, seen))):
        told = f"the branch was rewritten: {seen[:12]}, which was trusted, is not in it"
        return missing(name, told, f"put that back; or, if it was meant, take {clone} away while nothing uses it")
    try:
        if seen:
            trust.follow(git[seen].id)
        trust.check(tip)
    except FleetError as error:
        advice = "take that commit back, or give the keys of who signed it to hub and spokes (allowed signers)"
        return missing(name, f"{error.reason}: {error}", advice)
    if begins_anywhere and not seen:
        return ok(name, "the hub has not looked at the branch yet: what comes after its first look is to be signed")
    return ok(name, "all that counts on the branch is signed by an allowed signer")


def key_signs(name: str, got: Fetched, key: Path, signers: Path) -> CheckResult:
    """Whether the key signs a commit that the allowed signers take for the hub's."""
    hub = got.session.settings.author_email
    advice = f"give --signing-key a key without a passphrase, and put its public half as {hub} into the allowed signers"
    try:
        commit = got.session.commit([got.session.head.id], NO_CHANGES, "Try the signing key")
        signer = signer_of(Path(got.session.git.path), str(commit), signers, hub)
    except FleetError as error:
        return missing(name, f"{error.reason}: {error}", advice)
    if not is_signer(signer, hub):
        return missing(name, f"{signers} knows the key as {signer}, and not as {hub}", advice)
    return ok(name, f"{key} signs as {hub}")
