"""From a sweep's file to its jobs, all of them valid before the first is written."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from carbonfleet.api import CarbonTrainingJob
from carbonfleet.api.problems import told
from carbonfleet.api.wire import API_VERSION, GROUP, format_duration
from carbonfleet.sweep.error import SweepError
from carbonfleet.sweep.file import SweepFile, SweepTier, Threshold
from carbonfleet.sweep.grid import PLACES, Configuration, configurations
from carbonfleet.yaml_reader import is_plain_text

SWEEP: Final = f"{GROUP}/sweep"
"""The label with the sweep's name; the hub's ledger keeps it with each attempt."""
TIER: Final = f"{GROUP}/sweep-tier"
BASELINE: Final = f"{GROUP}/sweep-baseline"
"""The label of the one job that the others are compared with."""
_HEADER: Final = "# Made by `carbonfleet sweep generate`: edit the sweep's file and generate again.\n"


def generate(
    sweep: SweepFile, threshold: Threshold | None = None, namespace: str = ""
) -> tuple[CarbonTrainingJob, ...]:
    """The jobs in the grid's order. `threshold` and `namespace` stand over the file's.

    Raises SweepError for a configuration without a tier, or a job that its model refuses.
    """
    tiers = {tier.name: tier for tier in sweep.tiers}
    jobs: dict[str, CarbonTrainingJob] = {}
    for configuration in configurations(sweep.baseline, sweep.grid):
        tier = tiers[_tier_name(sweep, configuration)]
        manifest = _manifest(sweep, configuration, tier, threshold or sweep.threshold)
        if namespace:
            manifest["metadata"]["namespace"] = namespace
        job = _checked(manifest)
        if job.metadata.name in jobs:
            raise SweepError(f"two configurations are named {job.metadata.name}; shorten their words")
        jobs[job.metadata.name] = job
    return tuple(jobs.values())


def write(folder: Path, jobs: Iterable[CarbonTrainingJob]) -> tuple[Path, ...]:
    """One file for each job, the same bytes for the same jobs.

    Raises SweepError when the folder holds other manifests, which `kubectl apply -f` would take too.
    """
    texts = {folder / f"{job.metadata.name}.yaml": manifest_text(job) for job in jobs}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        manifests = (path for path in sorted(folder.iterdir()) if path.suffix in {".yaml", ".yml", ".json"})
        if others := [path.name for path in manifests if path not in texts]:
            raise SweepError(
                f"{folder} holds {others[0]}, which is not of this sweep; remove it or name another folder"
            )
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SweepError(f"{folder} can't be written: {error}") from error
    return tuple(texts)


def manifest_text(job: CarbonTrainingJob) -> str:
    """The manifest as YAML: what the file and the grid say, without the model's defaults."""
    body = job.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return _HEADER + yaml.dump(body, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Quotes what PyYAML takes for text and kubectl does not, such as the revision 12e4567."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if is_plain_text(text) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted)


def _tier_name(sweep: SweepFile, configuration: Configuration) -> str:
    values = dict(configuration.values)
    name = next((rule.tier for rule in sweep.rules if rule.takes(values)), None)
    if name is None:
        raise SweepError(f"no rule gives {configuration.name(sweep.name)} a tier; add one, or a last one without match")
    return name


def _manifest(sweep: SweepFile, configuration: Configuration, tier: SweepTier, threshold: Threshold) -> dict[str, Any]:
    labels = {**sweep.job.labels, SWEEP: sweep.name, TIER: tier.name}
    if configuration.is_baseline:
        labels[BASELINE] = "true"
    namespace = {"namespace": sweep.job.namespace} if sweep.job.namespace else {}
    return {
        "apiVersion": API_VERSION,
        "kind": "CarbonTrainingJob",
        "metadata": {"name": configuration.name(sweep.name), **namespace, "labels": labels},
        "spec": _merged(_early_stopping(sweep), sweep.job.spec, _fields(configuration), _limits(tier, threshold)),
    }


def _early_stopping(sweep: SweepFile) -> dict[str, Any]:
    """With as few validations as the rungs need, where the job says no number."""
    rule = sweep.early_stopping
    if rule is None:
        return {}
    said = rule.model_dump(mode="json", by_alias=True, exclude_unset=True)
    validations = {"workload": {"training": {"validations": rule.fewest_validations}}}
    return {"earlyStopping": {"sweep": sweep.name, **said}, **validations}


def _fields(configuration: Configuration) -> dict[str, Any]:
    workload: dict[str, dict[str, Any]] = {}
    for field, value in configuration.values:
        workload.setdefault(PLACES[field], {})[field] = value
    return {"workload": workload}


def _limits(tier: SweepTier, threshold: Threshold) -> dict[str, Any]:
    field, figure = {
        Threshold.GRAMS: ("maxIntensityGramsPerKwh", tier.max_intensity_grams_per_kwh),
        Threshold.PERCENTILE: ("maxIntensityPercentile", tier.max_intensity_percentile),
    }[threshold]
    if figure is None:
        raise SweepError(f"tier {tier.name} has no {field}, which the threshold {threshold} asks for; write it")
    schedule: dict[str, Any] = {"maxDelay": format_duration(tier.max_delay), field: figure}
    if tier.fleet_tier:
        schedule["tier"] = tier.fleet_tier
    resources = {"resources": {"duration": format_duration(tier.duration)}} if tier.duration else {}
    return {"schedule": schedule, **resources}


def _merged(base: Mapping[str, Any], *changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for change in changes:
        for key, value in change.items():
            inner = result.get(key)
            result[key] = _merged(inner or {}, value) if isinstance(value, Mapping) and _is_map(inner) else value
    return result


def _is_map(value: object) -> bool:
    return value is None or isinstance(value, Mapping)


def _checked(manifest: dict[str, Any]) -> CarbonTrainingJob:
    try:
        return CarbonTrainingJob.model_validate(manifest)
    except ValidationError as error:
        found = told(error, CarbonTrainingJob)
        raise SweepError(f"job {manifest['metadata']['name']} is not valid: {found}; nothing was written") from error
