"""What a CustomResourceDefinition gets from the server, and what it must keep to."""

from datetime import datetime

from kubeapi.errors import OMITTED, FieldError
from kubeapi.jsonpath import parse as parse_jsonpath
from kubeapi.objects import Json, Obj, timestamp
from kubeapi.schema import compile_schema, find_rule_errors, find_schema_errors, is_dns_label, is_subdomain


def complete_crd(obj: Obj, old: Obj | None, now: datetime) -> None:
    """Fill in names, storage versions and conditions, in place."""
    spec = obj["spec"]
    names = spec["names"]
    names.setdefault("listKind", names["kind"] + "List")
    names.setdefault("singular", names["kind"].lower())
    spec.setdefault("conversion", {"strategy": "None"})
    before = ((old or {}).get("status") or {}).get("storedVersions") or []
    stored = [version["name"] for version in spec["versions"] if version["storage"]]
    conditions = (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    )
    then = timestamp(now)
    obj["status"] = {
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": then, "reason": reason, "message": message}
            for kind, reason, message in conditions
        ],
        **(obj.get("status") or {}),
        "acceptedNames": dict(names),
        "storedVersions": before + [name for name in stored if name not in before],
    }


def find_crd_errors(obj: Obj, old: Obj | None) -> list[FieldError]:
    """What is wrong with a CRD beyond the types of its fields."""
    spec, name = obj["spec"], obj["metadata"]["name"]
    group, plural, versions = spec["group"], spec["names"]["plural"], spec["versions"]
    checks = (
        (name == f"{plural}.{group}", "metadata.name", name, 'must be spec.names.plural+"."+spec.group'),
        (is_subdomain(group) and "." in group, "spec.group", group, "should be a domain with at least one dot"),
        (is_dns_label(plural), "spec.names.plural", plural, "must be a lowercase RFC 1123 label"),
        (
            sum(bool(version["storage"]) for version in versions) == 1,
            "spec.versions",
            [version["name"] for version in versions],
            "must have exactly one version marked as storage version",
        ),
        *((spec[path] == (old or obj)["spec"][path], f"spec.{path}", spec[path], "field is immutable")
          for path in ("group", "scope")),
    )  # fmt: skip
    errors = [FieldError("FieldValueInvalid", path, value, detail) for good, path, value, detail in checks if not good]
    strategy = (spec.get("conversion") or {}).get("strategy", "None")
    if strategy != "None":
        detail = 'the embedded API converts with strategy "None" only'
        errors.append(FieldError("FieldValueNotSupported", "spec.conversion.strategy", strategy, detail))
    for index, version in enumerate(versions):
        errors.extend(_version_errors(version, f"spec.versions[{index}]"))
    return errors


def _version_errors(version: Obj, path: str) -> list[FieldError]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    where = f"{path}.schema.openAPIV3Schema"
    if not schema:
        return [FieldError("FieldValueRequired", where, detail="schemas are required")]
    try:
        errors = _schema_errors(schema, where)
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        return [FieldError("FieldValueInvalid", where, OMITTED, f"cannot be read as a schema: {error}")]
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        try:
            parse_jsonpath(column["jsonPath"])
        except ValueError as error:
            here = f"{path}.additionalPrinterColumns[{index}].jsonPath"
            errors.append(FieldError("FieldValueInvalid", here, column["jsonPath"], str(error)))
    return errors


def _schema_errors(schema: Json, where: str) -> list[FieldError]:
    errors = find_schema_errors(schema, where)
    if schema.get("type") != "object":
        kind = schema.get("type", "")
        errors.append(FieldError("FieldValueInvalid", f"{where}.type", kind, "must be object at the root"))
    metadata = (schema.get("properties") or {}).get("metadata") or {}
    named = (metadata.get("properties") or {}).keys()
    if not (metadata.keys() <= {"type", "properties"} and named <= {"name", "generateName"}):
        detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        errors.append(FieldError("FieldValueForbidden", f"{where}.properties[metadata]", detail=detail))
    return errors or find_rule_errors(compile_schema(schema), where)
