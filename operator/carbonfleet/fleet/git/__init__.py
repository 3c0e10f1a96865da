"""The fleet repository's clone, its server, its signatures, and what it says at a commit."""

from carbonfleet.fleet.git.clone import commit_at, compact, occupy, open_clone
from carbonfleet.fleet.git.declared import digest_of, only_read, read_cluster, read_policy_files
from carbonfleet.fleet.git.openpgp import holds_openpgp, keyring
from carbonfleet.fleet.git.signing import sign
from carbonfleet.fleet.git.tip import Tip, TipReader
from carbonfleet.fleet.git.transport import TransportFailure, transport_for
from carbonfleet.fleet.git.trees import Changes, Files, blob, changed_tree, time_of

__all__ = [
    "Changes",
    "Files",
    "Tip",
    "TipReader",
    "TransportFailure",
    "blob",
    "changed_tree",
    "commit_at",
    "compact",
    "digest_of",
    "holds_openpgp",
    "keyring",
    "occupy",
    "only_read",
    "open_clone",
    "read_cluster",
    "read_policy_files",
    "sign",
    "time_of",
    "transport_for",
]
