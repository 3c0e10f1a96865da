"""What people write and read: the custom resources and files as models."""

from carbonfleet.api.cluster import ClusterFacts, GpuPool
from carbonfleet.api.job import CarbonTrainingJob, JobSpec, JobStatus
from carbonfleet.api.policy import FleetPolicy, PolicySpec
from carbonfleet.api.report import ReportSpec, TrainingReport
from carbonfleet.api.spoke import SpokeCluster, SpokeStatus
from carbonfleet.api.wire import ANNOTATION, GROUP, LABEL, VERSION

__all__ = [
    "ANNOTATION",
    "GROUP",
    "LABEL",
    "VERSION",
    "CarbonTrainingJob",
    "ClusterFacts",
    "FleetPolicy",
    "GpuPool",
    "JobSpec",
    "JobStatus",
    "PolicySpec",
    "ReportSpec",
    "SpokeCluster",
    "SpokeStatus",
    "TrainingReport",
]
