"""What a new spoke needs: its file in the fleet repository, its few rights on the hub, its agent."""

import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from string import Template
from typing import Final

from carbonfleet.signals.regions import cities, city_named, nearest_city, regions
from carbonfleet.spoke.settings import checked_name

MAP: Final = "https://app.electricitymaps.com/map"
NEAR_KILOMETRES: Final = 100.0
"""Beyond it the nearest city says too little: zones of Norway and of America are not much wider."""

_RIGHTS: Final = Template("""\
apiVersion: v1
kind: Namespace
metadata:
  name: spoke-$name
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: agent
  namespace: spoke-$name
automountServiceAccountToken: false
---
# Its reports: it writes them, the hub removes them.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: agent
  namespace: spoke-$name
rules:
  - apiGroups: [carbonfleet.dev]
    resources: [trainingreports]
    verbs: [get, list, create, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: agent
  namespace: spoke-$name
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: agent}
subjects:
  - {kind: ServiceAccount, name: agent, namespace: spoke-$name}
---
# So many of them, whatever it writes: the hub holds all spokes' reports in memory. Raise it for a spoke that runs more
# than 400 attempts at once.
apiVersion: v1
kind: ResourceQuota
metadata:
  name: reports
  namespace: spoke-$name
spec:
  hard: {count/trainingreports.carbonfleet.dev: "500"}
---
# The status of its own SpokeCluster, and nothing of any other.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: carbonfleet-spoke-$name
rules:
  - apiGroups: [carbonfleet.dev]
    resources: [spokeclusters/status]
    resourceNames: [$name]
    verbs: [get, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: carbonfleet-spoke-$name
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: carbonfleet-spoke-$name}
subjects:
  - {kind: ServiceAccount, name: agent, namespace: spoke-$name}
""")

_CLUSTER_FILE: Final = Template("""\
# What this cluster is: people own this file. Replace what is in <angle brackets>.
apiVersion: v1
kind: ConfigMap
metadata:
  name: carbonfleet-cluster
  namespace: carbonfleet-fleet
data:
  facts: |
    name: $name
    # The provider's region, and the electricity zone by Electricity Maps' key: keep the quotes.
$hint    region: <$region>
    zone: "<$zone>"
    # The legal areas it lies in, as policies name them; keep the quotes: YAML reads a bare NO as false.
    jurisdictions: [$areas]
    # The cloud account that pays, for `carbonfleet report reconcile`: keep the quotes.
    # account: "<123456789012>"
    pue: $pue
    # ray: one machine's Ray, without Kubernetes. kuberay: a cluster with KubeRay.
    runtime: $runtime
    pools:
      - name: <a100>
        gpuType: <A100>
        gpus: <8>
        gpusPerNode: <8>
        memoryGib: <80>
        usdPerGpuHour: <2.5>
        # What one machine draws at work beside its GPUs.
        # hostWatts: <600>
""")

_STEPS: Final = Template("""\
# Joining $name takes four steps.$needs
#
# 1. Put this into the fleet repository as clusters/$name/cluster.yaml, through review:
#
$cluster_file#
# 2. Apply this whole text to the hub (the comments are no harm):
#      carbonfleet spoke join $name$option | kubectl apply -f -
#    and make the kubeconfig that is all the spoke ever holds of the hub, where the hub's admin works:
#      carbonfleet spoke renew $name --to hub.kubeconfig   # --server URL, if the spoke sees the hub elsewhere
#    Its token lives for two days. A timer there renews it once a day:
#      $renewal
#    The agent reads it anew. Without one, what runs goes on, nothing is started, and its log says that it is refused.
#
# 3. Start the agent on the spoke:
$install#
# 4. See whether anything is missing:
#      carbonfleet spoke join $name$option --check$where
#
# It may write its own reports and the status of its own SpokeCluster, and do nothing else.
---
""")

