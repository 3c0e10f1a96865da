"""Trainings on a real Ray head that meet with an accident: what a person reads, does, and gets."""

import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.api.report import AttemptPhase
from carbonfleet.api.wire import ANNOTATION
from carbonfleet.kube import ours
from fixtures.hub_process import ROOT, HubStack, clock_of, condition, open_hub_stack
from fixtures.kubeapi_server import eventually
from fixtures.real_training import IN_OSLO, OSLO, agent_of, all_heard, report_of, tiny, trains

pytest_plugins = ["fixtures.ray_head"]
pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.timeout(900)]

DISK_BYTES = 64_000_000
LONG = {"steps": 1500, "every": 10, "samples": 40, "batchSize": 2, "sequenceLength": 64}
QUICK = {**LONG, "steps": 60}


@dataclass(frozen=True)
class Disk:
    """A small file system that only the agent, the trainings and this test can see."""

    path: Path
    pid: int
    """A process that holds its mount."""

    @property
    def seen(self) -> Path:
        """Where this test finds it."""
        return Path(f"/proc/{self.pid}/root{self.path}")

    @property
    def enter(self) -> list[str]:
        """The start of a command that is to see it."""
        return ["nsenter", "--target", str(self.pid), "--user", "--mount", "--preserve-credentials", "--"]

    def fill(self) -> None:
        """Write until nothing more fits."""
        with (self.seen / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 4096)

    def free(self) -> None:
        """Take away what `fill` wrote."""
        (self.seen / "filler").unlink()


@pytest.fixture(scope="module")
def disk(tmp_path_factory) -> Iterator[Disk]:
    path = tmp_path_factory.mktemp("disk")
    script = f'mount -t tmpfs -o size={DISK_BYTES} none "$1" && echo ready && exec sleep 3600'
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        pytest.skip("needs unshare and nsenter to mount a small file system")
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as holder:
        if (said := holder.stdout.readline()) != "ready\n":
            pytest.skip(f"no private mounts here: {said}")
        yield Disk(path, holder.pid)
        holder.kill()


@pytest.fixture(scope="module")
def stack(slow_api, ray_head, disk, tmp_path_factory) -> Iterator[HubStack]:
    """A hub, and in Oslo a real agent, which has everything on the small disk as its trainings have."""
    made = open_hub_stack(tmp_path_factory.mktemp("mishaps"), slow_api, clock_of(slow_api))
    python = made.root / "python"
    python.write_text(
        f'#!/bin/sh\nexec {" ".join(disk.enter)} sh -c \'cd {ROOT} && exec {sys.executable} "$@"\' sh "$@"\n'
    )
    python.chmod(0o755)
    agent = agent_of(made, ray_head, OSLO, disk.path, "--python", str(python), within=disk.enter)
    try:
        made.start_hub()
        made.spokes.start()
        agent.start()
        eventually(lambda: all_heard(made), 60)
        yield made
    finally:
        agent.kill()
        made.close()
        made.git.stop()


def submit(stack: HubStack, name: str, **training) -> None:
    stack.submit(name, duration="4h", residency=IN_OSLO, workload=tiny(**training))


def saved(stack: HubStack, name: str, step: int, attempt: int = 1) -> bool:
    report = report_of(stack, name, attempt)
    return report is not None and report.checkpoint is not None and report.checkpoint.step >= step


def output_of(stack: HubStack, disk: Disk, name: str) -> Path:
    return disk.seen / "store" / stack.body(name)["metadata"]["uid"]


def process_of(stack: HubStack, name: str) -> int:
    """The training's own process."""
    uid = stack.body(name)["metadata"]["uid"]
    (pid,) = [
        pid
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        if _trains_for(pid, uid)
    ]
    return pid


def _trains_for(pid: int, uid: str) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return b"workloads.lora.train" in command and f"{uid}\0".encode() in environment


def describe(stack: HubStack, kind: str, name: str, *options: str) -> str:
    """What `kubectl describe` shows, printed too: people read it."""
    shown = stack.api.kubectl("describe", kind, name, *options)
    assert shown.returncode == 0, shown.stderr
    text = " ".join(shown.stdout.split())
    print(f"\n--- kubectl describe {kind} {name}\n{shown.stdout[shown.stdout.find('Status:') :]}")
    return text


def failed(stack: HubStack, name: str, reason: str) -> str:
    """What a person reads of a job that failed."""
    job = stack.wait(name, Phase.FAILED, seconds=120)
    assert condition(job, "Finished").reason == reason
    assert job.status.summary.startswith(f"{reason} on {OSLO}: ")
    return describe(stack, "ctj", name, "-n", stack.namespace)


