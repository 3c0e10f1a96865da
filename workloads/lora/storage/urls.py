"""The store that a path or URL names."""

import fsspec

from ..failure import Failure
from .local import LocalStore
from .store import Store


def open_store(url: str) -> Store:
    """The store at a path or fsspec URL; one that cannot compare and set is refused."""
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise Failure("BadConfig", f"cannot use the output {url[:200]!r}: {error}") from error
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    if protocol == "file":
        return LocalStore(fs, root)
    if protocol == "s3":
        from .s3 import S3Store  # its client is slow to import

        return S3Store(root)
    raise Failure("BadConfig", f"{protocol}:// has no conditional writes that this job knows; use a path or s3://")
