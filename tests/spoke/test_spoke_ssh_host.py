"""A host without Kubernetes behind a real sshd: made a spoke by one command, and taken away by one."""

import json
import os
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from spoke_stack import SPOKE

from carbonfleet.api.report import AttemptPhase as Phase
from carbonfleet.fleet import Place
from carbonfleet.install.ssh_host.wheel import Wheel
from fixtures.fleet_values import decide, job_spec, record, uid_of, window_on
from fixtures.kubeapi_server import eventually
from fixtures.real_training import tiny
from fixtures.ssh_host import SshHost, python_with_packages
from fixtures.ssh_server import make_key, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
QUICK = ("--poll-seconds", "0.2", "--sync-seconds", "0.5", "--progress-seconds", "0.5")


LONG = 900.0


@contextmanager
def started(folder: Path, python: Path | None, **given) -> Iterator[SshHost]:
    made = SshHost(folder, python, **given)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    return python_with_packages(tmp_path_factory.mktemp("host-python"))


@pytest.fixture(scope="module", autouse=True)
def wheel(tmp_path_factory) -> Iterator[Path]:
    """Built once: what is sent where nothing else is given is tested beside the installation."""
    own = Wheel.own()
    file = tmp_path_factory.mktemp("wheel") / own.name
    file.write_bytes(own.content)
    os.environ["CARBONFLEET_WHEEL"] = str(file)
    yield file
    del os.environ["CARBONFLEET_WHEEL"]


@pytest.fixture
def host(tmp_path, python) -> Iterator[SshHost]:
    with started(tmp_path / "host", python) as made:
        yield made


def spoke(host: SshHost, action: str, *options: str, target: str = "ssh://host"):
    command = [sys.executable, "-m", "carbonfleet", "spoke", action, target, "--spoke", SPOKE]
    command += ["--ssh-config", str(host.config), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def options_of(stack, *more: str) -> list[str]:
    """Of the stack's spoke, on CPUs and on packages that the host has."""
    given = ["--fleet-url", stack.git.url, "--hub-kubeconfig", str(stack.hub_kubeconfig), *QUICK]
    return [*given, "--simulated", "sim=8", "--least-disk-gib", "0.1", "--site-packages", *more]


def up(host: SshHost, stack, *more: str, **given) -> subprocess.CompletedProcess[str]:
    return spoke(host, "up", *options_of(stack, *more), **given)


def running(host: SshHost) -> dict[str, int]:
    """The services' processes by name."""
    kept = json.loads((host.folder(SPOKE) / "running.json").read_text())
    return {name: each["pid"] for name, each in kept.items()}


def training(host: SshHost) -> list[int]:
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in host.processes()}
    return [pid for pid, command in commands.items() if b"workloads.lora.train" in command]


def small(job: str) -> Place:
    """A real training of 20 steps."""
    window = window_on(SPOKE, 2, "sim")
    decision = decide(job, SPOKE, window=window)
    return Place(decision, job_spec(**tiny(20, every=5)), record(decision, window.start))


def broken_wheel(wheel: Path, folder: Path) -> Path:
    """The same as a release whose programs end at once."""
    made = folder / wheel.name
    with zipfile.ZipFile(wheel) as read, zipfile.ZipFile(made, "w") as out:
        for name in read.namelist():
            is_broken = name == "carbonfleet/__main__.py"
            out.writestr(name, b"raise SystemExit('this release is broken')\n" if is_broken else read.read(name))
    return made


def is_mine_alone(file: Path) -> bool:
    return file.is_symlink() or not file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


