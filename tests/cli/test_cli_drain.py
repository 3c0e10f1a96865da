"""A spoke is taken out of use: it takes nothing new, what waits goes elsewhere, and what runs there ends there."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from carbonfleet.api.job_status import Phase
from carbonfleet.api.wire import format_time
from carbonfleet.cli import app
from carbonfleet.cli.spokes.drain import with_maintenance
from fixtures.asked_moves import PATIENT, SHARED
from fixtures.git_server import SEED
from fixtures.hub_process import GRAMS
from fixtures.in_process_hub import InProcessHub, open_in_process_hub

OSLO = "no-osl-1"
FILE = f"clusters/{OSLO}/cluster.yaml"


@pytest.fixture
def hub(tmp_path) -> Iterator[InProcessHub]:
    """A stack whose clock stands still."""
    stack = open_in_process_hub(tmp_path)
    yield stack
    stack.close()


def drain(*options: str) -> tuple[int, str]:
    """The command's exit code and what it said."""
    done = CliRunner().invoke(app, ["spoke", "drain", OSLO, *options])
    return done.exit_code, done.output


def merged(hub: InProcessHub, work, branch: str) -> None:
    """What a reviewer does with the branch."""
    work.run("fetch", "--quiet", "origin")
    work.run("rebase", "--quiet", "origin/main", branch)
    work.run("push", "--quiet", "origin", f"{branch}:main")
    work.run("switch", "--quiet", "main")
    work.pull()
    hub.settle()


def test_a_spoke_is_drained_and_put_into_use_again(hub):
    work, looked = hub.git.checkout(), ("--wait", "--hours", "0", "--kubeconfig", str(hub.api.kubeconfig))
    before = (work.path / FILE).read_text()
    later = format_time(hub.clock.now() + timedelta(hours=6))
    hub.submit("runs")
    hub.submit("waits", schedule={"earliestStart": later, "maxDelay": "24h"})
    hub.forward(2)
    assert (hub.job("runs").status.phase, hub.job("waits").status.phase) == (Phase.RUNNING, Phase.WAITING)
    assert [hub.job(name).status.cluster for name in ("runs", "waits")] == [OSLO, OSLO]

    assert drain(*looked) == (1, f"the hub has not read `maintenance: true` of {OSLO} yet: merge it\n")
    code, said = drain("--fleet", str(work.path))
    assert (code, said) == (0, f"committed to the branch drain/{OSLO}: push it, and have it reviewed\n")
    merged(hub, work, f"drain/{OSLO}")
    hub.submit("new")
    assert [hub.job(name).status.cluster for name in ("runs", "waits", "new")] == [OSLO, "ca-qc-1", "ca-qc-1"]
    assert drain(*looked) == (1, f"1 on {OSLO}: moves/runs\n")
    code, said = drain("--fleet", str(work.path))
    assert (code, "says so already: nothing was committed" in said) == (2, True)

    assert hub.until("runs", Phase.SUCCEEDED).status.attempt == 1
    assert hub.changes("runs") == ["place 1", "remove 1"]
    assert drain(*looked) == (0, f"nothing is left on {OSLO}\n")

    assert drain("--fleet", str(work.path), "--undo")[0] == 0
    assert (work.path / FILE).read_text() == before
    merged(hub, work, f"use/{OSLO}")
    hub.submit("back")
    assert hub.job("back").status.cluster == OSLO


def test_a_job_that_may_move_leaves_a_drained_spoke_with_its_checkpoint(hub):
    work, looked = hub.git.checkout(), ("--wait", "--hours", "0", "--kubeconfig", str(hub.api.kubeconfig))
    hub.submit("moves", duration="8h", schedule=PATIENT, workload=SHARED)
    assert hub.until("moves", Phase.RUNNING, hours=1).status.cluster == OSLO
    assert drain("--fleet", str(work.path))[0] == 0
    merged(hub, work, f"drain/{OSLO}")
    assert drain(*looked) == (1, f"1 on {OSLO}: moves/moves\n")
    hub.grid.becomes("CA-QC", hub.clock.now(), GRAMS["NO-NO1"] / 2)
    moved = hub.until("moves", Phase.SUCCEEDED, hours=36)
    hub.settle()
    assert (moved.status.cluster, moved.status.attempt) == ("ca-qc-1", 2)
    assert hub.changes("moves") == ["place 1", "remove 1", "place 2", "remove 2"]
    first, second = hub.ledger("moves")
    assert second.start >= first.end
    assert hub.spokes.attempts[first.job_uid, 2].first_step > 0, "it goes on from what the first one saved"
    assert hub.spokes.violations == []
    assert drain(*looked) == (0, f"nothing is left on {OSLO}\n")


SEED_FILE = (SEED / FILE).read_text()


@pytest.mark.parametrize(
    "text",
    [
        SEED_FILE,
        SEED_FILE.replace(f"    name: {OSLO}\n", f'    # its name\n    name: "{OSLO}"  # as on the hub\n'),
    ],
    ids=["plain", "commented"],
)
def test_a_cluster_file_keeps_all_else_that_people_wrote(text):
    drained = with_maintenance(FILE, text, is_drained=True)
    assert set(text.splitlines()) < set(drained.splitlines())
    assert with_maintenance(FILE, drained, is_drained=False) == text
    false = drained.replace("maintenance: true", "maintenance: false")
    assert with_maintenance(FILE, false, is_drained=True).count("maintenance: true") == 1


def test_a_cluster_file_in_another_form_is_left_to_people():
    text = SEED_FILE.partition("    name:")[0].replace("facts: |", "facts: |-") + (
        f'    {{name: {OSLO}, region: europe-north1, zone: "NO-NO1", jurisdictions: [EEA],\n'
        "    pools: [{name: a100, gpuType: A100, gpus: 8, gpusPerNode: 8, memoryGib: 80, usdPerGpuHour: 2.5}]}\n"
    )
    with pytest.raises(ValueError, match="not written as usual: set maintenance: true by hand"):
        with_maintenance(FILE, text, is_drained=True)


@pytest.mark.parametrize(
    ("options", "why"),
    [((), "give --fleet CHECKOUT"), (("--undo", "--wait"), "--undo commits"), (("--fleet", "/tmp"), "is no checkout")],
)
def test_what_can_not_be_done_ends_with_2_and_says_why(options, why):
    code, said = drain(*options)
    assert (code, why in said) == (2, True), said
