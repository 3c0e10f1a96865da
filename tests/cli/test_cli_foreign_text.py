"""What others wrote, on a person's terminal: shown, never obeyed."""

import yaml
from typer.testing import CliRunner

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.report import ReportSpec
from carbonfleet.api.wire import shown
from carbonfleet.cli import app
from fixtures.hub_process import job_body

EVIL = "\x1b[2J\x1b[31mALL JOBS FAILED\x1b]0;pwned\x07 <script>\u202e\x9b2J\r\n"


def test_control_characters_are_shown_one_for_one():
    seen = shown(EVIL)
    assert seen == "␛[2J␛[31mALL JOBS FAILED␛]0;pwned␇ <script>��2J␍\n"
    assert len(seen) == len(EVIL)
    assert shown("Grüße, 東京\tà\n") == "Grüße, 東京\tà\n"


def test_no_message_of_a_job_or_report_steers_a_terminal():
    body = job_body("esc", "team-a") | {"status": {"phase": "Failed", "summary": EVIL}}
    job = CarbonTrainingJob.model_validate(body)
    assert "\x1b" not in job.status.summary
    said = {"spoke": "a", "job": {"namespace": "n", "name": "j", "uid": "u"}, "placementId": "a" * 16, "attempt": 1}
    more = {"pool": "p", "gpus": 1, "phase": "Failed", "observedAt": "2026-01-31T12:00:00Z", "message": EVIL}
    assert "\x1b" not in ReportSpec.model_validate(said | more).message


def test_names_that_can_not_become_a_placement_are_told_before_they_are_applied(tmp_path):
    file = tmp_path / "job.yaml"
    for name, code in {"llama-3.1-8b": 1, "a" * 64: 1, "Qwen2.5": 1, "qwen_coder": 1, "a" * 63: 0}.items():
        file.write_text(yaml.safe_dump(job_body(name, "team-a")))
        done = CliRunner().invoke(app, ["validate", str(file)])
        assert done.exit_code == code, name
        assert ("at most 63 lower-case letters, digits and dashes" in done.output) is bool(code)
