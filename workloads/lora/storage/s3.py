"""A job's files in S3 or a store that speaks it: data through fsspec, swaps by conditional writes."""

import secrets

import botocore.session  # type: ignore[import-untyped]
import fsspec
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from ..failure import Failure
from .store import Conflict


class S3Store:
    """A prefix in a bucket of S3, or of a store that speaks it; endpoint and keys come from `AWS_*`."""

    report_seconds = 15.0

    def __init__(self, root: str) -> None:
        waits = {"connect_timeout": 10, "read_timeout": 60}
        retries = {"max_attempts": 5, "mode": "standard"}
        self._root = root
        self.place = f"s3://{root}"
        self._bucket, _, self._prefix = root.partition("/")
        try:
            config = Config(**waits, retries=retries)
            self._client = botocore.session.get_session().create_client("s3", config=config)
            # Its own: a kept one would go on with the address and keys of an earlier environment.
            options = {"use_listings_cache": False, "skip_instance_cache": True}
            self._fs = fsspec.filesystem("s3", **options, config_kwargs={**waits, "retries": retries})
            self._refuse_unless_conditional()
        except (BotoCoreError, ClientError, OSError) as error:
            raise Failure("StoreUnavailable", f"cannot use the output s3://{root}: {error}") from error

    def read(self, name: str) -> bytes:
        """See `Store`."""
        with self._fs.open(f"{self._root}/{name}", "rb", cache_type="none") as file:
            return bytes(file.read())

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """See `Store`; an object appears when its upload completes."""
        with self._fs.open(f"{self._root}/{name}", "wb") as file:
            file.write(data)

    def remove(self, name: str) -> None:
        """See `Store`."""
        self._client.delete_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}")

    def names(self, folder: str) -> list[str]:
        """See `Store`."""
        self._fs.invalidate_cache()
        found = self._fs.find(f"{self._root}/{folder}")
        return sorted(path.rsplit("/", 1)[1] for path in found)

    def load(self, name: str) -> tuple[bytes, str] | None:
        """See `Store`; the version is the object's ETag."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}")
        except self._client.exceptions.NoSuchKey:
            return None
        return answer["Body"].read(), answer["ETag"]

    def compare_and_swap(self, name: str, data: bytes, version: str | None) -> str:
        """See `Store`: `If-None-Match: *` creates, `If-Match` replaces."""
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        try:
            answer = self._client.put_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}", Body=data, **condition)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 409, 412):
                raise Conflict(name) from error
            raise
        return str(answer["ETag"])

    def _refuse_unless_conditional(self) -> None:
        """Some stores ignore the conditions and answer 200; such a store would let two attempts write."""
        probe = f".probe-{secrets.token_hex(8)}"
        try:
            self.compare_and_swap(probe, b"1", None)
            held = self._refuses(probe, None) and self._refuses(probe, f'"{"0" * 32}"')
        finally:
            self.remove(probe)
        if not held:
            raise Failure(
                "BadConfig",
                f"s3://{self._root}: this store ignores conditional writes; use one that has them",
            )

    def _refuses(self, name: str, version: str | None) -> bool:
        try:
            self.compare_and_swap(name, b"2", version)
        except Conflict:
            return True
        return False
