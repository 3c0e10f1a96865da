"""The simple JSONPaths that printer columns and selectable fields use."""

import re
from functools import lru_cache
from typing import Final

from kubeapi.objects import Json

Step = tuple[str, Json]

_STEP: Final = re.compile(
    r"\.(?P<name>(?:\\.|[^.\[\]\\])+)"
    r"|\[(?P<index>-?\d+)\]"
    r"|\[(?P<all>\*)\]"
    r"|\['(?P<key>[^']*)'\]"
    r"|\[\?\(\s*@\.(?P<field>[\w./-]+)\s*==\s*(?P<quote>[\"'])(?P<value>.*?)(?P=quote)\s*\)\]"
)


@lru_cache(maxsize=2048)
def parse(path: str) -> tuple[Step, ...]:
    """The steps of a path such as `.status.conditions[?(@.type=="Ready")].status`.

    Raises ValueError where the path says more than printer columns may.
    """
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if text and text[0] not in ".[":
        text = "." + text
    steps: list[Step] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise ValueError(f"{path!r} is not a simple JSONPath")
        steps.append(_step(match))
        position = match.end()
    return tuple(steps)


def _step(match: "re.Match[str]") -> Step:
    if match["all"] or match["name"] == "*":
        return "all", None
    if match["index"]:
        return "index", int(match["index"])
    if match["field"]:
        return "where", (match["field"], match["value"])
    return "key", match["key"] if match["name"] is None else match["name"].replace("\\", "")


def find(value: Json, path: str) -> list[Json]:
    """Everything that the path leads to; nothing where it leads nowhere."""
    found = [value]
    for kind, argument in parse(path):
        found = [after for before in found for after in _advance(before, kind, argument)]
    return found


def _advance(value: Json, kind: str, argument: Json) -> list[Json]:
    if kind == "key":
        return [value[argument]] if isinstance(value, dict) and argument in value else []
    if kind == "all":
        return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if not isinstance(value, list):
        return []
    if kind == "index":
        return [value[argument]] if -len(value) <= argument < len(value) else []
    field, wanted = argument
    return [item for item in value if isinstance(item, dict) and str(item.get(field)) == wanted]
