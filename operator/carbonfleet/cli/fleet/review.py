"""`carbonfleet review`: say yes or no to proposed placements and moves from the command line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carbonfleet.cli.answers import Form, Output, write, write_names
from carbonfleet.cli.console import console, fail, person, say

if TYPE_CHECKING:
    from carbonfleet.cli.about.schemas import ProposalAnswer
    from carbonfleet.fleet.review import Branch, Branches, Forge

app = typer.Typer(no_args_is_help=True, help="Review proposed placements and moves.")


def _option(help_text: str, variable: str) -> Any:  # noqa: ANN401  what Typer says it is
    return typer.Option(help=help_text, envvar=f"CARBONFLEET_{variable}")


Url = Annotated[str, _option("The fleet repository: https://, ssh:// or git://.", "FLEET_URL")]
Main = Annotated[str, _option("Its branch.", "FLEET_BRANCH")]
Token = Annotated[Path | None, _option("A token, for https.", "FLEET_TOKEN_FILE")]
Key = Annotated[Path | None, _option("A key, for ssh.", "FLEET_SSH_KEY")]
Hosts = Annotated[Path | None, _option("The SSH server's keys.", "FLEET_KNOWN_HOSTS")]
Authority = Annotated[Path | None, _option("Certificates to trust for https, in place of the system's.", "CA_FILE")]
Signing = Annotated[Path | None, _option("Sign the merge with this SSH key.", "SIGNING_KEY")]
Person = Annotated[str, _option("Who you are: NAME <EMAIL>; as in git's own settings if left out.", "REVIEWER")]
ForgeKind = Annotated[str, _option("github, gitlab or gitea, where that shows the proposals: merge there.", "FORGE")]
Api = Annotated[str, _option("Its API's address.", "FORGE_API")]
Repository = Annotated[str, _option("owner/name there.", "FORGE_REPOSITORY")]
ForgeToken = Annotated[
    Path | None, _option("Your own token for it; --fleet-token-file if left out.", "FORGE_TOKEN_FILE")
]
Which = Annotated[
    str,
    typer.Argument(help="The proposal: its job as namespace/name, or the name that `list` shows, or its beginning."),
]


@app.callback()
def review() -> None:
    """Proposed placements and moves."""


@app.command("list")
def show_all(
    fleet_url: Url,
    fleet_branch: Main = "main",
    fleet_token_file: Token = None,
    fleet_ssh_key: Key = None,
    fleet_known_hosts: Hosts = None,
    ca_file: Authority = None,
    output: Output = Form.TEXT,
) -> None:
    """List the open proposals."""
    from carbonfleet.cli.about.schemas import ProposalAnswer

    with _branches(fleet_url, fleet_branch, fleet_token_file, fleet_ssh_key, fleet_known_hosts, ca_file) as branches:
        found = [ProposalAnswer(**_proposal(branch)) for branch in branches.read().branches.values()]
    if output.is_data:
        write(found, output, "review list")
    elif output is Form.NAME:
        write_names(proposal.name for proposal in found)
    elif found:
        _show_proposals(found)
    else:
        say("No proposal is open.")


def _proposal(branch: "Branch") -> dict[str, Any]:
    """What ProposalAnswer holds."""
    from carbonfleet.fleet.review import record_in

    placed, expected = branch.placement, record_in(branch).get("expected") or {}
    return {
        "name": branch.name,
        "head": branch.head,
        "job": placed.key if placed else None,
        "cluster": placed.cluster if placed else None,
        "leaves": branch.leaves or None,
        "start": placed.start if placed else None,
        "grams_co2e": expected.get("gramsCo2e"),
        "cost_usd": expected.get("costUsd"),
        "good_until": branch.expires_at,
    }


def _show_proposals(found: "Sequence[ProposalAnswer]") -> None:
    """A line for each; where the terminal is narrow, names are folded rather than cut."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("proposal", "job", "cluster", "start", "gCO2e", "USD", "good until"):
        table.add_column(head, overflow="fold", justify="right" if head in ("gCO2e", "USD") else "left")
    for one in found:
        where = " to ".join(filter(None, (one.leaves, one.cluster))) or "?"
        times = [f"{moment:%m-%d %H:%M}" if moment else "?" for moment in (one.start, one.good_until)]
        grams = "-" if one.grams_co2e is None else f"{one.grams_co2e:,.0f}"
        usd = "-" if one.cost_usd is None else f"{one.cost_usd:,.2f}"
        table.add_row(one.name, one.job or "?", where, times[0], grams, usd, times[1])
    console().print(table)


@app.command()
def show(
    proposal: Which,
    fleet_url: Url,
    fleet_branch: Main = "main",
    fleet_token_file: Token = None,
    fleet_ssh_key: Key = None,
    fleet_known_hosts: Hosts = None,
    ca_file: Authority = None,
    output: Output = Form.TEXT,
) -> None:
    """Show one proposal: why there and then, and the file to be written."""
    from carbonfleet.fleet.review import body_of, title_of

    with _branches(fleet_url, fleet_branch, fleet_token_file, fleet_ssh_key, fleet_known_hosts, ca_file) as branches:
        branch = _one(branches, proposal)
    title, body, file = title_of(branch), body_of(branch), branch.content.decode("utf-8", "replace")
    if output.is_data:
        write({**_proposal(branch), "title": title, "body": body, "file": file}, output, "review show")
    elif output is Form.NAME:
        say(branch.name)
    elif (screen := console()).is_terminal:
        from rich.markdown import Markdown

        screen.print(f"{title}\n{branch.name} at {branch.head}", highlight=False)
        screen.print(Markdown(body.partition("\n```yaml")[0]))
        screen.print(f"\nThe file:\n{file}", highlight=False, soft_wrap=True)
    else:
        say(f"{title}\n{branch.name} at {branch.head}\n\n{body}\n\n{file}")


