"""The steps of `spoke up` and `spoke down` on the host."""

import errno
import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from carbonfleet.install.ssh_host.on_host.checks import are_met, has_systemd
from carbonfleet.install.ssh_host.on_host.services import Supervised, Systemd
from carbonfleet.install.ssh_host.on_host.spoke import DATA, SpokeFolder
from carbonfleet.install.ssh_host.on_host.system import (
    FailedError,
    ask,
    disk_full,
    fail,
    failed_by,
    json_file,
    output,
    say,
    wait_until,
    write,
)

_VENV_SECONDS: Final = 300
_PACKAGES_SECONDS: Final = 5400
_READY_SECONDS: Final = 900
"""Ray takes minutes to start on a busy machine."""
_LEAVE_SECONDS: Final = 120


def check(spoke: SpokeFolder, _wheel: bytes) -> None:
    """Only look."""
    if not are_met(spoke):
        fail("NotMet", "what is marked must be mended first")
    running = len(spoke.processes()) if spoke.folder.exists() else 0
    say("done", text=f"{spoke.name} runs there already" if running else f"{spoke.name} can be brought up there")


def up(spoke: SpokeFolder, wheel: bytes) -> None:
    """Bring the host to what the request says; what is so already is left alone."""
    if not are_met(spoke):
        fail("NotMet", "what is marked must be mended first; nothing was changed")
    with spoke.held():
        services, before = spoke.wanted_services(), spoke.services
        if before and before["ray"] != services["ray"]:
            spoke.refuse_live_runs("Ray is restarted")
        _step("packages", lambda: _install(spoke, wheel))
        if before == services and _is_ready(spoke):
            say("step", name="services", text="nothing has changed, and both run")
        else:
            _step("services", lambda: _switch(spoke, services, before))
        for other in spoke.folder.glob("venv-*"):
            if other != spoke.venv:
                shutil.rmtree(other)
    text = f"{spoke.name} is up, under {_supervision(spoke).name}: {_answer(spoke)}"
    say("done", text=text)


def down(spoke: SpokeFolder, _wheel: bytes) -> None:
    """Take away what `up` has made, and nothing else."""
    if not spoke.folder.exists():
        say("done", text=f"nothing of {spoke.name} is there")
        return
    with spoke.held():
        spoke.refuse_live_runs("it is taken away")
        _refuse_data(spoke)
        _step("services", lambda: _stop(spoke))
        _step("name", lambda: _leave(spoke))
        shutil.rmtree(spoke.ray, ignore_errors=True)
        _step("files", lambda: shutil.rmtree(spoke.folder))
    say("done", text=f"{spoke.name} is gone from there, with all that `spoke up` had made")


def _step(name: str, do: Callable[[], str | None]) -> None:
    """One step, named where it fails."""
    say("step", name=name, text="begins")
    try:
        said = do()
    except FailedError as error:
        fail(error.args[0], f"{name}: {error.args[1]}")
    except OSError as error:
        reason, words = failed_by(error).args
        fail(reason, f"{name}: {words}")
    say("step", name=name, text=said or "done")


def _install(spoke: SpokeFolder, wheel: bytes) -> str:
    """A venv with the wheel and what it needs, each file checked against its hash."""
    venv, request = spoke.venv, spoke.request
    if (venv / "complete").exists():
        return "already installed"
    if hashlib.sha256(wheel).hexdigest() != request["wheel"]["sha256"]:
        fail("WheelDamaged", "the wheel did not arrive whole: try again")
    shutil.rmtree(venv, ignore_errors=True)
    try:
        _fill(venv, request, wheel)
    except (FailedError, OSError):
        shutil.rmtree(venv, ignore_errors=True)  # it takes no room from what runs
        raise
    return "installed"


def _fill(venv: Path, request: Mapping[str, Any], wheel: bytes) -> None:
    python, file = str(venv / "bin" / "python"), venv / request["wheel"]["name"]
    options = ["--system-site-packages"] if request["site_packages"] else []
    _run("VenvFailed", _VENV_SECONDS, sys.executable, "-m", "venv", "--without-pip", *options, str(venv))
    if output(python, "-m", "pip", "--version", seconds=_VENV_SECONDS)[0]:
        _run("VenvFailed", _VENV_SECONDS, python, "-m", "ensurepip")
    write(file, wheel)
    write(venv / "constraints.txt", request["constraints"])
    write(venv / "pip.txt", request["pip"])
    write(venv / "own.txt", f"carbonfleet[train] @ {file.as_uri()} --hash=sha256:{request['wheel']['sha256']}\n")
    pip = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    pip.append("--require-hashes")
    _run("PackagesFailed", _PACKAGES_SECONDS, *pip, "-r", str(venv / "pip.txt"))
    _run("PackagesFailed", _PACKAGES_SECONDS, *pip, "-c", str(venv / "constraints.txt"), "-r", str(venv / "own.txt"))
    write(venv / "complete", "")


def _run(reason: str, seconds: float, *command: str) -> None:
    code, said = output(*command, seconds=seconds)
    if code and os.strerror(errno.ENOSPC) in said:
        raise disk_full(" ".join(command[1:4]))
    if code:
        fail(reason, f"{' '.join(command[1:4])} ended with {code}: {said[-800:]}")


