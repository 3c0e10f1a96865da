"""Brings proposals to where they should be, from any state, and says where each stands."""

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Final

from carbonfleet.api.wire import format_time
from carbonfleet.faults import only, said
from carbonfleet.fleet.errors import AccessDenied, FleetError, RepositoryInvalid, RepositoryUnreachable
from carbonfleet.fleet.git import Tip
from carbonfleet.fleet.manifests import spec_digest
from carbonfleet.fleet.publish import PLACE, Place, Refused, Repository
from carbonfleet.fleet.review.branches import Branch, Branches, Proposals, Rejection, forbidden
from carbonfleet.fleet.review.proposal_text import body_of, in_body, in_title, title_of
from carbonfleet.fleet.review.pull_requests import (
    FRESH_CHECK,
    HUMAN_EDITED,
    LABEL,
    MOVE,
    POLICY_CHECK,
    SUPERSEDED,
    TITLE_SUPERSEDED,
    Forge,
    ForgeDenied,
    Proposal,
    ProposalStage,
    Propose,
    PullRequest,
    PullState,
    branch_of,
    job_of,
)

logger = logging.getLogger(__name__)
NOTHING_OVER: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ProposalLimits:
    """How much noise is allowed."""

    an_hour: int = 6
    at_once: int = 20


class Reviews:
    """Advances all proposals of a hub: found before created, never touched once a person did."""

    def __init__(
        self, repository: Repository, forge: Forge | None = None, limits: ProposalLimits = ProposalLimits()
    ) -> None:
        """Without a forge, people review with `carbonfleet review`."""
        self._branches = Branches(repository)
        self._forge, self._limits = forge, limits
        self._opened: deque[datetime] = deque()
        self._checks: dict[tuple[str, str], bool] = {}
        self._polled: dict[str, tuple[datetime, timedelta, PullRequest | None]] = {}
        self._hinted, self._listened_at = False, datetime.min.replace(tzinfo=UTC)
        self._rejections: tuple[Rejection, ...] = ()
        """This hub's, as last read."""
        self.has_open = True
        """Whether any proposal may be open: unknown at first."""

    def advance(
        self,
        wanted: Sequence[Propose],
        now: datetime,
        *,
        hint: bool = False,
        undecided: Collection[tuple[str, int]] = (),
        over: Mapping[str, str] = NOTHING_OVER,
        hub: str = "",
        jobs: Mapping[str, int] | None = None,
    ) -> dict[str, Proposal]:
        """Propose what is wanted, look after what is open, take back what is not wanted any more.

        By placement id. `hint` (a webhook came) polls the forge at once, but not more often than every two
        seconds. Moves of jobs (UID, attempt) that are `undecided` now stay as they are; `over` says of others, by
        UID, why they are not wanted any more. `hub` is the UID of the hub's cluster: what another's decided is left to
        it. `jobs` are the generations of all its jobs by UID, where they are known: the no to a proposal of one that
        is gone, or has another spec by now, is forgotten. Raises FleetError where the repository can't be reached; what
        goes wrong with one proposal leaves it as it is, and the others go on.
        """
        self._listen(hint, now)
        found = self._branches.read()
        names = set(map(branch_of, wanted)) | _moves_of(undecided, found)
        mine = {name: each for name, each in found.branches.items() if name in names or each.hub == hub}
        found = replace(found, branches=mine)
        all_gone = self._take_back_unwanted(names, found, over, now)
        edited = [branch for branch in mine.values() if not branch.ours] if self._forge is not None else []
        for branch in edited:
            self._done(branch.name, partial(self._check_edited, branch, found.tip, jobs, now))
        self.has_open = bool(wanted or edited) or not all_gone
        self._forget_rejections((each for each in found.rejections if hub and each.hub == hub), jobs)
        order = sorted(wanted, key=lambda propose: (propose.expires_at, propose.place.id))
        told = ((propose.place, self._one(propose, found, now)) for propose in order)
        return {place.id: replace(proposal, cluster=place.window.cluster) for place, proposal in told}

    def _one(self, wanted: Propose, found: Proposals, now: datetime) -> Proposal:
        """What Git says of it; and where that leaves something to do, what the forge says."""
        try:
            return _settled(wanted, found) or self._advanced(wanted, found, now)
        except (RepositoryUnreachable, RepositoryInvalid, AccessDenied):
            raise
        except FleetError as error:
            return _held(wanted, error.reason, f"{error}; the proposal stays as it is")
        except Exception as error:  # one proposal's fault, whatever it is, must not stop the others
            logger.exception("the proposal of %s could not be advanced: %s", wanted.place.decision.key, said(error))
            return _held(wanted, "ProposalFailed", TRIED_AGAIN)

    def _advanced(self, wanted: Propose, found: Proposals, now: datetime) -> Proposal:
        if job_of(wanted) in found.unread:
            return _held(wanted, "ProposalFailed", TRIED_AGAIN)
        branch = found.branches.get(branch_of(wanted))
        if branch is None:
            return self._missing(wanted, found, now)
        if not branch.ours:
            return self._edited(wanted, branch, now)
        if branch.expires_at is None or now >= branch.expires_at:
            self._take_back(branch, "the hours it was made for have passed", now)
            message = "its time has passed; it is to be proposed anew"
            return Proposal(wanted.place.id, branch.name, ProposalStage.SUPERSEDED, message)
        return self._open(wanted, branch, found, now)

    def _listen(self, hint: bool, now: datetime) -> None:
        """A hint that comes too soon after another is kept for later."""
        self._hinted |= hint
        if self._hinted and now >= self._listened_at + HINT_PAUSE:
            self._polled.clear()
            self._hinted, self._listened_at = False, now

    def _take_back_unwanted(self, wanted: set[str], found: Proposals, over: Mapping[str, str], now: datetime) -> bool:
        """Whether all went; what did not is still a branch, which a later call takes back."""

        def take_back(branch: Branch) -> None:
            self._take_back(branch, _why_unwanted(branch, found, over), now)

        unwanted = [branch for name, branch in found.branches.items() if name not in wanted and branch.ours]
        went = [self._done(branch.name, partial(take_back, branch)) for branch in unwanted]
        return all(went)

    def _forget_rejections(self, mine: Iterable[Rejection], jobs: Mapping[str, int] | None) -> None:
        gone = set[str]()

        def forget(rejection: Rejection) -> None:
            if jobs is not None and _is_over(rejection, jobs):
                self._branches.delete(rejection)
                gone.add(rejection.name)

        mine = tuple(mine)
        for each in mine:
            self._done(each.name, partial(forget, each))
        self._rejections = tuple(each for each in mine if each.name not in gone)

    def has_outlived(self, jobs: Mapping[str, int]) -> bool:
        """Whether a no is kept for a job that is gone or has another spec by now: by UID, the generations of all."""
        for each in self._rejections:
            with only(f"whether the no of {each.name} is over can't be told"):
                if _is_over(each, jobs):
                    return True
        return False

    def _check_edited(self, branch: Branch, tip: Tip, jobs: Mapping[str, int] | None, now: datetime) -> None:
        """The checks on what people made of a proposal, which is theirs: they are asked for on every head."""
        request = self._request(branch, now)
        if request is None or request.state is not PullState.OPEN:
            return
        forbids, over = forbidden(branch, tip) or ("" if branch.counts else UNSIGNED), ""
        if branch.expires_at is None:
            over = "It names no hours that can be read."
        elif now >= branch.expires_at:
            over = "Its hours have passed: merged now, it is taken back."
        elif branch.change is not None and jobs is not None and branch.change.uid not in jobs:
            over = "Its job is no more."
        self._check(branch.head, POLICY_CHECK, ok=not forbids, description=forbids or ALLOWED)
        self._check(branch.head, FRESH_CHECK, ok=not over, description=over or _good_until(branch))

    def _done(self, name: str, step: Callable[[], object]) -> bool:
        """Whether what is to be done with one branch could be done; what fails there stops no other's."""
        try:
            step()
        except (RepositoryUnreachable, RepositoryInvalid, AccessDenied):
            raise
        except FleetError as error:
            logger.warning("%s could not be looked after: %s", name, error)
            return False
        except Exception as error:  # one proposal's fault, whatever it is, must not stop the others
            logger.exception("%s could not be looked after: %s", name, said(error))
            return False
        return True

    def _missing(self, wanted: Propose, found: Proposals, now: datetime) -> Proposal:
        """No branch: it was never proposed, or a person took it away."""
        place, name = wanted.place, branch_of(wanted)
        request = self._forge.find(name) if self._forge else None
        if request is not None and request.rejected:
            return Proposal(place.id, name, ProposalStage.REJECTED, f"{CLOSED}; {NOT_AGAIN}", url=request.url)
        if now >= wanted.expires_at:
            return Proposal(place.id, name, ProposalStage.SUPERSEDED, "its time has passed before it was proposed")
        too_many = self._too_many(sum(branch.ours for branch in found.branches.values()), now)
        if too_many:
            return _held(wanted, "TooManyProposals", too_many)
        written = self._branches.propose(wanted, None)
        if written is None:
            return _held(wanted, "BranchMoved", f"{name} was written by another; it is looked at in the next cycle")
        if isinstance(written, Refused):
            return _refused(wanted, name, written)
        self._opened.append(now)
        return self._shown(wanted, written, now)

    def _edited(self, wanted: Propose, branch: Branch, now: datetime) -> Proposal:
        request = self._request(branch, now)
        if request is not None and request.state is PullState.OPEN and HUMAN_EDITED not in request.labels:
            assert self._forge is not None, "there is a request"  # noqa: S101
            self._forge.add_label(request.number, HUMAN_EDITED)
            self._forge.say(request.number, "Somebody pushed to this branch, so the hub leaves it to you.")
        if request is not None and request.rejected:
            self._branches.reject(branch, None, CLOSED)
            return Proposal(
                wanted.place.id, branch.name, ProposalStage.REJECTED, f"{CLOSED}; {NOT_AGAIN}", url=request.url
            )
        message = (
            f"a person pushed to {branch.name}, so it is theirs to merge or close; the job is not proposed anew until "
            "its spec changes"
        )
        return Proposal(wanted.place.id, branch.name, ProposalStage.HUMAN_EDITED, message, branch.head)

    def _open(self, wanted: Propose, branch: Branch, found: Proposals, now: datetime) -> Proposal:
        """Keep it as decided now on the tip as it is now, then look at the forge."""
        refused = self._branches.refusal(wanted)
        if refused is not None:
            self._take_back(branch, refused.message, now)
            return _refused(wanted, branch.name, refused)
        same = _same_place(wanted.place, branch) and branch.policy_digest == found.tip.policies.digest
        if not same:
            written = self._branches.propose(wanted, branch)
            if isinstance(written, Refused):
                return _refused(wanted, branch.name, written)
            if written is None:
                return _held(wanted, "BranchMoved", f"{branch.name} moved meanwhile")
            branch = written
            self._polled.pop(branch.name, None)
        return self._shown(wanted, branch, now, said="" if same else _changed(branch))

    def _shown(self, wanted: Propose, branch: Branch, now: datetime, said: str = "") -> Proposal:
        """See that the forge shows the branch, and do what people decided there; `said` is for those who looked."""
        place = wanted.place
        request = self._request(branch, now)
        if self._forge is None:
            return Proposal(place.id, branch.name, ProposalStage.OPEN, "awaits review", branch.head)
        if request is not None and request.rejected:
            self._branches.reject(branch, None, CLOSED)
            return Proposal(place.id, branch.name, ProposalStage.REJECTED, f"{CLOSED}; {NOT_AGAIN}", url=request.url)
        if request is not None and request.state is PullState.MERGED:
            return Proposal(place.id, branch.name, ProposalStage.MERGED, "merged", request.merge_sha, request.url)
        # From the branch alone, so that the same commit always reads the same.
        text = body_of(branch)
        title = in_title(request.title if request else "", title_of(branch))
        body = in_body(request.body if request else "", text)
        if request is None or request.state is PullState.CLOSED:
            request = self._forge.create(branch.name, title_of(branch), in_body("", text))
            self._forge.add_label(request.number, LABEL)
            self._remember(branch.name, request, now)
        elif (request.title, request.body.replace("\r\n", "\n")) != (title, body):
            self._forge.edit(request.number, title, body)
            self._polled.pop(branch.name, None)
            if said:
                self._forge.say(request.number, said)
        self._check(branch.head, POLICY_CHECK, ok=True, description=ALLOWED)
        self._check(branch.head, FRESH_CHECK, ok=True, description=_good_until(branch))
        return Proposal(place.id, branch.name, ProposalStage.OPEN, "awaits review", branch.head, request.url)

    def _take_back(self, branch: Branch, why: str, now: datetime) -> None:
        """Fail `fresh` first, so that nobody merges what is being closed; one comment, close, delete."""
        if self._forge is not None:
            request = self._forge.find(branch.name)
            if request is not None and request.state is PullState.OPEN:
                self._check(branch.head, FRESH_CHECK, ok=False, description=f"Superseded: {why}."[:140])
                self._mark_superseded(request)
                self._forge.say(request.number, f"Superseded: {why}.")
                self._forge.close(request.number)
        self._polled.pop(branch.name, None)
        self._branches.delete(branch)

    def _mark_superseded(self, request: PullRequest) -> None:
        """So that nobody takes our closing for a person's no: by a label, or in the title where we may not label."""
        if self._forge is None or SUPERSEDED in request.labels or request.title.startswith(TITLE_SUPERSEDED):
            return
        try:
            self._forge.add_label(request.number, SUPERSEDED)
        except ForgeDenied:
            self._forge.edit(request.number, TITLE_SUPERSEDED + request.title, request.body)

    def _request(self, branch: Branch, now: datetime) -> PullRequest | None:
        """The branch's request, asked for at most every ten seconds, ever more rarely while nothing changes."""
        if self._forge is None:
            return None
        polled, pause, known = self._polled.get(branch.name, (None, FIRST_PAUSE, None))
        if polled is not None and now < polled + pause:
            return known
        request = self._forge.find(branch.name)
        pause = min(pause * 2, LAST_PAUSE) if request == known else FIRST_PAUSE
        self._polled[branch.name] = now, pause, request
        return request

    def _remember(self, name: str, request: PullRequest, now: datetime) -> None:
        self._polled[name] = now, FIRST_PAUSE, request

    def _check(self, sha: str, context: str, *, ok: bool, description: str) -> None:
        """Forges count statuses: only a change is sent."""
        if self._forge is not None and self._checks.get((sha, context)) is not ok:
            self._forge.set_status(sha, context, ok=ok, description=description)
            self._checks[sha, context] = ok

    def _too_many(self, open_now: int, now: datetime) -> str:
        while self._opened and self._opened[0] <= now - timedelta(hours=1):
            self._opened.popleft()
        if open_now >= self._limits.at_once:
            return f"{open_now} proposals are open, and {self._limits.at_once} is the most: merge or close some"
        if len(self._opened) >= self._limits.an_hour:
            after = self._opened[0] + timedelta(hours=1)
            return (
                f"{len(self._opened)} were opened within the hour: the next is, by itself, after {format_time(after)}"
            )
        return ""


