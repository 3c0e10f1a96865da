"""GitHub and GitHub Enterprise Server: pull requests by REST v3."""

import re
from typing import Any, Final

from carbonfleet.clock import Clock
from carbonfleet.fleet.review.forges.forge_http import ForgeHttp, ForgeSettings
from carbonfleet.fleet.review.forges.pulls import PullsApi, over
from carbonfleet.fleet.review.pull_requests import Mergeable, MergeOutcome, MergeResult, PullRequest, PullState
from carbonfleet.http import HttpAnswer

_MERGEABLE: Final = {
    "clean": Mergeable.YES,
    "unstable": Mergeable.YES,
    "has_hooks": Mergeable.YES,
    "dirty": Mergeable.CONFLICT,
    "blocked": Mergeable.BLOCKED,
    "behind": Mergeable.BEHIND,
    "draft": Mergeable.BLOCKED,
}


class GitHub(PullsApi):
    """See Forge. Sources: docs.github.com/rest/pulls, /issues/labels, /commits/statuses (API of 2022-11-28)."""

    exists_status = 422
    longest_description = 140

    def __init__(self, settings: ForgeSettings, clock: Clock) -> None:
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        super().__init__(settings, ForgeHttp(settings, clock, ("Authorization", "Bearer "), headers))

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
        return self._own(self._http.get_list(f"{self._repository}/pulls", query), branch)

    def add_label(self, number: int, label: str) -> None:
        """See Forge. GitHub makes the label if it is missing."""
        self._label(number, label)

    def merge(self, number: int, sha: str, message: str) -> MergeResult:
        """See Forge."""
        before = self.read(number)
        if before.state is not PullState.OPEN:
            return over(before)
        if before.mergeable is Mergeable.CONFLICT:
            return MergeResult(MergeOutcome.CONFLICT, "GitHub sees a conflict")
        request = {"sha": sha, "commit_title": message}
        path = f"{self._repository}/pulls/{number}/merge"
        return self._merged(number, self._http.merge("PUT", path, request, "merge_method"))

    def _merged(self, number: int, answer: HttpAnswer) -> MergeResult:
        match answer.status:
            case 200 if isinstance(answer.body, dict) and answer.body.get("merged"):
                return MergeResult(MergeOutcome.MERGED, str(answer.body.get("sha", "")))
            case 404:
                return MergeResult(MergeOutcome.GONE, answer.message)
            case 403:
                return MergeResult(MergeOutcome.FORBIDDEN, answer.message)
            case 409:
                return MergeResult(MergeOutcome.HEAD_MOVED, answer.message)
            case 405 if re.search("base branch was modified", answer.message, re.IGNORECASE):
                return MergeResult(MergeOutcome.BASE_MOVED, answer.message)
        after = self.read(number)
        return over(after) if after.state is PullState.MERGED else MergeResult(MergeOutcome.NOT_READY, answer.message)

    def _mergeable(self, item: dict[str, Any]) -> Mergeable:
        return _MERGEABLE.get(item.get("mergeable_state") or "", Mergeable.UNKNOWN)
