"""`hub run` with settings that can't be meant: one clear line before anything is opened."""

import pytest
from typer.testing import CliRunner

from carbonfleet.cli import app

RUN = ["hub", "run", "--fleet-url", "git://127.0.0.1:1/fleet.git", "--kubeconfig", "/nonexistent"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--webhook-address", "127.0.0.1:8081"], "webhooks come from a forge: say which with --forge"),
        (
            [
                *("--forge", "github", "--forge-repository", "a/b", "--forge-token-file", "t"),
                "--webhook-address",
                "a:1",
            ],
            "webhooks need a secret",
        ),
        (["--forge", "github", "--forge-repository", "a/b"], "the forge wants a token"),
        (["--admission-address", "127.0.0.1:9443", "--admission-tls", "/nonexistent"], "tls.crt is missing"),
        (["--fleet-url", "file:///srv/fleet.git"], "file:// and paths are refused"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_one_clear_line(tmp_path, options, says):
    done = CliRunner().invoke(app, [*RUN, "--state", str(tmp_path / "state"), *options])
    assert done.exit_code == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert not (tmp_path / "state").exists()