FIRST_PAUSE = timedelta(seconds=10)
LAST_PAUSE = timedelta(minutes=5)
HINT_PAUSE = timedelta(seconds=2)


TRIED_AGAIN: Final = "it is tried again each cycle; the hub's log has the fault: please report it"
ALLOWED: Final = "Policy allows it."
UNSIGNED: Final = "The hub did not sign this: merged, it holds up the whole branch. Close it."
CLOSED: Final = "it was closed on the forge"
NOT_AGAIN: Final = "it is not proposed again until the job's spec changes"


def _why_unwanted(branch: Branch, found: Proposals, over: Mapping[str, str]) -> str:
    change = branch.change
    if change is None:
        return "it is not wanted any more"
    if found.rejected(change.uid, change.generation, change.action):
        return f"it was refused before; {NOT_AGAIN}"
    return over.get(change.uid, "it is not wanted any more")


def _is_over(rejection: Rejection, jobs: Mapping[str, int]) -> bool:
    uid, generation = rejection.change.uid, rejection.change.generation
    return jobs.get(uid, generation + 1) > generation


def _settled(wanted: Propose, found: Proposals) -> Proposal | None:
    """What needs no forge: a no that was kept in Git, or the placement on the main branch."""
    decision, name = wanted.place.decision, branch_of(wanted)
    no = found.rejected(decision.uid, decision.generation, MOVE if wanted.leaves else PLACE)
    if no is not None:
        return Proposal(wanted.place.id, name, ProposalStage.REJECTED, f"{no.said.rstrip('.')}; {NOT_AGAIN}")
    agreed = found.tip.moves.get(decision.uid) if wanted.leaves else None
    if wanted.place.id in found.tip.index.by_id or (agreed is not None and agreed.placement_id == wanted.place.id):
        return Proposal(wanted.place.id, name, ProposalStage.MERGED, commit=found.tip.commit)
    return None


