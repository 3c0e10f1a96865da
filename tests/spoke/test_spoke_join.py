"""What `carbonfleet spoke join` prints can be used as it is."""

import base64
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.fleet.git import read_cluster
from carbonfleet.kube import TOKEN_SECONDS, Kube, ours
from carbonfleet.spoke.join import cluster_file, join_text, site_of_region
from fixtures.forge_server import ForgeServer
from fixtures.git_server import HttpGitServer
from fixtures.printed_steps import commands, shell

FILLED = {"<europe-north1>": "europe-north1", "<NO-NO1>": "NO-NO1", "<NO>": "NO", "<EEA>": "EEA"}
FILLED |= {"<a100>": "a100", "<A100>": "A100", "<8>": "8", "<80>": "80", "<2.5>": "2.5"}


def carbonfleet(*arguments):
    """The command in this process, which has loaded all that it needs."""
    done = CliRunner().invoke(app, [*arguments])
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


@pytest.mark.parametrize("runtime", ["ray", "kuberay"])
def test_the_cluster_file_is_valid_once_its_blanks_are_filled(runtime):
    text = cluster_file("de-fra-1", runtime)
    for blank, value in FILLED.items():
        text = text.replace(blank, value)
    facts = read_cluster("clusters/de-fra-1/cluster.yaml", text.encode())
    assert (facts.name, facts.zone, facts.runtime.value) == ("de-fra-1", "NO-NO1", runtime)
    assert facts.jurisdictions == ("NO", "EEA")


@pytest.mark.parametrize(
    ("region", "areas"),
    [("eu-north-1", '["<SE>", "<EU>", "<EEA>"]'), ("us-east-2", '["<US>"]'), ("ca-central-1", '["<CA>"]')],
)
def test_the_legal_areas_that_are_suggested_are_those_of_the_zone(region, areas):
    assert f"jurisdictions: {areas}\n" in cluster_file("any", "ray", site_of_region(region))


@pytest.mark.parametrize("runtime", ["ray", "kuberay"])
def test_the_whole_text_applies(kube_api, runtime):
    applied = kube_api.kubectl("apply", "-f", "-", stdin=join_text("de-fra-1", runtime))
    assert applied.returncode == 0, applied.stderr
    assert applied.stdout.count("created") == 7


def test_the_printed_commands_make_a_kubeconfig_whose_token_lives_two_days_and_is_renewed(kube_api, tmp_path):
    """Followed by a shell with the real kubectl, and the agent's connection goes on with what the timer wrote."""
    crds = Path(__file__).parents[2] / "crds"
    assert kube_api.kubectl("apply", "-f", str(crds / "trainingreport.yaml")).returncode == 0
    assert kube_api.kubectl("apply", "-f", "-", stdin=join_text("de-fra-1", "ray")).returncode == 0
    made, renewed = [
        line for line in commands(join_text("de-fra-1", "ray"), 2) if line.startswith("carbonfleet spoke renew")
    ]
    shell([made], tmp_path, kube_api.kubeconfig)
    first = _token(tmp_path / "hub.kubeconfig")
    claims = json.loads(base64.urlsafe_b64decode(first.partition(".")[0]))
    assert timedelta(hours=47) < datetime.fromtimestamp(claims["exp"], UTC) - datetime.now(UTC) <= timedelta(hours=48)

    seconds = [0.0]
    kube = Kube.connect(tmp_path / "hub.kubeconfig", lambda: seconds[0])
    assert kube.list(ours("trainingreports", "spoke-de-fra-1"))[0] == []
    shell([renewed.partition(" && scp")[0]], tmp_path, kube_api.kubeconfig)
    assert _token(tmp_path / "hub.kubeconfig") != first
    seconds[0] += TOKEN_SECONDS
    assert kube.list(ours("trainingreports", "spoke-de-fra-1"))[0] == []


def _token(kubeconfig):
    return yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]


def test_the_command_prints_the_text():
    printed = carbonfleet("spoke", "join", "de-fra-1", "--runtime", "ray")
    assert printed.returncode == 0
    assert printed.stdout == join_text("de-fra-1", "ray")
    kinds = [document["kind"] for document in yaml.safe_load_all(printed.stdout) if document]
    rights = ["Role", "RoleBinding", "ResourceQuota", "ClusterRole", "ClusterRoleBinding"]
    assert kinds == ["Namespace", "ServiceAccount", *rights]


@pytest.mark.parametrize("name", ["", "A", "a b", "a\nkind: Secret", "../x", "x" * 58])
def test_an_unfit_name_is_refused(name):
    with pytest.raises(ValidationError):
        join_text(name, "ray")


def test_the_command_refuses_an_unfit_name_in_one_line():
    refused = carbonfleet("spoke", "join", "../x")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "is not a cluster's name" in refused.stderr


def test_bad_settings_end_the_agent_with_one_clear_line(tmp_path):
    refused = carbonfleet("spoke", "run", "--spoke", "a", "--fleet-url", "file:///x", "--state", str(tmp_path))
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: url: ")


