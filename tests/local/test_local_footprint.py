"""What a process and its children hold is counted together."""

import os
import subprocess
import sys

from carbonfleet.local.footprint import Footprint

HOLD = "import sys; block = bytearray(b'x' * 80_000_000); print('held', flush=True); sys.stdin.read()"


def test_the_memory_of_a_child_is_counted_with_its_parent_s():
    alone = Footprint(os.getpid())
    alone.look()
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"held\n"
        together = Footprint(os.getpid())
        together.look()
        child.stdin.close()
    assert together.peak_bytes > alone.peak_bytes + 70_000_000
