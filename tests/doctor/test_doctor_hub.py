"""`carbonfleet doctor` beside a hub that leads: all is well; then one thing after another is not, and is mended."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.kube import ours
from fixtures.forge_server import Injected
from fixtures.http_server import HttpServer, QuietHandler
from fixtures.installed_hub import SYSTEM, InstalledHub, installed_hub
from fixtures.kubeapi_server import eventually
from fixtures.printed_steps import follow
from fixtures.rendered import apply, kubeconfig_of

LINES = [
    "kubernetes api",
    "rights",
    "crd carbontrainingjobs",
    "crd carbontrainingschedules",
    "crd spokeclusters",
    "crd trainingreports",
    "lease",
    "git",
    "fleet files",
    "git push",
    "signing key",
    "signatures",
    "signers of spokes",
    "forge",
    "branch rules",
    "signal CA-QC",
    "signal NO-NO1",
    "signal US-MIDA-PJM",
    "state folder",
    "ledger",
    "clock of kubernetes",
    "clock of git",
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[InstalledHub]:
    """Each test leaves it as it was."""
    with installed_hub(tmp_path_factory.mktemp("hub")) as found:
        yield found


def states(found) -> dict[str, list[str]]:
    """The lines that are not ok."""
    said: dict[str, list[str]] = {}
    for name, line in found.items():
        if line["state"] != "ok":
            said.setdefault(line["state"], []).append(name)
    return said


def test_a_healthy_hub_is_ok_in_every_line(hub):
    code, found = hub.doctor()
    assert (code, list(found), states(found)) == (0, LINES, {})
    assert [line["advice"] for line in found.values()] == [""] * len(LINES)
    assert [ref for ref in hub.git.git("for-each-ref", "--format=%(refname)").split() if "doctor" in ref] == []


@contextmanager
def replaced(file: Path, text: str) -> Iterator[None]:
    """Another text in a file that processes read by its name."""
    before, mode = file.read_text(), file.stat().st_mode
    file.chmod(0o600)
    file.write_text(text)
    yield
    file.write_text(before)
    file.chmod(mode)


@contextmanager
def a_token_that_the_api_refuses(hub):
    file = Path(hub.environment["KUBECONFIG"])
    wrong = hub.root / "wrong-kubeconfig"
    wrong.write_text(file.read_text().replace(hub.secrets[-1], "nobody"))
    yield {"KUBECONFIG": str(wrong)}, "a token that it takes"


@contextmanager
def a_right_less(hub):
    rules = hub.kube.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/carbonfleet-hub")
    for rule in rules["rules"]:
        if "carbontrainingjobs/status" in rule["resources"]:
            rule["verbs"].remove("patch")
    hub.kube.replace("/apis/rbac.authorization.k8s.io/v1/clusterroles/carbonfleet-hub", rules)
    yield {}, "--server-side --force-conflicts"
    apply(hub.api, hub.objects, "--force-conflicts")


@contextmanager
def a_definition_of_another_version(hub):
    where = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trainingreports.carbonfleet.dev"
    definition = hub.kube.get(where)
    del definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["attempt"]
    hub.kube.replace(where, definition)
    yield {}, "--server-side --force-conflicts"
    apply(hub.api, hub.objects, "--force-conflicts")


@contextmanager
def no_hub_that_leads(hub):
    hub.process.stop()
    yield {}, "kubectl -n carbonfleet-system logs deploy/carbonfleet-hub"
    hub.restart()


@contextmanager
def a_hub_that_died_long_ago(hub):
    hub.process.stop()
    where = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/carbonfleet-hub-leader"
    dead = {"holderIdentity": "dead", "renewTime": "2026-01-01T00:00:00.000000Z"}
    hub.kube.patch(where, {"spec": dead})
    yield {}, "kubectl -n carbonfleet-system logs deploy/carbonfleet-hub"
    hub.kube.patch(where, {"spec": {"holderIdentity": ""}})
    hub.restart()


@contextmanager
def another_hub_of_the_same_namespaces(hub):
    hub.process.stop()
    hub.kube.create("/api/v1/namespaces", {"metadata": {"name": "carbonfleet-other"}})
    leases = "/apis/coordination.k8s.io/v1/namespaces/carbonfleet-other/leases"
    metadata = {"name": "carbonfleet-hub-leader", "annotations": {"carbonfleet.dev/job-namespaces": "team-a"}}
    hub.kube.create(leases, {"metadata": metadata, "spec": {"holderIdentity": "other"}})
    yield {}, "give each hub namespaces of its own by --job-namespaces"
    hub.kube.delete(f"{leases}/carbonfleet-hub-leader")
    hub.restart()


@contextmanager
def a_token_that_git_refuses(hub):
    with replaced(hub.file("CARBONFLEET_FLEET_TOKEN_FILE"), "wrong"):
        yield {}, "token or key"


@contextmanager
def a_git_server_that_is_away(hub):
    hub.git.stop()
    yield {}, "address, branch"
    hub.git.start()


@contextmanager
def a_branch_that_is_not_there(_hub):
    yield {"CARBONFLEET_FLEET_BRANCH": "production"}, "branch"


def pushed(hub, subject: str, *options: str, **files: str) -> None:
    """A person's commit, which the hub's clone may see or not."""
    work = hub.checkout()
    for name, text in files.items():
        (work.path / "policies" / f"{name}.yaml").write_text(text)
    work.run("add", "--all")
    work.run(*options, "commit", "--quiet", "-m", subject)
    work.push_head()


@contextmanager
def undone(hub) -> Iterator[None]:
    """What follows is taken back by a signed commit that makes everything what it was."""
    before = hub.git.git("rev-parse", "main")
    yield
    work = hub.checkout()
    work.run("read-tree", "-u", "--reset", before)
    work.run("commit", "--quiet", "-m", "Take it back")
    work.push_head()


@contextmanager
def a_policy_that_nobody_can_read(hub):
    with undone(hub):
        pushed(hub, "Break it", broken="kind: FleetPolicy\nspec: {nonsense: 1}\n")
        yield {}, "carbonfleet policy check"


@contextmanager
def a_change_that_nobody_signed_below_one_that_is(hub):
    with undone(hub):
        policy = (hub.checkout().path / "policies" / "tiers.yaml").read_text()
        pushed(hub, "Unsigned", "-c", "commit.gpgsign=false", tiers=policy.replace("24h", "23h"))
        pushed(hub, "Signed", tiers=policy.replace("24h", "22h"))
        yield {}, "take that commit back"


@contextmanager
def a_person_s_change_where_the_hub_alone_signs(hub):
    """The overlay without `trusting`: a clone of one's own would be taken as it is, the hub's is not."""
    with undone(hub):
        policy = (hub.checkout().path / "policies" / "tiers.yaml").read_text().replace("24h", "21h")
        pushed(hub, "Signed by a person", tiers=policy)
        yield {"CARBONFLEET_ALLOWED_SIGNERS": hub.environment["CARBONFLEET_SIGNING_KEY"]}, "take that commit back"


@contextmanager
def a_branch_that_was_rewritten(hub):
    """The clone of the hub has looked at what is not on the branch any more."""
    state = hub.root / "rewritten"
    work = hub.checkout()
    work.run("commit", "--quiet", "--allow-empty", "-m", "Lost")
    work.run("clone", "--quiet", "--bare", str(work.path), str(state / "fleet.git"))
    work.run("-C", str(state / "fleet.git"), "update-ref", "refs/carbonfleet/trusted", "HEAD")
    yield {"CARBONFLEET_STATE": str(state)}, f"take {state / 'fleet.git'} away while nothing uses it"


@contextmanager
def a_server_that_takes_no_push(hub):
    hub.git.hook("pre-receive", "echo this repository is read-only >&2; exit 1")
    yield {}, "the right to write"
    hub.git.unhook("pre-receive")


@contextmanager
def signers_that_do_not_know_the_hub(hub):
    file = hub.file("CARBONFLEET_ALLOWED_SIGNERS")
    with replaced(file, file.read_text().splitlines()[1] + "\n"):
        yield {}, "put its public half as hub@carbonfleet.dev into the allowed signers"


@contextmanager
def a_key_with_a_passphrase(hub):
    with replaced(hub.file("CARBONFLEET_SIGNING_KEY"), "no key\n"):
        yield {}, "without a passphrase"


@contextmanager
def a_spoke_that_does_not_know_the_hub(hub):
    where = ours("spokeclusters", name="ca-qc-1", subresource="status")
    hub.kube.patch(where, {"status": {"problems": ["UnsignedCommit: 123 is not signed by a key in /x"]}})
    public = (hub.root / "hub.pub").read_text().split()[1]
    yield {}, f'carbonfleet-hub-signers: hub@carbonfleet.dev namespaces="git" ssh-ed25519 {public}'
    hub.kube.patch(where, {"status": {"problems": []}})


@contextmanager
def a_token_that_the_forge_refuses(hub):
    with replaced(hub.file("CARBONFLEET_FORGE_TOKEN_FILE"), "wrong"):
        yield {}, "token as the forge has"


@contextmanager
def a_repository_that_the_forge_does_not_know(hub):
    hub.forge.choose = lambda _method, path: Injected(404, {"message": "Not Found"}) if "/repos/" in path else None
    yield {}, "address, repository"
    hub.forge.choose = lambda _method, _path: None


@contextmanager
def a_token_that_may_only_read_on_the_forge(hub):
    hub.forge.may_write = False
    yield {}, "the right to write"
    hub.forge.may_write = True


@contextmanager
def a_branch_without_rules(hub):
    hub.forge.is_protected = False
    yield {}, "protect the branch main"
    hub.forge.is_protected = True


@contextmanager
def a_zone_that_no_source_serves(hub):
    trace = hub.signals()
    without = "".join(line for line in trace.read_text().splitlines(keepends=True) if ",CA-QC," not in line)
    with replaced(trace, without):
        yield {}, "carbonfleet signals check"


@contextmanager
def a_state_folder_that_can_not_be(hub):
    file = hub.root / "a-file"
    file.write_text("")
    yield {"CARBONFLEET_STATE": str(file)}, "--state"


@contextmanager
def a_ledger_that_is_none(hub):
    state = hub.root / "other-state"
    state.mkdir(exist_ok=True)
    (state / "ledger.sqlite").write_text("these are notes of somebody, and no database" * 100)
    yield {"CARBONFLEET_STATE": str(state)}, "rights, room, address"


@contextmanager
def a_database_that_is_away(_hub):
    yield {"CARBONFLEET_LEDGER_URL": "postgresql+psycopg://me:hunter2@127.0.0.1:1/ledger"}, "--ledger-url"


@contextmanager
def a_git_server_whose_clock_is_ahead(hub):
    hub.git.ahead_seconds = 360
    yield {}, "NTP"
    hub.git.ahead_seconds = 0


@contextmanager
def an_api_whose_clock_is_behind(hub):
    class Behind(QuietHandler):
        def respond(self) -> None:
            headers = {name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers}
            url, verify = hub.api.url + self.path, str(hub.api.certificate)
            given = requests.request(
                self.command, url, data=self.body(), headers=headers, verify=verify, timeout=60, stream=True
            )
            self.answer(given.status_code, given.content)

        def date_time_string(self, timestamp=None) -> str:
            return "Thu, 01 Jan 2026 00:00:00 GMT"

    server = HttpServer(Behind)
    config = kubeconfig_of(hub.api, SYSTEM, "carbonfleet-hub", hub.root / "behind", url=server.url)
    yield {"KUBECONFIG": str(config)}, "NTP"
    server.close()


FAULTS = [
    (a_token_that_the_api_refuses, ["kubernetes api"], True),
    (a_right_less, ["rights"], False),
    (a_definition_of_another_version, ["crd trainingreports"], False),
    (no_hub_that_leads, ["lease"], False),
    (a_hub_that_died_long_ago, ["lease"], False),
    (another_hub_of_the_same_namespaces, ["lease"], False),
    (a_token_that_git_refuses, ["git"], True),
    (a_git_server_that_is_away, ["git"], True),
    (a_branch_that_is_not_there, ["git", "forge"], True),
    (a_policy_that_nobody_can_read, ["fleet files"], False),
    (a_change_that_nobody_signed_below_one_that_is, ["signatures"], False),
    (a_person_s_change_where_the_hub_alone_signs, ["signatures"], False),
    (a_branch_that_was_rewritten, ["signatures"], False),
    (a_server_that_takes_no_push, ["git push"], False),
    (signers_that_do_not_know_the_hub, ["signing key"], False),
    (a_key_with_a_passphrase, ["signing key"], False),
    (a_spoke_that_does_not_know_the_hub, ["signers of spokes"], False),
    (a_token_that_the_forge_refuses, ["forge"], False),
    (a_repository_that_the_forge_does_not_know, ["forge"], False),
    (a_token_that_may_only_read_on_the_forge, ["forge"], False),
    (a_branch_without_rules, ["branch rules"], False),
    (a_zone_that_no_source_serves, ["signal CA-QC"], False),
    (a_state_folder_that_can_not_be, ["state folder"], False),
    (a_ledger_that_is_none, ["ledger"], False),
    (a_database_that_is_away, ["ledger"], False),
    (a_git_server_whose_clock_is_ahead, ["clock of git"], False),
    (an_api_whose_clock_is_behind, ["clock of kubernetes"], False),
]
"""What breaks, which lines say so, and whether others can't be told then."""


