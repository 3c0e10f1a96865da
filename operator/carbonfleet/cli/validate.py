"""`carbonfleet validate`: are these files what carbonfleet can work with?"""

from pathlib import Path
from typing import Annotated

import typer


def validate(
    paths: Annotated[list[Path], typer.Argument(help="Jobs, cluster files, policies; or a fleet checkout.")],
) -> None:
    """Check manifests of jobs, cluster files and policies; exit code 1 where something is wrong."""
    problems = [problem for path in paths for problem in _problems(path)]
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{len(paths)} checked: nothing is wrong")


def _problems(path: Path) -> list[str]:
    from carbonfleet.fleet.check import read_checkout, read_files

    if path.is_dir():
        try:
            return [str(problem) for problem in read_checkout(read_files(path)).problems]
        except FileNotFoundError as error:
            return [f"{error}, or the files themselves"]
    try:
        content = path.read_bytes()
    except OSError as error:
        return [f"{path}: can't be read: {error.strerror}"]
    return _file_problems(path, content)


def _file_problems(path: Path, content: bytes) -> list[str]:
    from carbonfleet.fleet.declared import read_cluster, read_policy_files
    from carbonfleet.fleet.source import SourceInvalid, read_source

    try:
        source = read_source(str(path), content)
        kind = source.data.get("kind") if isinstance(source.data, dict) else None
        if kind == "FleetPolicy":
            return [str(problem) for problem in read_policy_files({str(path): content})[1]]
        if kind == "ConfigMap":
            read_cluster(str(path.resolve()), content)
        elif kind == "CarbonTrainingJob":
            return _job_problems(path, source.data)
        else:
            return [f"{path}:1: kind is {kind}; write CarbonTrainingJob, FleetPolicy, or a cluster's ConfigMap"]
    except SourceInvalid as error:
        return [str(problem) for problem in error.problems]
    return []


def _job_problems(path: Path, data: object) -> list[str]:
    from pydantic import ValidationError

    from carbonfleet.api import CarbonTrainingJob

    try:
        CarbonTrainingJob.model_validate(data)
    except ValidationError as error:
        return [
            f"{path}: {'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        ]
    return []
