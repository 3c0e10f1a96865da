"""Recurring jobs through the real hub: made ahead of their runs, once each, whatever becomes of the hub."""

from collections.abc import Iterator
from dataclasses import dataclass, field
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


@dataclass
class ScheduleStep:
    """The hub's step that makes jobs, run by itself: nothing is placed."""

    kube: Kube
    mirror: Mirror = field(default_factory=Mirror)
    now: datetime = START

    def __post_init__(self) -> None:
        self.events, self.writes = EventRecorder(self.kube), JobWrites(self.kube, self.mirror)
        self.schedules = Schedules(self.writes, self.events)

    def at(self, moment: datetime) -> datetime | None:
        """See to all schedules at a moment; when it asks to be called again."""
        self.now = moment
        self.mirror.resync(self.kube)
        return self.schedules.run(moment)

    def create(self, name: str, **given: Any) -> Object:
        """Create a schedule, and see to it."""
        body = self.kube.create(ours(SCHEDULES, NAMESPACE), schedule_body(name, **given))
        self.at(self.now)
        return body

    def close(self) -> None:
        """End its threads."""
        self.events.close()
        self.writes.close()


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Iterator[InProcessHub]:
    made = open_in_process_hub(tmp_path_factory.mktemp("schedules"))
    yield made
    made.close()


@pytest.fixture
def api(opened: InProcessHub) -> Iterator[InProcessHub]:
    """The same API for all tests, without a schedule."""
    yield opened
    for body in opened.kube.list(ours(SCHEDULES))[0]:
        opened.kube.delete(ours(SCHEDULES, NAMESPACE, body["metadata"]["name"]))


@pytest.fixture
def stack(api: InProcessHub) -> InProcessHub:
    """All of it, at START, on a flat grid, with a hub that remembers nothing."""
    api.grid.clear()
    api.clock.set(START)
    api.restart()
    return api


@pytest.fixture
def step(api: InProcessHub) -> Iterator[ScheduleStep]:
    """The step on that API."""
    made = ScheduleStep(api.kube)
    yield made
    made.close()


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


def read(stack: InProcessHub | ScheduleStep, name: str) -> CarbonTrainingSchedule:
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


def told(stack: InProcessHub | ScheduleStep, name: str, reason: str) -> list[str]:
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


def test_replace_stops_the_earlier_job_where_it_runs(stack):
    stack.spokes.behaviours["newest-202512160700"] = "hold"
    create(stack, "newest", concurrencyPolicy="Replace", leadTime="20h")
    assert jobs_of(stack.kube, "newest")[0].status.phase is Phase.RUNNING
    at(stack, SEVEN + 4 * HOUR)
    stack.settle()
    assert names_of(stack.kube, "newest") == ["202512170700"]
    assert stack.changes("newest-202512160700") == ["place 1", "remove 1"]
    assert len(stack.ledger("newest-202512160700")) == 1
    assert stack.spokes.live("newest-202512160700") == []
    assert "The run due 2025-12-17 07:00 UTC has job newest-202512170700, in place of newest-202512160700." in told(
        stack, "newest", "RunCreated"
    )


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


def test_kubectl_shows_the_schedule_its_next_and_last_run_and_what_is_active(api, step):
    step.create("shown", timeZone="Europe/Oslo")
    step.at(SEVEN - 5 * HOUR)
    shown = api.api.kubectl("get", "cts", "-n", NAMESPACE, "shown").stdout.splitlines()
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

        def counted(where: str, *arguments: Any, **more: Any) -> Any:
            if "/events" in where:
                return call(where, *arguments, **more)
            if self.writes == self.before:
                raise KilledError
            self.writes += 1
            answer = call(where, *arguments, **more)
            if self.writes - 1 == self.after:
                raise KilledError
            return answer

        return counted


class KilledError(BaseException):
    """The process is gone."""


def one_life(kube: Any, now: datetime) -> None:
    """A hub that begins, sees to the schedules and is gone."""
    step = ScheduleStep(kube)
    try:
        step.at(now)
    finally:
        step.close()


@pytest.mark.parametrize("policy", ["Allow", "Forbid", "Replace"])
def test_a_hub_that_is_killed_between_any_two_steps_neither_doubles_nor_loses_a_run(api, policy):
    """For three days, of which each run's writes are cut at every place in turn; jobs of the past end by hand."""
    name = f"killed-{policy.lower()}"
    api.kube.create(ours(SCHEDULES, NAMESPACE), schedule_body(name, concurrencyPolicy=policy))
    made: list[str] = []
    for day in range(4):
        now = SEVEN + day * DAY - 5 * HOUR
        for place in range(6):
            for how in ("before", "after"):
                kube = DyingKube(api.kube, **{how: place})
                try:
                    one_life(kube, now)
                except KilledError:
                    pass
                else:
                    assert kube.writes <= place + (how == "before")
                made += [each for each in names_of(api.kube, name) if each not in made]
        assert len(made) == day + 1
        assert names_of(api.kube, name)[-1] == made[-1]
        found = read(api, name).status
        assert (found.missed, found.last_run_time) == (0, SEVEN + day * DAY)
        if policy == "Forbid":
            end(api, f"{name}-{made[-1]}", Phase.SUCCEEDED)
    if policy == "Replace":
        assert read(api, name).status.active_count == 1


