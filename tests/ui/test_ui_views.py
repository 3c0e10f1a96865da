"""What each view says of a fleet, over HTTP, from a hub's objects, ledger and grid."""

from datetime import timedelta

import pytest
from served_page import ZONES, Hub, Page, minutes

from carbonfleet.api.job_status import CandidateStatus, Figures, Phase, PlacementStatus
from carbonfleet.api.report import Progress, Validation
from carbonfleet.sweep import SWEEP, TIER
from fixtures.ledger_values import entry

EXPECTED = Figures(
    energy_kwh=1.5,
    grams_co2e=62.0,
    grams_per_kwh=35.0,
    baseline_grams_co2e=800.0,
    saved_grams_co2e=738.0,
    saved_percent=92.25,
    baseline_region="us-east-2",
    cost_usd=4.0,
)
CANDIDATES = (
    CandidateStatus(
        cluster="no-osl-1",
        pool="a100",
        verdict="Chosen",
        reason="Best",
        message="the cleanest",
        cost_usd=4.0,
        grams_co2e=62.0,
        grams_per_kwh_window=35.0,
    ),
    CandidateStatus(
        cluster="us-oh-1",
        pool="a100",
        verdict="Feasible",
        reason="Worse",
        message="738 g more",
        cost_usd=2.5,
        grams_co2e=800.0,
        grams_per_kwh_window=510.0,
    ),
)


@pytest.fixture(scope="module")
def page(hub):
    """Three spokes, a job in each state that matters, a sweep, and a ledger of two months."""
    fill(hub)
    served = Page(hub.api.kubeconfig, hub.folder, "--fleet-web", "https://git.example.org/fleet")
    served.shows("sweep-1", "/jobs")
    served.shows("g/kWh", "/timeline")
    served.shows("emitted", "/savings")
    yield served
    served.stop()


def fill(hub: Hub) -> None:
    for name in ZONES.values():
        hub.join(name, ready=name != "us-oh-1")
    hub.write_grid()
    waits = hub.apply("waits")
    hub.say(
        "waits",
        phase=Phase.WAITING,
        cluster="no-osl-1",
        start=minutes(180),
        summary="Starts in three hours.",
        expected=EXPECTED,
        candidates=CANDIDATES,
    )
    runs = hub.apply("runs")
    progress = Progress(
        step=30,
        total_steps=60,
        train_loss=2.5,
        initial_validation_loss=6.6,
        validation_loss=3.1,
        validations=(Validation(step=15, loss=4.0, time=minutes(-30)), Validation(step=30, loss=3.1, time=minutes(-1))),
    )
    placed = PlacementStatus(
        cluster="no-osl-1",
        pool="a100",
        attempt=1,
        placement_id="abcdefghijklmnop",
        start=minutes(-60),
        path="clusters/no-osl-1/ml/runs.yaml",
        commit="0123456789abcdef" * 2,
    )
    hub.say(
        "runs",
        phase=Phase.RUNNING,
        cluster="no-osl-1",
        start=minutes(-60),
        first_start=minutes(-60),
        attempt=1,
        summary="Trains on no-osl-1.",
        expected=EXPECTED,
        progress=progress,
        placement=placed,
        candidates=CANDIDATES,
    )
    hub.report("no-osl-1", "runs", runs, startTime=minutes(-60).isoformat())
    asks = {
        "type": "Approved",
        "status": "False",
        "reason": "AwaitingReview",
        "message": "a person must agree: merge https://git.example.org/fleet/pulls/7",
        "lastTransitionTime": minutes(0),
    }
    hub.apply("asks", namespace="team-b")
    hub.say(
        "asks",
        "team-b",
        phase=Phase.PROPOSED,
        cluster="no-osl-1",
        start=minutes(90),
        expected=EXPECTED,
        summary="Waits for review.",
        conditions=(asks,),
    )
    hub.apply("blocked")
    hub.say("blocked", phase=Phase.BLOCKED, summary="No spoke can take the job.")
    for number, loss in ((1, 1.5), (2, 1.25)):
        hub.apply(f"sweep-{number}", labels={SWEEP: "small", TIER: "tier-1"})
        hub.say(
            f"sweep-{number}",
            phase=Phase.SUCCEEDED,
            cluster="no-osl-1",
            actual=EXPECTED,
            attempt=1,
            progress=Progress(step=60, total_steps=60, validation_loss=loss),
            summary="Trained.",
        )
    ended = minutes(-600)
    hub.record(
        entry(
            1,
            job="waits",
            job_uid=waits,
            namespace="team-a",
            start=ended - timedelta(hours=2),
            end=ended,
            grams=62.0,
            operational_grams=62.0,
            embodied_grams=0.0,
            transfer_grams=0.0,
            baseline_grams=800.0,
        ),
        entry(2, job="gone", job_uid="gone", namespace="team-b"),
    )


