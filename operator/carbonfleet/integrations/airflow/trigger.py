"""The trigger that waits for a task's job in Airflow's triggerer."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from airflow.triggers.base import BaseTrigger, TriggerEvent

from carbonfleet.integrations.airflow.actions import OnKillAction
from carbonfleet.integrations.airflow.connection import ConnectionInvalid, extra_of, kube_of
from carbonfleet.integrations.task_jobs import RemoteJob, TaskJob, TaskJobState, passes_by
from carbonfleet.kube import KubeError

PATIENCE_SECONDS: Final = 3600.0
"""How long an API may fail without a break until the task fails; its retry finds the job again."""


class CarbonTrainingTrigger(BaseTrigger):
    """Fires once the job has ended in whatever way, or, with `until_gone`, once it is no more being deleted.

    Args:
        namespace: The job's namespace.
        name: The job's name.
        task: The task instance that its annotation names.
        try_number: The try that waits: killing an older one deletes nothing.
        kubernetes_conn_id: The connection to the hub's API.
        poll_interval: Seconds between two looks.
        on_kill_action: Whether the job is deleted when the task is marked or cleared.
        until_gone: Wait for the end of its deletion.
    """

    def __init__(
        self,
        *,
        namespace: str,
        name: str,
        task: str,
        try_number: int,
        kubernetes_conn_id: str,
        poll_interval: float = 60.0,
        on_kill_action: str = OnKillAction.DELETE_JOB.value,
        until_gone: bool = False,
    ) -> None:
        super().__init__()
        self.namespace, self.name, self.task_key, self.try_number = namespace, name, task, try_number
        self.kubernetes_conn_id, self.poll_interval = kubernetes_conn_id, poll_interval
        self.on_kill_action, self.until_gone = on_kill_action, until_gone

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Its class and arguments, none of which is a secret."""
        names = ("namespace", "name", "try_number", "kubernetes_conn_id", "poll_interval", "on_kill_action")
        arguments = {name: getattr(self, name) for name in (*names, "until_gone")}
        return f"{__name__}.CarbonTrainingTrigger", {**arguments, "task": self.task_key}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to say; an empty problem means that the task is to look itself."""
        said, failing_since = "", None
        place: TaskJob | None = None
        while True:
            try:
                if place is None:
                    place = await asyncio.to_thread(self._place)
                job = await asyncio.to_thread(place.look)
            except ConnectionInvalid as error:
                yield self._event(str(error))
                return
            except KubeError as error:
                place, failing_since = None, failing_since or time.monotonic()  # the connection may have been edited
                if not passes_by(error) or time.monotonic() - failing_since > PATIENCE_SECONDS:
                    yield self._event(error.for_people)
                    return
                news = f"{error.for_people}; asking again"
            else:
                failing_since = None
                if self._is_awaited(job):
                    yield self._event()
                    return
                news = job.told
            if said != (said := news):
                self.log.info("job %s/%s %s", self.namespace, self.name, said)
            await asyncio.sleep(self.poll_interval * random.uniform(0.8, 1.2))  # noqa: S311 - jitter is no secret

    async def on_kill(self) -> None:
        """A person marked or cleared the task: delete the job or leave it, as the task says."""
        if self.on_kill_action == OnKillAction.KEEP_JOB:
            self.log.info("job %s/%s goes on, as on_kill_action says", self.namespace, self.name)
            return
        is_deleted = await asyncio.to_thread(lambda: self._place().withdraw())
        self.log.info("job %s/%s %s", self.namespace, self.name, "is deleted" if is_deleted else "is left as it is")

    def _place(self) -> TaskJob:
        """By the connection as it is now; in a thread, since asking Airflow for it would block its event loop."""
        kube = kube_of(self.kubernetes_conn_id, extra_of(self.kubernetes_conn_id))
        return TaskJob(kube, self.namespace, self.name, self.task_key, self.try_number)

    def _is_awaited(self, job: RemoteJob) -> bool:
        return job.state is not TaskJobState.LEAVING if self.until_gone else job.state is not TaskJobState.GOES_ON

    def _event(self, problem: str = "") -> TriggerEvent:
        return TriggerEvent({"until_gone": self.until_gone, "problem": problem})
