"""Objects in memory with their resource versions, the log that watches read, and the journal on disk."""

from kubeapi.storage.journal import Key, Kind
from kubeapi.storage.store import ADDED, DELETED, MODIFIED, Collection, Event, Observer, Store

__all__ = ["ADDED", "DELETED", "MODIFIED", "Collection", "Event", "Key", "Kind", "Observer", "Store"]
