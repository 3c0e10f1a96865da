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
        absent = match["no"]
        return lambda obj: absent not in _labels(obj)
    if match["set"]:
        return _in_set(match["set"], {v.strip() for v in match["values"].split(",")}, match["how"] == "in")
    return _comparison(match["key"], match["op"] or "", match["value"] or "")


def _comparison(key: str, operator: str, value: str) -> Selector:
    if not operator:
        return lambda obj: key in _labels(obj)
    if operator == "!=":
        return lambda obj: _labels(obj).get(key) != value
    if operator in "<>":
        return _number(key, operator, value)
    return lambda obj: _labels(obj).get(key) == value


def _number(key: str, operator: str, value: str) -> Selector:
    if not re.fullmatch(r"-?\d+", value):
        raise bad_request(f"for 'Gt', 'Lt' operators, the value must be an integer, not {quoted(value)}")
    limit = int(value)

    def matches(obj: Obj) -> bool:
        text = str(_labels(obj).get(key, ""))
        if not re.fullmatch(r"-?\d+", text):
            return False
        return int(text) > limit if operator == ">" else int(text) < limit

    return matches


def _in_set(key: str, values: set[str], wanted: bool) -> Selector:
    if wanted:
        return lambda obj: _labels(obj).get(key) in values
    return lambda obj: _labels(obj).get(key) not in values


def _labels(obj: Obj) -> Obj:
    return metadata(obj).get("labels") or {}


def match_label_selector(selector: Obj | None, labels: Obj) -> bool:
    """Whether a `metav1.LabelSelector` matches; an absent one matches everything."""
    if not selector:
        return True
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(each, labels) for each in selector.get("matchExpressions") or ())


def _expression(requirement: Obj, labels: Obj) -> bool:
    key, values = str(requirement.get("key")), requirement.get("values") or ()
    match requirement.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
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
