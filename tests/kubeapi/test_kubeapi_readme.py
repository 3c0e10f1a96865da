"""What operator/kubeapi/README.md shows and says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "operator" / "kubeapi" / "README.md").read_text(encoding="utf-8")
TOKEN = "token-of-the-readme-for-tests"


def shown(command: str, folder: Path) -> list[str]:
    """The arguments of a command on the page, its files moved into a scratch folder."""
    line = re.search(rf"^\$ {command} (.*)$", PAGE, re.MULTILINE)
    assert line is not None
    return shlex.split(line[1].replace("/tmp/", f"{folder}/"))


def test_the_server_of_the_page_starts_and_takes_the_manifests(tmp_path):
    scripts = Path(sys.executable).parent
    start = [sys.executable, "-m", "kubeapi", *shown("python -m kubeapi", tmp_path)]
    environment = os.environ | {"CARBONFLEET_API_TOKEN": TOKEN}
    with subprocess.Popen(start, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert re.fullmatch(r"ready https://127\.0\.0\.1:\d+\n", server.stdout.readline())
        kubectl = [str(scripts / "kubectl"), *shown("kubectl", tmp_path)]
        applied = subprocess.run(kubectl, cwd=PROJECT, capture_output=True, text=True, timeout=120)
        server.terminate()
    assert applied.returncode == 0, applied.stderr
    assert server.returncode == 0


def test_every_package_is_on_the_page():
    root = PROJECT / "operator" / "kubeapi"
    packages = {f"{path.name}/" for path in root.iterdir() if (path / "__init__.py").exists()}
    assert packages - set(re.findall(r"`(\w+/)`", PAGE)) == set()


def test_a_package_is_entered_through_its_init_only():
    root = PROJECT / "operator" / "kubeapi"
    inside = re.compile(r"^\s*(?:from|import) kubeapi\.(\w+)\.\w+", re.MULTILINE)
    entered = {
        (str(path.relative_to(root)), package_name)
        for path in root.rglob("*.py")
        for package_name in inside.findall(path.read_text(encoding="utf-8"))
        if path.relative_to(root).parts[0] != package_name
    }
    assert entered == set()
