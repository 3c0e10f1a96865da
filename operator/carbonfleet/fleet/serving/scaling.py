"""How many replicas serve: as many as the load needs, fewer while the grid is dirty, as KEDA evaluates it."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from carbonfleet.fleet.manifests import MOST_GPUS

MOST_QUERY: Final = 2000
_ZONE: Final = re.compile(r"[A-Z0-9][A-Z0-9-]{0,31}")
_IN_CLUSTER: Final = (".svc", ".svc.cluster.local")


@dataclass(frozen=True, slots=True)
class Scaling:
    """Between which numbers of replicas, by which load, and whom KEDA asks.

    Raises ValueError for what can't be meant.
    """

    least: int
    most: int
    zone: str
    """Whose intensity caps it."""
    carbon_url: str = "http://carbonfleet-carbon.carbonfleet-system.svc/carbon/v1"
    """Where the hub answers: its address up to the version."""
    prometheus: str = "http://prometheus-operated.monitoring.svc:9090"
    load_query: str = ""
    """PromQL for the requests in flight; empty for what vLLM's own pods report."""
    requests_per_replica: int = 16
    """In flight."""
    latency_objective_seconds: float = 2.0
    """For the first token, at the 95th percentile: beyond it carbon caps nothing."""

    def __post_init__(self) -> None:
        if not 0 <= self.least < self.most <= MOST_GPUS:
            raise ValueError(
                f"--min {self.least} --max {self.most}: from 0 on, with the least below the most, up to {MOST_GPUS}"
            )
        if not self.least and not self.load_query:
            raise ValueError(
                "with --min 0 no pod of vLLM may be left to report a load, and nothing would ever start one: name with "
                "--load-query the requests in flight at what stands before it, such as 'sum(envoy_cluster_upstream_rq_"
                'active{envoy_cluster_name="best"})\', or write --min 1'
            )
        if len(self.load_query) > MOST_QUERY or not self.load_query.isprintable():
            raise ValueError(f"--load-query must be one line of at most {MOST_QUERY} characters")
        if not 1 <= self.requests_per_replica <= 100_000:
            raise ValueError("--requests-per-replica must be from 1 to 100000")
        if not 0.001 <= self.latency_objective_seconds <= 3600:
            raise ValueError("--latency-objective must be from 0.001 to 3600 seconds")
        if not _ZONE.fullmatch(self.zone):
            raise ValueError("--zone must be an electricity zone's key, such as DE or NO-NO1")
        _check_address("--carbon-url", self.carbon_url, carries_token=True)
        _check_address("--prometheus", self.prometheus, carries_token=False)

    @property
    def zone_url(self) -> str:
        """What KEDA asks for the cap."""
        return f"{self.carbon_url.rstrip('/')}/zones/{self.zone}"

    @property
    def formula(self) -> str:
        """How many replicas are wanted, in expr-lang, which KEDA evaluates.

        Its names are the triggers: `load` (requests in flight), `latency` (seconds) and `cap` (percent). Carbon never
        takes the last replica while there is load.
        """
        capped = f"latency > {self.latency_objective_seconds:.6g} ? {self.most} : "
        capped += f"max(1, floor({self.most} * cap / 100))"
        wanted = f"min(load / {self.requests_per_replica}, {capped})"
        return f"max({self.least}, {wanted})" if self.least else wanted

    def load_of(self, namespace: str, deployment: str) -> str:
        """PromQL for the requests that are in flight or wait."""
        pods = _pods(namespace, deployment)
        own = f"sum(vllm:num_requests_running{pods} + vllm:num_requests_waiting{pods})"
        return f"({self.load_query or own}) or vector(0)"

    @staticmethod
    def latency_of(namespace: str, deployment: str) -> str:
        """PromQL for seconds to the first token at the 95th percentile; 0 while nobody asks."""
        rate = f"rate(vllm:time_to_first_token_seconds_bucket{_pods(namespace, deployment)}[5m])"
        return f"(histogram_quantile(0.95, sum by (le) ({rate})) > 0) or vector(0)"


def _pods(namespace: str, deployment: str) -> str:
    """A selector; both are DNS labels."""
    return f'{{namespace="{namespace}",pod=~"{deployment}-[a-z0-9]+-[a-z0-9]+"}}'


def _check_address(option: str, url: str, *, carries_token: bool) -> None:
    """Raises ValueError; what is wrong with an address is said without quoting it, since it may hold a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"{option} is no address") from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[A-Za-z0-9.:_-]+", host):
        raise ValueError(f"{option} must be like https://HOST/PATH")
    if parts.username or parts.password or parts.query or parts.fragment or not re.fullmatch(r"[!-~]{1,500}", url):
        raise ValueError(f"{option} must be an address alone, without a password, `?` or `#`")
    if carries_token and parts.scheme == "http" and not host.endswith(_IN_CLUSTER):
        raise ValueError(f"{option} would send its token in plain text to {host}: write https://, or a *.svc address")
