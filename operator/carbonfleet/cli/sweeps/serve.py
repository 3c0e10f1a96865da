"""`carbonfleet serve`: write to Git what serves a sweep's best adapters, or print it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carbonfleet.cli.console import fail, person, say
from carbonfleet.cli.sweeps.sweep import hub_jobs

if TYPE_CHECKING:
    from carbonfleet.api import CarbonTrainingJob
    from carbonfleet.fleet.serving import Serving, Written
    from carbonfleet.sweep import Wishes

_IMAGE = r"[a-z0-9][A-Za-z0-9._/:@-]{0,511}"


def _option(help_text: str, variable: str) -> Any:  # noqa: ANN401  what Typer says it is
    return typer.Option(help=help_text, envvar=f"CARBONFLEET_{variable}")


def serve(
    sweep: Annotated[str, typer.Option(help="The sweep's name.")],
    best: Annotated[int, typer.Option(min=1, help="How many, by validation loss.")] = 3,
    name: Annotated[str, typer.Option(help="What it is called; the sweep's name if left out.")] = "",
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="The namespace of its jobs.")] = "",
    cluster: Annotated[str, typer.Option(help="Where; left out, where the best was trained.")] = "",
    pool: Annotated[str, typer.Option(help="Whose GPUs; left out, those that trained it.")] = "",
    gpus: Annotated[int, typer.Option(min=1, max=16, help="GPUs that share the model, of one node.")] = 1,
    image: Annotated[str, typer.Option(help="vLLM's image, by digest where it matters.")] = "",
    out: Annotated[str, typer.Option("-o", "--out", help="Write to a file, or - to print, and not to Git.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Also where a person changed the file.")] = False,
    kubeconfig: Annotated[Path | None, typer.Option(envvar="KUBECONFIG", help="The hub's API.")] = None,
    fleet_url: Annotated[str, _option("The fleet repository: https://, ssh:// or git://.", "FLEET_URL")] = "",
    fleet_branch: Annotated[str, _option("Its branch.", "FLEET_BRANCH")] = "main",
    fleet_token_file: Annotated[Path | None, _option("A token, for https.", "FLEET_TOKEN_FILE")] = None,
    fleet_ssh_key: Annotated[Path | None, _option("A key, for ssh.", "FLEET_SSH_KEY")] = None,
    fleet_known_hosts: Annotated[Path | None, _option("The SSH server's keys.", "FLEET_KNOWN_HOSTS")] = None,
    ca_file: Annotated[
        Path | None, _option("Certificates to trust for https, in place of the system's.", "CA_FILE")
    ] = None,
    signing_key: Annotated[Path | None, _option("Sign the commit with this SSH key.", "SIGNING_KEY")] = None,
    author: Annotated[str, typer.Option(help="Who you are: NAME <EMAIL>; as in git's own settings if left out.")] = "",
) -> None:
    """Serve a sweep's best adapters by name with vLLM, through the fleet repository."""
    import re

    from carbonfleet.fleet.serving import VLLM_IMAGE
    from carbonfleet.sweep import Wishes

    if image and (not re.fullmatch(_IMAGE, image) or ".." in image):
        fail(f"--image {image!r:.100} is no image's name; write REGISTRY/NAME@sha256:DIGEST")
    if not out and not fleet_url:
        fail("say where to write: --fleet-url URL, or -o FILE (- prints it)")
    wishes = Wishes(name or sweep, best, cluster, pool, gpus, image or VLLM_IMAGE)
    serving = _chosen(hub_jobs(sweep, kubeconfig, namespace), wishes)
    if out:
        _write(serving, out)
        return
    keys = {"token_file": fleet_token_file, "ssh_key": fleet_ssh_key, "known_hosts": fleet_known_hosts}
    where = {"url": fleet_url, "branch": fleet_branch, "ca_file": ca_file, "signing_key": signing_key}
    _tell(serving, _publish(serving, author, where | keys, replace=replace))


def _chosen(jobs: "tuple[CarbonTrainingJob, ...]", wishes: "Wishes") -> "Serving":
    from carbonfleet.sweep import SweepError, best_of

    try:
        best = best_of(jobs, wishes)
    except SweepError as error:
        fail(error)
    if best.elsewhere:
        where = f"{', '.join(best.elsewhere)} did better, but {best.serving.cluster} can't read what other stores hold"
        say(f"note: {where}", err=True)
    return best.serving


def _write(serving: "Serving", out: str) -> None:
    from carbonfleet.fleet.serving import ServingRefused, render_serving

    try:
        text = render_serving(serving).decode()
        if out == "-":
            say(text, nl=False)
        else:
            Path(out).write_text(text, encoding="utf-8")
    except (ServingRefused, OSError) as error:
        fail(error)


def _publish(serving: "Serving", author: str, settings: dict[str, Any], *, replace: bool) -> "Written":
    from tempfile import TemporaryDirectory

    from pydantic import ValidationError

    from carbonfleet.clock import Clock
    from carbonfleet.fleet import Backoff, FleetError, Repository, RepositorySettings
    from carbonfleet.fleet.serving import ServingRefused, publish_serving

    with TemporaryDirectory(prefix="carbonfleet-serve-") as folder:
        try:
            repository = Repository(
                RepositorySettings(directory=Path(folder) / "fleet.git", backoff=Backoff(tries=5), **settings),
                Clock.from_environment(),
            )
            return publish_serving(repository, serving, person(author), replace=replace)
        except (FleetError, ServingRefused, ValidationError, OSError) as error:
            fail(error)


def _tell(serving: "Serving", written: "Written") -> None:
    names = ", ".join(one.name for one in serving.adapters)
    state = f"written to {written.path} in {written.commit[:12]}" if written.commit else f"already in {written.path}"
    say(f"{names}: {state}")
    say(f"next, on {serving.cluster}:")
    say(f"  kubectl port-forward -n {serving.namespace} service/{serving.object_name} 8000:80")
    say(f"  carbonfleet chat -m {serving.adapters[0].name}")
