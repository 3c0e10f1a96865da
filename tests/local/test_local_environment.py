"""The file by which a shell finds a running stack."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from carbonfleet.clock import VARIABLE, Clock
from carbonfleet.local.stack import Stack, StackSettings

SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def test_a_shell_that_reads_it_has_the_stacks_clock_address_and_commands(tmp_path):
    clock = Clock.starting_at(datetime(2025, 12, 16, 1, tzinfo=UTC), 240)
    stack = Stack(StackSettings(tmp_path / "it's $HOME", clock, tmp_path / "signals.yaml"))
    stack.git_url = "http://127.0.0.1:1/fleet.git"
    stack.write_environment()
    assert stack.environment.stat().st_mode & 0o777 == 0o600
    command = [sys.executable, "-c", SHOW]
    read = ["sh", "-c", '. "$0" && exec "$@"', str(stack.environment), *command]
    found = json.loads(subprocess.run(read, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert {name: found[name] for name in ("KUBECONFIG", "CARBONFLEET_FLEET_URL", VARIABLE)} == {
        "KUBECONFIG": str(stack.kubeconfig),
        "CARBONFLEET_FLEET_URL": stack.git_url,
        VARIABLE: clock.encode(),
    }
    assert found["CARBONFLEET_FLEET_TOKEN_FILE"] == str(stack.git_token)
    assert found["CARBONFLEET_SIGNALS"] == str(tmp_path / "signals.yaml")
    assert found["CARBONFLEET_LEDGER"] == str(tmp_path / "it's $HOME" / "hub" / "ledger.sqlite")
    assert found["PATH"].split(":")[0] == str(Path(sys.executable).parent)
