"""What the hub is connected to, from its settings."""

import logging
from dataclasses import dataclass
from typing import Self

from carbonfleet.clock import Clock
from carbonfleet.fleet import Repository, Reviews
from carbonfleet.hub.observe import Mirror
from carbonfleet.hub.settings import HubSettings
from carbonfleet.kube import Kube
from carbonfleet.ledger import LedgerError
from carbonfleet.ledger.store import Ledger
from carbonfleet.private_files import make_folder
from carbonfleet.signals import Market, Signals

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Connections:
    """Kubernetes API, fleet repository, reviews, signals and ledger."""

    settings: HubSettings
    clock: Clock
    kube: Kube
    mirror: Mirror
    repository: Repository
    reviews: Reviews
    signals: Signals
    ledger: Ledger
    market: Market | None = None
    """GPU prices other than those of the cluster files."""

    @classmethod
    def open(cls, settings: HubSettings, clock: Clock, signals: Signals, market: Market | None = None) -> Self:
        """Everything that a cycle needs.

        Raises KubeError without a usable kubeconfig, RepositoryInvalid for an unfit fleet address, LedgerError
        without a ledger.
        """
        make_folder(settings.state)
        ledger = Ledger(settings.ledger_url) if settings.ledger_url else Ledger.at(settings.state / "ledger.sqlite")
        repository = Repository(settings.repository, clock, ledger_head=lambda: _head_of(ledger))
        return cls(
            settings=settings,
            clock=clock,
            kube=Kube.connect(settings.kubeconfig),
            mirror=Mirror(settings.decides_in, settings.namespace),
            repository=repository,
            reviews=Reviews(repository, settings.open_forge(clock)),
            signals=signals,
            ledger=ledger,
            market=market,
        )

    def close(self) -> None:
        """Close what is open."""
        self.ledger.close()
        self.signals.close()
        if self.market is not None:
            self.market.close()


def _head_of(ledger: Ledger) -> str:
    """For a commit's message; a ledger that does not answer holds up no commit."""
    try:
        return str(ledger.head() or "")
    except LedgerError as error:
        _log.warning("the commit names no head of the ledger: %s", error)
        return ""
