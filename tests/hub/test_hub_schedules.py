"""Recurring jobs through the real hub: made ahead of their runs, once each, whatever becomes of the hub."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from carbonfleet.api import CarbonTrainingJob, CarbonTrainingSchedule
from carbonfleet.api.job_status import Phase
from carbonfleet.hub.job_writes import JobWrites
from carbonfleet.hub.observe import SCHEDULES, Mirror
from carbonfleet.hub.schedules import Schedules
from carbonfleet.hub.status import EventRecorder
from carbonfleet.kube import Kube, KubeError, Object, ours, path
from fixtures.hub_process import CLEAN_OHIO, START, job_body
from fixtures.in_process_hub import HOUR, NAMESPACE, InProcessHub, open_in_process_hub
from fixtures.kubeapi_server import eventually

DAY = timedelta(days=1)
SEVEN = datetime(2025, 12, 16, 7, tzinfo=UTC)
"""The first run of a schedule that is due each day at 7: six hours after START."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Iterator[InProcessHub]:
    made = open_in_process_hub(tmp_path_factory.mktemp("schedules"))
    yield made
    made.close()


@pytest.fixture
def stack(opened: InProcessHub) -> Iterator[InProcessHub]:
    """The same stack for all tests, at START, on a flat grid, without a schedule, with a hub that remembers nothing."""
    opened.grid.clear()
    opened.clock.set(START)
    opened.restart()
    yield opened
    for body in opened.kube.list(ours(SCHEDULES))[0]:
        opened.kube.delete(ours(SCHEDULES, NAMESPACE, body["metadata"]["name"]))


def schedule_body(name: str, labels: dict[str, str] | None = None, **given: Any) -> Object:
    template = {**job_body(name, NAMESPACE)["spec"], "schedule": {}, **given.pop("job", {})}
    spec = {"schedule": "0 7 * * *", "leadTime": "5h", "jobTemplate": {"spec": template}} | given
    return {
        "apiVersion": "carbonfleet.dev/v1alpha1",
        "kind": "CarbonTrainingSchedule",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels or {}},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }


def create(stack: InProcessHub, name: str, **given: Any) -> Object:
    """Create a schedule, and let the hub see it."""
    body = stack.kube.create(ours(SCHEDULES, NAMESPACE), schedule_body(name, **given))
    stack.settle()
    return body


def read(stack: InProcessHub, name: str) -> CarbonTrainingSchedule:
    return CarbonTrainingSchedule.model_validate(stack.kube.get(ours(SCHEDULES, NAMESPACE, name)))


def jobs_of(kube: Kube, name: str) -> list[CarbonTrainingJob]:
    bodies, _ = kube.list(ours("carbontrainingjobs", NAMESPACE), labelSelector=f"carbonfleet.dev/schedule={name}")
    return sorted(map(CarbonTrainingJob.model_validate, bodies), key=lambda job: job.metadata.name)


def names_of(kube: Kube, name: str) -> list[str]:
    return [job.metadata.name.removeprefix(f"{name}-") for job in jobs_of(kube, name)]


def at(stack: InProcessHub, moment: datetime) -> None:
    stack.clock.set(moment)
    stack.settle()


def ready(found: CarbonTrainingSchedule) -> tuple[str, str]:
    [condition] = found.status.conditions
    return condition.status.value, condition.reason


def told(stack: InProcessHub, name: str, reason: str) -> list[str]:
    """The messages of a schedule's events, once there are any."""

    def found() -> list[str]:
        events, _ = stack.kube.list(path("api/v1", "events", NAMESPACE))
        ours_alone = (each for each in events if each["involvedObject"]["name"] == name)
        return [each["message"] for each in ours_alone if each["reason"] == reason]

    return eventually(found)


