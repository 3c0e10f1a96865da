"""Where the files of a job live, and the lease that says which attempt may write them."""

from .kept_log import KeptLog
from .lease import Lease, SavedCheckpoint
from .store import Conflict, Store
from .urls import open_store

__all__ = ["Conflict", "KeptLog", "Lease", "SavedCheckpoint", "Store", "open_store"]
