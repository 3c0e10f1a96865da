"""Runs DAGs by Airflow itself, in Airflow's own environment: `airflow_runs.py DAGS OUTPUT WAY:DAG...`.

Ways: `test` runs a whole DAG, triggers included. `kill` lets its one task wait and tells its trigger that a person
marked the task. `late` lets it wait until the scheduler finds that its time is over.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from airflow.dag_processing.dagbag import DagBag

HEAVY = ("torch", "numpy", "kubernetes", "pygit2", "carbonfleet.api")


def run(dag) -> dict:
    """The whole DAG: each task's state, number of tries and XCom."""
    done = dag.test()
    return {
        ti.task_id: {"state": str(ti.state), "tries": ti.try_number, "xcom": ti.xcom_pull(task_ids=ti.task_id)}
        for ti in done.get_task_instances()
    }


def waiting(dag):
    """The one task of a DAG once it is deferred, as the database has it, and its trigger as the triggerer makes it."""
    from airflow.cli.commands.task_command import _get_ti
    from airflow.models.trigger import Trigger
    from airflow.sdk._shared.module_loading import import_string
    from airflow.sdk.definitions.dag import _run_task
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.utils.session import create_session

    (task,) = dag.tasks
    scheduled = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    ti = _get_ti(scheduled.get_task(task.task_id), -1, create_if_necessary="db")[0]
    with create_session() as session:
        ti.try_number = 1
        ti = session.merge(ti)
    _run_task(ti=ti, task=task)
    with create_session() as session:
        ti = session.merge(ti)
        session.refresh(ti)
        row = session.get(Trigger, ti.trigger_id)
        return ti, import_string(row.classpath)(**row.kwargs), row.kwargs


def kill(dag) -> dict:
    """What the trigger is stored as, and that it was told of the kill."""
    ti, trigger, stored = waiting(dag)
    asyncio.run(trigger.on_kill())
    return {"state": str(ti.state), "stored": stored}


def late(dag) -> dict:
    """The task's state and error after the scheduler has found it late."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.sdk.definitions.dag import _run_task
    from airflow.utils.session import create_session

    ti, _, _ = waiting(dag)
    scheduler = SchedulerJobRunner(job=Job())
    with create_session() as session:
        ti = session.merge(ti)
        for _ in range(600):
            scheduler.check_trigger_timeouts(session=session)
            session.commit()
            session.refresh(ti)
            if ti.next_method == "__fail__":
                break
            time.sleep(0.1)
        session.expunge(ti)
    ended = _run_task(ti=ti, task=dag.tasks[0])
    return {"state": ended.state.value, "error": str(ended.error)}


def keep_connection(extra: str) -> None:
    """The page's connection in Airflow's database, where the others are in the environment."""
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    with create_session() as session:
        session.add(Connection("carbonfleet_hub", "kubernetes", extra=extra))


def main(folder: str, output: str, *asked: str) -> None:
    """Writes what came of it as JSON."""
    bag = DagBag(folder)
    found = {
        "problems": {str(file): str(problem) for file, problem in bag.import_errors.items()},
        "heavy": [name for name in HEAVY if name in sys.modules],
    }
    keep_connection(os.environ["HUB_CONNECTION"])
    ways: dict[str, Callable[..., dict]] = {"test": run, "kill": kill, "late": late}
    for each in asked:
        way, name = each.split(":")
        began = time.monotonic()
        found[name] = ways[way](bag.get_dag(name))
        print(f"==== {each} took {time.monotonic() - began:.1f} s: {found[name]}", flush=True)
    Path(output).write_text(json.dumps(found, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