def test_each_run_gets_its_job_ahead_which_waits_for_its_clean_hours_and_meets_its_deadline(stack):
    """Ohio is clean from 6 on, so that a job that is due at 7 waits for it, and would not if it were made at 7."""
    only_ohio = {"residency": {"dataClass": "public", "allowedRegions": ["us-east-2"]}}
    stack.grid.becomes("US-MIDA-PJM", SEVEN - HOUR, CLEAN_OHIO)
    create(stack, "nightly", labels={"team": "a", "app.kubernetes.io/instance": "argo"}, job=only_ohio)
    assert names_of(stack.kube, "nightly") == []
    first = read(stack, "nightly").status
    assert (first.next_run_time, first.next_job_time, first.next) == (SEVEN, SEVEN - 5 * HOUR, "2025-12-16 07:00")
    stack.spokes.behaviours |= {"nightly-202512160700": "train", "nightly-202512170700": "train"}
    at(stack, SEVEN - 5 * HOUR)
    [job] = jobs_of(stack.kube, "nightly")
    assert (job.metadata.name, job.spec.schedule.deadline) == ("nightly-202512160700", SEVEN)
    assert job.spec.schedule.max_delay == 5 * HOUR
    assert job.metadata.labels == {"team": "a", "carbonfleet.dev/schedule": "nightly"}
    assert (job.status.phase, job.status.start) == (Phase.WAITING, SEVEN - HOUR)
    found = read(stack, "nightly").status
    assert (found.active, found.last, found.next) == ((job.metadata.name,), "2025-12-16 07:00", "2025-12-17 07:00")
    while stack.clock.now() < SEVEN:
        stack.forward()
    [job] = jobs_of(stack.kube, "nightly")
    assert job.status.phase is Phase.SUCCEEDED
    assert job.status.start >= SEVEN - HOUR
    assert job.status.grams_per_kwh == pytest.approx(CLEAN_OHIO)
    at(stack, SEVEN + DAY - 5 * HOUR)
    assert names_of(stack.kube, "nightly") == ["202512160700", "202512170700"]
    found = read(stack, "nightly")
    assert (found.status.last_successful_time, found.status.missed, ready(found)) == (SEVEN, 0, ("True", "Scheduled"))
    assert len(told(stack, "nightly", "RunCreated")) == 2


def test_kubectl_shows_the_schedule_its_next_and_last_run_and_what_is_active(stack):
    stack.spokes.behaviours["shown-202512160600"] = "hold"
    create(stack, "shown", timeZone="Europe/Oslo")
    at(stack, SEVEN - 5 * HOUR)
    shown = stack.api.kubectl("get", "cts", "-n", NAMESPACE, "shown").stdout.splitlines()
    assert shown[0].split("  ")[0] == "NAME"
    assert shown[0].split()[1:5] == ["SCHEDULE", "TIMEZONE", "SUSPEND", "NEXT"]
    row = shown[1].replace("   ", "|").split("|")
    assert [cell.strip() for cell in row if cell.strip()][:7] == [
        *("shown", "0 7 * * *", "Europe/Oslo", "false", "2025-12-17 06:00", "2025-12-16 06:00", "1")
    ]


@dataclass
class DyingKube:
    """The API for a hub that is killed right before, or right after, one of its writes."""

    real: Kube
    before: int = -1
    after: int = -1
    writes: int = 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.real, name)
        if name not in {"create", "patch", "delete"}:
            return call

        def counted(where: str, *arguments: Any) -> Any:
            if "/events" in where:
                return call(where, *arguments)
            if self.writes == self.before:
                raise KilledError
            self.writes += 1
            answer = call(where, *arguments)
            if self.writes - 1 == self.after:
                raise KilledError
            return answer

        return counted


class KilledError(BaseException):
    """The process is gone."""


def one_life(kube: Any, now: datetime) -> None:
    """A hub that begins, sees to the schedules and is gone."""
    mirror = Mirror()
    events, writes = EventRecorder(kube), JobWrites(kube, mirror)
    try:
        mirror.resync(kube)
        Schedules(writes, events).run(now)
    finally:
        events.close()
        writes.close()


