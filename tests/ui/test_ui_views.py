"""What each view says of a fleet, over HTTP, from a hub's objects, ledger and grid."""

import re

import pytest
from served_page import Page, fill

from fixtures.kubeapi_server import eventually


@pytest.fixture(scope="module")
def page(hub):
    """Three spokes, a job in each state that matters, a sweep, and a ledger of two months."""
    fill(hub)
    served = Page(hub.api.kubeconfig, hub.folder, "--fleet-web", "https://git.example.org/fleet")
    try:
        served.shows("sweep-1", "/jobs")
        served.shows("g/kWh", "/timeline")
        served.shows("emitted", "/savings")
        yield served
    finally:
        served.stop()


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
    assert text.count('class="band" d="M') == 3
    assert "Expected to save 738 g (92 %) beside us-east-2" in text


def test_the_time_line_draws_past_pauses_and_moves_as_the_archived_report_tells_them(page):
    text = page.text("/timeline")
    zones = dict(zip(("CA-QC", "NO-NO1"), text.split("<section")[1:3], strict=True))
    lanes = {zone: part.partition("team-a/went, ")[2].partition("</a>")[0] for zone, part in zones.items()}
    kinds = {zone: re.findall(r'class="bar (\w+)"', lane) for zone, lane in lanes.items()}
    assert kinds == {"CA-QC": ["done"], "NO-NO1": ["ran", "paused", "moved"]}


def test_jobs_are_filtered_sorted_and_counted(page):
    assert "1 of 7 jobs" in page.text("/jobs?q=three+hours")
    assert "2 of 7 jobs" in page.text("/jobs?q=team-a/s")
    assert "1 of 7 jobs" in page.text("/jobs?namespace=team-b")
    assert "None of the 7 jobs is like that" in page.text("/jobs?q=nothing+like+it")
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
    def again():
        return page.get("/jobs", **{"If-None-Match": page.get("/jobs").headers["ETag"]})

    unchanged = eventually(lambda: (answer := again()).status_code == 304 and answer)
    assert unchanged.content == b""
    assert page.get("/jobs", **{"If-None-Match": '"another"'}).status_code == 200
