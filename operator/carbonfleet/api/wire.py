"""The rules that every wire format of ours shares: names, durations, times and strictness."""

import ast
import inspect
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Annotated, Any, Final, LiteralString, get_args, get_origin

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from carbonfleet.text import shown

GROUP: Final = "carbonfleet.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"


class LABEL(StrEnum):
    """Labels on what the hub renders and makes."""

    JOB = f"{GROUP}/job"
    NAMESPACE = f"{GROUP}/namespace"
    UID = f"{GROUP}/uid"
    ATTEMPT = f"{GROUP}/attempt"
    CLUSTER = f"{GROUP}/cluster"
    DATA_CLASS = f"{GROUP}/data-class"
    SCHEDULE = f"{GROUP}/schedule"


class ANNOTATION(StrEnum):
    """Annotations on what the hub renders and on its Lease, and those that people may set on a job."""

    PLACEMENT_ID = f"{GROUP}/placement-id"
    GENERATION = f"{GROUP}/generation"
    POOL = f"{GROUP}/pool"
    START = f"{GROUP}/start"
    DATASET_REGION = f"{GROUP}/dataset-region"
    DURATION_SECONDS = f"{GROUP}/duration-seconds"
    DECISION_DIGEST = f"{GROUP}/decision-digest"
    EXPIRES_AT = f"{GROUP}/expires-at"
    APPROVED_IN = f"{GROUP}/approved-in"
    SPEC_DIGEST = f"{GROUP}/spec-digest"
    CONTENT_DIGEST = f"{GROUP}/content-digest"
    GPUS = f"{GROUP}/gpus"
    REPLACE = f"{GROUP}/replace"
    ENDED = f"{GROUP}/ended"
    CONFIRM_DELETION = f"{GROUP}/confirm-deletion"
    JOB_NAMESPACES = f"{GROUP}/job-namespaces"


def wire_name(field: str) -> str:
    """A field's name outside: `grams_co2e` is written gramsCo2e."""
    return to_camel(field).replace("Co2E", "Co2e")


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """Rules (CEL, message) that the Kubernetes API checks; the validator beside them says the same."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}
"""A list whose items differ and whose order means nothing."""


def keyed_by(field: str) -> dict[str, Any]:
    """A list of objects that differ in `field`, merged by it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [field]}


_FIELD_NAMES: Final[dict[frozenset[str], set[str]]] = {}
_MOST_FIELD_NAMES: Final = 4096


def _share_field_names(model: BaseModel) -> None:
    """Have a frozen value share the set of the fields that it was given: one of its own takes up to 2 KiB."""
    names = model.model_fields_set
    if len(_FIELD_NAMES) < _MOST_FIELD_NAMES or names in _FIELD_NAMES:
        object.__setattr__(model, "__pydantic_fields_set__", _FIELD_NAMES.setdefault(frozenset(names), names))


