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
    from carbonfleet.fleet.git import read_cluster, read_policy_files
    from carbonfleet.yaml_reader import FileInvalid, read_document

    try:
        content = path.read_bytes()
        document = read_document(str(path), content)
        kind = document.data.get("kind") if isinstance(document.data, dict) else None
        if kind == "FleetPolicy":
            return [str(problem) for problem in read_policy_files({str(path): content})[1]]
        if kind == "ConfigMap":
            read_cluster(str(path.resolve()), content)
        elif kind == "CarbonTrainingJob":
            from carbonfleet.api import CarbonTrainingJob

            document.read_as(CarbonTrainingJob)
        else:
            message = f"kind is {kind}; write CarbonTrainingJob, FleetPolicy, or a cluster's ConfigMap"
            return [str(document.problem(message, "kind"))]
    except OSError as error:
        return [f"{path}: can't be read: {error.strerror}"]
    except FileInvalid as error:
        return [str(problem) for problem in error.problems]
    return []