@pytest.mark.ray
@pytest.mark.timeout(3600)
def test_a_job_trains_on_a_host_from_its_up_to_its_down(host, bare_stack, tmp_path):
    before = host.files()
    made = up(host, bare_stack, target="ssh://jumped")
    assert made.returncode == 0, made.stdout + made.stderr
    assert f"{SPOKE} is up, under a supervised process" in made.stdout
    first = running(host)
    assert all(map(is_mine_alone, host.folder(SPOKE).iterdir()))

    again = up(host, bare_stack)
    assert (again.returncode, running(host)) == (0, first), again.stdout + again.stderr
    assert "nothing has changed, and both run" in again.stdout

    failed = up(host, bare_stack, "--wheel", str(broken_wheel(Path(os.environ["CARBONFLEET_WHEEL"]), tmp_path)))
    assert failed.returncode == 2
    assert "ends again and again" in failed.stderr
    assert failed.stderr.rstrip().endswith("what ran before runs again")
    again = up(host, bare_stack)
    assert (again.returncode, "nothing has changed, and both run" in again.stdout) == (0, True)
    assert len(list(host.folder(SPOKE).glob("venv-*"))) == 1
    first = running(host)

    bare_stack.publish(small(bare_stack.job))
    (trainer,) = eventually(lambda: training(host), LONG)
    os.kill(trainer, signal.SIGSTOP)
    refused = spoke(host, "down", "--delete-data")
    assert (refused.returncode, running(host)) == (2, first)
    assert "RunsLive: 1 run is live there: wait until they have ended" in refused.stderr
    refused = up(host, bare_stack, "--simulated", "sim=4")
    assert (refused.returncode, running(host)) == (2, first)
    assert "With --end-runs Ray is restarted, and they end" in refused.stderr

    changed = up(host, bare_stack, "--hide-logs")
    assert changed.returncode == 0, changed.stdout + changed.stderr
    assert (running(host)["ray"], training(host)) == (first["ray"], [trainer])
    assert running(host)["agent"] != first["agent"]
    os.kill(running(host)["agent"], signal.SIGKILL)
    os.kill(trainer, signal.SIGCONT)
    eventually(lambda: bare_stack.phase(bare_stack.attempt) is Phase.SUCCEEDED, LONG)
    store = host.folder(SPOKE) / "store" / uid_of(bare_stack.job)
    assert list(store.rglob("adapter_model.safetensors"))

    refused = spoke(host, "down")
    assert refused.returncode == 2
    assert f"of trainings and people lie in {host.folder(SPOKE)}/store: copy what you want" in refused.stderr
    assert bare_stack.spoke().status.holder_identity
    gone = spoke(host, "down", "--delete-data")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert (host.files(), host.processes()) == (before, [])
    assert not bare_stack.spoke().status.holder_identity
    assert f"take clusters/{SPOKE} out of the fleet repository" in gone.stdout
    again = spoke(host, "down")
    assert (again.returncode, f"nothing of {SPOKE} is there" in again.stdout) == (0, True)


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/lib/systemd/systemd").exists(), reason="no systemd to be had")
@pytest.mark.ray
@pytest.mark.timeout(3600)
def test_the_users_own_systemd_keeps_the_services_where_there_is_one(tmp_path, python, bare_stack):
    with started(tmp_path / "host", python, systemd=True) as host:
        made = up(host, bare_stack)
        assert made.returncode == 0, made.stdout + made.stderr
        assert f"{SPOKE} is up, under systemd user units" in made.stdout
        units = host.home / ".config/systemd/user"
        assert {file.name for file in units.glob("*.service")} == {
            f"carbonfleet-{SPOKE}-agent.service",
            f"carbonfleet-{SPOKE}-ray.service",
        }
        again = up(host, bare_stack)
        assert (again.returncode, "nothing has changed" in again.stdout) == (0, True), again.stdout + again.stderr
        gone = spoke(host, "down")
        assert gone.returncode == 0, gone.stdout + gone.stderr
        assert (host.files() - {".config", "systemd.log"}, host.processes()) == (set(), [])


@pytest.mark.timeout(3600)
def test_an_agent_that_can_not_start_is_said_and_nothing_is_left_running(host, bare_stack, tmp_path):
    broken = yaml.safe_load(bare_stack.hub_kubeconfig.read_text()) | {"current-context": "nowhere"}
    (tmp_path / "broken").write_text(yaml.safe_dump(broken))
    failed = up(host, bare_stack, "--hub-kubeconfig", str(tmp_path / "broken"))
    assert failed.returncode == 2
    assert "NotReady: services: agent ends again and again" in failed.stderr
    assert "no usable kubeconfig" in failed.stderr
    assert "nothing was left running" in failed.stderr
    assert host.processes() == []
    assert spoke(host, "down").returncode == 0
    assert not host.folder(SPOKE).exists()


