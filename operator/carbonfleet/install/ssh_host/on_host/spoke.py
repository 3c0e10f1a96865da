"""A spoke's folder on this host, and what runs from it."""

import fcntl
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from carbonfleet.install.ssh_host.on_host.system import (
    FailedError,
    ask,
    digest,
    environment,
    fail,
    free_port,
    json_file,
    write,
)

DATA: Final = ("store", "datasets", "models")
"""Folders whose files are trainings' or people's."""
_MARK: Final = "CARBONFLEET_SPOKE_FOLDER"
_LONGEST_RAY_PATH: Final = 40
"""Ray puts Unix sockets below its folder, whose paths the kernel cuts at 107 bytes."""
_LIVE: Final = ("PENDING", "RUNNING")


class SpokeFolder:
    """What the request says of a spoke, and what is there of it."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.request = request
        self.name = str(request["spoke"])
        self.folder = Path.home() / f".carbonfleet-{self.name}"
        self.files = self.folder / "files"
        self.agent_file = self.files / "agent.yaml"

    @contextmanager
    def held(self) -> Iterator[None]:
        """The folder for this program alone, made where it is missing."""
        own = self.folder / "spoke.json"
        if self.folder.exists() and not own.exists() and any(self.folder.iterdir()):
            fail("Foreign", f"{self.folder} is not of `spoke up`: move it away, or name the spoke otherwise")
        write(own, json.dumps({"spoke": self.name}))
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fail("Busy", f"another `spoke up` or `down` of {self.name} is at work there: try again in some minutes")
            yield

    @property
    def services(self) -> dict[str, Any]:
        """What is to run, as it was last written."""
        return json_file(self.folder / "services.json")

    @property
    def ports(self) -> dict[str, int]:
        """Kept from the first time on."""
        kept = json_file(self.folder / "ports.json")
        if not kept:
            ray = free_port()
            kept = {"ray": ray, "liveness": free_port((ray,))}
            write(self.folder / "ports.json", json.dumps(kept))
        return kept

    @property
    def ray(self) -> Path:
        """Ray's folder: here where the path is short enough."""
        kept = self.folder / "ray.directory"
        if not kept.exists():
            own = self.folder / "ray"
            is_short = len(str(own)) <= _LONGEST_RAY_PATH
            write(kept, str(own) if is_short else tempfile.mkdtemp(prefix="cf-ray-", dir="/tmp"))
        return Path(kept.read_text())

    @property
    def venv(self) -> Path:
        """Another one for each wheel, list of packages and Python, so that what runs keeps its own."""
        asked, base = self.request, str(Path(sys.executable).resolve())
        made_of = (asked["wheel"]["sha256"], asked["constraints"], base, sys.version, asked["site_packages"])
        return self.folder / f"venv-{digest(*made_of)}"

    @property
    def logs(self) -> str:
        """Where to look."""
        return f"{self.folder}/logs there, or `journalctl --user -u 'carbonfleet-{self.name}-*'`"

    def environment(self) -> dict[str, str]:
        """Of the services; its mark tells what they start from all else on the host."""
        own = {"HF_HOME": "huggingface", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config"}
        folders = {name: str(self.folder / folder) for name, folder in own.items()}
        return environment(**{_MARK: str(self.folder)}, LANG="C.UTF-8", **folders)

    def wanted_services(self) -> dict[str, Any]:
        """What is to run by the request, in the order of its start."""
        python, given = str(self.venv / "bin" / "python"), self.request
        ray = ["--directory", str(self.ray), "--port", str(self.ports["ray"])]
        ray += [word for pool in given["simulated"] for word in ("--simulated", pool)]
        agent = ["--settings", str(self.agent_file)]
        both = {"ray": ["ray", "--spoke", self.name, *ray], "agent": ["run", *agent]}
        services: dict[str, Any] = {
            name: {"command": [python, "-m", "carbonfleet", "spoke", *words], "environment": self.environment()}
            for name, words in both.items()
        }
        services["agent"]["files"] = digest(self.wanted_files())
        return services

    def wanted_files(self) -> dict[str, str]:
        """The agent's settings, and what they name, by file name."""
        files: dict[str, str] = dict(self.request["files"])
        settings = self.request["agent"] | {name: str(self.files / name) for name in files}
        settings |= {name: str(self.folder / name) for name in (*DATA, "state")}
        settings |= {"ray_address": f"http://127.0.0.1:{self.ports['ray']}", "ray_token_file": str(self.ray / "token")}
        settings |= {"runtime": "ray", "liveness": f"http://127.0.0.1:{self.ports['liveness']}/healthz"}
        return files | {self.agent_file.name: json.dumps(settings, indent=1)}

    def processes(self) -> list[int]:
        """What was started from this folder, and what that started, the supervisor among them."""
        mark = f"{_MARK}={self.folder}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def live_runs(self) -> int:
        """How many attempts run or wait in Ray here. Fails where Ray runs and does not say."""
        if not self.processes():
            return 0
        try:
            jobs = self._ask_ray("/api/jobs/")
        except (OSError, ValueError) as error:
            fail("RunsUnknown", f"Ray does not say whether runs are live ({error}): see {self.logs}")
        return sum(job.get("status") in _LIVE for job in jobs)

    def has_ray(self) -> bool:
        """Whether Ray's node has joined its head, which takes jobs some time before. Raises OSError, ValueError."""
        nodes = self._ask_ray("/nodes?view=summary")["data"]["summary"]
        return any(node["raylet"].get("state") == "ALIVE" for node in nodes)

    def _ask_ray(self, where: str) -> Any:  # noqa: ANN401 - JSON
        token = (self.ray / "token").read_text().strip()
        return json.loads(ask(f"http://127.0.0.1:{self.ports['ray']}{where}", token))

    def refuse_live_runs(self, what: str) -> None:
        """Fail where a run is live that nobody has said may end."""
        if self.request["end_runs"]:
            return
        try:
            live = self.live_runs()
        except FailedError as error:
            fail(error.args[0], f"{error.args[1]}. With --end-runs {what}, whatever runs")
        if live:
            are = "1 run is" if live == 1 else f"{live} runs are"
            fail("RunsLive", f"{are} live there: wait until they have ended. With --end-runs {what}, and they end")

    def sweep(self) -> None:
        """End what still runs from this folder."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + 10
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            while self.processes() and time.monotonic() < deadline:
                time.sleep(0.1)
        if left := self.processes():
            fail("StillRunning", f"processes {left} don't end: see what they wait for, and try again")
