"""The wheel of the carbonfleet that runs: built from its checkout, or packed again from where it is installed."""

import base64
import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import distribution
from io import BytesIO
from pathlib import Path
from typing import Self

from carbonfleet.install.overlays import InstallError
from carbonfleet.shipped import SHIPPED

_BUILD_SECONDS = 120
_LEFT_OUT = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json")
"""Of a distribution's own files: what an installer wrote."""


@dataclass(frozen=True)
class Wheel:
    """A wheel's name and bytes."""

    name: str
    content: bytes

    @cached_property
    def sha256(self) -> str:
        """In hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    @classmethod
    def read(cls, file: Path) -> Self:
        """A given one. Raises InstallError where it is no wheel of carbonfleet, OSError."""
        if not re.fullmatch(r"carbonfleet-[\w.+!-]+\.whl", file.name) or not zipfile.is_zipfile(file):
            raise InstallError(f"{file} is no wheel of carbonfleet: `python -m hatchling build` makes one")
        return cls(file.name, file.read_bytes())

    @classmethod
    def own(cls) -> Self:
        """Of what runs. Raises InstallError, OSError."""
        return cls._built(SHIPPED) if (SHIPPED / "pyproject.toml").exists() else cls._packed()

    @classmethod
    def _built(cls, checkout: Path) -> Self:
        with tempfile.TemporaryDirectory(prefix="carbonfleet-wheel-") as folder:
            command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
            try:
                done = subprocess.run(
                    command, cwd=checkout, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
                )
            except subprocess.TimeoutExpired:
                raise InstallError(f"hatchling did not end within {_BUILD_SECONDS} s: give --wheel FILE") from None
            if done.returncode:
                raise InstallError(f"the checkout can't be built, so give --wheel FILE: {done.stderr.strip()[-500:]}")
            (file,) = Path(folder).iterdir()
            return cls.read(file)

    @classmethod
    def _packed(cls) -> Self:
        """The installed files, but for what the installer made, under a new record: the same bytes each time."""
        installed = distribution("carbonfleet")
        paths = [path for path in installed.files or () if ".." not in path.parts and path.suffix != ".pyc"]
        files = {str(path): Path(str(path.locate())).read_bytes() for path in paths if path.name not in _LEFT_OUT}
        (about,) = {path.parts[0] for path in paths if path.parts[0].endswith(".dist-info")}
        record = "".join(f"{name},sha256={_hash(files[name])},{len(files[name])}\n" for name in sorted(files))
        files[f"{about}/RECORD"] = f"{record}{about}/RECORD,,\n".encode()
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):
                archive.writestr(zipfile.ZipInfo(name), files[name], zipfile.ZIP_DEFLATED)
        return cls(f"carbonfleet-{installed.version}-py3-none-any.whl", packed.getvalue())


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
