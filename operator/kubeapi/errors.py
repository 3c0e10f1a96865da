"""The API's errors, with the reasons and texts of a real kube-apiserver."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kubeapi.objects import Json, Obj, quoted, shown

OMITTED: Final = object()
"""Stands for a value that the message leaves out."""

_TITLES: Final = {  # all others are an Invalid value
    "FieldValueNotFound": "Not found",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
}
_WITHOUT_VALUE: Final = frozenset({"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong"})


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field, as `k8s.io/apimachinery/pkg/util/validation/field` words it."""

    reason: str
    field: str
    value: Json = OMITTED
    detail: str = ""

    @property
    def body(self) -> str:
        """The message without the field's path."""
        text = _TITLES.get(self.reason, "Invalid value")
        if self.reason not in _WITHOUT_VALUE and self.value is not OMITTED:
            text += f": {shown(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    @property
    def text(self) -> str:
        """The message with the field's path."""
        return f"{self.field}: {self.body}"


class ApiError(Exception):
    """An answer that is not a success: an HTTP code and a `Status` object."""

    def __init__(
        self, code: int, reason: str, message: str, details: Obj | None = None, retry_after_seconds: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.retry_after_seconds = retry_after_seconds

    def status(self) -> Obj:
        """The `Status` object that the client reads."""
        body: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            body["details"] = self.details
        return body


def _details(group: str, kind: str, name: str) -> Obj:
    pairs = (("name", name), ("group", group), ("kind", kind))
    return {key: value for key, value in pairs if value}


def qualified(group: str, plural: str) -> str:
    """`plural.group`, or the plural alone in the core group."""
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> ApiError:
    """404 for an object that does not exist."""
    text = f"{qualified(group, plural)} {quoted(name)} not found"
    return ApiError(404, "NotFound", text, _details(group, plural, name))


def no_such_resource() -> ApiError:
    """404 for a path that serves nothing; sent as plain text, as a real server's router does."""
    return ApiError(404, "NotFound", "404 page not found")


def already_exists(group: str, plural: str, name: str) -> ApiError:
    """409 for a second object of one name."""
    text = f"{qualified(group, plural)} {quoted(name)} already exists"
    return ApiError(409, "AlreadyExists", text, _details(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str) -> ApiError:
    """409 for a write that was based on an older version."""
    text = f"Operation cannot be fulfilled on {qualified(group, plural)} {quoted(name)}: {why}"
    return ApiError(409, "Conflict", text, _details(group, plural, name))


STALE: Final = "the object has been modified; please apply your changes to the latest version and try again"


def forbidden(group: str, plural: str, name: str, why: str) -> ApiError:
    """403 from authorisation or admission."""
    shown = f"{qualified(group, plural)} {quoted(name)}" if name else qualified(group, plural)
    return ApiError(403, "Forbidden", f"{shown} is forbidden: {why}", _details(group, plural, name))


def bad_request(message: str) -> ApiError:
    """400 for a request that cannot be read."""
    return ApiError(400, "BadRequest", message)


def invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> ApiError:
    """422 with one cause for each wrong field."""
    texts = [error.text for error in errors]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    shown = f"{kind}.{group}" if group else kind
    details = _details(group, kind, name)
    details["causes"] = [{"reason": e.reason, "message": e.body, "field": e.field} for e in errors]
    return ApiError(422, "Invalid", f"{shown} {quoted(name)} is invalid: {listed}", details)


def rejected() -> ApiError:
    """422 for a JSON patch whose test failed or whose path does not exist."""
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request")


def expired(message: str) -> ApiError:
    """410 for a resource version or continue token that is no longer kept."""
    return ApiError(410, "Expired", message)


def method_not_allowed(method: str) -> ApiError:
    """405 for a verb that the resource does not offer."""
    return ApiError(
        405, "MethodNotAllowed", f"the server does not allow this method on the requested resource ({method})"
    )


def unsupported_media(accepted: Sequence[str]) -> ApiError:
    """415 for a body in a format that the resource does not take."""
    text = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", text)


def internal(message: str) -> ApiError:
    """500, worded as the real server does."""
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]})
