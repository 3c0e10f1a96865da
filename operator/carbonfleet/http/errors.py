"""How a request fails: another try may succeed, or the server, or we, hold requests back."""

from datetime import datetime


class HttpUnavailable(Exception):  # noqa: N818 - it is raised to be turned into the caller's own error
    """The network or the server failed. `retry_at` says when asking again makes sense, if that is known."""

    def __init__(self, message: str, retry_at: datetime | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_at = retry_at


class HttpMoved(HttpUnavailable):
    """The server names another place; the key goes nowhere but where a person sends it."""


class HttpThrottled(HttpUnavailable):
    """Requests are held back until `retry_at`."""
