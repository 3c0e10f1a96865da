"""The file's template in its variants: with what KEDA and kube-green read where it scales or sleeps."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from carbonfleet.fleet.manifests import Template

SCALES, SLEEPS = "ScaledObject", "SleepInfo"
"""The kinds by which a file shows that it does."""
_REPLICAS = "  replicas: $replicas\n"


def template_of(kinds: Iterable[str]) -> Template:
    """The one whose file holds objects of these kinds."""
    found = frozenset(kinds)
    return _template(scales=SCALES in found, sleeps=SLEEPS in found)


@cache
def _template(*, scales: bool, sleeps: bool) -> Template:
    parts = [_text("serving.yaml")]
    if scales or sleeps:
        # Whoever applies the file would set the replicas back that KEDA or kube-green has set.
        parts[0] = parts[0].replace(_REPLICAS, "")
    if scales:
        parts.append(_text("scaling.yaml"))
    if sleeps:
        parts.append(_text("sleeping-scaled.yaml" if scales else "sleeping.yaml"))
    return Template.read("---\n".join(parts))


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text()
