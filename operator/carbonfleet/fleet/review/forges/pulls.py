"""What forges have in common: a request that is made once, and pull requests as GitHub and Gitea write them."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar
from urllib.parse import quote

from carbonfleet.fleet.review.forges.forge_http import ForgeHttp, ForgeSettings
from carbonfleet.fleet.review.pull_requests import (
    ForgeError,
    Mergeable,
    MergeOutcome,
    MergeResult,
    PullRequest,
    PullState,
    RepositoryAccess,
)
from carbonfleet.http import HttpAnswer


class Requests(ABC):
    """The part of Forge that is the same everywhere."""

    exists_status: ClassVar[int]
    """What the forge answers where there is an open request from the branch already."""

    def __init__(self, settings: ForgeSettings, http: ForgeHttp) -> None:
        self._settings, self._http = settings, http

    @abstractmethod
    def find(self, branch: str) -> PullRequest | None:
        """See Forge."""

    @abstractmethod
    def _post(self, branch: str, title: str, body: str) -> HttpAnswer: ...

    @abstractmethod
    def _view(self, item: Any) -> PullRequest: ...  # noqa: ANN401  their JSON

    def create(self, branch: str, title: str, body: str) -> PullRequest:
        """See Forge."""
        if (found := self._unclosed(branch)) is not None:
            return found
        answer = self._post(branch, title, body)
        if answer.status == self.exists_status and (found := self._unclosed(branch)) is not None:
            return found
        return self._view(self._http.wrote(answer, f"open a request for {branch}").body)

    def _unclosed(self, branch: str) -> PullRequest | None:
        found = self.find(branch)
        return found if found is not None and found.state is not PullState.CLOSED else None

    def _own(self, items: list[dict[str, Any]], branch: str) -> PullRequest | None:
        """Of requests, newest first, the open one from our branch, or else the newest."""
        views = [view for view in map(self._view, items) if view.branch == branch and not view.is_from_fork]
        return next((each for each in views if each.state is PullState.OPEN), next(iter(views), None))


class PullsApi(Requests):
    """Pull requests under /repos/{owner}/{name}, as GitHub has them and Gitea after it."""

    longest_description: ClassVar[int] = 255

    def __init__(self, settings: ForgeSettings, http: ForgeHttp) -> None:
        super().__init__(settings, http)
        self._repository = f"/repos/{settings.quoted}"

    @abstractmethod
    def _mergeable(self, item: dict[str, Any]) -> Mergeable: ...

    def access(self) -> RepositoryAccess:
        """See Forge."""
        repository = self._http.known(self._repository, f"repository {self._settings.repository}")
        base = quote(self._settings.base, safe="")
        branch = self._http.known(f"{self._repository}/branches/{base}", f"branch {self._settings.base}")
        allowed = repository.get("permissions")
        return RepositoryAccess(
            can_write=isinstance(allowed, dict) and allowed.get("push") is True,
            is_protected=branch.get("protected") is True,
        )

    def read(self, number: int) -> PullRequest:
        """See Forge."""
        answer = self._http.get(f"{self._repository}/pulls/{number}")
        if answer.status == 404:
            raise ForgeError(f"pull request {number} is not there")
        return self._view(answer.body)

    def _post(self, branch: str, title: str, body: str) -> HttpAnswer:
        request = {"title": title, "head": branch, "base": self._settings.base, "body": body}
        return self._http.send("POST", f"{self._repository}/pulls", request)

    def edit(self, number: int, title: str, body: str) -> None:
        """See Forge."""
        self._patch(number, {"title": title, "body": body}, "edit")

    def say(self, number: int, text: str) -> None:
        """See Forge."""
        issues = f"{self._repository}/issues"
        self._http.say(f"{issues}/{number}/comments", f"{issues}/comments", "PATCH", text)

    def set_status(self, sha: str, context: str, *, ok: bool, description: str) -> None:
        """See Forge."""
        state = "success" if ok else "failure"
        status = {"state": state, "context": context, "description": description[: self.longest_description]}
        self._http.wrote(self._http.send("POST", f"{self._repository}/statuses/{sha}", status), f"set {context}")

    def close(self, number: int) -> None:
        """See Forge. A merged request can't be closed any more (Gitea: 412)."""
        self._patch(number, {"state": "closed"}, "close", 404, 412)

    def _label(self, number: int, label: str | int) -> None:
        answer = self._http.send("POST", f"{self._repository}/issues/{number}/labels", {"labels": [label]})
        self._http.wrote(answer, f"label pull request {number}")

    def _patch(self, number: int, change: dict[str, str], what: str, *also: int) -> None:
        answer = self._http.send("PATCH", f"{self._repository}/pulls/{number}", change)
        self._http.wrote(answer, f"{what} pull request {number}", *also)

    def _view(self, item: Any) -> PullRequest:  # noqa: ANN401  their JSON
        try:
            # Closed requests carry a merge_commit_sha too: only merged_at says that it was merged.
            merged = bool(item.get("merged") or item.get("merged_at"))
            return PullRequest(
                number=int(item["number"]),
                url=str(item["html_url"]),
                state=PullState.MERGED if merged else PullState(item["state"]),
                branch=str(item["head"]["ref"]),
                head_sha=str(item["head"]["sha"]),
                mergeable=self._mergeable(item),
                labels=frozenset(str(label["name"]) for label in item.get("labels") or ()),
                merge_sha=str(item.get("merge_commit_sha") or "") if merged else "",
                title=str(item.get("title") or ""),
                body=str(item.get("body") or ""),
                is_from_fork=_repository(item["head"]) != _repository(item["base"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ForgeError(f"the answer is no pull request as the forge describes it: {error}") from error


def over(request: PullRequest) -> MergeResult:
    """What a merge comes to where the request is not open any more."""
    if request.state is PullState.MERGED:
        return MergeResult(MergeOutcome.ALREADY_MERGED, request.merge_sha)
    return MergeResult(MergeOutcome.GONE, "it is closed")


def _repository(end: dict[str, Any]) -> object:
    """Whose branch one end of a request is; null where the fork is gone."""
    return (end.get("repo") or {}).get("full_name")