_RENEWAL: Final = {
    "ray": "carbonfleet spoke renew $name --to hub.kubeconfig && "
    "scp -p hub.kubeconfig <the spoke>:.carbonfleet-$name/files/hub_kubeconfig",
    "kuberay": "carbonfleet spoke renew $name --spoke-kubeconfig <of the spoke>",
}

_NEEDS: Final = {
    "ray": """ Its machine has NVIDIA's driver and Python 3.11 (python3.11-venv), and `ssh` reaches it.""",
    "kuberay": """ Its cluster has:
#   Kubernetes 1.30 or newer, and KubeRay 1.6 or newer:
#     helm install kuberay-operator kuberay-operator --version 1.6.0 --repo https://ray-project.github.io/kuberay-helm/
#   a StorageClass whose volumes many pods may write (ReadWriteMany), for checkpoints
#   nodes with nvidia.com/gpu, and the labels that its pools name
#   a clock in step with the hub's, and a way out to the fleet repository and to the hub's API; nothing comes in
#   with Flux 2.9 or Argo CD where one of them is to apply; else the agent does""",
}
"""What must be there before."""

_INSTALL: Final = {
    "ray": """\
#      carbonfleet spoke up ssh://<user>@<the spoke> --spoke $name --fleet-url <the fleet repository> \\
#        --fleet-token-file <read-only token> --hub-kubeconfig hub.kubeconfig   # --check first only looks
#    Or there by hand, beside a Ray that runs (`ray start --head`):
#      carbonfleet spoke run --spoke $name --runtime ray --ray-address http://127.0.0.1:8265 \\
#        --fleet-url <the fleet repository> --hub-kubeconfig hub.kubeconfig \\
#        --store /var/lib/carbonfleet/store --state /var/lib/carbonfleet/state \\
#        --datasets /var/lib/carbonfleet/datasets --models /var/lib/carbonfleet/models   # for what is named by a path
""",
    "kuberay": """\
#      kubectl create namespace carbonfleet-system
#      kubectl -n carbonfleet-system create secret generic carbonfleet-hub --from-file=kubeconfig=hub.kubeconfig
#      kubectl -n carbonfleet-system create secret generic carbonfleet-fleet-readonly \\
#        --from-literal=username=x-access-token --from-literal=password=<read-only token>
#    It follows signed commits alone. Whoever signs beside the hub has a line there too, as in the hub's own Secret
#    carbonfleet-signers, and a key for Flux. Of a hub that does not sign, leave the signers out, and give
#    `install spoke` --no-verify:
#      echo "hub@carbonfleet.dev namespaces=\\"git\\" $$(cat HUB_KEY.pub)" >signers
#      kubectl -n carbonfleet-system create secret generic carbonfleet-hub-signers \\
#        --from-file=allowed_signers=signers --from-file=hub.sshpub=HUB_KEY.pub
#      $apply
""",
}


_WRITE_AND_APPLY: Final = Template("""\
carbonfleet install spoke $name --fleet-url <the fleet repository> --tenant <namespace> --allow <data class> \\
#        --shared-storage-class <of ReadWriteMany volumes> --to $name   # --applier flux or argocd, where those apply
#      kubectl apply --server-side -k $name/kustomize/overlays/spoke/agent""")


def hub_rights(name: str) -> str:
    """The manifests that give a spoke its rights on the hub. Raises ValueError for an unfit name."""
    return _RIGHTS.substitute(name=checked_name(name))


_EU: Final = frozenset({
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV",
    "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
})  # fmt: skip
_EEA_ALONE: Final = frozenset({"IS", "LI", "NO"})


@dataclass(frozen=True, slots=True)
class Site:
    """Where a spoke stands, as far as it can be told; a person confirms it by taking the brackets off."""

    region: str = "europe-north1"
    zone: str = "NO-NO1"
    pue: float = 1.2
    hint: str = ""
    """Where the zone comes from."""

    @property
    def jurisdictions(self) -> tuple[str, ...]:
        """Its zone's country, and what that is a member of."""
        country = self.zone.partition("-")[0]
        return country, *(["EU", "EEA"] if country in _EU else ["EEA"] if country in _EEA_ALONE else [])


