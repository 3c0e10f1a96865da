"""With signing on, hub and agents follow what who may has signed, and the hub's signature vouches for nothing else."""

import gc
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from carbonfleet.clock import Clock
from carbonfleet.fleet import Repository, render
from carbonfleet.fleet.errors import HistoryUntrusted
from carbonfleet.fleet.git.trust import MOST_COMMITS
from carbonfleet.spoke.errors import SyncError
from carbonfleet.spoke.wanted import FleetFolder
from fixtures.fleet_values import CLOCK, facts_of, place, quick_settings
from fixtures.git_server import Checkout, GitServer

HUB, PAT = "hub@carbonfleet.dev", "pat@example.org"
POLICY, CLUSTER = "policies/default.yaml", "clusters/us-oh-1/cluster.yaml"


def key(folder: Path, name: str) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
    subprocess.run(command, check=True, timeout=120)
    return folder / name


@dataclass
class Fleet:
    """A fleet repository whose hub and people sign, its hub, one agent, and what Flux would do."""

    git: GitServer
    folder: Path
    person: Checkout

    def __post_init__(self) -> None:
        self.keys = {name: key(self.folder, name) for name in ("hub", "pat", "stranger", "new-hub")}
        self.signers = self.folder / "allowed_signers"
        self.allow(hub=HUB, pat=PAT)
        self.hub = self.hub_of("hub")
        self.agent = self.agent_of("agent")
        self.hub.publish([place("llama", "us-oh-1")])
        assert self.agent.fetch().commit == self.tip

    def allow(self, **principals: str) -> None:
        lines = (
            f"{who} {self.keys[name.replace('_', '-')].with_suffix('.pub').read_text()}"
            for name, who in principals.items()
        )
        self.signers.write_text("".join(lines))

    def hub_of(self, key_name: str, folder: str = "hub-clone") -> Repository:
        """A hub that takes the repository as it first sees it."""
        signing = {"signing_key": self.keys[key_name], "allowed_signers": self.signers}
        if not (self.folder / folder).exists():  # the seed is nobody's word: the first hub begins with it
            first = quick_settings(self.git.url, self.folder / folder, signing_key=self.keys[key_name])
            Repository(first.model_copy(update={"allowed_signers": self.keys[key_name]}), CLOCK).fetch()
        return Repository(quick_settings(self.git.url, self.folder / folder, **signing), CLOCK)

    def agent_of(self, folder: str) -> FleetFolder:
        settings = quick_settings(self.git.url, self.folder / folder, allowed_signers=self.signers)
        return FleetFolder("us-oh-1", settings, Clock())

    @property
    def tip(self) -> str:
        return self.git.git("rev-parse", "main")

    def flux_applies(self) -> bool:
        """Whether the newest commit has a good signature, which is all that Flux looks at."""
        command = ["git", f"--git-dir={self.git.repository}", "-c", f"gpg.ssh.allowedSignersFile={self.signers}"]
        return subprocess.run([*command, "verify-commit", "main"], capture_output=True, timeout=60).returncode == 0

    def signing(self, signer: str | None) -> list[str]:
        """Options of `git commit` and `git merge`."""
        if signer is None:
            return ["-c", "commit.gpgsign=false"]
        key_file = f"user.signingkey={self.keys[signer]}"
        return ["-c", "gpg.format=ssh", "-c", key_file, "-c", "commit.gpgsign=true"]

    def commit(self, signer: str | None, message: str = "Change something") -> str:
        self.person.run("add", "--all")
        self.person.run(*self.signing(signer), "commit", "--quiet", "--allow-empty", "-m", message)
        return self.person.push_head()

    def put_placement(self, name: str = "stolen") -> Path:
        """A placement as the hub would write it."""
        intent = place(name, "us-oh-1")
        file = self.person.path / intent.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(render(intent.decision, intent.spec, intent.record, facts_of("us-oh-1")))
        return file

    def refused(self, *says: str) -> None:
        """Neither hub nor agent makes anything of the branch, and the hub writes nothing to it."""
        before = self.tip
        for _ in range(2):
            with pytest.raises(SyncError, match="UnsignedCommit") as by_agent:
                self.agent.fetch()
            with pytest.raises(HistoryUntrusted) as by_hub:
                self.hub.publish([place("next", "no-osl-1")])
            for part in says:
                assert part in str(by_agent.value), str(by_agent.value)
                assert part in str(by_hub.value), str(by_hub.value)
        assert self.tip == before

    def followed(self) -> None:
        """The agent follows, and the hub goes on."""
        self.agent.fetch()
        self.hub.publish([place(f"next-{self.git.commits()}", "no-osl-1")])
        assert self.flux_applies()
        assert self.agent.fetch().commit == self.tip