@app.command()
def approve(
    proposal: Which,
    fleet_url: Url,
    at: Annotated[str, typer.Option(help="Only if it still is at this commit, as `show` said.")] = "",
    fleet_branch: Main = "main",
    fleet_token_file: Token = None,
    fleet_ssh_key: Key = None,
    fleet_known_hosts: Hosts = None,
    ca_file: Authority = None,
    signing_key: Signing = None,
    reviewer: Person = "",
    forge: ForgeKind = "",
    forge_api: Api = "https://api.github.com",
    forge_repository: Repository = "",
    forge_token_file: ForgeToken = None,
) -> None:
    """Merge a proposal, if policy and time still allow it: on the forge, where there is one, or else in Git."""
    from carbonfleet.clock import Clock
    from carbonfleet.fleet.review import merge_on_forge

    with _branches(
        fleet_url, fleet_branch, fleet_token_file, fleet_ssh_key, fleet_known_hosts, ca_file, signing_key
    ) as branches:
        branch = _one(branches, proposal)
        now = Clock.from_environment().now()
        if forge:
            place = (forge, forge_api, forge_repository, forge_token_file or fleet_token_file, fleet_branch, ca_file)
            request = merge_on_forge(branches, _open_forge(*place), branch.name, at or branch.head, now)
            say(f"{branch.name} is merged: {request.url}")
            return
        commit = branches.approve(branch.name, at or branch.head, person(reviewer), now)
        say(f"{branch.name} is merged as {commit}")


@app.command()
def reject(
    proposal: Which,
    fleet_url: Url,
    why: Annotated[str, typer.Option(help="What the job's owner will read.")],
    fleet_branch: Main = "main",
    fleet_token_file: Token = None,
    fleet_ssh_key: Key = None,
    fleet_known_hosts: Hosts = None,
    ca_file: Authority = None,
    reviewer: Person = "",
) -> None:
    """Refuse a proposal until the job's spec changes."""
    with _branches(fleet_url, fleet_branch, fleet_token_file, fleet_ssh_key, fleet_known_hosts, ca_file) as branches:
        branch = _one(branches, proposal)
        branches.reject(branch, person(reviewer), why)
        say(f"{branch.name} is rejected")


def _open_forge(kind: str, api: str, repository: str, token: Path | None, base: str, authority: Path | None) -> "Forge":
    from carbonfleet.clock import Clock
    from carbonfleet.fleet.review import ForgeKind, ForgeSettings, open_forge

    if kind not in set(ForgeKind):
        raise ValueError(f"there is no forge {kind}: write {', '.join(ForgeKind)}")
    if token is None:
        raise ValueError("the forge wants your token: give the file that holds it with --forge-token-file")
    settings = ForgeSettings(api, repository, token, base, authority)
    return open_forge(ForgeKind(kind), settings, Clock.from_environment())


@contextmanager
def _branches(
    url: str,
    main: str,
    token: Path | None,
    key: Path | None,
    hosts: Path | None,
    authority: Path | None,
    signing: Path | None = None,
) -> "Iterator[Branches]":
    """The proposals, in a clone that lives as long as the command; a failure is one clear line."""
    from tempfile import TemporaryDirectory

    from pydantic import ValidationError

    from carbonfleet.clock import Clock
    from carbonfleet.fleet.errors import FleetError
    from carbonfleet.fleet.publish import Repository
    from carbonfleet.fleet.review import Branches
    from carbonfleet.fleet.settings import Backoff, RepositorySettings

    with TemporaryDirectory(prefix="carbonfleet-review-") as folder:
        try:
            settings = RepositorySettings(
                url=url,
                branch=main,
                directory=Path(folder) / "fleet.git",
                token_file=token,
                ssh_key=key,
                known_hosts=hosts,
                ca_file=authority,
                signing_key=signing,
                backoff=Backoff(tries=3),
            )
            yield Branches(Repository(settings, Clock.from_environment()))
        except (FleetError, ValidationError, OSError) as error:
            fail(error)


def _one(branches: "Branches", start: str) -> "Branch":

    found = branches.read().branches
    whole = f"carbon/{start.removeprefix('carbon/')}"
    # Exact names first. A job is named in full: `team.a` is not `team.ab`; of the rest of a name the beginning will do.
    ways = (
        lambda name: name == whole,
        lambda name: (placed := found[name].placement) is not None and start == placed.key,
        lambda name: name.startswith(whole if whole.count("/") > 1 else f"{whole}/"),
    )
    matching = next((names for way in ways if (names := [name for name in found if way(name)])), [])
    if len(matching) != 1:
        fail(f"{start} is {len(matching)} of the {len(found)} open proposals: {', '.join(matching or found) or 'none'}")
    return found[matching[0]]
