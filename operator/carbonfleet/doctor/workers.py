"""Checks of what trains on a spoke with Kubernetes: KubeRay, GPUs and their labels, tenants and their volumes."""

import re
from collections.abc import Iterator
from typing import Final

from carbonfleet.api.cluster import GpuPool
from carbonfleet.api.wire import ANNOTATION
from carbonfleet.doctor.check import CheckResult, missing, ok, unknown
from carbonfleet.doctor.cluster import DEFINITIONS, Right, has_rights, listed, rights_of, shipped
from carbonfleet.kube import Kube, KubeError, Object, path

KUBERAY: Final = (1, 6)
"""The RayJobs that the hub writes need it (`preRunningDeadlineSeconds`)."""
GPU: Final = "nvidia.com/gpu"
SYSTEM: Final = "carbonfleet-system"
PLACEMENTS: Final = "carbonfleet.dev/placements"
"""Label of the namespaces in which placements run."""
_FLUX: Final = path("apis/kustomize.toolkit.fluxcd.io/v1", "kustomizations", SYSTEM, "carbonfleet")
_FLUX_SOURCE: Final = path("apis/source.toolkit.fluxcd.io/v1", "gitrepositories", SYSTEM, "carbonfleet")
_ARGOCD: Final = path("apis/argoproj.io/v1alpha1", "applications", "argocd", "carbonfleet")
APPLY_AGAIN: Final = "apply what carbonfleet install spoke wrote: `kubectl apply --server-side -k OVERLAY`"
_GO_ON: Final = """'{"spec":{"suspend":false}}'"""
_CLASSES: Final = "apis/storage.k8s.io/v1"
_INSTALL: Final = (
    "helm upgrade --install kuberay-operator kuberay-operator --version 1.6.0 "
    "--repo https://ray-project.github.io/kuberay-helm/"
)


def kuberay(kube: Kube) -> Iterator[CheckResult]:
    """Its definitions and its operator."""
    for plural in ("rayjobs.ray.io", "rayclusters.ray.io"):
        yield _definition(kube, plural)
    yield _operator(kube)


def _definition(kube: Kube, plural: str) -> CheckResult:
    name = f"crd {plural}"
    try:
        versions = kube.get(path(DEFINITIONS, "customresourcedefinitions", name=plural))["spec"]["versions"]
    except KubeError as error:
        if not error.is_gone:
            raise
        return missing(name, "is not installed", _INSTALL)
    if any(each["name"] == "v1" and each.get("served") for each in versions):
        return ok(name, "serves v1")
    return missing(name, "does not serve v1, which placements are written in", _INSTALL)


def _operator(kube: Kube) -> CheckResult:
    label = "app.kubernetes.io/name=kuberay-operator"
    found, _ = kube.list(path("apis/apps/v1", "deployments"), labelSelector=label)
    images = [image for each in found for image in _images(each)]
    if not images:
        return missing("kuberay operator", f"no Deployment has the label {label}", _INSTALL)
    version = re.search(r":v?([0-9]+)\.([0-9]+)[^/]*$", images[0])
    if version is None:
        return unknown(
            "kuberay operator", f"{images[0]} does not say which version it is", "see that it is 1.6 or newer"
        )
    if (int(version[1]), int(version[2])) < KUBERAY:
        return missing("kuberay operator", f"{images[0]} is older than 1.6", _INSTALL)
    return ok("kuberay operator", images[0])


def _images(deployment: Object) -> list[str]:
    return [str(each.get("image", "")) for each in deployment["spec"]["template"]["spec"]["containers"]]


def agent(kube: Kube, image: str) -> CheckResult:
    """Whether the agent's Deployment is there, of this version, and has a pod that is ready."""
    logs = f"see why: kubectl -n {SYSTEM} logs deploy/carbonfleet-agent"
    try:
        found = kube.get(path("apis/apps/v1", "deployments", SYSTEM, "carbonfleet-agent"))
    except KubeError as error:
        if not error.is_gone:
            raise
        return missing("agent", f"no Deployment carbonfleet-agent in {SYSTEM}", APPLY_AGAIN)
    (runs, *_) = _images(found)
    if not (found.get("status") or {}).get("availableReplicas"):
        return missing("agent", f"no pod of {runs} is ready", logs)
    other = "" if runs == image else f", where this version's is {image}"
    return ok("agent", f"runs {runs}{other}")