@pytest.fixture
def fleet(git_server, tmp_path):
    return Fleet(git_server, tmp_path, git_server.checkout())


def test_the_hub_s_signature_never_covers_an_unsigned_placement(fleet):
    fleet.person.pull()
    fleet.put_placement()
    fleet.commit(None, "Train in Ohio")
    fleet.refused("clusters/us-oh-1/jobs/ml/stolen.yaml", "Pat Person")
    assert not fleet.flux_applies()


@pytest.mark.parametrize("path", [POLICY, CLUSTER, "moves/ml/x.yaml", "serving/us-oh-1/ml/x.yaml", "Policies/x.yaml"])
@pytest.mark.parametrize("signer", [None, "stranger"])
def test_whatever_counts_is_signed_by_who_may(fleet, path, signer):
    file = fleet.person.pull() / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{file.read_text() if file.exists() else ''}\n")
    fleet.commit(signer)
    fleet.refused(path)


def test_what_people_sign_is_followed(fleet):
    fleet.person.edit(POLICY, "anywhere: true", "jurisdictions: [US, EEA]")
    fleet.commit("pat")
    fleet.followed()


def test_a_placement_counts_only_in_a_commit_that_the_hub_signed(fleet):
    fleet.person.pull()
    fleet.put_placement()
    fleet.commit("pat")
    fleet.refused("clusters/us-oh-1/jobs/ml/stolen.yaml", "only the hub")


def test_people_may_take_a_placement_away(fleet):
    (fleet.person.pull() / place("llama", "us-oh-1").path).unlink()
    fleet.commit("pat")
    fleet.followed()


def test_what_does_not_count_needs_no_signature(fleet):
    (fleet.person.pull() / "NOTES.md").write_text("x")
    fleet.commit(None)
    fleet.followed()


def test_a_signed_commit_on_top_covers_no_unsigned_one_below(fleet):
    fleet.person.pull()
    fleet.put_placement()
    fleet.commit(None)
    (fleet.person.path / "NOTES.md").write_text("x")
    fleet.commit("pat")
    fleet.refused("stolen.yaml")


@pytest.mark.parametrize("count", [1, 1500])
def test_however_many_commits_come_after_it_an_unsigned_one_is_not_followed(fleet, count):
    """Else somebody with the right to push would hide a placement below a heap of commits that change nothing."""
    fleet.person.pull()
    fleet.put_placement()
    fleet.commit(None)
    heap(fleet, count)
    fleet.refused("stolen.yaml")


def test_a_heap_of_commits_that_change_nothing_that_counts_is_followed(fleet):
    heap(fleet, 1500)
    fleet.followed()


def test_more_commits_than_are_looked_at_are_not_followed(fleet):
    trusted = fleet.tip
    heap(fleet, MOST_COMMITS + 1)
    fleet.refused(f"over {MOST_COMMITS} commits lie between {trusted[:12]}, which was trusted, and {fleet.tip[:12]}")
    fleet.git.git("update-ref", "refs/heads/main", trusted)
    fleet.followed()


def heap(fleet: Fleet, count: int) -> None:
    """So many unsigned commits that change nothing."""
    who = "committer Pat Person <pat@example.org> 1760000000 +0000"
    each = f"commit refs/heads/main\n{who}\ndata 4\nNone\n"
    lines = each + f"from {fleet.tip}\n" + each * (count - 1)
    command = ["git", f"--git-dir={fleet.git.repository}", "fast-import", "--quiet"]
    subprocess.run(command, input=lines.encode(), check=True, timeout=300)


def test_a_signed_commit_that_puts_everything_back_ends_it(fleet):
    fleet.person.pull()
    fleet.put_placement().write_text("x")
    fleet.commit(None)
    fleet.person.run(*fleet.signing(None), "revert", "--no-edit", "HEAD")
    fleet.person.push_head()
    fleet.refused("stolen.yaml")
    fleet.person.run("reset", "--quiet", "--hard", "HEAD~1")
    fleet.person.run(*fleet.signing("pat"), "revert", "--no-edit", "HEAD")
    fleet.person.run("push", "--quiet", "--force", "origin", "HEAD:main")
    fleet.followed()


