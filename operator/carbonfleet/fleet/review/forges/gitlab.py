"""GitLab: merge requests by REST v4."""

from typing import Any, Final
from urllib.parse import quote

from carbonfleet.clock import Clock
from carbonfleet.fleet.review.forges.forge_http import ForgeHttp, ForgeSettings
from carbonfleet.fleet.review.forges.pulls import Requests, over
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

_WAITING: Final = frozenset({"unchecked", "checking", "preparing", "approvals_syncing", "ci_still_running"})
_CONFLICTS: Final = frozenset({"conflict", "broken_status"})
_DEVELOPER: Final = 30
_STATES: Final = {
    "opened": PullState.OPEN,
    "locked": PullState.OPEN,
    "merged": PullState.MERGED,
    "closed": PullState.CLOSED,
}


class GitLab(Requests):
    """See Forge. Sources: docs.gitlab.com/api/merge_requests, /notes, /commits. Numbers are project-level iids."""

    exists_status = 409

    def __init__(self, settings: ForgeSettings, clock: Clock) -> None:
        super().__init__(settings, ForgeHttp(settings, clock, ("PRIVATE-TOKEN", ""), {}))
        self._project = f"/projects/{quote(settings.repository, safe='')}"

    def access(self) -> RepositoryAccess:
        """See Forge. Who pushes is a developer at least, of project or group, with a token for the whole API."""
        project = self._http.known(self._project, f"project {self._settings.repository}")
        base = quote(self._settings.base, safe="")
        branch = self._http.known(f"{self._project}/repository/branches/{base}", f"branch {self._settings.base}")
        given = project.get("permissions")
        members = [each for each in (given.values() if isinstance(given, dict) else ()) if isinstance(each, dict)]
        is_member = any(isinstance(level := each.get("access_level"), int) and level >= _DEVELOPER for each in members)
        token = self._http.get("/personal_access_tokens/self").body
        scopes = token.get("scopes") if isinstance(token, dict) else None
        is_whole = not isinstance(scopes, list) or "api" in scopes
        return RepositoryAccess(can_write=is_member and is_whole, is_protected=branch.get("protected") is True)

    def find(self, branch: str) -> PullRequest | None:
        """See Forge."""
        query = {
            "state": "all",
            "source_branch": branch,
            "target_branch": self._settings.base,
            "order_by": "created_at",
            "sort": "desc",
            "per_page": "10",
        }
        return self._own(self._http.get_list(f"{self._project}/merge_requests", query), branch)

    def read(self, number: int) -> PullRequest:
        """See Forge."""
        return self._view(self._raw(number))

    def _post(self, branch: str, title: str, body: str) -> HttpAnswer:
        request = {
            "source_branch": branch,
            "target_branch": self._settings.base,
            "title": title,
            "description": body,
            "remove_source_branch": True,
        }
        return self._http.send("POST", f"{self._project}/merge_requests", request)

    def edit(self, number: int, title: str, body: str) -> None:
        """See Forge."""
        self._put(number, {"title": title, "description": body}, "edit")

    def add_label(self, number: int, label: str) -> None:
        """See Forge. GitLab makes the label if it is missing."""
        self._put(number, {"add_labels": label}, "label")

    def say(self, number: int, text: str) -> None:
        """See Forge."""
        notes = f"{self._project}/merge_requests/{number}/notes"
        self._http.say(notes, notes, "PUT", text)

    def set_status(self, sha: str, context: str, *, ok: bool, description: str) -> None:
        """See Forge. The same status twice is a 400 that says so, and fine."""
        status = {"state": "success" if ok else "failed", "name": context, "description": description[:255]}
        answer = self._http.send("POST", f"{self._project}/statuses/{sha}", status)
        if answer.status == 400 and "cannot transition status" in answer.message.lower():
            return
        self._http.wrote(answer, f"set {context}")

    def merge(self, number: int, sha: str, message: str) -> MergeResult:
        """See Forge. Whether it can be merged is found out after the request is made: what waits is not ready."""
        before = self._raw(number)
        view = self._view(before)
        if view.state is not PullState.OPEN:
            return over(view)
        if view.mergeable is Mergeable.CONFLICT:
            return MergeResult(MergeOutcome.CONFLICT, "GitLab sees a conflict")
        if _status(before) in _WAITING:
            return MergeResult(MergeOutcome.NOT_READY, f"GitLab is still {_status(before)}")
        request = {"sha": sha, "merge_commit_message": message or f"Merge {view.branch}"}
        return self._merged(number, self._http.send("PUT", f"{self._project}/merge_requests/{number}/merge", request))

    def close(self, number: int) -> None:
        """See Forge."""
        self._put(number, {"state_event": "close"}, "close", 404)

    def _merged(self, number: int, answer: HttpAnswer) -> MergeResult:
        match answer.status:
            case 200 if self._view(answer.body).state is PullState.MERGED:
                return MergeResult(MergeOutcome.MERGED, self._view(answer.body).merge_sha)
            case 200:
                return MergeResult(MergeOutcome.SCHEDULED, "GitLab merges it when its checks are done")
            case 403:
                return MergeResult(MergeOutcome.FORBIDDEN, answer.message)
            case 404:
                return MergeResult(MergeOutcome.GONE, answer.message)
            case 409:
                return MergeResult(MergeOutcome.HEAD_MOVED, answer.message)
        now = self._raw(number)
        view = self._view(now)
        if view.state is PullState.MERGED:
            return over(view)
        if answer.status in {406, 422} and _status(now) in _WAITING:
            return MergeResult(MergeOutcome.BASE_MOVED, f"{answer.message}; GitLab is still {_status(now)}")
        if answer.status == 406 or view.mergeable is Mergeable.CONFLICT:
            return MergeResult(MergeOutcome.CONFLICT, answer.message)
        return MergeResult(MergeOutcome.NOT_READY, answer.message)

    def _raw(self, number: int) -> Any:  # noqa: ANN401  their JSON
        answer = self._http.get(f"{self._project}/merge_requests/{number}")
        if answer.status == 404:
            raise ForgeError(f"merge request {number} is not there")
        return answer.body

    def _put(self, number: int, change: dict[str, str], what: str, *also: int) -> None:
        answer = self._http.send("PUT", f"{self._project}/merge_requests/{number}", change)
        self._http.wrote(answer, f"{what} merge request {number}", *also)

    def _view(self, item: Any) -> PullRequest:  # noqa: ANN401  their JSON
        try:
            state = _STATES[item["state"]]
            merge_sha = item.get("merge_commit_sha") or item.get("squash_commit_sha") or item.get("sha") or ""
            return PullRequest(
                number=int(item["iid"]),
                url=str(item["web_url"]),
                state=state,
                branch=str(item["source_branch"]),
                head_sha=str(item.get("sha") or ""),
                mergeable=_mergeable(_status(item)),
                labels=frozenset(str(label) for label in item.get("labels") or ()),
                merge_sha=str(merge_sha) if state is PullState.MERGED else "",
                title=str(item.get("title") or ""),
                body=str(item.get("description") or ""),
                is_from_fork=item.get("source_project_id") != item.get("target_project_id"),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ForgeError(f"the answer is no merge request as GitLab describes it: {error}") from error


def _status(item: Any) -> str:  # noqa: ANN401  their JSON
    return str(item.get("detailed_merge_status") or "").lower()


def _mergeable(status: str) -> Mergeable:
    """New statuses keep appearing: what is not known blocks."""
    if status == "mergeable":
        return Mergeable.YES
    if status in _CONFLICTS:
        return Mergeable.CONFLICT
    if status == "need_rebase":
        return Mergeable.BEHIND
    if status in _WAITING:
        return Mergeable.UNKNOWN
    return Mergeable.NO if status == "not_open" else Mergeable.BLOCKED