def applier(kube: Kube) -> Iterator[CheckResult]:
    """Who applies the placements, where the agent only watches, and whether it does: Flux, or Argo CD."""
    if not watches_only(kube):
        yield ok("applier", "the agent applies them itself")
        return
    flux, argocd = _found(kube, _FLUX), _found(kube, _ARGOCD)
    if flux is None and argocd is None:
        told = "the agent only watches, and there is neither Flux's Kustomization nor Argo CD's Application carbonfleet"
        advice = "install Flux or Argo CD, then apply what carbonfleet install spoke --applier flux or argocd wrote"
        yield missing("applier", told, advice)
    if flux is not None:
        yield _flux("flux source", _found(kube, _FLUX_SOURCE) or {}, "gitrepositories/carbonfleet")
        yield _flux("applier", flux, "kustomizations.kustomize.toolkit.fluxcd.io/carbonfleet")
    if argocd is not None:
        yield _argocd(argocd)


def _found(kube: Kube, where: str) -> Object | None:
    """An object, where it and its definition are there. Raises KubeError."""
    try:
        return kube.get(where)
    except KubeError as error:
        if not error.is_gone:
            raise
        return None


def _flux(name: str, found: Object, which: str) -> CheckResult:
    """By its condition Ready, and whether a person suspended it."""
    spec, status = found.get("spec") or {}, found.get("status") or {}
    if spec.get("suspend"):
        return missing(name, f"{which} is suspended", f"`kubectl -n {SYSTEM} patch {which} --type=merge -p {_GO_ON}`")
    ready: Object = next((each for each in status.get("conditions") or () if each.get("type") == "Ready"), {})
    if ready.get("status") == "True":
        return ok(name, f"{which} is ready: {ready.get('message') or 'it says no more'}")
    why = f"{ready.get('reason')}: {ready.get('message')}" if ready else "no controller has looked at it yet"
    return missing(name, f"{which} is not ready: {why}", f"see all of it: kubectl -n {SYSTEM} describe {which}")


def _argocd(found: Object) -> CheckResult:
    """By what it says of its last comparison with Git. Its health is that of what runs, which may fail."""
    status = found.get("status") or {}
    said = str((status.get("sync") or {}).get("status") or "")
    if said == "Synced":
        return ok("applier", "Argo CD's Application carbonfleet is synced")
    errors = [str(each.get("message")) for each in status.get("conditions") or () if "Error" in str(each.get("type"))]
    why = "; ".join((said or "no controller has looked at it yet", *errors))
    see = "kubectl -n argocd describe applications.argoproj.io/carbonfleet"
    return missing("applier", f"Argo CD's Application carbonfleet is not synced: {why}", f"see all of it: {see}")


def tenants(kube: Kube) -> Iterator[CheckResult]:
    """The namespaces in which placements run: the agent's rights and the volume for checkpoints."""
    names = tenant_names(kube)
    if not names:
        yield missing(
            "tenants", f"no namespace has the label {PLACEMENTS}=true", "give install spoke a --tenant NAMESPACE"
        )
    for name in names:
        user = f"system:serviceaccount:{SYSTEM}:carbonfleet-agent"
        rights = _agents_rights(kube, name)
        yield has_rights(f"rights in {name}", kube, rights, APPLY_AGAIN, user)
        yield _volume(kube, name)


def tenant_names(kube: Kube) -> list[str]:
    """Namespaces that are open to placements."""
    found, _ = kube.list(path("api/v1", "namespaces"), labelSelector=f"{PLACEMENTS}=true")
    return sorted(str(each["metadata"]["name"]) for each in found)


def _agents_rights(kube: Kube, namespace: str) -> tuple[Right, ...]:
    """Those to watch; those to apply, too, unless Flux or Argo CD does."""
    roles = [each for each in shipped("kustomize/base/spoke/rbac.yaml") if each["kind"] == "ClusterRole"]
    objects = [*roles, *shipped("kustomize/base/tenant/tenant.yaml")]
    watching = rights_of(objects, "carbonfleet-agent", namespace)
    return watching if watches_only(kube) else (*watching, *rights_of(objects, "carbonfleet-applier", namespace))


