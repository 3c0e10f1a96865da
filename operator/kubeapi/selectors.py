"""Label and field selectors, as functions of an object."""

import re
from collections.abc import Callable
from typing import Final

from kubeapi.errors import bad_request
from kubeapi.objects import Obj, at_path, metadata, quoted

Selector = Callable[[Obj], bool]

_LABEL: Final = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<no>[^\s,=!()<>]+)"
    r"|(?P<set>[^\s,=!()<>]+)\s+(?P<how>in|notin)\s*\((?P<values>[^)]*)\)"
    r"|(?P<key>[^\s,=!()<>]+)\s*(?:(?P<op>==|=|!=|>|<)\s*(?P<value>[^\s,=!()<>]*))?)\s*(?:,|$)"
)

_OPERATORS: Final = {"=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt", None: "Exists"}
_INTEGER: Final = re.compile(r"-?\d{1,18}")


def parse_labels(text: str) -> list[Selector]:
    """The requirements of a label selector; an object matches if all of them hold."""
    found: list[Selector] = []
    position = 0
    while position < len(text):
        match = _LABEL.match(text, position)
        if match is None:
            raise bad_request(f"unable to parse requirement: found {quoted(text[position:])} in label selector")
        found.append(_label_requirement(match))
        position = match.end()
    return found


def _label_requirement(match: "re.Match[str]") -> Selector:
    if match["absent"]:
        key, operator, values = match["no"], "DoesNotExist", [""]
    elif match["set"]:
        key, operator = match["set"], {"in": "In", "notin": "NotIn"}[match["how"]]
        values = [value.strip() for value in match["values"].split(",")]
    else:
        key, operator, values = match["key"], _OPERATORS[match["op"]], [match["value"] or ""]
    if operator in ("Gt", "Lt") and not _INTEGER.fullmatch(values[0]):
        raise bad_request(f"for 'Gt', 'Lt' operators, the value must be an integer, not {quoted(values[0])}")
    return lambda obj: _holds(key, operator, values, metadata(obj).get("labels") or {})


def match_label_selector(selector: Obj | None, labels: Obj) -> bool:
    """Whether a `metav1.LabelSelector` matches; an absent one matches everything."""
    selector = selector or {}
    wanted = [(key, "In", [value]) for key, value in (selector.get("matchLabels") or {}).items()]
    for each in selector.get("matchExpressions") or ():
        wanted.append((str(each.get("key")), str(each.get("operator")), each.get("values") or []))
    return all(_holds(*requirement, labels) for requirement in wanted)


def _holds(key: str, operator: str, values: list[str], labels: Obj) -> bool:
    """Whether labels meet one requirement; one with an unknown operator is met by none."""
    match operator:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case "Gt" | "Lt" if _INTEGER.fullmatch(labels.get(key, "")):
            number, limit = int(labels[key]), int(values[0])
            return number > limit if operator == "Gt" else number < limit
    return False


def parse_fields(text: str, supported: tuple[str, ...]) -> list[Selector]:
    """The requirements of a field selector; only `supported` paths, names and namespaces may be asked for."""
    found: list[Selector] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", part)
        if match is None:
            raise bad_request(f"invalid selector: {quoted(text)}; can't understand {quoted(part)}")
        path, operator, value = match.groups()
        if path not in ("metadata.name", "metadata.namespace", *supported):
            raise bad_request(f"field label not supported: {path}")
        found.append(_field_requirement(path, value, operator != "!="))
    return found


def _field_requirement(path: str, value: str, wanted: bool) -> Selector:
    def text_of(obj: Obj) -> str:
        found = at_path(obj, path)
        return str(found).lower() if isinstance(found, bool) else "" if found is None else str(found)

    return lambda obj: (text_of(obj) == value) is wanted


def all_of(selectors: list[Selector]) -> Selector:
    """One selector for several."""
    return lambda obj: all(each(obj) for each in selectors)
