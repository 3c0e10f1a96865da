"""The commands of the conformance script, run by a real kubectl, beside what a real kube-apiserver answered.

Every difference is a section of conformance/differences.md with its reason; a difference that is not there,
or one that is there and no longer happens, fails. After reading what changed, rewrite the file with
CARBONFLEET_REWRITE_GOLDEN=1.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent / "conformance"
DIFFERENCES = HERE / "differences.md"
LEAST_SAME_EXIT_CODES = 60

REASONS = {
    "version": "The version says that this is the embedded API, not a kube-apiserver.",
    "get events": "No controllers run here, so nothing has written an event in `default`; the real server's two"
    " events are about its own service and namespace.",
}
HEADER = """# Differences from a real kube-apiserver 1.36.2

Written by `test_kubeapi_conformance.py`, read by a person. Before comparing, ages, UIDs, times and resource
versions, the server's address and kubectl's own klog lines are made equal, and the lines of one list of
validation errors are sorted (the real server gives them in no fixed order).
"""


@dataclass(frozen=True)
class Ran:
    """One command of a transcript."""

    command: str
    output: str
    code: int


def parse(transcript: str) -> list[Ran]:
    """The commands of a transcript, normalised."""
    found = []
    for block in re.split(r"^\$ kubectl ", transcript, flags=re.MULTILINE)[1:]:
        command, _, rest = block.partition("\n")
        output, _, code = rest.rpartition("   rc=")
        found.append(Ran(command.strip(), normalised(output), int(code.split()[0])))
    return found


def normalised(output: str) -> str:
    """Output without what differs between any two runs."""
    lines = [line for line in output.splitlines() if not re.match(r"[EWI]\d{4} \d\d:", line)]
    text = "\n".join(lines)
    text = re.sub(r"https?://127\.0\.0\.1:\d+", "SERVER", text)
    text = re.sub(r"Resource Version: +\d+", "Resource Version: RV", text)
    text = re.sub(r"(?m)(?<=[ ])(\d+[smh])+$", "AGE", text)
    return sort_errors(text)


def sort_errors(text: str) -> str:
    """The bullets of a list of errors in one order."""
    bullets = iter(sorted(line for line in text.splitlines() if line.startswith("* spec")))
    return "\n".join(next(bullets) if line.startswith("* spec") else line for line in text.splitlines())


def run_script(kube_api, folder: Path) -> str:
    """Run the conformance script in a scratch folder."""
    shutil.copytree(HERE, folder / "work")
    work = folder / "work"
    (work / "kdir").mkdir()
    shutil.copy(HERE / "cr.yaml", work / "kdir")
    shutil.move(work / "kustomization.yaml", work / "kdir")
    kubectl = str(Path(sys.executable).parent / "kubectl")
    environment = {**os.environ, "KUBECONFIG": str(kube_api.kubeconfig), "KUBECTL": kubectl, "HOME": str(folder)}
    done = subprocess.run(
        ["bash", "conformance.sh"], cwd=work, env=environment, capture_output=True, text=True, timeout=600
    )
    return done.stdout


def describe(real: list[Ran], ours: list[Ran]) -> str:
    """The committed account of every difference."""
    same_codes = sum(a.code == b.code for a, b in zip(real, ours, strict=True))
    different = [(a, b) for a, b in zip(real, ours, strict=True) if a != b]
    total = len(real)
    counts = (
        f"\n{total} commands: {same_codes} end with the same exit code, {total - len(different)} with the same bytes.\n"
    )
    return HEADER + counts + "".join(section(a, b) for a, b in different)


def section(real: Ran, ours: Ran) -> str:
    """One difference with its reason."""
    reason = REASONS.get(real.command, "NOT EXPLAINED: find out why, and say so in REASONS.")
    return (
        f"\n## `kubectl {real.command}`\n\n{reason}\n\n"
        f"A real server (exit code {real.code}):\n```\n{real.output}\n```\n"
        f"The embedded API (exit code {ours.code}):\n```\n{ours.output}\n```\n"
    )


def test_kubectl_gets_the_answers_of_a_real_server_but_for_the_listed_differences(kube_api, tmp_path):
    real = parse((HERE / "transcript.txt").read_text())
    ours = parse(run_script(kube_api, tmp_path))
    assert [ran.command for ran in ours] == [ran.command for ran in real]
    assert sum(a.code == b.code for a, b in zip(real, ours, strict=True)) >= LEAST_SAME_EXIT_CODES
    account = describe(real, ours)
    if os.environ.get("CARBONFLEET_REWRITE_GOLDEN"):
        DIFFERENCES.write_text(account)
    assert "NOT EXPLAINED" not in account, account
    assert account == DIFFERENCES.read_text()
    assert kube_api.log() == ""


def test_the_comparison_sees_a_changed_exit_code_and_a_changed_word():
    before = parse("$ kubectl get x\nNAME   AGE\na      3s\n   rc=0\n")
    assert before == parse("$ kubectl get x\nNAME   AGE\na      9m\n   rc=0\n")
    assert before != parse("$ kubectl get x\nNAME   AGE\na      3s\n   rc=1\n")
    assert before != parse("$ kubectl get x\nNAME   AGE\nb      3s\n   rc=0\n")