@pytest.mark.parametrize(("fault", "lines", "hides"), FAULTS, ids=lambda each: getattr(each, "__name__", None))
def test_one_thing_that_is_missing_is_one_line_whose_advice_mends_it(hub, fault, lines, hides):
    with fault(hub) as (changed, advice):
        code, found = hub.doctor(**changed)
        said = states(found)
        assert (code, said.get("missing"), "unknown" in said) == (1, lines, hides), found
        for line in lines:
            assert advice in found[line]["advice"]
        assert "hunter2" not in json.dumps(found)
    eventually(lambda: hub.doctor()[0] == 0)


def test_the_command_of_an_advice_gives_rights_and_definitions_back(hub):
    """As somebody would lose both: by another release's manifests."""
    with a_right_less(hub), a_definition_of_another_version(hub):
        code, found = hub.doctor()
        assert (code, states(found)["missing"]) == (1, ["rights", "crd trainingreports"])
        follow(found["rights"]["advice"], {"URL": "https://git.example.org/fleet.git"}, hub.root, hub.api.kubeconfig)
        assert hub.doctor()[0] == 0


def test_the_text_has_a_line_for_each_and_what_to_do_beneath_and_a_sum(hub):
    with a_branch_without_rules(hub):
        done = CliRunner().invoke(app, ["doctor"], env=dict(hub.environment))
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[-1] == f"{len(LINES)} checks: {len(LINES) - 1} ok, 1 missing, 0 unknown"
    at = next(index for index, line in enumerate(lines) if line.startswith("missing branch rules"))
    assert lines[at + 1].strip().startswith("do: protect the branch main")


def test_settings_that_can_not_be_used_end_it_with_2():
    done = CliRunner().invoke(app, ["doctor", "--fleet-url", "/srv/fleet.git"])
    assert (done.exit_code, len(done.output.splitlines())) == (2, 1)