def watches_only(kube: Kube) -> bool:
    """Whether the agent leaves it to Flux or Argo CD to apply."""
    try:
        found = kube.get(path("apis/apps/v1", "deployments", SYSTEM, "carbonfleet-agent"))
    except KubeError as error:
        if not error.is_gone:
            raise
        return False
    variables = found["spec"]["template"]["spec"]["containers"][0].get("env") or ()
    return any((each.get("name"), each.get("value")) == ("CARBONFLEET_APPLY", "watch") for each in variables)


def _volume(kube: Kube, namespace: str) -> CheckResult:
    name = f"volume in {namespace}"
    advice = "name a class whose volumes many pods may write: carbonfleet install spoke --shared-storage-class CLASS"
    try:
        claim = kube.get(path("api/v1", "persistentvolumeclaims", namespace, "carbonfleet-checkpoints"))
    except KubeError as error:
        if not error.is_gone:
            raise
        return missing(name, "there is no PersistentVolumeClaim carbonfleet-checkpoints", advice)
    spec, phase = claim["spec"], (claim.get("status") or {}).get("phase", "Pending")
    modes, kind = spec.get("accessModes") or [], spec.get("storageClassName") or "the default class"
    if phase == "Bound":
        told = f"carbonfleet-checkpoints is bound, of {kind}"
        return (
            ok(name, told) if "ReadWriteMany" in modes else unknown(name, f"{told}, for pods of one node alone", advice)
        )
    if _waits_for_pod(kube, spec.get("storageClassName") or ""):
        return unknown(name, f"{kind} makes it once a first pod asks", "run a first job, then ask again")
    return missing(name, f"carbonfleet-checkpoints is {phase}, of {kind}", advice)


def _waits_for_pod(kube: Kube, name: str) -> bool:
    """Whether a class, or the default one, binds only where a pod is."""
    classes, _ = kube.list(path(_CLASSES, "storageclasses"))
    default = "storageclass.kubernetes.io/is-default-class"
    for each in classes:
        marked = (each["metadata"].get("annotations") or {}).get(default) == "true"
        if each["metadata"]["name"] == name or (not name and marked):
            return each.get("volumeBindingMode") == "WaitForFirstConsumer"
    return False


def pool(kube: Kube, wanted: GpuPool) -> CheckResult:
    """Whether nodes with a pool's label have its GPUs."""
    name, label = f"gpus {wanted.name}", f"{ANNOTATION.POOL}={wanted.name}"
    if wanted.simulated:
        return ok(name, f"{wanted.gpus} are declared as simulated")
    nodes, _ = kube.list(path("api/v1", "nodes"), labelSelector=label)
    if not nodes:
        return missing(name, f"no node has the label {label}", f"`kubectl label node NODE {label}`")
    counts = [_gpus(each) for each in nodes]
    told = f"{sum(counts)} of {wanted.gpus} on {len(nodes)} nodes"
    if bare := [str(each["metadata"]["name"]) for each in nodes if not _gpus(each)]:
        said = f"{told}: {listed(bare)} {'has' if len(bare) == 1 else 'have'} none that Kubernetes could give out"
        return missing(name, said, f"install NVIDIA's device plugin there (allocatable {GPU}), or take the label away")
    if sum(counts) < wanted.gpus:
        declare = f"or declare {sum(counts)} gpus in cluster.yaml"
        return missing(name, told, f"label more nodes: `kubectl label node NODE {label}`, {declare}")
    if max(counts) < min(wanted.gpus, wanted.gpus_per_node):
        said = f"{told}; {max(counts)} at most on one, where gpusPerNode is {wanted.gpus_per_node}"
        return missing(name, said, f"set gpusPerNode: {max(counts)} in cluster.yaml")
    others = {product for each in nodes if (product := _product(each)) and not _is_of(product, wanted.gpu_type)}
    if others:
        return missing(
            name, f"{told}, and they are {listed(sorted(others))}", f"set gpuType, which is {wanted.gpu_type}"
        )
    return ok(name, told)


def _gpus(node: Object) -> int:
    said = str(((node.get("status") or {}).get("allocatable") or {}).get(GPU, "0"))
    return int(said) if said.isdecimal() else 0


def _product(node: Object) -> str:
    """As NVIDIA's GPU feature discovery labels it; empty where that does not run."""
    return str((node["metadata"].get("labels") or {}).get("nvidia.com/gpu.product", ""))


def _is_of(product: str, gpu_type: str) -> bool:
    return _letters(gpu_type) in _letters(product)


def _letters(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", text.upper())