def test_a_check_only_looks_and_says_all_that_is_missing(host, bare_stack):
    before = host.files()
    looked = spoke(
        host,
        "up",
        *options_of(bare_stack, "--check", "--least-disk-gib", "900000"),
        "--fleet-url",
        "git://127.0.0.1:9/x",
    )
    assert (looked.returncode, host.files(), host.processes()) == (2, before, [])
    missing = [line.split()[1] for line in looked.stdout.splitlines() if line.startswith("missing")]
    assert missing == ["Disk", "Git"]
    assert "NotMet: what is marked must be mended first" in looked.stderr


def test_a_host_without_a_gpu_is_one_only_where_that_is_asked_for(host, bare_stack):
    given = options_of(bare_stack, "--check")
    del given[given.index("--simulated") :][:2]
    at = given.index("--simulated")
    looked = spoke(host, "up", *given[:at], *given[at + 2 :])
    assert looked.returncode == 2
    assert "missing  GPUs         no nvidia-smi: install NVIDIA's driver" in looked.stdout


def test_a_host_without_python_is_told_how_to_get_one(tmp_path, bare_stack):
    with started(tmp_path / "host", None) as host:
        done = up(host, bare_stack)
        assert done.returncode == 2
        assert "has no Python 3.11 (python3: " in done.stderr
        assert "`apt-get install python3.11 python3.11-venv` there" in done.stderr
        assert host.files() == set()


def test_packages_that_can_not_be_had_end_it_at_that_step(host, bare_stack):
    pip = host.home / ".config/pip/pip.conf"
    pip.parent.mkdir(parents=True)
    pip.write_text("[global]\nindex-url = http://127.0.0.1:9/\nretries = 0\n")
    options = [option for option in options_of(bare_stack) if option != "--site-packages"]
    failed = spoke(host, "up", *options)
    assert failed.returncode == 2
    assert "PackagesFailed: packages: -m pip install ended with 1" in failed.stderr
    assert host.processes() == []
    assert spoke(host, "down").returncode == 0
    assert host.files() == {".config", ".config/pip", ".config/pip/pip.conf"}


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted by root alone")
def test_a_disk_that_fills_up_midway_is_said_and_what_was_begun_takes_no_room(tmp_path, python, bare_stack):
    with started(tmp_path / "host", python, disk="3m") as host:
        failed = up(host, bare_stack, "--least-disk-gib", "0")
        assert failed.returncode == 2
        assert "DiskFull: packages: the disk there is full" in failed.stderr
        assert "make room below" in failed.stderr
        left = subprocess.run(
            ["ssh", "-F", str(host.config), "host", "ls -A .carbonfleet-*"], capture_output=True, text=True, timeout=60
        )
        assert "venv" not in left.stdout
        assert spoke(host, "down").returncode == 0


def test_a_host_with_another_key_is_told_nothing(host, bare_stack):
    make_key(host.server.folder / "other")
    host.server.pin(host.server.folder / "other.pub", host.server.known_hosts)
    refused = up(host, bare_stack)
    assert refused.returncode == 2
    assert "it shows another key than the one that is known" in refused.stderr
    assert host.files() == set()


def test_a_folder_of_somebody_elses_is_left_alone(host, bare_stack):
    (host.folder(SPOKE)).mkdir()
    (host.folder(SPOKE) / "thesis.tex").write_text("kept")
    for done in (up(host, bare_stack), spoke(host, "down", "--delete-data", "--end-runs")):
        assert done.returncode == 2
        assert "Foreign: " in done.stderr
    assert host.files() == {host.folder(SPOKE).name, f"{host.folder(SPOKE).name}/thesis.tex"}


def test_a_connection_lost_midway_leaves_nothing_running_and_the_next_up_goes_on(host, bare_stack):
    command = [sys.executable, "-m", "carbonfleet", "spoke", "up", "ssh://host", "--spoke", SPOKE]
    command += ["--ssh-config", str(host.config), *options_of(bare_stack)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    assert process.stdout is not None
    while b"packages" not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    eventually(lambda: host.processes() == [], LONG)
    assert not (host.folder(SPOKE) / "services.json").exists()
    assert spoke(host, "down").returncode == 0
    assert host.files() == set()
