"""Whatever a runtime raises over one attempt, or in one call, ends there and is named; all else goes on."""

from dataclasses import dataclass

import pytest
from simulated_runtime import SimulatedRuntime
from spoke_stack import SPOKE, intent, name_of

from carbonfleet.api.report import AttemptPhase as Phase
from fixtures.any_error import ANY_ERROR
from fixtures.kubeapi_server import eventually


@dataclass
class FaultyRuntime:
    """A runtime of which one method raises one error, for one attempt where it is about one."""

    inner: SimulatedRuntime
    method: str
    error: Exception
    culprit: str = ""

    def __getattr__(self, name):
        found = getattr(self.inner, name)

        def faulty(*args, **given):
            about = getattr(args[0], "name", args[0]) if args else ""
            if self.culprit in ("", about):
                raise self.error
            return found(*args, **given)

        return faulty if name == self.method else found


def said_by(stack):
    return " ".join(stack.spoke().status.problems)


@pytest.mark.parametrize("error", ANY_ERROR, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", ["place", "start", "look"])
def test_a_fault_over_one_attempt_holds_up_no_other_and_names_it(bare_stack, method, error):
    stack, other = bare_stack, f"{bare_stack.job}-b"
    culprit = stack.attempt
    agent = stack.agent(FaultyRuntime(SimulatedRuntime(SPOKE), method, error, culprit))
    stack.publish(intent(stack.job), intent(other))
    stack.cycle_until(agent, lambda: stack.phase(name_of(other)) is Phase.PENDING and culprit in said_by(stack))
    assert type(error).__name__ in said_by(stack)
    assert name_of(other) not in said_by(stack)


@pytest.mark.parametrize("error", ANY_ERROR, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", ["version", "observe", "free_gpus"])
def test_a_fault_in_one_call_does_not_silence_the_spoke(bare_stack, method, error):
    agent = bare_stack.agent(FaultyRuntime(SimulatedRuntime(SPOKE), method, error))
    bare_stack.cycle_until(agent, lambda: type(error).__name__ in said_by(bare_stack))
    beat = bare_stack.spoke().status.heartbeat_time
    eventually(lambda: agent.cycle() or bare_stack.spoke().status.heartbeat_time >= beat)
