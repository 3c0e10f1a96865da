"""The operator that trains: a CarbonTrainingJob is made, waited for without a worker slot, and its result handed on."""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferralTimeout, TaskDeferred

from carbonfleet.integrations.airflow.actions import OnFinishAction, OnKillAction

if TYPE_CHECKING:
    from airflow.sdk import Context

    from carbonfleet.integrations.task_jobs import RemoteJob, TaskJob
    from carbonfleet.kube import Object

_STATE: Final = "carbonfleet_job"
"""Under which the task's state store has the place of its job, and since when a try waits for it."""


class CarbonTrainingOperator(BaseOperator):
    """Train by a CarbonTrainingJob; carbonfleet chooses the cluster and the hours.

    A retry finds the job of the tries before it: it waits for one that goes on, takes the result of one that is done,
    and asks the hub to run one again that has failed, which goes on from its last checkpoint. There is never a second.

    The XCom is a dict: `adapter` (its address), `validation_loss`, `train_loss`, `grams_co2e`, `saved_grams_co2e`,
    `baseline_grams_co2e`, `energy_kwh`, `cost_usd`, `decision` (cluster, pool, start, digest, commit, ...), `job`,
    `uid`, `phase` and `summary`.

    Args:
        job: The manifest: a mapping, YAML, or the path of a `.yaml` file beside the DAG (templated).
        namespace: Where the manifest names none (templated); left out, the connection's, then `default`.
        add_name_suffix: End the job's name with a digest of DAG, run, task and map index. Without it, the manifest's
            name must differ from run to run by itself.
        kubernetes_conn_id: A connection of the type `kubernetes` to the hub's API.
        deferrable: Wait in the triggerer, without a worker slot.
        poll_interval: Seconds between two looks at the job.
        on_finish_action: `keep_job`, `delete_succeeded_job` or `delete_job`, once it has ended.
        on_kill_action: `delete_job` or `keep_job`, when the task is killed, is marked or cleared while it waits, or its
            `execution_timeout`, which counts the whole wait, is over.
    """

    template_fields: Sequence[str] = ("job", "namespace")
    template_ext: Sequence[str] = (".yaml", ".yml")
    template_fields_renderers: ClassVar[dict[str, str]] = {"job": "yaml"}
    ui_color = "#d7ecd9"

    def __init__(
        self,
        *,
        job: str | Mapping[str, Any],
        namespace: str | None = None,
        add_name_suffix: bool = True,
        kubernetes_conn_id: str = "kubernetes_default",
        deferrable: bool = True,
        poll_interval: float = 60.0,
        on_finish_action: str = OnFinishAction.KEEP_JOB.value,
        on_kill_action: str = OnKillAction.DELETE_JOB.value,
        **kwargs: Any,  # noqa: ANN401 - the base class's own
    ) -> None:
        super().__init__(**kwargs)
        if not poll_interval > 0:
            raise ValueError(f"poll_interval must be seconds above 0, not {poll_interval!r}")
        self.job, self.namespace, self.add_name_suffix = job, namespace, add_name_suffix
        self.kubernetes_conn_id, self.deferrable, self.poll_interval = kubernetes_conn_id, deferrable, poll_interval
        self.on_finish_action = OnFinishAction(on_finish_action).value
        self.on_kill_action = OnKillAction(on_kill_action).value
        self._held: TaskJob | None = None
        self._is_killed = False

    def execute(self, context: "Context") -> dict[str, Any]:
        """Make the job, or find it again, and wait for it."""
        return self._submitted(context)

    def execute_complete(self, context: "Context", event: Mapping[str, Any]) -> dict[str, Any]:
        """Go on after the trigger. A job that was deleted meanwhile is not made anew."""
        from carbonfleet.integrations.task_jobs import TaskJobState

        if event["problem"]:
            raise AirflowException(event["problem"])
        if event["until_gone"]:
            return self._submitted(context)
        with _task_errors():
            held = self._hold(context)
            job = held.look()
        if job.state is TaskJobState.LEAVING:
            return self._ended(held, job)
        return self._waited_for(context, held, job)

    def resume_execution(
        self,
        next_method: str,
        next_kwargs: dict[str, Any] | None,
        context: "Context",
    ) -> Any:  # noqa: ANN401 - the base class's own
        """As of every operator; where the task's time was over, its job is deleted or left as by a kill."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout as error:
            with _task_errors():
                held = self._hold(context)
                self.on_kill()
            end = f"on_kill_action is {self.on_kill_action}"
            raise AirflowException(f"job {held} had not ended within {self.execution_timeout}; {end}") from error

    def on_kill(self) -> None:
        """Delete the job that this process waits for, or leave it, as the task says."""
        self._is_killed = True
        if self._held is not None and self.on_kill_action == OnKillAction.DELETE_JOB:
            is_deleted = self._held.withdraw()
            self.log.info("job %s %s", self._held, "is deleted" if is_deleted else "is left as it is")

    def _submitted(self, context: "Context") -> dict[str, Any]:
        with _task_errors():
            wanted = self._wanted(context)
            held = self._hold(context)
            job = held.submit(wanted)
        self.log.info("waits for job %s, UID %s", held, job.metadata["uid"])
        return self._waited_for(context, held, job)

    def _wanted(self, context: "Context") -> "Object":
        """The job to make, under the name that an earlier try has given it, whatever was edited since."""
        from carbonfleet.integrations.airflow.connection import extra_of, namespace_of
        from carbonfleet.integrations.task_jobs import job_body

        ti, store = context["ti"], context["task_state_store"]
        wanted = job_body(
            self.job,
            _task_of(ti),
            ti.try_number,
            namespace=self.namespace or namespace_of(extra_of(self.kubernetes_conn_id)),
            name=f"{ti.dag_id}-{ti.task_id}",
            has_suffix=self.add_name_suffix,
        )
        state = store.get(_STATE) or {key: wanted["metadata"][key] for key in ("namespace", "name")}
        if state.get("try_number") != ti.try_number:
            state = {**state, "try_number": ti.try_number, "since": datetime.now(UTC).isoformat()}
            store.set(_STATE, state)
        wanted["metadata"] |= {key: state[key] for key in ("namespace", "name")}
        return wanted

    def _hold(self, context: "Context") -> "TaskJob":
        """The place of the task's job, which a kill of this process goes to."""
        from carbonfleet.integrations.airflow.connection import extra_of, kube_of
        from carbonfleet.integrations.task_jobs import TaskJob

        state, ti = context["task_state_store"].get(_STATE), context["ti"]
        kube = kube_of(self.kubernetes_conn_id, extra_of(self.kubernetes_conn_id))
        self._held = TaskJob(kube, state["namespace"], state["name"], _task_of(ti), ti.try_number)
        return self._held

    def _waited_for(self, context: "Context", held: "TaskJob", job: "RemoteJob") -> dict[str, Any]:
        """What the job hands on once it has ended; until then the task is deferred, or looks again and again."""
        from carbonfleet.integrations.task_jobs import TaskJobState

        if self.deferrable and not job.state.is_end:
            self._defer(context, held, job)
        state = job.state
        while not state.is_end and job.state == state:
            time.sleep(self.poll_interval * random.uniform(0.8, 1.2))  # noqa: S311 - jitter is no secret
            job = self._next_look(held, job)
        if state is TaskJobState.LEAVING:
            return self._submitted(context)
        return self._ended(held, job)

    def _defer(self, context: "Context", held: "TaskJob", job: "RemoteJob") -> NoReturn:
        from carbonfleet.integrations.airflow.trigger import CarbonTrainingTrigger
        from carbonfleet.integrations.task_jobs import TaskJobState

        trigger = CarbonTrainingTrigger(
            namespace=held.namespace,
            name=held.name,
            task=held.task,
            try_number=held.try_number,
            kubernetes_conn_id=self.kubernetes_conn_id,
            poll_interval=self.poll_interval,
            on_kill_action=self.on_kill_action,
            until_gone=job.state is TaskJobState.LEAVING,
        )
        left = None
        if self.execution_timeout is not None:
            since = datetime.fromisoformat(context["task_state_store"].get(_STATE)["since"])
            left = max(timedelta(seconds=1), self.execution_timeout - (datetime.now(UTC) - since))
        raise TaskDeferred(trigger=trigger, method_name="execute_complete", timeout=left)

    def _next_look(self, held: "TaskJob", job: "RemoteJob") -> "RemoteJob":
        """The job now, or as it was where the API fails for a moment."""
        from carbonfleet.integrations.task_jobs import passes_by
        from carbonfleet.kube import KubeError

        if self._is_killed:
            raise AirflowException("the task was killed")
        with _task_errors():
            try:
                found = held.look()
            except KubeError as error:
                if not passes_by(error):
                    raise
                self.log.warning("%s; asking again", error.for_people)
                return job
        if found.told != job.told:
            self.log.info("job %s %s", held, found.told)
        return found

    def _ended(self, held: "TaskJob", job: "RemoteJob") -> dict[str, Any]:
        from carbonfleet.integrations.task_jobs import TaskJobState, result

        if job.state in (TaskJobState.GONE, TaskJobState.LEAVING):
            raise AirflowException(f"job {held} was deleted while the task waited for it")
        is_well = job.state is TaskJobState.DONE
        deletes = (
            (OnFinishAction.DELETE_JOB, OnFinishAction.DELETE_SUCCEEDED_JOB)
            if is_well
            else (OnFinishAction.DELETE_JOB,)
        )
        if self.on_finish_action in deletes:
            with _task_errors():
                held.withdraw()
        if is_well:
            self.log.info("job %s %s", held, job.told)
            return result(job)
        kind = AirflowFailException if job.state is TaskJobState.REJECTED else AirflowException
        raise kind(f"job {held} {job.told}")


def _task_of(ti: Any) -> str:  # noqa: ANN401 - Airflow's RuntimeTaskInstance
    """The task instance, the same for each of its tries."""
    is_mapped = ti.map_index is not None and ti.map_index >= 0
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}" + (f"[{ti.map_index}]" if is_mapped else "")


@contextmanager
def _task_errors() -> Iterator[None]:
    """Errors of ours as Airflow knows them: what no retry mends fails the task at once."""
    from carbonfleet.integrations.airflow.connection import ConnectionInvalid
    from carbonfleet.integrations.task_jobs import ManifestError, NotOurs
    from carbonfleet.kube import KubeError

    try:
        yield
    except (ConnectionInvalid, ManifestError, NotOurs) as error:
        raise AirflowFailException(str(error)) from error
    except KubeError as error:
        raise AirflowException(error.for_people) from error
