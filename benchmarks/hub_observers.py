"""What a measurement sees from outside: when the API showed a decision, and when Git held the placement."""

import json
import threading
import time
from pathlib import PurePosixPath

import pygit2
import urllib3
from measured_hub import TEAM, MeasuredHub

from carbonfleet.kube import ours

LOOK_SECONDS = 0.002
"""How often the branch is looked at."""


class Observers:
    """Watches jobs and the branch from `start` to `stop`; times are of `time.perf_counter`, by job name."""

    def __init__(self, hub: MeasuredHub) -> None:
        self._hub = hub
        self.decided: dict[str, float] = {}
        self.committed: dict[str, float] = {}
        self.writes = 0
        """Changes of jobs that the API told of, the client's creations included."""
        self._heads: list[tuple[float, str]] = []
        self._over = threading.Event()

    def start(self) -> None:
        _items, version = self._hub.kube.list(ours("carbontrainingjobs"))
        self._base = self._hub.head()
        self._response = self._open(version)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._watch, self._look)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        self._response.shutdown()
        for thread in self._threads:
            thread.join()

    def pushed(self) -> tuple[dict[str, float], int]:
        """When the branch first held each job's placement, and in how many commits they came."""
        git, seen, commits = pygit2.Repository(str(self._hub.bare)), {}, 0
        last = git[self._base]
        for moment, head in self._heads:
            walker = git.walk(git[head].id, pygit2.enums.SortMode.REVERSE | pygit2.enums.SortMode.TOPOLOGICAL)
            walker.hide(last.id)
            commits += sum(1 for _ in walker)
            for delta in git.diff(last, git[head]).deltas:
                seen.setdefault(PurePosixPath(delta.new_file.path).stem, moment)
            last = git[head]
        return seen, commits

    def _open(self, version: str) -> urllib3.BaseHTTPResponse:
        kube = self._hub.kube
        where = f"{ours('carbontrainingjobs', TEAM)}?watch=true&resourceVersion={version}"
        access = kube._now()
        headers = {"Authorization": f"Bearer {kube.token}"} if kube.token else {}
        return access.pool.request("GET", where, headers=headers, preload_content=False, timeout=600)

    def _watch(self) -> None:
        rest = b""
        while not self._over.is_set():
            try:
                piece = self._response.read1(1 << 16)
            except (urllib3.exceptions.HTTPError, OSError, ValueError):
                return
            *lines, rest = (rest + piece).split(b"\n")
            moment = time.perf_counter()
            for line in lines:
                self._note(json.loads(line), moment)

    def _note(self, event: dict, moment: float) -> None:
        self.writes += event["type"] != "BOOKMARK"
        status = event["object"].get("status") or {}
        name = event["object"]["metadata"].get("name", "")
        types = {condition["type"] for condition in status.get("conditions", ()) if condition["status"] != "Unknown"}
        if "Scheduled" in types:
            self.decided.setdefault(name, moment)
        if "Committed" in types:
            self.committed.setdefault(name, moment)

    def _look(self) -> None:
        last = self._base
        while not self._over.wait(LOOK_SECONDS):
            head = self._hub.head()
            if head and head != last:
                self._heads.append((time.perf_counter(), head))
                last = head
