"""What the hub tells people: the status, conditions and events of jobs and spokes."""

from carbonfleet.hub.status.blockers import blockers_of
from carbonfleet.hub.status.events import EventRecorder, Transition
from carbonfleet.hub.status.fleet_figures import FleetFigures, figures_of
from carbonfleet.hub.status.spoke_status import SpokeStatuses
from carbonfleet.hub.status.status import needs_update, status_of
from carbonfleet.hub.status.status_inputs import Results, StatusInputs
from carbonfleet.hub.status.status_writer import StatusWriter, merge_patch

__all__ = [
    "EventRecorder",
    "FleetFigures",
    "Results",
    "SpokeStatuses",
    "StatusInputs",
    "StatusWriter",
    "Transition",
    "blockers_of",
    "figures_of",
    "merge_patch",
    "needs_update",
    "status_of",
]
