"""`carbonfleet spoke join` and `renew`: what a new spoke needs, whether it has it, and its token for the hub."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carbonfleet.cli.answers import Form, Output
from carbonfleet.cli.console import fail, git, say
from carbonfleet.private_files import make_folder, replace_file
from carbonfleet.spoke.settings import AgentSettings, RuntimeKind

if TYPE_CHECKING:
    from carbonfleet.fleet.review import ForgeKind
    from carbonfleet.spoke.join import Site

Name = Annotated[str, typer.Argument(help="The cluster's name.")]
SpokeKubeconfig = Annotated[Path | None, typer.Option(help="Of the spoke's own cluster.")]


def join(
    name: Name,
    runtime: Annotated[RuntimeKind, typer.Option(help="How attempts will run there.")] = RuntimeKind.KUBERAY,
    region: Annotated[str, typer.Option(help="Its provider's region, which tells the electricity zone and PUE.")] = "",
    city: Annotated[str, typer.Option(help="Of a rented host: its city, which suggests the zone.")] = "",
    at: Annotated[str, typer.Option(help="LATITUDE,LONGITUDE: the nearest city that is known suggests the zone.")] = "",
    fleet: Annotated[
        Path | None, typer.Option(help="A checkout of the fleet repository: commit the cluster's file to a branch.")
    ] = None,
    forge: Annotated[
        str, typer.Option(help="github, gitlab or gitea: push that branch, and open a pull request of it.")
    ] = "",
    forge_api: Annotated[str, typer.Option(help="The forge's API.")] = "https://api.github.com",
    forge_repository: Annotated[str, typer.Option(help="owner/name there.")] = "",
    forge_token_file: Annotated[Path | None, typer.Option(help="Your token for it.")] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="What `carbonfleet install spoke NAME --to FOLDER` wrote, or any overlay.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Afterwards: tell what is missing on the spoke.")] = False,
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="With --check: the spoke's own.")] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            envvar="CARBONFLEET_SETTINGS", help="With --check --runtime ray: those of `spoke run`, as a file."
        ),
    ] = None,
    output: Output = Form.TEXT,
) -> None:
    """Print what a new spoke needs, in order; or check that it is there.

    That is what must be there before, its file in the fleet repository, its rights on the hub, and how its agent is
    started. With --check nothing is printed but what was found: exit code 1 when something is missing.
    """
    from carbonfleet.spoke.join import cluster_file, join_text

    name = checked(name)
    if check:
        _check(name, runtime, kubeconfig, settings, output)
    site = _site(region, city, at)
    kind = _forge(forge, forge_repository, forge_token_file, fleet)
    if fleet is not None:
        branch = _commit_file(fleet, name, cluster_file(name, runtime.value, site))
        if kind is not None and forge_token_file is not None:
            _open_request(fleet, name, branch, kind, (forge_api, forge_repository, forge_token_file))
    say(join_text(name, runtime.value, site, shlex.quote(str(overlay)) if overlay else ""), nl=False)


def _site(region: str, city: str, at: str) -> "Site | None":
    from carbonfleet.spoke.join import site_at, site_of_city, site_of_region

    given = [(make, value) for make, value in ((site_of_region, region), (site_of_city, city), (site_at, at)) if value]
    if len(given) > 1:
        fail("give one of --region, --city and --at")
    try:
        return given[0][0](given[0][1]) if given else None
    except ValueError as error:
        fail(error)


def _check(name: str, runtime: RuntimeKind, kubeconfig: Path | None, settings: Path | None, output: Form) -> None:
    """Look at what is there, and end."""
    from carbonfleet.cli.doctor import show
    from carbonfleet.clock import Clock
    from carbonfleet.doctor import HOST_CHECKS, SPOKE_CHECKS, SpokeContext, examine, scratch_folder

    clock = Clock.from_environment()
    with scratch_folder() as folder:
        if runtime is RuntimeKind.KUBERAY:
            context = SpokeContext.in_cluster(name, kubeconfig, clock, folder)
            show(examine(SPOKE_CHECKS, context), output, "spoke join")
        try:
            own = AgentSettings.load({"spoke": name}, settings)
        except (OSError, ValueError) as error:
            fail(error)
        show(examine(HOST_CHECKS, SpokeContext.on_host(own, clock, folder)), output, "spoke join")


def _forge(forge: str, repository: str, token: Path | None, fleet: Path | None) -> "ForgeKind | None":
    """Which forge, where one is named and all that it needs."""
    from carbonfleet.fleet.review import ForgeKind

    if not forge:
        return None
    if forge not in list(ForgeKind):
        fail(f"{forge} is none of {', '.join(ForgeKind)}")
    if fleet is None or not repository or token is None:
        fail("a pull request needs --fleet CHECKOUT, --forge-repository OWNER/NAME and --forge-token-file FILE, too")
    return ForgeKind(forge)


def _commit_file(checkout: Path, name: str, text: str) -> str:
    """Commit the cluster's file to a branch of its own, for a person to fill in, and to be reviewed; the branch."""
    file, branch = cluster_file_in(checkout, name), f"join/{name}"
    if file.exists():
        fail(f"{file} is there already: edit it, or choose another name")
    commit_file(checkout, file, text, branch, f"Join {name}")
    said = f"committed {file} to the branch {branch}: fill in what is in <angle brackets>, check it with"
    say(
        f"{said} `carbonfleet validate {file}`, commit (-S where the hub signs), push the branch, and have it reviewed",
        err=True,
    )
    return branch


