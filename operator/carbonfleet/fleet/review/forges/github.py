"""GitHub and GitHub Enterprise Server: pull requests by REST v3."""

import re
from typing import Any, Final

from carbonfleet.fleet.review.forges.forge_http import Answer, ForgeHttp, ForgeSettings
from carbonfleet.fleet.review.pull_requests import (
    ForgeError,
    Mergeable,
    MergeOutcome,
    MergeResult,
    PullRequest,
    PullState,
)

_MERGEABLE: Final = {
    "clean": Mergeable.YES,
    "unstable": Mergeable.YES,
    "has_hooks": Mergeable.YES,
    "dirty": Mergeable.CONFLICT,
    "blocked": Mergeable.BLOCKED,
    "behind": Mergeable.BEHIND,
    "draft": Mergeable.BLOCKED,
}


class GitHub:
    """See Forge. Sources: docs.github.com/rest/pulls, /issues/labels, /commits/statuses (API of 2022-11-28)."""

    def __init__(self, settings: ForgeSettings) -> None:
        self._settings = settings
        self._repository = f"/repos/{settings.quoted}"
        self._http = ForgeHttp(
            settings,
            ("Authorization", "Bearer "),
            {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
        )

    def find(self, branch: str) -> PullRequest | None:
        """See Forge."""
        query = {
            "state": "all",
            "head": f"{self._settings.owner}:{branch}",
            "base": self._settings.base,
            "sort": "created",
            "direction": "desc",
            "per_page": "10",
        }
        found = self._http.get_list(f"{self._repository}/pulls", query)
        requests = [view for view in map(_view, found) if view.branch == branch and not view.is_from_fork]
        return next((request for request in requests if request.state is PullState.OPEN), next(iter(requests), None))

    def read(self, number: int) -> PullRequest:
        """See Forge."""
        answer = self._http.get(f"{self._repository}/pulls/{number}")
        if answer.status == 404:
            raise ForgeError(f"pull request {number} is not there")
        return _view(answer.json)

    def create(self, branch: str, title: str, body: str) -> PullRequest:
        """See Forge."""
        found = self.find(branch)
        if found is not None and found.state is not PullState.CLOSED:
            return found
        request = {"title": title, "head": branch, "base": self._settings.base, "body": body}
        answer = self._http.send("POST", f"{self._repository}/pulls", request)
        if answer.status == 422:
            found = self.find(branch)
            if found is not None and found.state is not PullState.CLOSED:
                return found
        return _view(self._http.wrote(answer, f"open a pull request for {branch}").json)

    def edit(self, number: int, title: str, body: str) -> None:
        """See Forge."""
        answer = self._http.send("PATCH", f"{self._repository}/pulls/{number}", {"title": title, "body": body})
        self._http.wrote(answer, f"edit pull request {number}")

    def add_label(self, number: int, label: str) -> None:
        """See Forge. GitHub makes the label if it is missing."""
        answer = self._http.send("POST", f"{self._repository}/issues/{number}/labels", {"labels": [label]})
        self._http.wrote(answer, f"label pull request {number}")

    def say(self, number: int, text: str) -> None:
        """See Forge."""
        issues = f"{self._repository}/issues"
        self._http.say(f"{issues}/{number}/comments", f"{issues}/comments", "PATCH", text)

    def set_status(self, sha: str, context: str, *, ok: bool, description: str) -> None:
        """See Forge."""
        state = "success" if ok else "failure"
        status = {"state": state, "context": context, "description": description[:140]}
        self._http.wrote(self._http.send("POST", f"{self._repository}/statuses/{sha}", status), f"set {context}")

    def merge(self, number: int, sha: str, message: str) -> MergeResult:
        """See Forge."""
        before = self.read(number)
        if before.state is not PullState.OPEN:
            return _over(before)
        if before.mergeable is Mergeable.CONFLICT:
            return MergeResult(MergeOutcome.CONFLICT, "GitHub sees a conflict")
        request = {"sha": sha, "commit_title": message}
        path = f"{self._repository}/pulls/{number}/merge"
        return self._merged(number, self._http.merge("PUT", path, request, "merge_method"))

    def close(self, number: int) -> None:
        """See Forge."""
        answer = self._http.send("PATCH", f"{self._repository}/pulls/{number}", {"state": "closed"})
        self._http.wrote(answer, f"close pull request {number}", 404)

    def _merged(self, number: int, answer: Answer) -> MergeResult:
        match answer.status:
            case 200 if isinstance(answer.json, dict) and answer.json.get("merged"):
                return MergeResult(MergeOutcome.MERGED, str(answer.json.get("sha", "")))
            case 404:
                return MergeResult(MergeOutcome.GONE, answer.message)
            case 403:
                return MergeResult(MergeOutcome.FORBIDDEN, answer.message)
            case 409:
                return MergeResult(MergeOutcome.HEAD_MOVED, answer.message)
            case 405 if re.search("base branch was modified", answer.message, re.IGNORECASE):
                return MergeResult(MergeOutcome.BASE_MOVED, answer.message)
        after = self.read(number)
        return _over(after) if after.state is PullState.MERGED else MergeResult(MergeOutcome.NOT_READY, answer.message)


def _over(request: PullRequest) -> MergeResult:
    if request.state is PullState.MERGED:
        return MergeResult(MergeOutcome.ALREADY_MERGED, request.merge_sha)
    return MergeResult(MergeOutcome.GONE, "it is closed")


def _view(item: Any) -> PullRequest:  # noqa: ANN401  their JSON
    try:
        # Closed requests carry a merge_commit_sha too: only merged_at says that it was merged.
        merged = bool(item.get("merged") or item.get("merged_at"))
        state = PullState.MERGED if merged else PullState(item["state"])
        known = _MERGEABLE.get(item.get("mergeable_state") or "", Mergeable.UNKNOWN)
        return PullRequest(
            number=int(item["number"]),
            url=str(item["html_url"]),
            state=state,
            branch=str(item["head"]["ref"]),
            head_sha=str(item["head"]["sha"]),
            mergeable=known,
            labels=frozenset(str(label["name"]) for label in item.get("labels") or ()),
            merge_sha=str(item.get("merge_commit_sha") or "") if merged else "",
            title=str(item.get("title") or ""),
            body=str(item.get("body") or ""),
            is_from_fork=_repository(item["head"]) != _repository(item["base"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ForgeError(f"the answer is no pull request as GitHub describes it: {error}") from error


def _repository(end: dict[str, Any]) -> object:
    """Whose branch one end of a request is; null where the fork is gone."""
    return (end.get("repo") or {}).get("full_name")
