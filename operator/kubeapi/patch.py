"""The patch formats that change an object: JSON patch, merge patch, strategic merge patch."""

from typing import Final

import jsonpatch

from kubeapi.errors import ApiError, bad_request, rejected
from kubeapi.objects import Json, Obj

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

_MERGE_KEYS: Final = {
    "ownerReferences": "uid", "conditions": "type", "secrets": "name", "imagePullSecrets": "name",
    "webhooks": "name",
    "matchConditions": "name",
}  # fmt: skip
"""Lists of the built-in kinds that a strategic merge patch merges by a key."""

_MERGED_SETS: Final = frozenset({"finalizers"})


def apply_json_patch(obj: Obj, operations: Json) -> Obj:
    """RFC 6902. Raises 422 where an operation's test fails or its path does not exist."""
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > 10_000:
        raise ApiError(413, "RequestEntityTooLarge", "The allowed maximum operations in a JSON patch is 10000")
    try:
        patched = jsonpatch.apply_patch(obj, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, KeyError, TypeError, IndexError) as error:
        raise rejected() from error
    if not isinstance(patched, dict):
        raise rejected()
    return patched


def apply_merge_patch(target: Json, patch: Json) -> Json:
    """RFC 7386; `target` is not changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply_merge_patch(result.get(name), value)
    return result


def apply_strategic_patch(target: Json, patch: Json, field: str = "") -> Json:
    """A strategic merge patch for the built-in kinds; `target` is not changed."""
    if isinstance(patch, dict):
        return _strategic_map(target, patch)
    if isinstance(patch, list) and isinstance(target, list):
        if field in _MERGED_SETS:
            return target + [item for item in patch if item not in target]
        if field in _MERGE_KEYS:
            return _strategic_list(target, patch, _MERGE_KEYS[field])
    return patch


def _strategic_map(target: Json, patch: Obj) -> Obj:
    directive = patch.get("$patch")
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    if directive == "delete":
        return {}
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            result[field] = [item for item in result.get(field) or [] if item not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            result.pop(name, None)
        else:
            result[name] = apply_strategic_patch(result.get(name), value, name)
    return result


def _strategic_list(target: list[Json], patch: list[Json], key: str) -> list[Json]:
    result = list(target)
    for change in patch:
        if not isinstance(change, dict) or key not in change:
            raise bad_request(f"map: {change} does not contain declared merge key: {key}")
        place = next((i for i, item in enumerate(result) if item.get(key) == change[key]), None)
        if change.get("$patch") == "delete":
            if place is not None:
                del result[place]
        elif place is None:
            result.append(change)
        else:
            result[place] = _strategic_map(result[place], change)
    return result
