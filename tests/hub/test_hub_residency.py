"""Residency at each point alone: with all the others open, each one stops what must not be there.

Data of class `personal`, which the policy `eu-only` keeps in Europe, is wanted in Ohio.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cel
import pytest
import yaml
from typer.testing import CliRunner

from carbonfleet.api.policy import FleetPolicy
from carbonfleet.cli.files.policy import app as policy_app
from carbonfleet.fleet import Committed, Place, Repository, render
from carbonfleet.fleet.git.declared import read_policies
from carbonfleet.hub import admission
from carbonfleet.placement import plan
from carbonfleet.placement.decision import Outcome
from carbonfleet.placement.snapshot import PolicySet
from carbonfleet.spoke.admission import read_allow_list, refusal_of
from carbonfleet.spoke.wanted import WantedSet, read_wanted
from fixtures import placement_world
from fixtures.fleet_values import CLOCK, SEED, facts_of, job_spec, place, quick_settings
from fixtures.git_server import GitServer
from fixtures.hub_process import TIERS, HubStack, clock_of, job_body, open_hub_stack

ROOT = Path(__file__).parents[2]
POINTS = ("schema", "webhook", "planner", "commit", "check", "owners", "admission policy", "agent", "clone")
OHIO = "us-oh-1"
ALLOWED = {"cluster": OHIO, "residency.public": "allow"}
"""What Ohio's admin lets in."""


