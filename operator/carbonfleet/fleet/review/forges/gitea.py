"""Gitea and Forgejo: pull requests by API v1."""

import re
from typing import Any, Final
from urllib.parse import quote

from carbonfleet.fleet.review.forges.forge_http import MOST_PAGES, Answer, ForgeHttp, ForgeSettings
from carbonfleet.fleet.review.pull_requests import (
    ForgeError,
    Mergeable,
    MergeOutcome,
    MergeResult,
    PullRequest,
    PullState,
)

PAGE: Final = 50
COLOUR: Final = "#0e8a16"


class Gitea:
    """See Forge. Source: the server's own /swagger.v1.json. Labels go by number here, merges answer with nothing."""

    def __init__(self, settings: ForgeSettings) -> None:
        self._settings = settings
        self._repository = f"/repos/{settings.quoted}"
        self._http = ForgeHttp(settings, ("Authorization", "token "), {"Accept": "application/json"})

    def find(self, branch: str) -> PullRequest | None:
        """See Forge. The lookup by base and head gives one request of several, so an open one is sought too."""
        base, head = quote(self._settings.base, safe=""), quote(branch, safe="")
        answer = self._http.get(f"{self._repository}/pulls/{base}/{head}")
        if answer.status != 404:
            found = _view(answer.json)
            if found.state is PullState.OPEN and not found.is_from_fork:
                return found
        return next(iter(sorted(self._listed(branch), key=lambda request: -request.number)), None)

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
        request = {"head": branch, "base": self._settings.base, "title": title, "body": body}
        answer = self._http.send("POST", f"{self._repository}/pulls", request)
        if answer.status == 409:
            found = self.find(branch)
            if found is not None and found.state is not PullState.CLOSED:
                return found
        return _view(self._http.wrote(answer, f"open a pull request for {branch}").json)

    def edit(self, number: int, title: str, body: str) -> None:
        """See Forge."""
        answer = self._http.send("PATCH", f"{self._repository}/pulls/{number}", {"title": title, "body": body})
        self._http.wrote(answer, f"edit pull request {number}")

    def add_label(self, number: int, label: str) -> None:
        """See Forge."""
        labels = {"labels": [self._label(label)]}
        answer = self._http.send("POST", f"{self._repository}/issues/{number}/labels", labels)
        self._http.wrote(answer, f"label pull request {number}")

    def say(self, number: int, text: str) -> None:
        """See Forge."""
        issues = f"{self._repository}/issues"
        self._http.say(f"{issues}/{number}/comments", f"{issues}/comments", "PATCH", text)

    def set_status(self, sha: str, context: str, *, ok: bool, description: str) -> None:
        """See Forge."""
        state = "success" if ok else "failure"
        status = {"state": state, "context": context, "description": description[:255]}
        self._http.wrote(self._http.send("POST", f"{self._repository}/statuses/{sha}", status), f"set {context}")

    def merge(self, number: int, sha: str, message: str) -> MergeResult:
        """See Forge."""
        before = self.read(number)
        if before.state is not PullState.OPEN:
            return _over(before)
        request = {"head_commit_id": sha, "MergeTitleField": message}
        path = f"{self._repository}/pulls/{number}/merge"
        return self._merged(number, self._http.merge("POST", path, request, "Do"))

    def close(self, number: int) -> None:
        """See Forge. A merged request can't be closed any more (412)."""
        answer = self._http.send("PATCH", f"{self._repository}/pulls/{number}", {"state": "closed"})
        self._http.wrote(answer, f"close pull request {number}", 404, 412)

    def _merged(self, number: int, answer: Answer) -> MergeResult:
        match answer.status:
            case 200:
                return self._confirmed(number)
            case 201:
                return MergeResult(MergeOutcome.SCHEDULED, "Gitea merges it when its checks are done")
            case 404:
                return MergeResult(MergeOutcome.GONE, answer.message)
            case 403:
                return MergeResult(MergeOutcome.FORBIDDEN, answer.message)
            case 409 if re.search("head out of date", answer.message, re.IGNORECASE):
                return MergeResult(MergeOutcome.HEAD_MOVED, answer.message)
            case 409 if re.search("push out of date", answer.message, re.IGNORECASE):
                return MergeResult(MergeOutcome.BASE_MOVED, answer.message)
            case 409:
                return MergeResult(MergeOutcome.CONFLICT, answer.message)
        after = self.read(number)
        if after.state is PullState.MERGED:
            return _over(after)
        again = answer.status == 405 and re.search("try again later", answer.message, re.IGNORECASE)
        return MergeResult(MergeOutcome.BASE_MOVED if again else MergeOutcome.NOT_READY, answer.message)

    def _confirmed(self, number: int) -> MergeResult:
        """Success answers with an empty body, so the commit is read."""
        after = self.read(number)
        if after.state is PullState.MERGED:
            return MergeResult(MergeOutcome.MERGED, after.merge_sha)
        return MergeResult(MergeOutcome.NOT_READY, "Gitea said merged, and the request is not")

    def _listed(self, branch: str) -> list[PullRequest]:
        found: list[PullRequest] = []
        for page in range(1, MOST_PAGES + 1):
            query = {"state": "all", "sort": "newest", "limit": str(PAGE), "page": str(page)}
            items = self._http.get_list(f"{self._repository}/pulls", query)
            found += [view for view in map(_view, items) if view.branch == branch and not view.is_from_fork]
            if found or len(items) < PAGE:
                break
        return found

    def _label(self, name: str) -> int:
        for page in range(1, MOST_PAGES + 1):
            query = {"limit": str(PAGE), "page": str(page)}
            items = self._http.get_list(f"{self._repository}/labels", query)
            for item in items:
                if item.get("name") == name:
                    return _number(item)
            if len(items) < PAGE:
                break
        answer = self._http.send("POST", f"{self._repository}/labels", {"name": name, "color": COLOUR})
        return _number(self._http.wrote(answer, f"make the label {name}").json)


def _number(label: Any) -> int:  # noqa: ANN401  their JSON
    if not isinstance(label, dict) or not isinstance(label.get("id"), int):
        raise ForgeError(f"the answer is no label as Gitea describes it: {label!r:.100}")
    return int(label["id"])


def _over(request: PullRequest) -> MergeResult:
    if request.state is PullState.MERGED:
        return MergeResult(MergeOutcome.ALREADY_MERGED, request.merge_sha)
    return MergeResult(MergeOutcome.GONE, "it is closed")


def _view(item: Any) -> PullRequest:  # noqa: ANN401  their JSON
    try:
        merged = bool(item.get("merged"))
        mergeable = {True: Mergeable.YES, False: Mergeable.BLOCKED}.get(item.get("mergeable"), Mergeable.UNKNOWN)
        return PullRequest(
            number=int(item["number"]),
            url=str(item["html_url"]),
            state=PullState.MERGED if merged else PullState(item["state"]),
            branch=str(item["head"]["ref"]),
            head_sha=str(item["head"]["sha"]),
            mergeable=mergeable,
            labels=frozenset(str(label["name"]) for label in item.get("labels") or ()),
            merge_sha=str(item.get("merge_commit_sha") or "") if merged else "",
            title=str(item.get("title") or ""),
            body=str(item.get("body") or ""),
            is_from_fork=_repository(item["head"]) != _repository(item["base"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ForgeError(f"the answer is no pull request as Gitea describes it: {error}") from error


def _repository(end: dict[str, Any]) -> object:
    """Whose branch one end of a request is; null where the fork is gone."""
    return (end.get("repo") or {}).get("full_name")