def cluster_file_in(checkout: Path, name: str) -> Path:
    """Where a cluster's file is in a checkout of the fleet repository. Ends the command where it is none."""
    if not (checkout / ".git").exists() or not (checkout / "policies").is_dir():
        fail(f"{checkout} is no checkout of the fleet repository: carbonfleet fleet init makes one")
    return checkout / "clusters" / name / "cluster.yaml"


def commit_file(checkout: Path, file: Path, text: str, branch: str, subject: str) -> None:
    """Commit one file to a new branch. Ends the command where that fails."""
    try:
        git(checkout, "switch", "--quiet", "--create", branch)
        make_folder(file.parent)
        file.write_text(text)
        git(checkout, "add", "--", str(file.relative_to(checkout)))
        git(checkout, "commit", "--quiet", "-m", subject)
    except OSError as error:
        fail(error)


def _open_request(checkout: Path, name: str, branch: str, kind: "ForgeKind", place: tuple[str, str, Path]) -> None:
    """Push the branch as the person who has the checkout, and open a pull request of it."""
    from carbonfleet.clock import Clock
    from carbonfleet.fleet import FleetError
    from carbonfleet.fleet.review import ForgeSettings, open_forge

    git(checkout, "push", "--quiet", "--set-upstream", "origin", branch)
    body = (
        f"The cluster file of a new spoke. Fill in what is in <angle brackets>: `carbonfleet policy check` refuses it "
        f"until then. Merged, it lets the hub place jobs on {name}."
    )
    try:
        request = open_forge(kind, ForgeSettings(*place), Clock()).create(branch, f"Join {name}", body)
    except (FleetError, ValueError) as error:
        fail(f"the branch {branch} was pushed; open a pull request of it by hand: {error}")
    say(f"opened {request.url}", err=True)


def renew(
    name: Name,
    kubeconfig: Annotated[
        Path | None, typer.Option(envvar="KUBECONFIG", help="The hub's; where kubectl looks by itself when left out.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="The file to write, which is all the spoke holds of the hub.")] = None,
    spoke_kubeconfig: Annotated[
        Path | None, typer.Option(help="Of the spoke's cluster: put it into the agent's Secret there, too.")
    ] = None,
    server: Annotated[str, typer.Option(help="The hub's address as the spoke sees it, if not as here.")] = "",
) -> None:
    """Give a spoke a kubeconfig for the hub, with a new token that is good for two days.

    Once a day, by a timer where the hub's admin works. The agent reads it anew.
    """
    from carbonfleet.kube import Kube, KubeError
    from carbonfleet.spoke.hub_kubeconfig import fresh_kubeconfig, put_into_secret

    name = checked(name)
    if to is None and spoke_kubeconfig is None:
        fail("say where to: --to FILE, or --spoke-kubeconfig FILE, or both")
    try:
        text = fresh_kubeconfig(Kube.connect(kubeconfig), name, server)
        if to is not None:
            replace_file(to.absolute(), text)
        if spoke_kubeconfig is not None:
            put_into_secret(Kube.connect(spoke_kubeconfig), text)
    except KubeError as error:
        why = f"the hub has no account of spoke-{name}: carbonfleet spoke join {name} | kubectl apply -f -, there"
        fail(why if error.is_gone else error)
    say(f"{name} has a token for the hub that is good for two days")


def checked(name: str) -> str:
    """A spoke's name. Ends the command where it can't be one."""
    from pydantic import ValidationError

    from carbonfleet.spoke.settings import checked_name

    try:
        return checked_name(name)
    except ValidationError:
        fail(f"{name!r} is not a cluster's name: lower-case letters, digits and dashes, at most 57")
