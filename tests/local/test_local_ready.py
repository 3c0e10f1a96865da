"""The embedded API's ready file is a promise: everything else is in its place."""

import subprocess
import sys


def test_the_ready_file_is_not_written_before_the_kubeconfig(tmp_path):
    ready, kubeconfig = tmp_path / "ready", tmp_path / "kubeconfig"
    kubeconfig.mkdir()  # can't be written
    command = [sys.executable, "-m", "kubeapi", "--state", str(tmp_path / "api"), "--port", "0"]
    options = ["--plain-http", "--ready-file", str(ready), "--kubeconfig", str(kubeconfig)]
    done = subprocess.run([*command, *options], capture_output=True, timeout=180, check=False)
    assert done.returncode != 0
    assert not ready.exists()
