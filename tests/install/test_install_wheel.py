"""The built wheel is whole: every command works from it, in an empty folder, and reads nothing of the checkout."""

import re
import signal
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from fixtures.installed_wheel import ROOT, build
from fixtures.kubeapi_server import PATIENCE, eventually
from fixtures.rendered import KUSTOMIZE, kustomize

DATA = ("constraints.txt", "crds", "fleet", "kustomize", "workloads")


@pytest.fixture(autouse=True)
def _reads_nothing_of_the_checkout(installed) -> Iterator[None]:
    yield
    assert installed.visits() == []


def run(installed, folder: Path, *arguments: str) -> str:
    done = installed.run(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_seed_the_definitions_the_overlays_and_the_workloads(installed):
    held = set(zipfile.ZipFile(installed.wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", "-z", *DATA], cwd=ROOT, capture_output=True, check=True, text=True)
    wanted = {f"carbonfleet/shipped_files/{name}" for name in tracked.stdout.split("\0") if name}
    assert len(wanted) > 100
    assert wanted - held == set()


def test_a_wheel_built_from_the_source_distribution_is_the_same(installed, tmp_path):
    with tarfile.open(build(tmp_path / "sdist", kind="sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    again = zipfile.ZipFile(build(tmp_path / "dist", source))
    first = zipfile.ZipFile(installed.wheel)
    assert {each.filename: each.CRC for each in again.infolist()} == {
        each.filename: each.CRC for each in first.infolist()
    }


def test_the_watch_over_the_checkout_sees_what_is_read(installed, empty):
    reads = [str(installed.binaries / "python"), "-c", f"open({str(ROOT / 'README.md')!r})"]
    subprocess.run(reads, cwd=empty, env=installed.environment, check=True, timeout=60)
    assert installed.visits() != []
    installed.watched.write_text("")


def test_its_code_is_the_wheels(installed, empty):
    where = [str(installed.binaries / "python"), "-c", "import carbonfleet, kubeapi; print(carbonfleet.__file__)"]
    done = subprocess.run(where, cwd=empty, env=installed.environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout).is_relative_to(installed.binaries.parent)


def test_it_generates_the_definitions(installed, empty):
    run(installed, empty, "crds", "generate")
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        assert (empty / "crds" / file.name).read_bytes() == file.read_bytes()
    run(installed, empty, "crds", "generate", "--check")


def test_it_explains_and_validates_a_job_of_a_new_user(installed, empty):
    (empty / "waits.yaml").write_bytes((ROOT / "crds" / "examples" / "waits.yaml").read_bytes())
    assert "us-oh-1" in run(installed, empty, "explain", "waits.yaml", "--demo")
    assert "nothing is wrong" in run(installed, empty, "validate", "waits.yaml")


def test_it_begins_a_fleet_repository_that_passes_its_own_check(installed, empty):
    assert "carbonfleet policy check fleet" in run(installed, empty, "fleet", "init", "fleet")
    run(installed, empty, "policy", "check", "fleet")
    run(installed, empty, "validate", "fleet")
    (empty / "job.yaml").write_bytes((ROOT / "crds" / "examples" / "minimal.yaml").read_bytes())
    run(installed, empty, "validate", "job.yaml", "--fleet", "fleet")
    assert _files(empty / "fleet") == _files(ROOT / "fleet")
    log = subprocess.run(
        ["git", "log", "--format=%an %s"], cwd=empty / "fleet", capture_output=True, text=True, check=True
    )
    assert log.stdout == "new@user.example Begin the fleet repository\n"


def test_a_fleet_repository_is_begun_without_the_examples_too(installed, empty):
    run(installed, empty, "fleet", "init", "fleet", "--no-examples")
    run(installed, empty, "policy", "check", "fleet")
    assert _files(empty / "fleet") == {path for path in _files(ROOT / "fleet") if path.parts[0] != "clusters"}


def test_a_fleet_repository_is_begun_in_no_folder_that_holds_something(installed, empty):
    (empty / "mine").write_text("kept")
    done = installed.run("fleet", "init", ".", cwd=empty)
    assert (done.returncode, done.stderr) == (2, "error: . is not empty: name a new folder\n")
    assert [path.name for path in empty.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "overlay"),
    [(["hub"], "hub"), *((["spoke", "--applier", name], f"spoke/{name}") for name in ("agent", "flux", "argocd"))],
)
def test_it_prints_the_manifests_of_the_overlays(installed, empty, arguments, overlay):
    printed = tuple(yaml.safe_load_all(run(installed, empty, "install", *arguments)))
    assert printed == kustomize(KUSTOMIZE / "overlays" / overlay)


@contextmanager
def started(installed, folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A command that goes on until Ctrl-C, and its output."""
    log = folder / "output"
    with log.open("wb") as out:
        command = [str(installed.binaries / "carbonfleet"), *arguments]
        process = subprocess.Popen(command, cwd=folder, env=installed.environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process, log
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


@pytest.mark.ray
def test_up_runs_a_job_by_the_lines_that_it_prints(installed, empty):
    with started(installed, empty, "up") as (process, log):
        eventually(lambda: "what happens is told here" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        lines = re.findall(r"^ *try +(.+?) *$", log.read_text(), re.MULTILINE)
        assert [line.split()[0] for line in lines] == [".", "kubectl", "carbonfleet"]
        more = [
            "kubectl wait -n team-a ctj/unconstrained --for=jsonpath='{.status.phase}'=Succeeded --timeout=400s",
            "carbonfleet report --by job",
        ]
        shell = ["bash", "-euc", "\n".join([*lines, *more])]
        done = subprocess.run(
            shell, cwd=empty, env=installed.environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
        assert "team-a/unconstrained" in done.stdout.partition("condition met")[2]


@pytest.mark.demo
@pytest.mark.ray
def test_the_demo_does_all_that_it_promises(installed, empty):
    done = installed.run("demo", cwd=empty)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Five jobs were trained: yes" in done.stdout


def _files(folder: Path) -> set[Path]:
    every = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path for path in every if path.parts[0] != ".git"}