class _Described(BaseModel):
    """A model whose fields' docstrings are their descriptions in its schema.

    They are read from the source when the schema is asked for: Pydantic's own way (`use_attribute_docstrings`) reads
    them at each import, which took a third of a command's start.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema with descriptions."""
        found = handler(schema)
        properties = handler.resolve_ref_schema(found).get("properties", {})
        for name, text in _docstrings(cls).items():
            key = next((key for key in (wire_name(name), name) if key in properties), "")
            if key:
                properties[key].setdefault("description", text)
        return found


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """What stands below each field of a model, its bases' first."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, _Described) or base is _Described:
            continue
        (body,) = ast.parse(dedent(inspect.getsource(base))).body
        for field, below in pairwise(body.body if isinstance(body, ast.ClassDef) else ()):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                    found[name] = inspect.cleandoc(str(text))
    return found


class Wire(_Described):
    """A value of a format that we own: frozen, camelCase outside, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=wire_name,
        populate_by_name=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _types_are_meant(cls, data: object) -> object:
        """`gpus: yes` and `anywhere: "yes"` are refused, as Kubernetes refuses them; without this they would be 1 and
        true.
        """
        given = data if isinstance(data, Mapping) else {}
        kinds = _kinds(cls)
        if wrong := {name: why for name in kinds if name in given and (why := _unmeant(given[name], kinds[name]))}:
            errors = [
                InitErrorDetails(type=PydanticCustomError("unmeant_type", why), loc=(name,), input=given[name])
                for name, why in wrong.items()
            ]
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return data

    def model_post_init(self, _context: object) -> None:
        """Save memory: a hub holds dozens of values for each of many jobs."""
        _share_field_names(self)

    def to_wire(self) -> dict[str, Any]:
        """The JSON form, without what was left unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


_NOT_A_NUMBER: Final = "must be a number, not true or false (YAML 1.1 reads yes, no, on and off so, too)"


@cache
def _kinds(model: type[Wire]) -> dict[str, type]:
    """The fields, by their names outside, that hold numbers alone (as `float`) or truth values alone (as `bool`)."""
    types = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    numbers: dict[str, type] = {name: float for name, type_ in types.items() if _holds_only(type_, (int, float))}
    return numbers | {name: bool for name, type_ in types.items() if _holds_only(type_, (bool,))}


def _unmeant(given: object, kind: type) -> LiteralString:
    """What is wrong where a number or a truth value belongs and another scalar stands."""
    if kind is bool:
        is_meant = all(isinstance(each, bool) for each in _scalars(given))
        return "" if is_meant else "must be true or false, without quotes"
    scalars = list(_scalars(given))
    if any(isinstance(each, bool) for each in scalars):
        return _NOT_A_NUMBER
    return "must be a number, not text" if any(isinstance(e, str) for e in scalars) else ""


def _scalars(given: object) -> Iterable[object]:
    """A value, or those of a list or mapping, but for what is no scalar."""
    inside = given.values() if isinstance(given, Mapping) else given if isinstance(given, list | tuple) else (given,)
    return (each for each in inside if isinstance(each, bool | int | float | str))


def _holds_only(type_: object, kinds: tuple[type, ...]) -> bool:
    """Whether all scalars that a field of this type holds are of these kinds; keys of a mapping are none."""
    parts = [part for part in get_args(type_) if part not in (type(None), ...)]
    if get_origin(type_) is Annotated:
        parts = parts[:1]
    elif get_origin(type_) is dict:
        parts = parts[1:]
    return type_ in kinds or (bool(parts) and all(_holds_only(part, kinds) for part in parts))


class Foreign(_Described):
    """A value whose format somebody else owns: unknown keys are ignored, and names may be camelCase or snake_case."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=wire_name,
        populate_by_name=True,
    )

    def model_post_init(self, _context: object) -> None:
        """Save memory, as `Wire` does."""
        _share_field_names(self)


_PART = re.compile(r"([0-9]+)(d|h|m|s)")
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
DURATION_PATTERN: Final = r"^([0-9]{1,4}d|[0-9]{1,6}(h|m|s)){1,4}$"
"""So short that a time plus a duration is always a time."""
_LOOSE_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([a-z]+)[ ,]*")
_WORDS = ((604_800, "w week"), (86_400, "d day"), (3_600, "h hr hour"), (60, "m min minute"), (1, "s sec second"))
_WORD_SECONDS = {word + end: seconds for seconds, words in _WORDS for word in words.split() for end in ("", "s")}
_YEAR_SECONDS = 365 * 86_400


def parse_duration(text: object) -> timedelta:
    """`1h30m` as a span; days, hours, minutes and seconds are known. Raises ValueError."""
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str) or not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(_how_to_write(text))
    return timedelta(seconds=sum(int(n) * _SECONDS[unit] for n, unit in _PART.findall(text)))