def end(stack: InProcessHub | ScheduleStep, name: str, phase: Phase) -> None:
    stack.kube.patch(ours("carbontrainingjobs", NAMESPACE, name, "status"), {"status": {"phase": phase.value}})


def test_runs_that_no_hub_was_there_for_are_told_and_the_newest_alone_is_made(step):
    step.create("away")
    step.at(SEVEN + 3 * DAY - 4 * HOUR)
    assert names_of(step.kube, "away") == ["202512190700"]
    found = read(step, "away").status
    assert (found.missed, found.last_missed_time) == (3, SEVEN + 2 * DAY)
    assert told(step, "away", "RunsMissed") == [
        "3 runs never got a job, the last of them due 2025-12-18 07:00 UTC: no hub made its job in time."
    ]


def test_forbid_waits_for_the_earlier_job_and_says_so(step):
    step.create("one", concurrencyPolicy="Forbid", leadTime="25h")
    assert step.at(START) == SEVEN - HOUR
    assert names_of(step.kube, "one") == ["202512160700"]
    end(step, "one-202512160700", Phase.SUCCEEDED)
    step.at(SEVEN - HOUR)
    assert names_of(step.kube, "one") == ["202512160700", "202512170700"]
    step.at(SEVEN + DAY - HOUR)
    found = read(step, "one")
    assert ready(found) == ("False", "PreviousActive")
    assert "waits for one-202512170700 (Pending): concurrencyPolicy is Forbid" in found.status.summary
    end(step, "one-202512170700", Phase.FAILED)
    step.at(SEVEN + DAY - HOUR)
    assert names_of(step.kube, "one")[-1] == "202512180700"
    assert ready(read(step, "one")) == ("True", "Scheduled")


def test_history_keeps_so_many_jobs_of_either_end(step):
    step.create("kept", successfulJobsHistoryLimit=1, failedJobsHistoryLimit=1)
    for day in range(5):
        step.at(SEVEN + day * DAY - 4 * HOUR)
        end(step, f"kept-202512{16 + day}0700", Phase.FAILED if day in (1, 2) else Phase.SUCCEEDED)
        step.at(SEVEN + day * DAY)
    assert names_of(step.kube, "kept") == ["202512180700", "202512200700"]


def test_a_job_of_somebody_else_that_has_taken_a_name_since_is_not_deleted(step):
    step.create("swapped", successfulJobsHistoryLimit=0)
    step.at(SEVEN - 4 * HOUR)
    end(step, "swapped-202512160700", Phase.SUCCEEDED)
    step.mirror.resync(step.kube)
    theirs = ours("carbontrainingjobs", NAMESPACE, "swapped-202512160700")
    step.kube.delete(theirs)
    step.kube.create(ours("carbontrainingjobs", NAMESPACE), job_body("swapped-202512160700", NAMESPACE))
    step.schedules.run(SEVEN)
    assert "ownerReferences" not in step.kube.get(theirs)["metadata"]
    step.kube.delete(theirs)


def test_suspended_it_makes_nothing_and_then_tonights_run(step):
    step.create("rests", suspend=True)
    step.at(SEVEN + DAY)
    assert (names_of(step.kube, "rests"), ready(read(step, "rests"))) == ([], ("False", "Suspended"))
    step.kube.patch(ours(SCHEDULES, NAMESPACE, "rests"), {"spec": {"suspend": False}})
    step.at(SEVEN + 2 * DAY - 3 * HOUR)
    assert names_of(step.kube, "rests") == ["202512180700"]
    assert told(step, "rests", "RunsMissed")[0].endswith("2025-12-17 07:00 UTC: the schedule was suspended.")


def test_a_name_that_another_job_has_is_told_until_it_is_free(step):
    taken = job_body("mine-202512160700", NAMESPACE)
    step.kube.create(ours("carbontrainingjobs", NAMESPACE), taken)
    step.create("mine")
    step.at(SEVEN - 5 * HOUR)
    found = read(step, "mine")
    assert (ready(found), found.status.last_run_time, found.status.next_run_time) == (
        ("False", "NameTaken"),
        None,
        SEVEN,
    )
    assert "delete or rename it, or rename the schedule" in found.status.summary
    step.kube.delete(ours("carbontrainingjobs", NAMESPACE, "mine-202512160700"))
    step.at(SEVEN - 4 * HOUR)
    assert (names_of(step.kube, "mine"), ready(read(step, "mine"))) == (["202512160700"], ("True", "Scheduled"))


