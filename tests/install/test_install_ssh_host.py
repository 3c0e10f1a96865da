"""What `spoke up` is asked, whom it connects to, and which wheel it takes: all checked before anything is sent."""

import subprocess
import zipfile
from io import BytesIO

import pytest
import yaml
from pydantic import ValidationError

from carbonfleet.install import InstallError
from carbonfleet.install.ssh_host import SshAddress, UpSettings
from carbonfleet.install.ssh_host.ssh import SshError, SshHost
from carbonfleet.install.ssh_host.wheel import Wheel

KUBECONFIG = {
    "clusters": [{"name": "hub", "cluster": {"server": "https://hub.acme.example:6443"}}],
    "users": [{"name": "agent", "user": {"token": "let-me-in"}}],
}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://ubuntu@203.0.113.7", SshAddress("203.0.113.7", "ubuntu")),
        ("ssh://gpu-1.tail1234.ts.net:2222/", SshAddress("gpu-1.tail1234.ts.net", "", 2222)),
        ("ssh://Rented_Box", SshAddress("Rented_Box")),
        ("ssh://root@[2001:db8::7]:22", SshAddress("2001:db8::7", "root", 22)),
    ],
)
def test_an_address_is_a_name_that_ssh_knows(text, address):
    assert SshAddress.parse(text) == address
    assert SshAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "host",
        "ssh://",
        "ssh://-oProxyCommand=touch x",
        "ssh://-oProxyCommand=x",
        "ssh://a@-oProxyCommand=x",
        "ssh://-l@host",
        "ssh://user:secret@host",
        "ssh://host/path",
        "ssh://host:99999",
        "ssh://host:x",
        "ssh://ho st",
        "ssh://host;reboot",
        "ssh://$(reboot)@host",
        "ssh://host\nProxyCommand x",
        "ssh://host?x=1",
        "ssh://%h",
        "ssh://[::1%25eth0]",
        "http://host",
        "ssh://hóst",
        "ssh://a@b@c",
        "ssh://[",
    ],
)
def test_what_ssh_could_take_for_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="is no host: write ssh://USER@HOST"):
        SshAddress.parse(text)


@pytest.mark.parametrize("python", ["python3; reboot", "$(reboot)", "a b", "-c", "'x'", '"', "x\ny"])
def test_a_python_that_a_shell_would_read_otherwise_is_refused(python):
    host = SshHost(SshAddress("host.invalid"), python=python)
    with pytest.raises(SshError, match="is no path of a Python"):
        host.run(b"", {}, b"", lambda _: None, 60)


def test_a_name_that_nobody_has_is_said():
    with pytest.raises(SshError, match="no host has this name: see your SSH configuration, Tailscale, or the spelling"):
        SshHost(SshAddress("nobody.invalid")).run(b"", {}, b"", lambda _: None, 60)


def settings(tmp_path, config=KUBECONFIG, **given) -> UpSettings:
    file = tmp_path / "hub.kubeconfig"
    file.write_text(yaml.safe_dump(config))
    given = {"spoke": "de-fra-1", "fleet_url": "https://git.acme.example/fleet", "hub_kubeconfig": file} | given
    return UpSettings.load(given)


def test_files_are_sent_by_what_they_are_and_nothing_else_of_this_machine(tmp_path):
    (tmp_path / "token").write_text("read-only")
    given = settings(tmp_path, fleet_token_file=tmp_path / "token", hide_logs=True, state=tmp_path, store=tmp_path)
    assert given.files() == {"fleet_token_file": "read-only", "hub_kubeconfig": yaml.safe_dump(KUBECONFIG)}
    assert given.agent() == {"spoke": "de-fra-1", "fleet_url": "https://git.acme.example/fleet", "hide_logs": True}
    assert given.reach() == [("Git", "git.acme.example", 443), ("Hub", "hub.acme.example", 6443)]


@pytest.mark.parametrize(
    ("where", "key"),
    [
        ("cluster", "certificate-authority"),
        ("user", "client-certificate"),
        ("user", "tokenFile"),
        ("user", "exec"),
    ],
)
def test_a_kubeconfig_that_needs_more_of_this_machine_is_refused(tmp_path, where, key):
    config = yaml.safe_load(yaml.safe_dump(KUBECONFIG))
    config[f"{where}s"][0][where][key] = "x"
    with pytest.raises(ValueError, match=f"refers by {key} to what is on this machine alone"):
        settings(tmp_path, config).files()


@pytest.mark.parametrize("config", [{}, [], "x", {"clusters": 3, "users": []}, {"clusters": [], "users": []}])
def test_what_is_no_kubeconfig_is_refused(tmp_path, config):
    with pytest.raises(ValueError, match="is no kubeconfig: make one as `carbonfleet spoke join` says"):
        settings(tmp_path, config).reach()


@pytest.mark.parametrize("pools", ["sim", "sim=0", "sim=x", "Sim=1", "a=1,,b=2", "a=1;b=2"])
def test_simulated_pools_are_names_with_numbers(tmp_path, pools):
    with pytest.raises(ValidationError):
        settings(tmp_path, simulated=pools)


def test_a_spoke_without_a_hub_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="give the spoke's kubeconfig of the hub"):
        settings(tmp_path, hub_kubeconfig=None)


def test_only_a_wheel_of_carbonfleet_is_taken(tmp_path):
    other = tmp_path / "carbonfleet-1.0-py3-none-any.whl"
    other.write_text("no zip")
    with pytest.raises(InstallError, match="is no wheel of carbonfleet"):
        Wheel.read(other)


def test_a_checkout_builds_the_same_wheel_each_time(installed):
    assert Wheel.own().content == Wheel.own().content == installed.wheel.read_bytes()


def test_an_installed_carbonfleet_is_packed_into_the_wheel_that_it_came_from(installed, empty):
    pack = (
        "from pathlib import Path; from carbonfleet.install.ssh_host.wheel import Wheel; "
        "own = Wheel.own(); Path(own.name).write_bytes(own.content); print(own.content == Wheel.own().content)"
    )
    command = [str(installed.binaries / "python"), "-c", pack]
    done = subprocess.run(command, cwd=empty, env=installed.environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    packed = (empty / installed.wheel.name).read_bytes()
    assert _contents(packed) == _contents(installed.wheel.read_bytes())


def _contents(wheel: bytes) -> dict[str, bytes | set[bytes]]:
    """By name; of the record the lines, in whatever order."""
    with zipfile.ZipFile(BytesIO(wheel)) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    return {n: set(content.splitlines()) if n.endswith("RECORD") else content for n, content in found.items()}
