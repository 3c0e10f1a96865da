"""Gitea and Forgejo: pull requests by API v1."""

import re
from typing import Any, Final
from urllib.parse import quote

from carbonfleet.clock import Clock
from carbonfleet.fleet.review.forges.forge_http import ForgeHttp, ForgeSettings
from carbonfleet.fleet.review.forges.pulls import PullsApi, over
from carbonfleet.fleet.review.pull_requests import (
    ForgeError,
    Mergeable,
    MergeOutcome,
    MergeResult,
    PullRequest,
    PullState,
)
from carbonfleet.http import HttpAnswer

PAGE: Final = 50
COLOUR: Final = "#0e8a16"


class Gitea(PullsApi):
    """See Forge. Source: the server's own /swagger.v1.json. Labels go by number here, merges answer with nothing."""

    exists_status = 409

    def __init__(self, settings: ForgeSettings, clock: Clock) -> None:
        super().__init__(settings, ForgeHttp(settings, clock, ("Authorization", "token "), {}))

    def find(self, branch: str) -> PullRequest | None:
        """See Forge. The lookup by base and head gives one request of several, so an open one is sought too."""
        base, head = quote(self._settings.base, safe=""), quote(branch, safe="")
        answer = self._http.get(f"{self._repository}/pulls/{base}/{head}")
        if answer.status != 404:
            found = self._view(answer.body)
            if found.state is PullState.OPEN and not found.is_from_fork:
                return found
        query = {"state": "all", "sort": "newest"}
        listed = self._http.paged(f"{self._repository}/pulls", query, PAGE, lambda item: self._own([item], branch))
        return max(listed, key=lambda request: request.number, default=None)

    def add_label(self, number: int, label: str) -> None:
        """See Forge."""
        labels = f"{self._repository}/labels"
        known = self._http.paged(labels, {}, PAGE, lambda item: item if item.get("name") == label else None)
        if not known:
            answer = self._http.send("POST", labels, {"name": label, "color": COLOUR})
            known = [self._http.wrote(answer, f"make the label {label}").body]
        self._label(number, _number(known[0]))

    def merge(self, number: int, sha: str, message: str) -> MergeResult:
        """See Forge."""
        before = self.read(number)
        if before.state is not PullState.OPEN:
            return over(before)
        request = {"head_commit_id": sha, "MergeTitleField": message}
        path = f"{self._repository}/pulls/{number}/merge"
        return self._merged(number, self._http.merge("POST", path, request, "Do"))

    def _merged(self, number: int, answer: HttpAnswer) -> MergeResult:
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
            return over(after)
        again = answer.status == 405 and re.search("try again later", answer.message, re.IGNORECASE)
        return MergeResult(MergeOutcome.BASE_MOVED if again else MergeOutcome.NOT_READY, answer.message)

    def _confirmed(self, number: int) -> MergeResult:
        """Success answers with an empty body, so the commit is read."""
        after = self.read(number)
        if after.state is PullState.MERGED:
            return MergeResult(MergeOutcome.MERGED, after.merge_sha)
        return MergeResult(MergeOutcome.NOT_READY, "Gitea said merged, and the request is not")

    def _mergeable(self, item: dict[str, Any]) -> Mergeable:
        known = item.get("mergeable")
        return Mergeable.UNKNOWN if known is None else Mergeable.YES if known is True else Mergeable.BLOCKED


def _number(label: Any) -> int:  # noqa: ANN401  their JSON
    if not isinstance(label, dict) or not isinstance(label.get("id"), int):
        raise ForgeError(f"the answer is no label as Gitea describes it: {label!r:.100}")
    return int(label["id"])
