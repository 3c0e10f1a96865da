"""What people write and read: the custom resources and files as models."""

from .cluster import ClusterFacts, GpuPool
from .job import CarbonTrainingJob, JobSpec, JobStatus
from .policy import FleetPolicy, PolicySpec
from .report import ReportSpec, TrainingReport
from .schedule import CarbonTrainingSchedule, ScheduleStatus, TrainingScheduleSpec
from .spoke import SpokeCluster, SpokeStatus
from .wire import ANNOTATION, GROUP, LABEL, VERSION

__all__ = [
    "ANNOTATION",
    "GROUP",
    "LABEL",
    "VERSION",
    "CarbonTrainingJob",
    "CarbonTrainingSchedule",
    "ClusterFacts",
    "FleetPolicy",
    "GpuPool",
    "JobSpec",
    "JobStatus",
    "PolicySpec",
    "ReportSpec",
    "ScheduleStatus",
    "SpokeCluster",
    "SpokeStatus",
    "TrainingReport",
    "TrainingScheduleSpec",
]