@pytest.mark.parametrize(
    ("options", "zone", "pue", "hint"),
    [
        (["--region", "eu-central-1"], "DE", 1.35, "region eu-central-1 draws from DE"),
        (["--city", "oslo"], "NO-NO1", 1.2, "Oslo draws from NO-NO1"),
        (["--city", "SAO PAULO"], "BR-CS", 1.2, "São Paulo draws from BR-CS"),
        (["--at", "50.45,12.4"], "DE", 1.2, "Falkenstein, 4 km away, draws from DE"),
        (["--at=-33.9,151.2"], "AU-NSW", 1.2, "Sydney, 3 km away, draws from AU-NSW"),
    ],
)
def test_a_place_suggests_the_zone_which_a_person_confirms(options, zone, pue, hint):
    printed = carbonfleet("spoke", "join", "here-1", "--runtime", "ray", *options).stdout
    assert hint in printed
    lines = [line.removeprefix("#      ") for line in printed.splitlines()]
    first = lines.index("apiVersion: v1")
    text = "\n".join(lines[first : lines.index("#", first)]) + "\n"
    with pytest.raises(ValueError, match="zone"):
        read_cluster("clusters/here-1/cluster.yaml", text.replace("<8>", "8").replace("<80>", "80").encode())
    filled = text.replace("<", "").replace(">", "")
    facts = read_cluster("clusters/here-1/cluster.yaml", filled.encode())
    assert (facts.zone, facts.pue) == (zone, pue)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--region", "europe-west33"], "'europe-west33' is not in the table; there is europe-west"),
        (["--city", "Ohslo"], "'Ohslo' is not in the table; there is Oslo"),
        (["--city", "\x1b[31m"], "is not in the table"),
        (["--at", "0,0"], "too far to tell the zone: look it up at https://app.electricitymaps.com/map"),
        (["--at", "91,0"], "'91,0' is no place"),
        (["--at", "nan,nan"], "is no place"),
        (["--at", "north"], "is no place"),
        (["--city", "Oslo", "--at", "1,1"], "give one of --region, --city and --at"),
    ],
)
def test_a_place_that_tells_no_zone_gets_a_sentence(options, words):
    done = carbonfleet("spoke", "join", "here-1", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "\x1b" not in done.stderr


@pytest.fixture
def fleet(tmp_path, monkeypatch) -> Path:
    """A new fleet repository."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@acme.example")
    done = carbonfleet("fleet", "init", str(tmp_path / "fleet"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "fleet"


def test_the_cluster_file_is_committed_to_a_branch_of_its_own_for_review(fleet):
    done = carbonfleet("spoke", "join", "de-fra-1", "--region", "eu-central-1", "--fleet", str(fleet))
    assert done.returncode == 0, done.stderr
    assert f"carbonfleet validate {fleet}/clusters/de-fra-1/cluster.yaml" in done.stderr

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=fleet, capture_output=True, text=True, check=True).stdout

    assert git("log", "--format=%an %s", "main..join/de-fra-1") == "Ada Join de-fra-1\n"
    assert git("diff", "--name-only", "main", "join/de-fra-1") == "clusters/de-fra-1/cluster.yaml\n"
    written = (fleet / "clusters/de-fra-1/cluster.yaml").read_text()
    assert written == cluster_file("de-fra-1", "kuberay", site_of_region("eu-central-1"))
    again = carbonfleet("spoke", "join", "de-fra-1", "--fleet", str(fleet))
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


def test_a_folder_that_is_no_fleet_repository_is_left_alone(tmp_path):
    done = carbonfleet("spoke", "join", "de-fra-1", "--fleet", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "carbonfleet fleet init makes one" in done.stderr
    assert [*tmp_path.iterdir()] == []


def test_what_must_be_there_before_stands_first_and_an_overlay_is_named_where_it_is_given():
    text = join_text("de-fra-1", "kuberay", overlay="spokes/de-fra-1")
    assert text.index("KubeRay 1.6") < text.index("# 1. ")
    assert "kubectl apply --server-side -k spokes/de-fra-1\n" in text
    assert "carbonfleet install spoke de-fra-1 --fleet-url" in join_text("de-fra-1", "kuberay")


@pytest.mark.parametrize("kind", ["github", "gitlab", "gitea"])
def test_the_cluster_file_is_pushed_and_proposed_on_a_forge(fleet, kind, tmp_path):
    git, forge = HttpGitServer(tmp_path / "server"), ForgeServer(kind)
    git.start()
    try:
        where = git.url
        subprocess.run(["git", "remote", "add", "origin", where], cwd=fleet, check=True)
        (tmp_path / "token").write_text(forge.token)
        place = ["--forge-api", forge.url, "--forge-repository", "acme/fleet", "--forge-token-file"]
        asked = ["spoke", "join", "de-fra-1", "--fleet", str(fleet), "--forge", kind, *place, str(tmp_path / "token")]
        done = carbonfleet(*asked)
        assert done.returncode == 0, done.stderr
        [pull] = forge.pulls
        assert (pull.branch, pull.title) == ("join/de-fra-1", "Join de-fra-1")
        assert "Fill in what is in <angle brackets>" in pull.body
        assert "opened https://" in done.stderr
        files = git.git("ls-tree", "-r", "--name-only", "join/de-fra-1").splitlines()
        assert "clusters/de-fra-1/cluster.yaml" in files
    finally:
        git.stop()
        forge.stop()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--forge", "github"], "a pull request needs --fleet CHECKOUT"),
        (["--forge", "sourcehut", "--fleet", "."], "sourcehut is none of github, gitlab, gitea"),
    ],
)
def test_a_request_that_can_not_be_opened_is_refused_before_anything_is_written(options, words):
    done = carbonfleet("spoke", "join", "de-fra-1", *options)
    assert (done.returncode, done.stdout, words in done.stderr) == (2, "", True)