def site_of_region(name: str) -> Site:
    """The table's zone and PUE of a provider's region. Raises ValueError."""
    region = regions().get(name)
    if region is None:
        raise _unknown(f"region {name[:60]!r}", get_close_matches(name, regions(), 3), "--city or --at")
    hint = f"region {name} draws from {region.zone}, by the Green Software Foundation's table"
    return Site(name, region.zone, region.pue or Site().pue, hint)


def site_of_city(name: str) -> Site:
    """The zone of a city where GPUs are rented. Raises ValueError."""
    place = city_named(name)
    if place is None:
        near = get_close_matches(name.title(), [each.name for each in cities()], 3)
        raise _unknown(f"the city {name[:60]!r}", near, "--at LATITUDE,LONGITUDE")
    return Site(_region_name(place.name), place.zone, hint=f"{place.name} draws from {place.zone}")


def _unknown(what: str, near: Iterable[str], other: str) -> ValueError:
    there = "; there is " * bool(near) + ", ".join(near)
    return ValueError(f"{what} is not in the table{there}: give {other}")


def site_at(text: str) -> Site:
    """The zone of the nearest city that is known, where that is near. Raises ValueError."""
    try:
        latitude, longitude = map(float, text.split(","))
    except ValueError:
        latitude = longitude = math.nan
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise ValueError(f"{text[:60]!r} is no place: give --at LATITUDE,LONGITUDE in degrees, such as 59.91,10.75")
    place, away = nearest_city(latitude, longitude)
    if away > NEAR_KILOMETRES:
        raise ValueError(
            f"the nearest city that is known is {place.name} ({place.zone}), {away:.0f} km away, too far to tell the "
            f"zone: look it up at {MAP}"
        )
    return Site(_region_name(place.name), place.zone, hint=f"{place.name}, {away:.0f} km away, draws from {place.zone}")


def _region_name(place: str) -> str:
    """A name for what no provider has named."""
    return "-".join(unicodedata.normalize("NFKD", place).encode("ascii", "ignore").decode().lower().split())


def cluster_file(name: str, runtime: str, site: Site | None = None) -> str:
    """A skeleton of the spoke's file in the fleet repository."""
    site = site or Site()
    hint = f"    # {site.hint}. If that is so ({MAP}), take the brackets off.\n" if site.hint else ""
    areas = ", ".join(f'"<{each}>"' for each in site.jurisdictions)
    words = {"region": site.region, "zone": site.zone, "pue": f"{site.pue:g}", "hint": hint, "areas": areas}
    return _CLUSTER_FILE.substitute(name=checked_name(name), runtime=runtime, **words)


def join_text(name: str, runtime: str, site: Site | None = None, overlay: str = "") -> str:
    """All that a new spoke needs, as YAML that the hub can be given, with the steps as comments.

    `overlay` is a folder that its cluster is given; without, the steps say how to write one.
    """
    apply = f"kubectl apply --server-side -k {overlay}" if overlay else _WRITE_AND_APPLY.substitute(name=name)
    install = Template(_INSTALL[runtime]).substitute(name=checked_name(name), apply=apply)
    commented = "".join(f"#      {line}".rstrip() + "\n" for line in cluster_file(name, runtime, site).splitlines())
    option = "" if runtime == "kuberay" else f" --runtime {runtime}"
    words = {"option": option, "cluster_file": commented, "install": install}
    words["where"] = " --kubeconfig <of the spoke>" if runtime == "kuberay" else ""
    words |= {"renewal": Template(_RENEWAL[runtime]).substitute(name=name), "needs": _NEEDS[runtime]}
    return _STEPS.substitute(name=name, **words) + hub_rights(name)
