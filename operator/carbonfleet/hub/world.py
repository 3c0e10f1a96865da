"""What the hub reads and writes: everything that a planning cycle is given."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event
from typing import Final

from carbonfleet.api.job_status import DecisionRecord, Figures
from carbonfleet.clock import Clock
from carbonfleet.fleet import Proposal, Propose, Repository, Reviews, Tip
from carbonfleet.hub.observe.heartbeats import Heartbeats
from carbonfleet.hub.observe.job_state import Views
from carbonfleet.hub.observe.mirror import Mirror
from carbonfleet.hub.observe.reports import Reports
from carbonfleet.hub.planning import LastPlan, Quarantine
from carbonfleet.hub.settings import HubSettings
from carbonfleet.hub.status.events import Teller
from carbonfleet.hub.status.status_inputs import Known
from carbonfleet.kube import Kube
from carbonfleet.ledger import Ledger
from carbonfleet.signals import Market, Signals

WRITERS: Final = 8
"""Status writes under way at once."""


@dataclass(slots=True)
class World:
    """What a cycle reads and writes. The little it remembers can be lost at any time."""

    settings: HubSettings
    clock: Clock
    kube: Kube
    mirror: Mirror
    repository: Repository
    signals: Signals
    ledger: Ledger
    reviews: Reviews
    market: Market | None = None
    """GPU prices other than those of the cluster files."""
    views: Views = field(default_factory=Views)
    reports: Reports = field(init=False)
    heartbeats: Heartbeats = field(init=False)
    warned: dict[str, frozenset[str]] = field(default_factory=dict)
    """By spoke: what the log was last told of its reports."""
    tip: Tip | None = None
    records: dict[str, DecisionRecord] = field(default_factory=dict)
    """Decisions as they stand in Git, by placement id."""
    accounts: dict[str, Figures] = field(default_factory=dict)
    """What the ledger says of attempts that ended, by placement id."""
    authors: dict[tuple[str, str], str] = field(default_factory=dict)
    """Of placements without a job, by path and content: the hub cluster that wrote them."""
    quarantine: Quarantine = field(default_factory=Quarantine)
    hinted: Event = field(default_factory=Event)
    """The forge said that something has happened there."""
    last_plan: LastPlan = field(default_factory=LastPlan)
    looked: dict[str, datetime] = field(default_factory=dict)
    """By job UID: when a running job was looked at last, and found best left as it is."""
    surprises: dict[str, tuple[datetime, float]] = field(default_factory=dict)
    """By job UID: until when its grid was compared with what was expected, and what came of it."""
    asked: dict[str, Propose] = field(default_factory=dict)
    """By UID of a job under way: the move about which people are asked."""
    moves: dict[str, Proposal] = field(default_factory=dict)
    """Of the same: where that stood last."""
    no_moves: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By job UID: the generation that people did not want to be moved, and what they said."""
    told: dict[str, Known] = field(default_factory=dict)
    """By job UID: what its status says in full, so that it need not be worked out again."""
    warned_of: frozenset[str] = frozenset()
    """The problems of the fleet repository's files that the log has named."""
    hub_id: str = ""
    """UID of the hub cluster's namespace kube-system; what bears another is another hub's."""
    writers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(WRITERS, "status"))
    teller: Teller = field(init=False)

    def __post_init__(self) -> None:
        self.reports, self.heartbeats = Reports(self.mirror), Heartbeats(self.clock)
        self.teller = Teller(self.kube)