def _switch(spoke: SpokeFolder, services: dict[str, Any], before: dict[str, Any]) -> str:
    """Run these services in place of those before, or where that fails those before, or none."""
    wanted = spoke.wanted_files()
    kept = {file.name: file.read_text() for file in spoke.files.glob("*") if file.suffix != ".new"}
    if not before:
        write(spoke.folder / "supervision.json", json.dumps("systemd" if has_systemd() else "supervised"))
    supervision = _supervision(spoke)
    try:
        _write_files(spoke, wanted)
        supervision.apply(services)
        wait_until(lambda: _is_settled(spoke, supervision), _READY_SECONDS, "no answer of the agent and Ray")
    except (FailedError, OSError) as error:
        words = f"{error.args[-1]} ({_last_words(spoke)})"
        if before:
            fail("NotReady", f"{words}; {_roll_back(spoke, supervision, kept, before)}")
        _stop(spoke)
        (spoke.folder / "services.json").unlink(missing_ok=True)
        fail("NotReady", f"{words}; nothing was left running")
    return f"run under {supervision.name}"


def _roll_back(
    spoke: SpokeFolder, supervision: Supervised | Systemd, files: dict[str, str], services: dict[str, Any]
) -> str:
    """Run again what ran before, and take away the packages that only its successor used; how that went."""
    try:
        _write_files(spoke, files)
        supervision.apply(services)
        wait_until(lambda: _is_settled(spoke, supervision), _READY_SECONDS, "no answer of the agent and Ray")
    except (FailedError, OSError) as error:
        return f"what ran before does not run again either: {error.args[-1]} ({_last_words(spoke)})"
    if not any(each["command"][0].startswith(f"{spoke.venv}/") for each in services.values()):
        shutil.rmtree(spoke.venv, ignore_errors=True)
    return "what ran before runs again"


def _write_files(spoke: SpokeFolder, files: dict[str, str]) -> None:
    for name, text in files.items():
        write(spoke.files / name, text)
    for file in spoke.files.glob("*"):
        if file.name not in files:
            file.unlink()
    if not (spoke.ray / "token").exists():
        write(spoke.ray / "token", secrets.token_hex(24))
    for name in (*DATA, "state"):
        (spoke.folder / name).mkdir(mode=0o700, exist_ok=True)


def _supervision(spoke: SpokeFolder) -> Supervised | Systemd:
    """What was chosen the first time."""
    file = spoke.folder / "supervision.json"
    return Systemd(spoke) if file.exists() and json.loads(file.read_text()) == "systemd" else Supervised(spoke)


def _answer(spoke: SpokeFolder) -> str:
    """What the agent says of itself. Raises OSError."""
    return ask(f"http://127.0.0.1:{spoke.ports['liveness']}/healthz").decode(errors="replace").strip()[:500]


def _is_settled(spoke: SpokeFolder, supervision: Supervised | Systemd) -> bool:
    if name := supervision.failing():
        fail("Failing", f"{name} ends again and again")
    return _is_ready(spoke)


def _is_ready(spoke: SpokeFolder) -> bool:
    try:
        return bool(_answer(spoke)) and spoke.has_ray()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _last_words(spoke: SpokeFolder) -> str:
    logs = [spoke.folder / "logs" / f"{name}.log" for name in ("ray", "agent")]
    said = [f"{log.stem}: {log.read_text(errors='replace')[-400:].strip()}" for log in logs if log.exists()]
    return "; ".join(said) or f"see {spoke.logs}"


def _refuse_data(spoke: SpokeFolder) -> None:
    """Fail where files lie there that `up` has not made, and that nobody has said may go."""
    files = [file for name in DATA for file in (spoke.folder / name).rglob("*") if file.is_file()]
    if files and not spoke.request["delete_data"]:
        mib = sum(file.stat().st_size for file in files) / 2**20
        where = ", ".join(sorted({str(spoke.folder / file.relative_to(spoke.folder).parts[0]) for file in files}))
        fail(
            "DataLeft",
            f"{len(files)} files ({mib:.1f} MiB) of trainings and people lie in {where}: copy what you want to keep "
            "(`scp -r`), then give --delete-data",
        )


def _stop(spoke: SpokeFolder) -> None:
    _supervision(spoke).stop()
    spoke.sweep()


def _leave(spoke: SpokeFolder) -> str:
    """Give the spoke's name back to the hub: nothing runs here any more under it."""
    agent = json_file(spoke.folder / "services.json").get("agent")
    if agent is None:
        return "nothing to give back"
    leave = [agent["command"][0], "-m", "carbonfleet", "spoke", "leave", "--settings", str(spoke.agent_file)]
    code, said = output(*leave, seconds=_LEAVE_SECONDS)
    if code:
        return f"not given back ({said[-300:]}): `carbonfleet spoke take-over {spoke.name}` frees it"
    return said or "given back"


def main() -> int:
    """Read the request, act, and say how it ended; the exit code."""
    os.umask(0o077)
    os.environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")  # where systemctl finds the user's systemd
    given = sys.stdin.buffer
    request = json.loads(given.read(int(given.readline())))
    spoke = SpokeFolder(request)
    try:
        {"check": check, "up": up, "down": down}[request["action"]](spoke, given.read())
    except FailedError as error:
        say("failed", reason=error.args[0], text=error.args[1])
    except OSError as error:
        reason, words = failed_by(error).args
        say("failed", reason=reason, text=words)
    return 0
