"""Admission webhooks: asking the servers that validating and mutating configurations name."""

from carbonfleet.local.kubeapi.calls import Call
from carbonfleet.local.kubeapi.store import Store
from carbonfleet.local.kubeapi.values import Obj


class Admission:
    """Asks the webhooks that match an operation."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def review(self, call: Call, operation: str, new: Obj | None, old: Obj | None) -> Obj | None:
        """The object as admitted."""
        return new

    async def close(self) -> None:
        """Let go of open connections."""
