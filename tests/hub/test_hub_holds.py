"""Every reason that holds a job, a schedule or a spoke says who ends it and how: `crds/HOLDS.md` against the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import carbonfleet

ROOT = Path(carbonfleet.__file__).parent
TESTS = Path(__file__).parents[1]
MAKERS = {
    "Blocker",
    "Refused",
    "Refusal",
    "AdmissionRefusal",
    "Ruling",
    "Transition",
    "_held",
    "RuntimeRefusedError",
    "ConditionState",
    "AttemptStatus",
    "NotMade",
    "replace",
}
"""What makes a reason for which something waits."""
PLACES = ("hub", "fleet", "spoke", "placement")
NO_HOLDS = {
    *("Valid", "Allowed", "PolicyAllowed", "AutoApproved", "Merged", "Pushed", "Observed", "Training", "Ready"),
    *(
        "InSync",
        "AsInGit",
        "Owned",
        "OneAgent",
        "Reconciled",
        "Moving",
        "Resuming",
        "Resumed",
        "Paused",
        "Pausing",
        "Succeeded",
        "Failed",
    ),
    *("Overdue", "Accepted", "Scheduled", "Approved", "Committed", "Synced", "Running", "Finished", "Deleting"),
    *("Removed", "Restarting", "Stopping", "Suspended", "Suspending", "Placed", "Open", "Held", "Refused"),
    *("RunCreated", "RunsMissed"),
    *("Interrupted", "Fenced", "RuntimeLost", "StoppedOnSpoke", "BadConfig"),
    *("NoFeasibleCluster", "SignalLost", "WaitingForCapacity"),
    *("FleetError", "ReviewRefused"),
}
"""What says that all is well or goes on by itself, what ends an attempt, what sums up reasons that are named beside it,
and what only a command's caller reads."""
FROM_READERS = {"AdmissionDenied", "ApplyRefused", "ClusterInvalid", "InvalidName", "InvalidSpec", "NotRenderable"}
"""Their messages are whole those of the reader or server that refuses."""
ITSELF = "itself"


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for place in PLACES:
        for file in sorted((ROOT / place).rglob("*.py")):
            yield file, ast.parse(file.read_text())


def constants() -> dict[str, str]:
    """Module-level names of texts, which reasons are often given by."""
    found = {}
    for _file, tree in modules():
        for node in tree.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = getattr(node, "value", None)
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[target.id] = value.value
    return found


def reasons_in(tree: ast.Module, named: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(tree):
        given: list[ast.expr] = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MAKERS:
            given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "reason")]
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            given = node.value.elts
        for each in ast.walk(ast.Tuple(elts=given, ctx=ast.Load())):
            text = each.value if isinstance(each, ast.Constant) else named.get(getattr(each, "id", ""), "")
            if isinstance(text, str) and re.fullmatch(r"([A-Z][a-z]+)+", text):
                yield text
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                name = getattr(line.targets[0], "id", "") if isinstance(line, ast.Assign) else ""
                if name == "reason" or (name and node.name == "ProposalStage"):
                    yield ast.literal_eval(line.value)


def words_of(tree: ast.Module) -> str:
    """All texts of a module, what is filled in left out."""
    texts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return "\n".join(texts)


def reasons() -> set[str]:
    named = constants()
    return {reason for _file, tree in modules() for reason in reasons_in(tree, named)} - NO_HOLDS


def rows() -> dict[str, tuple[str, str, str]]:
    """The table: by reason, who ends it, what the message says, and the test that follows it."""
    lines = (Path(__file__).parents[2] / "crds/HOLDS.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {reason.strip("`"): (who, says, test) for reason, who, says, test in cells}


REASONS, ROWS = reasons(), rows()
WORDS = "\n".join(words_of(tree) for _file, tree in modules())


def test_every_reason_is_in_the_table_and_no_other():
    assert set(ROWS) == REASONS, "crds/HOLDS.md has a row for each reason that holds a job: who ends it, and how"


@pytest.mark.parametrize("reason", sorted(ROWS))
def test_a_hold_says_what_ends_it(reason):
    who, says, _test = ROWS[reason]
    quoted = re.findall(r'"([^"]+)"', says)
    assert who
    assert quoted or reason in FROM_READERS, "quote what its message says"
    assert [part for part in quoted if part not in WORDS] == []


@pytest.mark.parametrize("reason", sorted(reason for reason, row in ROWS.items() if row[0] != ITSELF))
def test_a_hold_that_a_person_ends_has_a_test_that_follows_its_advice(reason):
    file, _, name = ROWS[reason][2].strip("`").partition("::")
    assert f"def {name}(" in (TESTS / file).read_text()