@dataclass
class Road:
    """The way from a job's object to a GPU in Ohio; only the points in `closed` look."""

    folder: Path
    git: GitServer
    stack: HubStack
    data_class: str
    closed: tuple[str, ...]

    def travel(self) -> str:
        """Where it ends: the point that stopped it, or `runs`."""
        steps: tuple[Callable[[], bool], ...] = (
            *(self.schema, self.webhook, self.planner, self.commit, self.check),
            *(self.owners, self.policy, self.agent, self.clone),
        )  # fmt: skip
        for point, passes in zip(POINTS, steps, strict=True):
            if point in self.closed and not passes():
                return point
        return "runs"

    def schema(self) -> bool:
        """Call the data of a job that exists public."""
        body = job_body("relabelled", self.stack.namespace, self.data_class)
        assert self.kubectl("create", body).returncode == 0
        body["spec"]["residency"]["dataClass"] = "public"
        done = self.kubectl("apply", body)
        assert done.returncode == 0 or "residency can't be changed" in done.stderr
        return done.returncode == 0

    def webhook(self) -> bool:
        """Create a job that may be in Ohio only."""
        body = job_body("forbidden", "ml", self.data_class)
        body["spec"]["residency"]["allowedJurisdictions"] = ["US"]
        body["metadata"] |= {"uid": "a", "creationTimestamp": "2026-01-31T12:00:00Z"}
        tip = Repository(quick_settings(self.git.url, self.folder / "asked"), CLOCK).fetch()
        said = admission.refusal_of(body, tip)
        assert said == "" or "no spoke may hold data of class personal" in said
        return said == ""

    def planner(self) -> bool:
        """Plan it where Ohio is the cleanest by far."""
        spokes = [
            placement_world.spoke(OHIO, "US-MIDA-PJM", jurisdictions=("US",)),
            placement_world.spoke("no-osl-1", "NO-NO1", jurisdictions=("EEA",)),
        ]
        forecasts = [
            placement_world.forecast("US-MIDA-PJM", [1.0] * 48),
            placement_world.forecast("NO-NO1", [900.0] * 48),
        ]
        files = {f"policies/{file.name}": file.read_bytes() for file in (SEED / "policies").iterdir()}
        policies = read_policies(files | {"policies/tiers.yaml": TIERS.encode()}).policies
        jobs = [placement_world.job(data_class=self.data_class)]
        snapshot = placement_world.world(jobs, spokes, forecasts, policies=policies)
        [decision] = plan(snapshot, placement_world.NOON).decisions
        assert decision.outcome is Outcome.START
        assert decision.window is not None
        return decision.window.cluster == OHIO

    def commit(self) -> bool:
        """Publish a decision that nobody should have made."""
        intent = self.intent
        repository = Repository(quick_settings(self.git.url, self.folder / "hub"), CLOCK)
        return isinstance(repository.publish([intent]).results[intent.id], Committed)

    def check(self) -> bool:
        """Judge the change that a person, or whoever holds the hub's key, wants merged."""
        checkout = self.folder / "checkout"
        shutil.copytree(SEED, checkout)
        file = checkout / self.intent.path
        file.parent.mkdir(parents=True)
        file.write_bytes(self.placement_file)
        done = CliRunner().invoke(policy_app, ["check", str(checkout)])
        assert (done.exit_code == 0) or "eu-only" in done.output
        return done.exit_code == 0

    def owners(self) -> bool:
        """Merge what it takes without asking anybody: for personal data, a wider policy."""
        return not owners_of("policies/eu-only.yaml" if self.data_class == "personal" else self.intent.path)

    def policy(self) -> bool:
        """Apply it to Ohio's cluster."""
        documents = yaml.safe_load_all((ROOT / "kustomize/base/spoke/admission.yaml").read_text())
        spec = next(found for found in documents if found["kind"] == "ValidatingAdmissionPolicy")["spec"]
        ray_job = read_wanted(OHIO, self.intent.path, self.placement_file).ray_job
        known: dict[str, Any] = {"object": ray_job, "oldObject": None, "params": {"data": ALLOWED}, "variables": {}}
        for variable in spec["variables"]:
            known["variables"][variable["name"]] = cel.evaluate(variable["expression"], known)
        return all(cel.evaluate(rule["expression"], known) for rule in spec["validations"])

    def agent(self) -> bool:
        """Let Ohio's agent read it."""
        file = self.folder / "allowed.yaml"
        file.write_text(yaml.safe_dump(ALLOWED))
        placement = read_wanted(OHIO, self.intent.path, self.placement_file).placement
        everywhere = FleetPolicy.model_validate(
            {"metadata": {"name": "all"}, "spec": {"residency": {"anywhere": True}}}
        )
        wanted = WantedSet(facts=facts_of(OHIO), policies=PolicySet((everywhere,)))
        refusal = refusal_of(placement, wanted, read_allow_list(file), {})
        assert refusal is None or refusal.reason == "DataClassNotAllowed"
        return refusal is None

    def clone(self) -> bool:
        """Let Ohio's agent, whose admin has no list of their own, ask the policies that it has cloned."""
        tip = Repository(quick_settings(self.git.url, self.folder / "cloned"), CLOCK).fetch()
        placement = read_wanted(OHIO, self.intent.path, self.placement_file).placement
        wanted = WantedSet(facts=facts_of(OHIO), policies=tip.policies)
        refusal = refusal_of(placement, wanted, None, {})
        assert refusal is None or refusal.reason == "ResidencyPolicy"
        return refusal is None

    @property
    def intent(self) -> Place:
        return place("stolen", OHIO, job_spec(self.data_class))

    @property
    def placement_file(self) -> bytes:
        intent = self.intent
        return render(intent.decision, intent.spec, intent.record, facts_of(OHIO))

    def kubectl(self, verb: str, body: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
        done: subprocess.CompletedProcess[str] = self.stack.api.kubectl(verb, "-f", "-", stdin=yaml.safe_dump(body))
        return done


def owners_of(path: str) -> list[str]:
    """Whom a forge asks about a file; the last line that matches counts."""
    found: list[str] = []
    for line in (ROOT / "fleet/CODEOWNERS").read_text().splitlines():
        pattern, *owners = line.split("#")[0].split() or [""]
        expression = re.escape(pattern.lstrip("/")).replace(r"\*", "[^/]*")
        if pattern == "*" or (pattern and re.match(expression, path)):
            found = owners
    return found


@pytest.fixture
def road(hub_api, tmp_path):
    stack = open_hub_stack(tmp_path / "stack", hub_api, clock_of(hub_api))
    yield lambda data_class, *points: Road(tmp_path, stack.git, stack, data_class, points)
    stack.close()
    stack.git.stop()


@pytest.mark.parametrize("point", POINTS)
def test_each_point_alone_stops_personal_data_on_its_way_to_ohio(road, point):
    assert road("personal", point).travel() == point


def test_what_may_be_there_passes_all_points(road):
    assert road("public", *POINTS).travel() == "runs"
