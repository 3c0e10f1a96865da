"""`carbonfleet validate`: are these files what carbonfleet can work with?"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carbonfleet.cli.console import fail, say

if TYPE_CHECKING:
    from carbonfleet.api import CarbonTrainingJob
    from carbonfleet.yaml_reader import YamlDocument

Judge = Callable[["CarbonTrainingJob"], str]


def validate(
    paths: Annotated[
        list[Path], typer.Argument(help="Jobs, cluster files, policies; folders of them; or a fleet checkout.")
    ],
    fleet: Annotated[
        Path | None, typer.Option(help="A checkout of the fleet repository: jobs are held against its policies.")
    ] = None,
) -> None:
    """Check manifests of jobs, cluster files and policies.

    With --fleet, a job is also wrong where no policy speaks of it, where it may not name its tier, or where no
    spoke may have its data. Exit code 1 where anything is wrong.
    """
    judge = _judge(fleet)
    found = [each for path in paths for each in _checked(path, judge)]
    ours = [problems for _, problems in found if problems is not None]
    for problem in (problem for problems in ours for problem in problems):
        say(problem)
    if any(ours):
        raise typer.Exit(1)
    others = f"; {len(found) - len(ours)} hold nothing of carbonfleet's" if len(ours) < len(found) else ""
    say(f"{len(ours)} {'file' if len(ours) == 1 else 'files'} checked: nothing is wrong{others}")


def _judge(fleet: Path | None) -> Judge:
    """What the policies of a checkout have against a job; empty where they let it run somewhere."""
    from carbonfleet.fleet.check import read_checkout, read_files, refusal_of

    if fleet is None:
        return lambda _job: ""
    try:
        checkout = read_checkout(read_files(fleet))
    except OSError as error:
        fail(f"{error} with --fleet")
    return lambda job: refusal_of(job, checkout.policies, checkout.clusters)


def _checked(path: Path, judge: Judge) -> list[tuple[str, list[str] | None]]:
    """Each file and what is wrong with it; None for a file of a folder that holds nothing of ours."""
    from carbonfleet.fleet.check import read_checkout, read_files

    if not path.is_dir():
        return [(str(path), _file_problems(path, judge, is_ours=True))]
    try:
        files = read_files(path)
    except FileNotFoundError:
        manifests = sorted(each for each in path.rglob("*") if each.suffix in (".yaml", ".yml") and each.is_file())
        checked = [(str(file), _file_problems(file, judge, is_ours=False)) for file in manifests]
        return checked or [(str(path), [f"{path}: holds no YAML file, and is no checkout of the fleet repository"])]
    told = [str(problem) for problem in read_checkout(files).problems]
    return [*((file, []) for file in files), *([(str(path), told)] if told else [])]


def _file_problems(path: Path, judge: Judge, *, is_ours: bool) -> list[str] | None:
    from carbonfleet.yaml_reader import FileInvalid, read_documents

    try:
        content = path.read_bytes()
        documents = read_documents(str(path), content)
        if not is_ours and not any(_is_ours(document) for document in documents):
            return None
        if not documents:
            return [f"{path}: holds no YAML document; write exactly one"]
        for document in documents:
            _check(path, content, document, len(documents), judge)
    except OSError as error:
        return [f"{path}: can't be read: {error.strerror}"]
    except FileInvalid as error:
        return [str(problem) for problem in error.problems]
    return []


def _is_ours(document: "YamlDocument") -> bool:
    """Whether an object is of our group, or what its cluster's file is."""
    from carbonfleet.api import GROUP
    from carbonfleet.fleet.git import CONFIG_MAP

    data = document.data if isinstance(document.data, dict) else {}
    metadata = data.get("metadata")
    named = data.get("kind") == "ConfigMap" and isinstance(metadata, dict) and metadata.get("name") == CONFIG_MAP
    return named or str(data.get("apiVersion")).startswith(f"{GROUP}/")


def _check(path: Path, content: bytes, document: "YamlDocument", of: int, judge: Judge) -> None:
    """See that an object is one of ours. Raises FileInvalid."""
    from carbonfleet.api import CarbonTrainingJob
    from carbonfleet.fleet.git import read_cluster, read_policy_files
    from carbonfleet.yaml_reader import FileInvalid

    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    if kind == "CarbonTrainingJob":
        if why := judge(document.read_as(CarbonTrainingJob)):
            raise FileInvalid(document.problem(why, "spec"))
    elif kind == "FleetPolicy" or (kind == "ConfigMap" and of == 1):
        if kind == "ConfigMap":
            read_cluster(str(path.resolve()), content)
        elif problems := read_policy_files({str(path): content})[1]:
            raise FileInvalid(*problems)
    else:
        message = f"kind is {kind}; write CarbonTrainingJob, FleetPolicy, or a cluster's ConfigMap"
        raise FileInvalid(document.problem(message, "kind"))
