"""A leader whose requests hang: it is gone before the next one leads, whatever it was doing."""

from carbonfleet.api.job_status import Phase
from fixtures.hub_process import begin, clock_of, open_hub_stack
from fixtures.kubeapi_server import eventually
from fixtures.tcp_proxy import TcpProxy
from kubeapi import write_kubeconfig

HELD = """\
touch held
while [ ! -e opened ]; do sleep 0.1; done
"""


def test_a_leader_in_a_push_that_hangs_ends_before_the_next_hub_leads(own_api, tmp_path):
    proxy = TcpProxy(own_api.port)
    proxy.start()
    stack = open_hub_stack(tmp_path / "stack", own_api, clock_of(own_api))
    through = tmp_path / "kubeconfig"
    write_kubeconfig(through, f"https://127.0.0.1:{proxy.port}", own_api.token, certificate=own_api.certificate)
    stack.options = ("--lease-seconds", "10")
    first = stack.add_hub("hub", "--kubeconfig", str(through), identity="")
    try:
        begin(stack)
        eventually(lambda: "leading as" in stack.log("hub"))
        second = stack.add_hub("second", identity="")
        second.start()
        eventually(lambda: "Standby: " in stack.log("second"))
        stack.git.hook("pre-receive", HELD)
        stack.submit("held")
        eventually(lambda: (stack.git.repository / "held").exists())
        proxy.is_silent = True
        eventually(lambda: "leading as" in stack.log("second"))
        assert not first.is_alive
        assert "ending at once, so that two hubs never lead" in stack.log("hub")
        (stack.git.repository / "opened").touch()
        stack.wait("held", Phase.SUCCEEDED)
        eventually(lambda: stack.changes("held") == ["place 1", "remove 1"])
        assert stack.spokes.violations == []
    finally:
        (stack.git.repository / "opened").touch()
        stack.close()
        stack.git.stop()
        proxy.close()
