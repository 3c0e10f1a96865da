"""Review of placements by people: proposals as branches, and as pull requests of a forge."""

from .approval import merge_on_forge
from .branches import Branch, Branches
from .forges import ForgeSettings, open_forge
from .proposal_text import body_of, decision_of, record_in, title_of
from .proposals import ProposalLimits, Reviews
from .pull_requests import Forge, Proposal, ProposalStage, Propose
from .webhook import MOST_BYTES, DeliveryVerdict, ForgeKind, Webhooks

__all__ = [
    "MOST_BYTES",
    "Branch",
    "Branches",
    "DeliveryVerdict",
    "Forge",
    "ForgeKind",
    "ForgeSettings",
    "Proposal",
    "ProposalLimits",
    "ProposalStage",
    "Propose",
    "Reviews",
    "Webhooks",
    "body_of",
    "decision_of",
    "merge_on_forge",
    "open_forge",
    "record_in",
    "title_of",
]
