"""Who set which field: `metadata.managedFields`, and server-side apply on top of it."""

from kubeapi.managedfields.apply import apply
from kubeapi.managedfields.entries import Writer, record_create, record_update

__all__ = ["Writer", "apply", "record_create", "record_update"]
