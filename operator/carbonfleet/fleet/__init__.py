"""The fleet repository: layout and manifests, reading the tip, publishing, review."""

from carbonfleet.fleet.errors import (
    AccessDenied,
    FleetError,
    PushContended,
    PushForbidden,
    RepositoryInvalid,
    RepositoryUnreachable,
)
from carbonfleet.fleet.history import Stood, Vanished
from carbonfleet.fleet.intents import (
    AlreadyThere,
    Ask,
    Committed,
    Intent,
    Lapse,
    Place,
    Published,
    Refused,
    Remove,
    Result,
    Suspend,
)
from carbonfleet.fleet.layout import object_name, placement_id
from carbonfleet.fleet.manifest import (
    Placement,
    PlacementInvalid,
    decision_in,
    manifests,
    parse,
    render,
    spec_digest,
)
from carbonfleet.fleet.proposals import Limits, Reviews
from carbonfleet.fleet.repository import Repository
from carbonfleet.fleet.review import Forge, Proposal, Propose, Stage
from carbonfleet.fleet.settings import Backoff, RepositorySettings
from carbonfleet.fleet.tip import Tip

__all__ = [
    "AccessDenied",
    "AlreadyThere",
    "Ask",
    "Backoff",
    "Committed",
    "FleetError",
    "Forge",
    "Intent",
    "Lapse",
    "Limits",
    "Place",
    "Placement",
    "PlacementInvalid",
    "Proposal",
    "Propose",
    "Published",
    "PushContended",
    "PushForbidden",
    "Refused",
    "Remove",
    "Repository",
    "RepositoryInvalid",
    "RepositorySettings",
    "RepositoryUnreachable",
    "Result",
    "Reviews",
    "Stage",
    "Stood",
    "Suspend",
    "Tip",
    "Vanished",
    "decision_in",
    "manifests",
    "object_name",
    "parse",
    "placement_id",
    "render",
    "spec_digest",
]
