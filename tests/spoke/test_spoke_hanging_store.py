"""An output that hangs, as on a network store without its server, is waited for once and silences nobody."""

import json
import os
import threading

from carbonfleet.spoke import RayJobs, RaySettings
from carbonfleet.spoke.runtimes.output import OutputReads
from fixtures.hand_clock import HandClock
from fixtures.kubeapi_server import eventually

SECONDS = 0.2
"""That a read is waited for here."""


def jobs(tmp_path):
    settings = RaySettings(directory=tmp_path, store=tmp_path, datasets=tmp_path, models=tmp_path)
    return RayJobs("no-osl-1", settings, HandClock(), _reads=OutputReads(SECONDS))


def look(runtime, folder):
    return runtime.look(folder.name, "ml", 1, str(folder), is_over=False)


def test_an_output_that_hangs_is_named_and_harms_no_other(tmp_path):
    hangs, answers = tmp_path / "hangs", tmp_path / "answers"
    for folder in (hangs, answers):
        folder.mkdir()
        (folder / "progress.json").write_text(json.dumps({"attempt": 1, "step": 3, "total_steps": 10}))
    os.mkfifo(hangs / "metrics.json")  # opening it waits until somebody writes
    runtime = jobs(tmp_path)
    assert look(runtime, hangs).warning == f"its output at {hangs} does not answer: see that the store can be read"
    assert look(runtime, answers).progress.step == 3
    before = threading.active_count()
    for _ in range(50):
        assert look(runtime, hangs).progress is None
    assert threading.active_count() == before, "a read that hangs is not begun anew"
    (hangs / "metrics.json").write_text("")  # the store is back
    eventually(lambda: look(runtime, hangs).progress is not None)
    assert look(runtime, answers).progress.step == 3