def test_a_job_that_the_api_refuses_is_told_and_tried_until_it_can_not_meet_its_deadline(step):
    quota = {"kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {_COUNT: "0"}}}
    step.kube.create(path("api/v1", "resourcequotas", NAMESPACE), quota)
    try:
        step.create("refused")
        step.create("later", schedule="45 7 * * *")
        step.at(SEVEN - 4 * HOUR)
        found = read(step, "refused")
        assert ready(found) == ("False", "JobRefused")
        assert "exceeded quota: none" in found.status.summary
        step.at(SEVEN)
        missed = read(step, "refused").status
        assert (missed.missed, missed.last_missed_time) == (1, SEVEN)
    finally:
        step.kube.delete(path("api/v1", "resourcequotas", NAMESPACE, "none"))
    step.at(SEVEN + timedelta(minutes=1))
    assert (names_of(step.kube, "refused"), names_of(step.kube, "later")) == ([], ["202512160745"])


_COUNT = "count/carbontrainingjobs.carbonfleet.dev"


def test_a_spec_that_the_api_takes_and_the_hub_can_not_is_told_and_others_go_on(step):
    step.create("backward", schedule="0 7 * * 5-1")
    step.create("well")
    step.at(SEVEN - 5 * HOUR)
    found = step.kube.get(ours(SCHEDULES, NAMESPACE, "backward"))["status"]
    assert found["conditions"][0]["reason"] == "InvalidSpec"
    assert "spec.schedule: the day of week can't be: a range runs upwards" in found["summary"]
    assert names_of(step.kube, "well") == ["202512160700"]
    step.kube.patch(ours(SCHEDULES, NAMESPACE, "backward"), {"spec": {"schedule": "0 7 * * 1-5"}})
    step.at(SEVEN - 5 * HOUR)
    assert (names_of(step.kube, "backward"), ready(read(step, "backward"))) == (
        ["202512160700"],
        ("True", "Scheduled"),
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"schedule": "0 7 * *"}, "write minute (0-59), hour"),
        ({"schedule": "99 7 * * *"}, "write minute (0-59), hour"),
        ({"timeZone": "Europe/Olso"}, "unknown time zone Europe/Olso"),
        ({"timeZone": "../etc/passwd"}, "spec.timeZone in body should match"),
        ({"leadTime": "20m"}, "leadTime must not be shorter than jobTemplate.spec.resources.duration"),
        ({"job": {"schedule": {"deadline": "2026-01-01T00:00:00Z"}}}, "must name neither deadline nor earliestStart"),
        ({"job": {"residency": {}}}, "spec.jobTemplate.spec.residency.dataClass"),
        ({"job": {"resources": {"duration": "0m"}}}, "must be longer than 0s"),
        ({"concurrencyPolicy": "Queue"}, 'supported values: "Allow", "Forbid", "Replace"'),
        ({"successfulJobsHistoryLimit": 101}, "should be less than or equal to 100"),
    ],
)
def test_what_can_not_be_is_refused_when_it_is_applied(api, given, words):
    with pytest.raises(KubeError) as caught:
        api.kube.create(ours(SCHEDULES, NAMESPACE), schedule_body("never", **given))
    assert words in str(caught.value)


def test_a_name_too_long_for_its_jobs_is_refused(api):
    with pytest.raises(KubeError, match="its jobs are named by it and their time"):
        api.kube.create(ours(SCHEDULES, NAMESPACE), schedule_body("n" * 51))


def test_a_template_may_change_what_a_job_may_not(step):
    step.create("changes")
    template = {"spec": {"residency": {"dataClass": "internal"}}}
    step.kube.patch(ours(SCHEDULES, NAMESPACE, "changes"), {"spec": {"jobTemplate": template}})
    step.at(SEVEN - 5 * HOUR)
    assert jobs_of(step.kube, "changes")[0].spec.residency.data_class == "internal"


def test_a_hub_sees_to_schedules_of_its_own_namespaces_alone(api):
    api.kube.create(ours(SCHEDULES, NAMESPACE), schedule_body("theirs"))
    for namespaces, made in ((("team-x",), []), ((NAMESPACE, "team-y"), ["202512160700"])):
        mirror = Mirror(namespaces, "carbonfleet-x")
        mirror.resync(api.kube)
        events, writes = EventRecorder(api.kube), JobWrites(api.kube, mirror)
        Schedules(writes, events).run(SEVEN - 5 * HOUR)
        events.close()
        writes.close()
        assert names_of(api.kube, "theirs") == made


def test_without_the_definition_of_schedules_a_hub_goes_on_without_them(api):
    class WithoutSchedules:
        def __getattr__(self, name: str) -> Any:
            return getattr(api.kube, name)

        def list(self, where: str, **query: str) -> Any:
            return api.kube.list(where.replace(SCHEDULES, "carbontrainingnothings"), **query)

    mirror = Mirror()
    mirror.resync(WithoutSchedules())  # type: ignore[arg-type]
    assert (mirror.synced, mirror.all(SCHEDULES)) == (True, [])
