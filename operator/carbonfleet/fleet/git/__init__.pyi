"""The fleet repository's clone, its server, its signatures, and what it says at a commit."""

from .clone import commit_at, compact, is_whole, occupy, open_clone
from .commits import email_of, message_of, name_of, time_of
from .declared import CONFIG_MAP, digest_of, only_read, read_cluster, read_policy_files
from .openpgp import holds_openpgp, keyring
from .signing import is_signer, public_line, sign, signer_of
from .tip import Tip, TipReader
from .transport import TransportFailure, transport_for
from .trees import Changes, Files, blob, changed_tree, measured, subtree
from .trust import Trust, trusted_by

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
    "trusted_by",
]
