"""Reading the body of a request: JSON, YAML, or the protobuf that kubectl sends."""

from typing import Final

import yaml

from kubeapi.errors import bad_request, unsupported_media
from kubeapi.handlers import protobuf
from kubeapi.objects import Json, Obj, copied, decode
from kubeapi.patch import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH

_YAML: Final = ("application/yaml", APPLY_PATCH)
_JSON: Final = ("", "application/json", "application/octet-stream", JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)
_MOST_YAML_VALUES: Final = 200_000
_DEEPEST_YAML: Final = 500


class _Loader(yaml.CSafeLoader):
    """Times stay text, as in every Kubernetes object."""

    yaml_implicit_resolvers = {  # noqa: RUF012  where PyYAML looks for them
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def media_type(content_type: str) -> str:
    """A Content-Type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def read_body(body: bytes, content_type: str) -> Json:
    """The JSON value in a body of JSON, YAML or protobuf. Raises 400 or 415."""
    media = media_type(content_type)
    if media == protobuf.MEDIA_TYPE:
        return protobuf.read(body)
    if media not in _YAML + _JSON:
        raise unsupported_media(("application/json", "application/yaml", protobuf.MEDIA_TYPE))
    try:
        if media in _YAML and body.lstrip()[:1] not in (b"{", b""):
            _check_depth(body)
            return copied(_bounded(yaml.load(body, _Loader)))  # noqa: S506 - a safe loader
        return decode(body) if body.strip() else None
    except Exception as error:  # PyYAML raises whatever an odd scalar makes int, datetime or a dictionary raise
        what = str(error).partition("\n")[0] or type(error).__name__
        raise bad_request(f"the object provided is unrecognized (must be of type JSON or YAML): {what}") from error


def _check_depth(body: bytes) -> None:
    """Refuse what is nested so deep that libyaml's composer, which recurses without a bound, ends the process."""
    depth = 0
    for event in yaml.parse(body, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST_YAML:
            raise ValueError(f"the YAML is nested deeper than {_DEEPEST_YAML}")


def _bounded(value: Json) -> Json:
    """`value`, unless aliases make it far larger than its text (a "billion laughs")."""
    left, waiting = _MOST_YAML_VALUES, [value]
    while waiting:
        part = waiting.pop()
        left -= 1
        if left < 0:
            raise ValueError(f"the YAML holds more than {_MOST_YAML_VALUES} values")
        if isinstance(part, (dict, list)):
            waiting.extend(part.values() if isinstance(part, dict) else part)
    return value


def read_object(body: bytes, content_type: str) -> Obj:
    """The object in a body. Raises 400 for a value that is none."""
    value = read_body(body, content_type)
    if not isinstance(value, dict):
        raise bad_request("the body of the request must be an object")
    return value
