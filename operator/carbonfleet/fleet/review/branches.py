"""Proposals as branches of the fleet repository: the truth of review, with or without a forge."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TypeVar

import pygit2

from carbonfleet.api.job import ResidencyRequest
from carbonfleet.api.wire import format_time
from carbonfleet.faults import only
from carbonfleet.fleet.errors import Failure, FleetError
from carbonfleet.fleet.git import Tip, TransportFailure, blob, email_of, message_of, name_of
from carbonfleet.fleet.manifests import CLUSTERS, MOVES, Placement, PlacementInvalid, decision_in, parse, parse_move
from carbonfleet.fleet.publish import FROM, NO_CHANGES, Change, Refused, Repository, changes_in, compose
from carbonfleet.fleet.review.pull_requests import MOVE, OPEN, Propose, branch_of
from carbonfleet.placement.rules import residency_verdict

REJECTED = "carbon-rejected"
Value = TypeVar("Value")
MOST_UPDATES = 100
"""Commits on top of the hub's, such as merges of the main branch, that are looked through."""


_WRITTEN = "refs/carbonfleet/proposed"
"""In the clone alone, by branch: what the hub last wrote there."""
_IN_THE_WAY = re.compile(r"'refs/heads/([^']+)' exists; cannot create")
"""Git keeps no branch whose name is a folder of another's."""


class ReviewRefused(FleetError):  # noqa: N818  named like its reason
    """A proposal can't be approved or rejected as it stands."""

    reason = "ReviewRefused"


@dataclass(frozen=True, slots=True)
class Branch:
    """One proposal's branch, and whose it is."""

    name: str
    head: str
    ours: bool
    counts: bool
    """Whether spokes take what it brings once it is merged: where the hub signs, from its commits alone."""
    """One commit of a hub's, main merged into it or not, and nothing else; False once a person pushed to it."""
    hub: str
    """UID of the cluster whose hub decided it, as the placement's record says."""
    change: Change | None
    placement: Placement | None
    content: bytes
    """The placement's file."""
    expires_at: datetime | None
    policy_digest: str
    leaves: str = ""
    """Of a move: the cluster on which the job runs."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A proposal that was refused, as the branch that was set aside keeps it."""

    name: str
    head: str
    hub: str
    """UID of the cluster whose hub had proposed it."""
    change: Change
    said: str
    """By whom and why."""

    @property
    def of(self) -> tuple[str, int, str]:
        """Job UID, generation and what was refused (place, move)."""
        return self.change.uid, self.change.generation, self.change.action


@dataclass(frozen=True, slots=True)
class Proposals:
    """All proposals in the repository."""

    tip: Tip
    branches: Mapping[str, Branch]
    rejections: tuple[Rejection, ...]
    unread: Mapping[str, str]
    """By job, as branches name it: what went wrong over one of its branches. It is left as it is."""

    def rejected(self, uid: str, generation: int, action: str) -> Rejection | None:
        """Who refused a job's placement, or its move, of a generation; None where nobody did."""
        return next((each for each in self.rejections if each.of == (uid, generation, action)), None)


def forbidden(branch: Branch, tip: Tip) -> str:
    """Why clusters and policies of the main branch don't allow what is proposed; empty where they do."""
    placement = branch.placement
    if placement is None:
        return "it holds no placement that can be read"
    facts = tip.clusters.get(placement.cluster)
    if facts is None:
        return f"{placement.cluster} can't be used: {tip.cluster_problems.get(placement.cluster, 'it is not declared')}"
    if why := tip.why_held(CLUSTERS, placement.cluster):
        return why
    request = ResidencyRequest.model_construct(data_class=placement.data_class)
    ruling = residency_verdict(
        tip.policies, placement.data_class, placement.namespace, request, facts, placement.places
    )
    return "" if ruling.allowed else ruling.message