@pytest.mark.parametrize("policy", ["Allow", "Forbid", "Replace"])
def test_a_hub_that_is_killed_between_any_two_steps_neither_doubles_nor_loses_a_run(stack, policy):
    """For three days, of which each run's writes are cut at every place in turn; jobs of the past end by hand."""
    name = f"killed-{policy.lower()}"
    stack.kube.create(ours(SCHEDULES, NAMESPACE), schedule_body(name, concurrencyPolicy=policy))
    made: list[str] = []
    for day in range(4):
        now = SEVEN + day * DAY - 5 * HOUR
        for place in range(6):
            for how in ("before", "after"):
                kube = DyingKube(stack.kube, **{how: place})
                try:
                    one_life(kube, now)
                except KilledError:
                    pass
                else:
                    assert kube.writes <= place + (how == "before")
                made += [each for each in names_of(stack.kube, name) if each not in made]
        assert len(made) == day + 1
        assert names_of(stack.kube, name)[-1] == made[-1]
        found = read(stack, name).status
        assert (found.missed, found.last_run_time) == (0, SEVEN + day * DAY)
        if policy == "Forbid":
            end(stack, f"{name}-{made[-1]}", Phase.SUCCEEDED)
    if policy == "Replace":
        assert read(stack, name).status.active_count == 1


def end(stack: InProcessHub, name: str, phase: Phase) -> None:
    stack.kube.patch(ours("carbontrainingjobs", NAMESPACE, name, "status"), {"status": {"phase": phase.value}})


def test_runs_that_no_hub_was_there_for_are_told_and_the_newest_alone_is_made(stack):
    create(stack, "away")
    at(stack, SEVEN + 3 * DAY - 4 * HOUR)
    assert names_of(stack.kube, "away") == ["202512190700"]
    found = read(stack, "away").status
    assert (found.missed, found.last_missed_time) == (3, SEVEN + 2 * DAY)
    assert told(stack, "away", "RunsMissed") == [
        "3 runs never got a job, the last of them due 2025-12-18 07:00 UTC: no hub made its job in time."
    ]


def test_forbid_waits_for_the_earlier_job_and_says_so(stack):
    create(stack, "one", concurrencyPolicy="Forbid", leadTime="25h")
    stack.spokes.behaviours["one-202512170700"] = "hold"
    at(stack, START)
    assert names_of(stack.kube, "one") == ["202512160700"]
    end(stack, "one-202512160700", Phase.SUCCEEDED)
    at(stack, SEVEN - HOUR)
    assert names_of(stack.kube, "one") == ["202512160700", "202512170700"]
    at(stack, SEVEN + DAY - HOUR)
    found = read(stack, "one")
    assert ready(found) == ("False", "PreviousActive")
    assert "waits for one-202512170700 (Running): concurrencyPolicy is Forbid" in found.status.summary
    stack.spokes.finish("one-202512170700")
    stack.settle()
    stack.settle()
    assert names_of(stack.kube, "one")[-1] == "202512180700"
    assert ready(read(stack, "one")) == ("True", "Scheduled")


def test_replace_stops_the_earlier_job_where_it_runs(stack):
    stack.spokes.behaviours["newest-202512160700"] = "hold"
    create(stack, "newest", concurrencyPolicy="Replace", leadTime="20h")
    assert jobs_of(stack.kube, "newest")[0].status.phase is Phase.RUNNING
    at(stack, SEVEN + 4 * HOUR)
    stack.settle()
    assert names_of(stack.kube, "newest") == ["202512170700"]
    assert stack.changes("newest-202512160700") == ["place 1", "remove 1"]
    assert stack.spokes.live("newest-202512160700") == []
    assert "The run due 2025-12-17 07:00 UTC has job newest-202512170700, in place of newest-202512160700." in told(
        stack, "newest", "RunCreated"
    )