def test_the_fleet_says_intensity_health_free_gpus_and_price_by_zone(page):
    text = page.text("/")
    assert text.index('id="zone-NO-NO1"') < text.index('id="zone-US-MIDA-PJM"')
    assert "gCO2e/kWh now" in text
    assert "3 of 4 free" in text
    assert "2.00 USD/h" in text
    assert "silent for an hour" in text


def test_the_fleet_says_what_runs_and_what_starts_next(page):
    text = page.text("/")
    runs, starts = text.index('id="running"'), text.index('id="next"')
    assert runs < text.index(">runs</a>", runs) < starts < text.index(">waits</a>", starts)


def test_the_time_line_draws_what_waits_what_runs_and_the_baseline(page):
    text = page.text("/timeline")
    for kind in ("waiting", "planned", "running", "ghost"):
        assert f'class="bar {kind}"' in text
    assert 'class="expected" d="M' in text
    assert "Expected to save 738 g (92 %) beside us-east-2" in text


def test_jobs_are_filtered_sorted_and_counted(page):
    assert "1 of 6 jobs" in page.text("/jobs?q=three+hours")
    assert "2 of 6 jobs" in page.text("/jobs?q=team-a/s")
    assert "1 of 6 jobs" in page.text("/jobs?namespace=team-b")
    assert "None of the 6 jobs is like that" in page.text("/jobs?q=nothing+like+it")
    text = page.text("/jobs?sort=carbon&order=down")
    assert text.index("blocked") < text.index(">waits</a>")


def test_a_jobs_page_says_why_how_far_and_what_it_used(page):
    text = page.text("/jobs/team-a/runs")
    assert "Trains on no-osl-1." in text
    assert "Step 30 of 60" in text
    assert "738 g more" in text
    assert "Cost against carbon" in text
    assert "Validation loss" in text
    assert 'href="https://git.example.org/fleet/commit/0123456789abcdef0123456789abcdef"' in text
    assert "carbonfleet logs -f team-a/runs" in text


def test_sweeps_have_a_leaderboard_and_their_loss_against_carbon(page):
    assert "sweep-2, loss 1.25" in page.text("/sweeps")
    text = page.text("/sweeps/team-a/small")
    board = text.index('id="board"')
    assert text.index(">sweep-2</a>", board) < text.index(">sweep-1</a>", board)
    assert "Loss against carbon" in text


def test_savings_are_by_month_team_and_model(page):
    text = page.text("/savings")
    assert "2026-01" in text
    assert "team-b" in text
    assert "carbonfleet/tiny-qwen2" in text
    assert "jobs that were deleted" in text


def test_a_proposal_says_what_merging_means_until_when_and_where(page):
    text = page.text("/proposals")
    assert 'href="https://git.example.org/fleet/pulls/7"' in text
    assert "the placement is committed to Git" in text
    assert "Good until" in text
    assert "No spoke can take the job." in text


def test_a_page_that_has_not_changed_is_not_sent_again(page):
    first = page.get("/jobs")
    tag = first.headers["ETag"]
    again = page.get("/jobs", **{"If-None-Match": tag})
    assert again.status_code in (200, 304)
    if again.status_code == 304:
        assert again.content == b""
    assert page.get("/jobs", **{"If-None-Match": '"another"'}).status_code == 200
