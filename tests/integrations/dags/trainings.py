"""DAGs that train, each with one thing that can come of it."""

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, task

from carbonfleet.integrations.airflow import CarbonTrainingOperator, CleanWindowSensor

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NAMESPACE = os.environ["JOBS_NAMESPACE"]
SPEC = {
    "workload": {"model": "acme/base", "dataset": {"name": "acme/instructions"}},
    "resources": {"duration": "30m"},
    "residency": {"dataClass": "public"},
    "schedule": {"maxDelay": "0s"},
    "objective": {"minimize": "carbon"},
}


def train(name: str, **given: object) -> CarbonTrainingOperator:
    """A training in a DAG of its own, whose job is called as the DAG."""
    with DAG(name, schedule=None, start_date=BEGIN):
        job = {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": SPEC}
        return CarbonTrainingOperator(
            **{"task_id": "train", "job": job, "add_name_suffix": False, "poll_interval": 0.2} | given
        )


@task
def hand_on(trained: dict) -> str:
    """What a task behind a training makes of its XCom."""
    return f"{trained['adapter']} for {trained['grams_co2e']:.0f} g on {trained['decision']['cluster']}"


with train("trains").dag as trains:
    hand_on(trains.get_task("train").output)
train("waits-on-a-worker", deferrable=False, on_finish_action="delete_succeeded_job")
train("fails-once", retries=1, retry_delay=timedelta(0))
train("fails")
train("holds")
train("is-too-slow", execution_timeout=timedelta(seconds=1))
train("is-too-slow-on-a-worker", execution_timeout=timedelta(seconds=2), deferrable=False)
train("is-wrong", job={"spec": SPEC | {"reviw": "auto"}}, add_name_suffix=True, retries=3)

for wait in (True, False):
    with DAG("window" if wait else "window-on-a-worker", schedule=None, start_date=BEGIN):
        waits = {"zone": "XX", "hours": "{{ 1 }}", "slack": "6h", "poke_interval": 1, "deferrable": wait}
        CleanWindowSensor(task_id="wait", **waits)
with DAG("nowhere", schedule=None, start_date=BEGIN):
    known = {"zone": "NOWHERE", "hours": 1, "slack": timedelta(hours=1)}
    CleanWindowSensor(task_id="fails", **known)
    CleanWindowSensor(task_id="starts", **known, on_signal_loss="now")