def _moves_of(jobs: Collection[tuple[str, int]], found: Proposals) -> set[str]:
    """The branches on which moves to these attempts are proposed."""
    changes = {name: branch.change for name, branch in found.branches.items()}
    moves = {name: (change.uid, change.attempt) for name, change in changes.items() if change and change.action == MOVE}
    return {name for name, job in moves.items() if job in jobs}


def _same_place(place: Place, branch: Branch) -> bool:
    """Whether a branch still proposes what is wanted; its hours are its own until they pass."""
    there, window = branch.placement, place.window
    wanted = (window.cluster, window.pool, window.gpus, spec_digest(place.spec))
    return there is not None and (there.cluster, there.pool, there.gpus, there.spec_digest) == wanted


def _good_until(branch: Branch) -> str:
    return f"Good until {branch.expires_at:%Y-%m-%d %H:%M} UTC."


def _changed(branch: Branch) -> str:
    start = f", start {format_time(branch.placement.start)}" if branch.placement else ""
    return f"Decided anew: {title_of(branch)}{start}. The description is of commit {branch.head[:10]}."


def _refused(wanted: Propose, branch: str, refused: Refused) -> Proposal:
    return Proposal(wanted.place.id, branch, ProposalStage.REFUSED, refused.message, reason=refused.reason)


def _held(wanted: Propose, reason: str, message: str) -> Proposal:
    return Proposal(wanted.place.id, branch_of(wanted), ProposalStage.HELD, message, reason=reason)
