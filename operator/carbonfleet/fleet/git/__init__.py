"""The fleet repository's clone, its server, its signatures, and what it says at a commit."""

from carbonfleet.fleet.git.clone import commit_at, compact, is_whole, occupy, open_clone
from carbonfleet.fleet.git.commits import email_of, message_of, name_of, time_of
from carbonfleet.fleet.git.declared import CONFIG_MAP, digest_of, only_read, read_cluster, read_policy_files
from carbonfleet.fleet.git.openpgp import holds_openpgp, keyring
from carbonfleet.fleet.git.signing import is_signer, public_line, sign, signer_of
from carbonfleet.fleet.git.tip import Tip, TipReader
from carbonfleet.fleet.git.transport import TransportFailure, transport_for
from carbonfleet.fleet.git.trees import Changes, Files, blob, changed_tree, measured, subtree
from carbonfleet.fleet.git.trust import Trust

__all__ = [
    "CONFIG_MAP",
    "Changes",
    "Files",
    "Tip",
    "TipReader",
    "TransportFailure",
    "Trust",
    "blob",
    "changed_tree",
    "commit_at",
    "compact",
    "digest_of",
    "email_of",
    "holds_openpgp",
    "is_signer",
    "is_whole",
    "keyring",
    "measured",
    "message_of",
    "name_of",
    "occupy",
    "only_read",
    "open_clone",
    "public_line",
    "read_cluster",
    "read_policy_files",
    "sign",
    "signer_of",
    "subtree",
    "time_of",
    "transport_for",
]
