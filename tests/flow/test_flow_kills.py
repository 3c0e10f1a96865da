"""Hub and agents killed with SIGKILL at random moments, their clones damaged, their clocks set: the same end."""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbonfleet.api.job_status import Phase
from carbonfleet.clock import VARIABLE, Clock
from carbonfleet.local.child import Child
from fixtures.damaged_clone import DAMAGES, damage, files_of
from fixtures.hub_process import HubStack
from fixtures.kubeapi_server import eventually
from fixtures.kuberay_spokes import KubeRaySpokes

BEHAVIOURS = ("succeed", "stop-first", "fail")
JUMPS_HOURS = (-8, -3, -0.5, 0.5, 5, 20)
"""By which a machine's clock is wrong after its process was killed, in the stack's hours."""


@pytest.fixture
def spokes(own_stack: HubStack, own_api, tmp_path: Path) -> Iterator[KubeRaySpokes]:
    """A stack whose spokes are agents, all of them heard."""
    folder = os.environ.get("CARBONFLEET_CONFORMANCE_DIR")
    if not folder:
        pytest.skip("set CARBONFLEET_CONFORMANCE_DIR to a folder with kuberay/ray.io_rayjobs.yaml")
    crd = Path(folder) / "kuberay" / "ray.io_rayjobs.yaml"
    assert own_api.kubectl("apply", "--server-side", "-f", str(crd)).returncode == 0
    made = KubeRaySpokes(own_stack, tmp_path / "agents")
    own_stack.start_hub()
    made.start()
    yield made
    made.close()


class Killer:
    """Kills one process after the other, and counts what was done to them."""

    def __init__(self, spokes: KubeRaySpokes, seed: int) -> None:
        self.stack, self.spokes = spokes.stack, spokes
        self.chance, self.done = random.Random(seed), Counter[str]()
        hub = ("hub", self.stack.hubs[0], self.stack.state / "fleet.git")
        self.victims = [hub, *((name, child, spokes.clone(name)) for name, child in spokes.agents.items())]

    def strike(self) -> None:
        """Kill one; its clone may be damaged and its clock set before it starts again."""
        kind, child, clone = self.chance.choice([self.victims[0], *self.victims])
        child.kill()
        self.done["kills of the hub" if kind == "hub" else "kills of agents"] += 1
        if self.chance.random() < 0.4 and (files := files_of(clone)):
            packs = [file for file in files if file.suffix == ".pack"]
            what, of = self.chance.choice(DAMAGES), self.chance.choice((files, packs or files))
            damage(self.chance.choice(of), what, self.chance)
            self.done[f"files {what}"] += 1
            self.done["packs damaged"] += of is packs
        jump = self.chance.choice(JUMPS_HOURS) if self.chance.random() < 0.3 else 0
        self.done["clock jumps"] += jump != 0
        led = self.stack.log().count("leading as")
        self.start(child, jump)
        if kind == "hub" and self.chance.random() < 0.8:  # others are killed while they start
            eventually(lambda: self.stack.log().count("leading as") > led)

    def start(self, child: Child, hours: float = 0) -> None:
        """Start it again, on a machine whose clock is off by so much."""
        clock = self.stack.clock
        wrong = Clock(clock.real_origin_seconds, clock.origin_seconds + 3600 * hours, clock.speed)
        child._environment[VARIABLE] = wrong.encode()
        child.start()

    def calm(self) -> None:
        """All clocks are set right."""
        for _kind, child, _clone in self.victims:
            child.kill()
            self.start(child)


def kill_at_random(spokes: KubeRaySpokes, kills: int, seed: int) -> None:
    """Kill while jobs of each kind are under way; all end as they should, and nobody lays a hand on anything."""
    stack, killer, jobs = spokes.stack, Killer(spokes, seed), {}
    for kill in range(kills):
        if kill % 2 == 0:
            name = f"chance-{kill}"
            jobs[name] = BEHAVIOURS[kill // 2 % len(BEHAVIOURS)]
            stack.submit(name, jobs[name])
        time.sleep(killer.chance.uniform(0, 2.5))
        killer.strike()
        if kill % 20 == 19:
            print(kill + 1, dict(killer.done), f"{len(spokes.starts)} starts", flush=True)
    killer.calm()
    for name, behaviour in jobs.items():
        stack.wait(name, Phase.FAILED if behaviour == "fail" else Phase.SUCCEEDED)
        eventually(lambda name=name: not stack.placements(name))
    wrong = [said for name, behaviour in jobs.items() for said in faults_of(stack, name, behaviour)]
    print(dict(killer.done), f"{len(jobs)} jobs, {len(spokes.starts)} attempts", wrong, spokes.violations, flush=True)
    assert (wrong, spokes.violations) == ([], [])
    assert len(spokes.starts) == sum(2 if behaviour == "stop-first" else 1 for behaviour in jobs.values())


def faults_of(stack: HubStack, name: str, behaviour: str) -> list[str]:
    """What was lost or doubled of a job: commits and lines of the ledger."""
    twice = ["place 1", "remove 1", "place 2", "remove 2"]
    changes, lines = stack.changes(name), [line.attempt for line in stack.accounts(name)]
    found = [] if changes == (twice if behaviour == "stop-first" else twice[:2]) else [f"{name}: {changes}"]
    return found + ([] if lines == ([1, 2] if behaviour == "stop-first" else [1]) else [f"{name}: lines {lines}"])


def test_hub_and_agents_killed_a_few_times_end_each_job_once(spokes):
    kill_at_random(spokes, kills=8, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_hub_and_agents_killed_five_hundred_times_end_each_job_once(spokes):
    kill_at_random(spokes, kills=500, seed=7)