def test_history_keeps_so_many_jobs_of_either_end_and_the_ledger_keeps_all(stack):
    create(stack, "kept", successfulJobsHistoryLimit=1, failedJobsHistoryLimit=1)
    stack.spokes.behaviours |= {"kept-202512170700": "fail", "kept-202512180700": "fail"}
    for day in range(5):
        at(stack, SEVEN + day * DAY - 4 * HOUR)
        stack.until(f"kept-202512{16 + day}0700", Phase.SUCCEEDED, Phase.FAILED)
        at(stack, SEVEN + day * DAY)
    assert names_of(stack.kube, "kept") == ["202512180700", "202512200700"]
    ended = [line.job for line in stack.connections.ledger.entries() if line.job.startswith("kept-")]
    assert set(ended) == {f"kept-202512{16 + day}0700" for day in range(5)}


def test_suspended_it_makes_nothing_and_then_tonights_run(stack):
    create(stack, "rests", suspend=True)
    at(stack, SEVEN + DAY)
    assert (names_of(stack.kube, "rests"), ready(read(stack, "rests"))) == ([], ("False", "Suspended"))
    stack.clock.set(SEVEN + 2 * DAY - 3 * HOUR)
    stack.kube.patch(ours(SCHEDULES, NAMESPACE, "rests"), {"spec": {"suspend": False}})
    stack.settle()
    assert names_of(stack.kube, "rests") == ["202512180700"]
    assert told(stack, "rests", "RunsMissed")[0].endswith("2025-12-17 07:00 UTC: the schedule was suspended.")


def test_deleting_a_schedule_takes_its_jobs_along_and_stops_them(stack):
    stack.spokes.behaviours["gone-202512160700"] = "hold"
    create(stack, "gone", leadTime="20h")
    assert stack.spokes.live("gone-202512160700")
    stack.kube.delete(ours(SCHEDULES, NAMESPACE, "gone"))

    def is_gone() -> bool:
        stack.settle()
        return names_of(stack.kube, "gone") == []

    eventually(is_gone)
    assert stack.spokes.live("gone-202512160700") == []


def test_a_name_that_another_job_has_is_told_until_it_is_free(stack):
    taken = job_body("mine-202512160700", NAMESPACE)
    stack.kube.create(ours("carbontrainingjobs", NAMESPACE), taken)
    create(stack, "mine")
    at(stack, SEVEN - 5 * HOUR)
    found = read(stack, "mine")
    assert (ready(found), found.status.last_run_time, found.status.next_run_time) == (
        ("False", "NameTaken"),
        None,
        SEVEN,
    )
    assert "delete or rename it, or rename the schedule" in found.status.summary
    stack.kube.delete(ours("carbontrainingjobs", NAMESPACE, "mine-202512160700"))
    stack.settle()
    at(stack, SEVEN - 4 * HOUR)
    assert (names_of(stack.kube, "mine"), ready(read(stack, "mine"))) == (["202512160700"], ("True", "Scheduled"))


