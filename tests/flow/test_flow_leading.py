"""A leader whose requests hang: it is gone before the next one leads, whatever it was doing."""

from carbonfleet.api.job_status import Phase
from fixtures.hub_process import begin, clock_of, open_house
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
    house = open_house(tmp_path / "house", own_api, clock_of(own_api))
    through = tmp_path / "kubeconfig"
    write_kubeconfig(through, f"https://127.0.0.1:{proxy.port}", own_api.token, certificate=own_api.certificate)
    house.options = ("--lease-seconds", "10")
    first = house.add_hub("hub", "--kubeconfig", str(through), identity="")
    try:
        begin(house)
        eventually(lambda: "leading as" in house.log("hub"))
        second = house.add_hub("second", identity="")
        second.start()
        eventually(lambda: "Standby: " in house.log("second"))
        house.git.hook("pre-receive", HELD)
        house.submit("held")
        eventually(lambda: (house.git.repository / "held").exists())
        proxy.is_silent = True
        eventually(lambda: "leading as" in house.log("second"))
        assert not first.is_alive
        assert "ending at once, so that two hubs never lead" in house.log("hub")
        (house.git.repository / "opened").touch()
        house.wait("held", Phase.SUCCEEDED)
        eventually(lambda: house.changes("held") == ["place 1", "remove 1"])
        assert house.spokes.violations == []
    finally:
        (house.git.repository / "opened").touch()
        house.close()
        house.git.stop()
        proxy.close()
