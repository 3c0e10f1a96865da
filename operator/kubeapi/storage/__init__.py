"""Objects in memory with their resource versions, the log that watches read, and the journal on disk."""

from kubeapi.storage.journal import ADDED, DELETED, MODIFIED, Event, Key, Kind
from kubeapi.storage.store import Listener, Store

__all__ = ["ADDED", "DELETED", "MODIFIED", "Event", "Key", "Kind", "Listener", "Store"]