def _how_to_write(text: object) -> str:
    """What to write in the place of something that is no duration: what it most likely means, else an example."""
    told = str(text).strip().lower() if isinstance(text, str | int) and not isinstance(text, bool) else ""
    if re.fullmatch("[0-9]{1,6}", told):
        return f"a duration has a unit: write {told}h for hours, {told}m for minutes or {told}s for seconds"
    example = "write a duration like 90m, 24h or 1h30m"
    parts = _LOOSE_PART.findall(told)
    if (
        len(told) > LONGEST_LABEL
        or _LOOSE_PART.sub("", told)
        or not {unit for _, unit in parts} <= _WORD_SECONDS.keys()
    ):
        return example
    seconds = sum(float(number) * _WORD_SECONDS[unit] for number, unit in parts)
    return f"write {format_duration(timedelta(seconds=round(seconds)))}" if 0 < seconds < _YEAR_SECONDS else example


def format_duration(span: timedelta) -> str:
    """A span in the form that `parse_duration` reads: `1h30m`, or `0s`."""
    left = int(span.total_seconds())
    parts = []
    for unit in ("h", "m", "s"):
        count, left = divmod(left, _SECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_time(moment: datetime) -> str:
    """A moment as Kubernetes writes it: `2026-01-31T12:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_TIME_PATTERN: Final = (
    r"^(19[7-9][0-9]|2[0-9]{3})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"
)
"""RFC 3339, in the years that a time may lie in."""


def _written_so(moment: object) -> object:
    """Other forms of a time are refused, as the Kubernetes API refuses them."""
    if isinstance(moment, datetime) or (isinstance(moment, str) and re.fullmatch(_TIME_PATTERN, moment)):
        return moment
    raise ValueError("write a time of the years 1970 to 2999 like 2026-01-31T12:00:00Z")


def _as_utc(moment: datetime) -> datetime:
    if not 1970 <= moment.year < 3000:
        raise ValueError("must lie in the years 1970 to 2999")
    return moment.astimezone(UTC)


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "maxLength": 28}),
]


def _longer_than_nothing(span: timedelta) -> timedelta:
    if not span:
        raise ValueError("must be longer than 0s")
    return span


PositiveDuration = Annotated[
    Duration,
    AfterValidator(_longer_than_nothing),
    WithJsonSchema(
        {"type": "string", "pattern": DURATION_PATTERN, "maxLength": 28}
        | cel(("self.matches('[1-9]')", "must be longer than 0s"))
    ),
]
Time = Annotated[
    AwareDatetime,
    AfterValidator(_as_utc),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 40}),
]
WrittenTime = Annotated[
    Time,
    BeforeValidator(_written_so),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _TIME_PATTERN, "maxLength": 40}),
]
"""A time that a person writes."""


def _refuse_misread(value: object) -> object:
    """YAML reads an unquoted NO as false and 4090 as a number; say so rather than "not a string"."""
    if isinstance(value, bool | int | float):
        raise ValueError(f'YAML read this as {value!r}, not as text: put it in quotes, as in "NO"')
    return value


_WORD: Final = BeforeValidator(_refuse_misread)

LABEL_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
LONGEST_LABEL: Final = 63
Name = Annotated[str, Field(pattern=LABEL_PATTERN, max_length=LONGEST_LABEL), _WORD]
"""A DNS-1123 label: clusters, pools, namespaces, policies."""
ZoneKey = Annotated[str, Field(pattern=r"^[A-Z]{2,3}(-[A-Z0-9]{1,8}){0,3}$", max_length=32), _WORD]
"""An electricity zone by Electricity Maps' key, such as "NO-NO1". Quote it: YAML reads NO as false."""
RegionName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63), _WORD]
"""A provider's region, such as europe-north1 or us-east-2."""
StoreName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]+$", max_length=63), _WORD]
"""A store of checkpoints or data, by a name of the fleet's own."""
Jurisdiction = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9-]{1,31}$", max_length=32), _WORD]
"""A legal area that policies name, such as "EU", "EEA", "US" or "CA"."""
GpuType = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=32), _WORD]
"""A GPU model as the hardware profiles name it, such as A100, H100 or RTX-3090."""


Text = Annotated[str, Field(max_length=1024), AfterValidator(shown)]
"""What people read; control characters in it are shown, not obeyed."""
Uid = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$", max_length=64)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]


class Metadata(Foreign):
    """The part of an object's metadata that carbonfleet reads."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