class Branches:
    """Reads and writes proposals. Raises FleetError like Repository does."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._session = repository.session
        self._rejections: dict[tuple[str, str], Rejection | None] = {}
        """By name and commit, for a branch that was set aside does not change."""

    @property
    def _signs(self) -> bool:
        return self._session.settings.signing_key is not None

    def _people(self, commit: pygit2.Commit) -> set[str]:
        """Who but the hub wrote a commit: who amends one keeps its author and becomes its committer."""
        return {email_of(commit.author), email_of(commit.committer)} - {self._session.settings.author_email}

    def read(self) -> Proposals:
        """Every proposal as it is on the server now."""

        def work(_attempt: int) -> Proposals:
            self._session.fetch((OPEN, REJECTED))
            unread: dict[str, str] = {}
            branches = dict(self._each(OPEN, self._branch, unread))
            self._forget_all_but({name for name, _ in self._refs(OPEN)})
            known = self._rejections

            def rejection(name: str, commit: pygit2.Commit) -> Rejection | None:
                at = name, str(commit.id)
                return known[at] if at in known else self._rejection(*at)

            found = [each for _, each in self._each(REJECTED, rejection, unread) if each is not None]
            self._rejections = {(each.name, each.head): each for each in found}
            return Proposals(self._session.tip, branches, tuple(found), unread)

        return self._repository.retrying(work)

    def _each(
        self, prefix: str, read: Callable[[str, pygit2.Commit], Value], unread: dict[str, str]
    ) -> Iterator[tuple[str, Value]]:
        """What each branch holds, by name; whatever goes wrong over one is told in `unread`."""
        for name, commit in self._refs(prefix):
            blame = partial(unread.__setitem__, name.partition("/")[2].rpartition("/")[0])
            with only(f"the branch {name} can't be read", blame, but=self._session.clone_faults):
                yield name, read(name, commit)

    def _forget_all_but(self, branches: Collection[str]) -> None:
        """Of branches that are gone, what the hub wrote there."""
        references = self._session.git.references
        for ref in [ref for ref in references if ref.startswith(f"{_WRITTEN}/")]:
            if ref.removeprefix(f"{_WRITTEN}/") not in branches:
                references.delete(ref)

    def refusal(self, wanted: Propose) -> Refused | None:
        """Why the placement, or the move, may not be on the tip as it is now; None where it may."""
        with self._session.lock:
            result = self._session.prepare([wanted.intent]).results.get(wanted.intent.id)
        return result if isinstance(result, Refused) else None

    def propose(self, wanted: Propose, present: Branch | None) -> Branch | Refused | None:
        """Create the branch, or rewrite the one that the hub wrote; None where it is not as it was thought.

        Refused where the tip's policies or clusters forbid the placement.
        """

        def work(_attempt: int) -> Branch | Refused | None:
            batch = self._session.prepare([wanted.intent])
            refusal = batch.results.get(wanted.place.id)
            if refusal is not None:
                return refusal if isinstance(refusal, Refused) else None
            message = compose(batch.accepted, self._session.tip.policies.digest)
            commit = self._session.commit([self._session.head.id], batch.changes, message)
            expected = pygit2.Oid(hex=present.head) if present else None
            return self._write(branch_of(wanted), commit, expected)

        return self._repository.retrying(work)

    def delete(self, branch: Branch | Rejection) -> bool:
        """Take a branch away if it still is where it was; whether it went."""
        return self._repository.retrying(lambda _attempt: self._delete(branch.name, pygit2.Oid(hex=branch.head)))

    def reject(self, branch: Branch, person: tuple[str, str] | None, why: str) -> None:
        """Set a branch aside with who refused it and why; it sticks for the job's generation.

        `person` is (name, email); None: someone closed it on the forge.
        """

        def work(_attempt: int) -> None:
            head = pygit2.Oid(hex=branch.head)
            commit = self._session.commit([head], NO_CHANGES, f"Reject {branch.name}\n\n{why}\n", person)
            aside = branch.name.replace(f"{OPEN}/", f"{REJECTED}/", 1)
            try:
                self._session.push_branch(aside, commit, None)
            except TransportFailure as failure:
                if failure.failure is not Failure.MOVED:
                    raise
                # It was set aside before; that is what was wanted.
            self._delete(branch.name, head)

        self._repository.retrying(work)

    def approve(self, name: str, head: str, person: tuple[str, str], now: datetime) -> str:
        """Merge exactly the commit that was looked at; the merge's commit.

        Raises ReviewRefused where the branch has moved, its time has passed, or the tip's policies forbid it.
        """

        def work(_attempt: int) -> str:
            branch, placement = self._fit_to_merge(name, head, now)
            parents = [self._session.head.id, pygit2.Oid(hex=head)]
            message = f"Merge {name}\n\nApproved by {person[0]}.\n"
            commit = self._session.commit(parents, {placement.path: branch.content}, message, person)
            assert commit is not None, "a merge always is a commit"  # noqa: S101
            self._session.push(commit)
            self._delete(name, parents[1])
            return str(commit)

        return self._repository.retrying(work)

    def check(self, name: str, head: str, now: datetime) -> None:
        """See that a proposal may be merged now. Raises ReviewRefused as `approve` does."""
        self._repository.retrying(lambda _attempt: self._fit_to_merge(name, head, now))

    def _fit_to_merge(self, name: str, head: str, now: datetime) -> tuple[Branch, Placement]:
        self._session.fetch((OPEN, REJECTED))
        commit = dict(self._refs(OPEN)).get(name)
        if commit is None or str(commit.id) != head:
            raise ReviewRefused(f"{name} is not at {head[:10]} any more: look at it again")
        branch = self._branch(name, commit)
        placement, tip = branch.placement, self._session.tip
        if (why := forbidden(branch, tip)) or placement is None:
            raise ReviewRefused(f"{branch.name}: {why}")
        if branch.expires_at is not None and now >= branch.expires_at:
            raise ReviewRefused(
                f"{branch.name} was for {format_time(branch.expires_at)} at the latest; the hub proposes it anew"
            )
        attempts = [live.attempt for live in tip.index.attempts.get(placement.uid, ())]
        if branch.leaves and attempts != [placement.attempt - 1]:
            raise ReviewRefused(f"attempt {placement.attempt - 1} of {placement.key} is over: there is nothing to move")
        if attempts and not branch.leaves:
            raise ReviewRefused(f"{placement.key} is on the main branch already")
        return branch, placement

    def _refs(self, prefix: str) -> list[tuple[str, pygit2.Commit]]:
        start = f"refs/remotes/origin/{prefix}/"
        names = sorted(ref for ref in self._session.git.references if ref.startswith(start))
        return [
            (f"{prefix}/{ref.removeprefix(start)}", self._session.git.references[ref].peel(pygit2.Commit))
            for ref in names
        ]

    def _branch(self, name: str, commit: pygit2.Commit) -> Branch:
        proposing = self._proposing(commit)
        change, said = self._change(name, commit)
        placement, content = self._placement(commit, change)
        return Branch(
            name=name,
            head=str(commit.id),
            ours=self._is_ours(name, proposing, commit),
            counts=not self._signs or (not self._people(said) and self._placement(said, change)[1] == content),
            hub=self._hub(said, change),
            change=change,
            placement=placement,
            content=content,
            expires_at=placement.expires_at if placement else None,
            policy_digest=_trailer(message_of(said), "CTJ-Policy-Digest"),
            leaves=_trailer(message_of(said), FROM),
        )

    def _change(self, name: str, head: pygit2.Commit) -> tuple[Change | None, pygit2.Commit]:
        """What a branch proposes and the commit that says so: the hub's, whatever people committed on top of it."""
        of = name.rpartition("/")[2].partition("-")[0]
        for commit in islice(self._own_commits(head), MOST_UPDATES):
            for change in changes_in(message_of(commit)):
                if of and change.placement_id.startswith(of):
                    return change, commit
        return None, head

    def _own_commits(self, head: pygit2.Commit) -> Iterator[pygit2.Commit]:
        """A branch's commits that the main branch lacks, newest first; of a merged one, its head and the parents."""
        while not self._is_on_main(head):
            yield head
            if not head.parents:
                return
            head = next((each for each in head.parents if not self._is_on_main(each)), head.parents[0])
        yield from (head, *head.parents)

    def _proposing(self, head: pygit2.Commit) -> pygit2.Commit:
        """The commit below merges of the main branch, which a forge makes when a person updates a proposal."""
        for _ in range(MOST_UPDATES):
            others = [parent for parent in head.parents if not self._is_on_main(parent)]
            if len(head.parents) != 2 or len(others) != 1:
                break
            head = others[0]
        return head

    def _is_ours(self, name: str, proposing: pygit2.Commit, head: pygit2.Commit) -> bool:
        """Whether a branch proposes what the hub wrote and nothing else, be it on top of another base."""
        git, main = self._session.git, self._session.head.id
        alone = (len(proposing.parents) == 1 and self._is_on_main(proposing.parents[0])) or self._is_on_main(proposing)
        if not alone or len(tuple(changes_in(message_of(proposing)))) != 1:
            return False
        if self._people(proposing) and not self._is_as_written(name, proposing):
            return False
        if head.id == proposing.id or not proposing.parents:
            return True
        base = git[git.merge_base(head.id, main)].peel(pygit2.Commit)
        return _difference(base, head) == _difference(proposing.parents[0], proposing)

    def _is_as_written(self, name: str, proposing: pygit2.Commit) -> bool:
        """Whether a commit is the hub's own, put on another base: a forge's "Update with rebase".

        With signing on it is none: the signature is gone, and no spoke takes what it brings.
        """
        written = self._session.git.references.get(f"{_WRITTEN}/{name}")
        if written is None or self._signs or not proposing.parents:
            return False
        own = written.peel(pygit2.Commit)
        said = message_of(own).strip() == message_of(proposing).strip()
        return said and _difference(own.parents[0], own) == _difference(proposing.parents[0], proposing)

    def _is_on_main(self, commit: pygit2.Commit) -> bool:
        main = self._session.head.id
        return commit.id == main or self._session.git.descendant_of(main, commit.id)

    def _placement(self, commit: pygit2.Commit, change: Change | None) -> tuple[Placement | None, bytes]:
        if change is None:
            return None, b""
        is_move = change.action == MOVE
        path = f"{MOVES}/{change.job}.yaml" if is_move else f"clusters/{change.spoke}/jobs/{change.job}.yaml"
        content = blob(self._session.git.odb, commit.tree, path)
        read = parse_move if is_move else parse
        try:
            return (read(path, content), content) if content is not None else (None, b"")
        except PlacementInvalid:
            return None, content or b""

    def _rejection(self, name: str, head: str) -> Rejection | None:
        commit = self._session.git[head].peel(pygit2.Commit)
        change, proposing = self._change(name, next(iter(commit.parents), commit))
        if change is None:
            return None
        why = " ".join(message_of(commit).partition("\n\n")[2].split())
        return Rejection(name, head, self._hub(proposing, change), change, f"{name_of(commit.author)}: {why}")

    def _hub(self, proposing: pygit2.Commit, change: Change | None) -> str:
        """Whose proposal it is, by the record in the file that the hub's own commit adds."""
        placement, content = self._placement(proposing, change)
        record = decision_in(placement.path, content) if placement else None
        return record.hub if record else ""

    def _write(self, name: str, commit: pygit2.Oid | None, expected: pygit2.Oid | None) -> Branch | Refused | None:
        if commit is None:
            return None
        try:
            self._session.push_branch(name, commit, expected)
        except TransportFailure as failure:
            if (clash := _IN_THE_WAY.search(str(failure))) is not None:
                message = f"the branch {clash[1]} is in the way of {name}: rename it or take it away"
                return Refused("BranchInTheWay", message)
            if failure.failure is Failure.MOVED:
                return None
            raise
        self._session.git.references.create(f"{_WRITTEN}/{name}", commit, force=True)
        return self._branch(name, self._session.git[commit].peel(pygit2.Commit))

    def _delete(self, name: str, expected: pygit2.Oid) -> bool:
        try:
            self._session.push_branch(name, None, expected)
        except TransportFailure as failure:
            if failure.failure is Failure.MOVED:
                return False
            raise
        return True


def _difference(old: pygit2.Commit, new: pygit2.Commit) -> set[tuple[str, pygit2.Oid]]:
    """The files that differ, and what they are in `new`."""
    deltas = old.tree.diff_to_tree(new.tree).deltas
    return {(str(delta.new_file.raw_path), delta.new_file.id) for delta in deltas}


def _trailer(message: str, key: str) -> str:
    found = re.findall(rf"(?m)^{key}: (.*)$", message.rstrip("\n").rpartition("\n\n")[2])
    return found[-1] if found else ""