def problems(stack: HubStack) -> list[str]:
    """What the spoke itself complains of."""
    return stack.kube.get(ours("spokeclusters", name=OSLO))["status"].get("problems", [])


def try_again(stack: HubStack, name: str) -> None:
    stack.annotate(name, ANNOTATION.REPLACE, secrets.token_hex(4))


def damage(file: Path) -> None:
    """One bit."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def checkpoints_of(stack: HubStack, disk: Disk, name: str) -> list[Path]:
    return sorted(file for file in (output_of(stack, disk, name) / "checkpoints").iterdir() if file.name[0] != ".")


def test_a_training_out_of_memory_says_so_and_trains_anew_with_what_was_mended(stack):
    submit(stack, "hungry", **LONG)
    eventually(lambda: saved(stack, "hungry", 20), 120)
    resource.prlimit(process_of(stack, "hungry"), resource.RLIMIT_AS, (100_000_000, 100_000_000))
    text = failed(stack, "hungry", "OutOfMemory")
    kept = report_of(stack, "hungry").checkpoint
    assert "memory ran out" in text
    assert "Lower the batch size or the sequence length, or give it more memory" in text
    assert f"To try it again from step {kept.step}, its last good checkpoint: kubectl annotate ctj" in text
    stack.patch_spec("hungry", {"workload": tiny(**{**QUICK, "batchSize": 1})})
    job = stack.wait("hungry", Phase.SUCCEEDED, seconds=120)
    assert (job.status.attempt, job.status.progress.step) == (2, 60)


def test_a_training_whose_disk_is_full_says_so_and_goes_on_when_there_is_room(stack, disk):
    submit(stack, "big", **LONG)
    eventually(lambda: saved(stack, "big", 20), 120)
    disk.fill()
    text = failed(stack, "big", "DiskFull")
    kept = report_of(stack, "big").checkpoint
    assert f"to {disk.path}/store/{stack.body('big')['metadata']['uid']}, where 0 bytes are free: No space left" in text
    assert "Free some, or give it a larger disk; the last checkpoint is safe" in text
    assert kept.step >= 20
    assert [file for file in checkpoints_of(stack, disk, "big") if file.name.startswith(f"{kept.step:08d}-")]
    eventually(lambda: any("No space left on device" in problem for problem in problems(stack)), 60)
    describe(stack, "spoke", OSLO)
    disk.free()
    try_again(stack, "big")
    eventually(lambda: trains(stack, "big", 2), 120)
    assert report_of(stack, "big", 2).progress.step > kept.step
    assert stack.wait("big", Phase.SUCCEEDED, seconds=240).status.progress.step == LONG["steps"]
    eventually(lambda: not problems(stack), 60)


def test_a_damaged_checkpoint_is_passed_over_and_with_none_left_a_person_is_asked(stack, disk):
    submit(stack, "flipped", **LONG)
    eventually(lambda: saved(stack, "flipped", 20), 120)
    os.kill(process_of(stack, "flipped"), signal.SIGKILL)
    text = failed(stack, "flipped", "Killed")
    assert "most often because the machine ran out of memory" in text
    _older, newest = checkpoints_of(stack, disk, "flipped")
    damage(newest)
    try_again(stack, "flipped")
    eventually(lambda: trains(stack, "flipped", 2), 120)
    skipped = f"skipped the checkpoint of step {int(newest.name[:8])}: its digest differs from the one recorded"
    assert report_of(stack, "flipped", 2).message == skipped
    assert skipped[1:] in describe(stack, "ctj", "flipped", "-n", stack.namespace)
    os.kill(process_of(stack, "flipped"), signal.SIGKILL)
    eventually(lambda: report_of(stack, "flipped", 2).phase is AttemptPhase.FAILED, 60)
    stack.wait("flipped", Phase.FAILED, seconds=60)
    for file in checkpoints_of(stack, disk, "flipped"):
        damage(file)
    try_again(stack, "flipped")
    eventually(lambda: report_of(stack, "flipped", 3) is not None, 60)
    text = failed(stack, "flipped", "CorruptCheckpoint")
    output = output_of(stack, disk, "flipped")
    assert (
        f"None is left: to start over, remove {disk.path}/store/{output.name}. To try it again from the start: " in text
    )
    shutil.rmtree(output)
    try_again(stack, "flipped")
    assert stack.wait("flipped", Phase.SUCCEEDED, seconds=240).status.progress.step == LONG["steps"]
