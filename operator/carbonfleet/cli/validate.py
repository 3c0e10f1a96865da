"""`carbonfleet validate`: are these files what carbonfleet can work with?"""

from pathlib import Path
from typing import Annotated

import typer


def validate(
    paths: Annotated[
        list[Path], typer.Argument(help="Jobs, cluster files, policies; folders of them; or a fleet checkout.")
    ],
) -> None:
    """Check manifests of jobs, cluster files and policies.

    Exit code 1 where something is wrong.
    """
    found = [each for path in paths for each in _checked(path)]
    problems = [problem for _, of_one in found for problem in of_one]
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{len(found)} {'file' if len(found) == 1 else 'files'} checked: nothing is wrong")


def _checked(path: Path) -> list[tuple[str, list[str]]]:
    """Each file and what is wrong with it."""
    from carbonfleet.fleet.check import read_checkout, read_files

    if not path.is_dir():
        return [(str(path), _file_problems(path))]
    try:
        files = read_files(path)
    except FileNotFoundError:
        manifests = sorted(each for each in path.rglob("*") if each.suffix in (".yaml", ".yml") and each.is_file())
        checked = [(str(file), _file_problems(file)) for file in manifests]
        return checked or [(str(path), [f"{path}: holds no YAML file, and is no checkout of the fleet repository"])]
    told = [str(problem) for problem in read_checkout(files).problems]
    return [(file, []) for file in files] + [(str(path), told)] * bool(told)


def _file_problems(path: Path) -> list[str]:
    from carbonfleet.fleet.declared import read_cluster, read_policy_files
    from carbonfleet.fleet.source import SourceInvalid, read_source

    try:
        content = path.read_bytes()
        source = read_source(str(path), content)
        kind = source.data.get("kind") if isinstance(source.data, dict) else None
        if kind == "FleetPolicy":
            return [str(problem) for problem in read_policy_files({str(path): content})[1]]
        if kind == "ConfigMap":
            read_cluster(str(path.resolve()), content)
        elif kind == "CarbonTrainingJob":
            from carbonfleet.api import CarbonTrainingJob

            source.read_as(CarbonTrainingJob)
        else:
            return [f"{path}:1: kind is {kind}; write CarbonTrainingJob, FleetPolicy, or a cluster's ConfigMap"]
    except OSError as error:
        return [f"{path}: can't be read: {error.strerror}"]
    except SourceInvalid as error:
        return [str(problem) for problem in error.problems]
    return []