def side_branch(fleet: Fleet, signer: str | None) -> None:
    """A branch `side` with a commit that adds a placement."""
    fleet.person.pull()
    fleet.person.run("checkout", "--quiet", "-b", "side")
    fleet.put_placement()
    fleet.person.run("add", "--all")
    fleet.person.run(*fleet.signing(signer), "commit", "--quiet", "-m", "On the side")
    fleet.person.run("checkout", "--quiet", "-")
    (fleet.person.path / "NOTES.md").write_text("x")
    fleet.person.run("add", "--all")
    fleet.person.run(*fleet.signing("pat"), "commit", "--quiet", "-m", "Meanwhile")


@pytest.mark.parametrize("merged_by", ["pat", None])
@pytest.mark.parametrize("signer", ["pat", "stranger", None])
def test_a_merge_brings_no_placement_that_the_hub_did_not_sign(fleet, merged_by, signer):
    side_branch(fleet, signer)
    fleet.person.run(*fleet.signing(merged_by), "merge", "--quiet", "--no-ff", "--no-edit", "side")
    fleet.person.push_head()
    fleet.refused("stolen.yaml")


def test_a_merge_the_other_way_round_hides_nothing(fleet):
    """The unsigned branch as first parent: the merge differs from it only by what was trusted."""
    side_branch(fleet, None)
    main = fleet.person.run("rev-parse", "HEAD")
    fleet.person.run("checkout", "--quiet", "side")
    fleet.person.run(*fleet.signing("pat"), "merge", "--quiet", "--no-ff", "--no-edit", main)
    fleet.person.push_head()
    fleet.refused("stolen.yaml")


def test_a_signed_merge_of_what_the_hub_signed_is_followed(fleet):
    """As people merge a proposal."""
    fleet.person.pull()
    before = fleet.tip
    fleet.hub.publish([place("proposed", "us-oh-1")])
    proposed = fleet.tip
    fleet.git.git("update-ref", "refs/heads/main", before)
    other = fleet.agent_of("other")
    other.fetch()
    fleet.git.git("update-ref", "refs/heads/side", proposed)
    fleet.person.run("fetch", "--quiet", "origin", "side")
    fleet.person.run(*fleet.signing("pat"), "merge", "--quiet", "--no-ff", "--no-edit", "FETCH_HEAD")
    fleet.person.push_head()
    assert "clusters/us-oh-1/jobs/ml/proposed.yaml" in other.fetch().files


def test_a_branch_that_was_set_back_is_refused_after_a_restart_too(fleet):
    before = fleet.git.git("rev-parse", "main~1")
    fleet.git.git("update-ref", "refs/heads/main", before)
    fleet.refused("the branch was rewritten")
    del fleet.agent, fleet.hub
    gc.collect()  # the clones are free again
    fleet.agent, fleet.hub = fleet.agent_of("agent"), fleet.hub_of("hub")
    fleet.refused("the branch was rewritten")


def test_a_key_that_is_withdrawn_signs_nothing_new_and_what_it_signed_before_stands(fleet):
    fleet.allow(new_hub=HUB, pat=PAT)
    assert fleet.agent.fetch().commit == fleet.tip
    new = fleet.agent_of("new-agent")
    with pytest.raises(SyncError, match=r"UnsignedCommit: .* is not signed by a key in"):
        new.fetch()
    fleet.hub.publish([place("late", "us-oh-1")])
    with pytest.raises(SyncError, match=r"late\.yaml"):
        fleet.agent.fetch()


def test_a_key_is_exchanged_while_both_count(fleet):
    fleet.allow(hub=HUB, new_hub=HUB, pat=PAT)
    del fleet.hub
    fleet.hub = fleet.hub_of("new-hub")
    fleet.followed()
    assert fleet.agent_of("new-agent").fetch().commit == fleet.tip


def test_a_new_clone_wants_each_placement_from_the_hub(fleet):
    """What a person, whose signature is good, has put there before the clone was made."""
    fleet.person.pull()
    fleet.put_placement()
    fleet.commit("pat")
    with pytest.raises(SyncError, match=r"stolen\.yaml came in .*: only the hub"):
        fleet.agent_of("new-agent").fetch()


def test_a_hub_that_is_told_of_nobody_trusts_itself_alone(fleet):
    settings = quick_settings(fleet.git.url, fleet.folder / "alone", signing_key=fleet.keys["hub"])
    alone = Repository(settings.model_copy(update={"allowed_signers": fleet.keys["hub"]}), CLOCK)
    alone.publish([place("more", "us-oh-1")])
    fleet.person.edit(CLUSTER, "gpus: 1024", "gpus: 8")
    fleet.commit("pat")
    with pytest.raises(HistoryUntrusted, match=r"clusters/us-oh-1/cluster\.yaml"):
        alone.publish([place("again", "us-oh-1")])