def test_a_job_that_the_api_refuses_is_told_and_tried_until_it_can_not_meet_its_deadline(stack):
    quota = {"kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {_COUNT: "0"}}}
    stack.kube.create(path("api/v1", "resourcequotas", NAMESPACE), quota)
    try:
        create(stack, "refused")
        create(stack, "later", schedule="45 7 * * *")
        at(stack, SEVEN - 4 * HOUR)
        found = read(stack, "refused")
        assert ready(found) == ("False", "JobRefused")
        assert "exceeded quota: none" in found.status.summary
        at(stack, SEVEN)
        missed = read(stack, "refused").status
        assert (missed.missed, missed.last_missed_time) == (1, SEVEN)
    finally:
        stack.kube.delete(path("api/v1", "resourcequotas", NAMESPACE, "none"))
    at(stack, SEVEN + timedelta(minutes=1))
    assert (names_of(stack.kube, "refused"), names_of(stack.kube, "later")) == ([], ["202512160745"])


_COUNT = "count/carbontrainingjobs.carbonfleet.dev"


def test_a_spec_that_the_api_takes_and_the_hub_can_not_is_told_and_others_go_on(stack):
    create(stack, "zoneless", timeZone="Europe/Olso")
    create(stack, "well")
    at(stack, SEVEN - 5 * HOUR)
    found = stack.kube.get(ours(SCHEDULES, NAMESPACE, "zoneless"))["status"]
    assert found["conditions"][0]["reason"] == "InvalidSpec"
    assert "spec.timeZone: there is no time zone Europe/Olso; did you mean Europe/Oslo?" in found["summary"]
    assert names_of(stack.kube, "well") == ["202512160700"]
    stack.kube.patch(ours(SCHEDULES, NAMESPACE, "zoneless"), {"spec": {"timeZone": "Etc/UTC"}})
    stack.settle()
    assert (names_of(stack.kube, "zoneless"), ready(read(stack, "zoneless"))) == (
        ["202512160700"],
        ("True", "Scheduled"),
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"schedule": "0 7 * *"}, "spec.schedule in body should match"),
        ({"leadTime": "20m"}, "leadTime must not be shorter than jobTemplate.spec.resources.duration"),
        ({"job": {"schedule": {"deadline": "2026-01-01T00:00:00Z"}}}, "must name neither deadline nor earliestStart"),
        ({"job": {"residency": {}}}, "spec.jobTemplate.spec.residency.dataClass"),
        ({"job": {"resources": {"duration": "0m"}}}, "must be longer than 0s"),
        ({"concurrencyPolicy": "Queue"}, 'supported values: "Allow", "Forbid", "Replace"'),
        ({"successfulJobsHistoryLimit": 101}, "should be less than or equal to 100"),
    ],
)
def test_what_can_not_be_is_refused_when_it_is_applied(stack, given, words):
    with pytest.raises(KubeError) as caught:
        stack.kube.create(ours(SCHEDULES, NAMESPACE), schedule_body("never", **given))
    assert words in str(caught.value)


def test_a_name_too_long_for_its_jobs_is_refused(stack):
    with pytest.raises(KubeError, match="its jobs are named by it and their time"):
        stack.kube.create(ours(SCHEDULES, NAMESPACE), schedule_body("n" * 51))


def test_a_template_may_change_what_a_job_may_not(stack):
    create(stack, "changes")
    template = {"spec": {"residency": {"dataClass": "internal"}}}
    stack.kube.patch(ours(SCHEDULES, NAMESPACE, "changes"), {"spec": {"jobTemplate": template}})
    at(stack, SEVEN - 5 * HOUR)
    assert jobs_of(stack.kube, "changes")[0].spec.residency.data_class == "internal"


def test_a_hub_sees_to_schedules_of_its_own_namespaces_alone(stack):
    stack.kube.create(ours(SCHEDULES, NAMESPACE), schedule_body("theirs"))
    for namespaces, made in ((("team-x",), []), ((NAMESPACE, "team-y"), ["202512160700"])):
        mirror = Mirror(namespaces, "carbonfleet-x")
        mirror.resync(stack.kube)
        events, writes = EventRecorder(stack.kube), JobWrites(stack.kube, mirror)
        Schedules(writes, events).run(SEVEN - 5 * HOUR)
        events.close()
        writes.close()
        assert names_of(stack.kube, "theirs") == made


def test_without_the_definition_of_schedules_a_hub_goes_on_without_them(stack):
    class WithoutSchedules:
        def __getattr__(self, name: str) -> Any:
            return getattr(stack.kube, name)

        def list(self, where: str, **query: str) -> Any:
            return stack.kube.list(where.replace(SCHEDULES, "carbontrainingnothings"), **query)

    mirror = Mirror()
    mirror.resync(WithoutSchedules())  # type: ignore[arg-type]
    assert (mirror.synced, mirror.all(SCHEDULES)) == (True, [])
