"""Commit messages: what happened and why for people, trailers for machines, and reading them back."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from carbonfleet.api.wire import format_time
from carbonfleet.fleet.manifests import Placement
from carbonfleet.fleet.publish.intents import Intent, Lapse, Place, ProposeMove, Remove, Suspend
from carbonfleet.placement.phrase import figures, gpus, grams, shortened, time

LONGEST_SUBJECT: Final = 72
LONGEST_LINE: Final = 160
FROM: Final = "CTJ-From"
"""The trailer that names the cluster which a move leaves."""
LEDGER: Final = "CTJ-Ledger"
"""The trailer that names the ledger's head when the commit was made."""
MOST_EXPLAINED: Final = 10
"""Of a large batch, so many are explained in the body; all are in the trailers."""


@dataclass(frozen=True, slots=True)
class Change:
    """One block of trailers: what a commit did with a placement."""

    action: str
    """place, remove, suspend or resume; move where people are asked, lapse where their word came to nothing."""
    job: str
    uid: str
    generation: int
    attempt: int
    spoke: str
    placement_id: str


def compose(intents: Sequence[Intent], policy_digest: str, ledger_head: str = "") -> str:
    """The message of a commit that does all of `intents`, in their order. `ledger_head` anchors the ledger here."""
    explained = [line for intent in intents[:MOST_EXPLAINED] for line in _explain(intent, len(intents) > 1)]
    if len(intents) > MOST_EXPLAINED:
        explained.append(f"And {len(intents) - MOST_EXPLAINED} more; the trailers name them all.")
    trailers = [line for intent in intents for line in _trailers(intent)]
    trailers.append(f"CTJ-Policy-Digest: {_one_line(policy_digest or 'none')}")
    if ledger_head:
        trailers.append(f"{LEDGER}: {_one_line(ledger_head)}")
    return "\n\n".join((_subject(intents), "\n".join(explained), "\n".join(trailers))) + "\n"


def changes_in(message: str) -> Iterator[Change]:
    """The blocks of trailers in a message of ours; a message of anyone else has none."""
    last = message.rstrip("\n").rpartition("\n\n")[2]
    for block in re.split(r"(?m)^(?=CTJ-Change: )", last):
        values = dict(re.findall(r"(?m)^(CTJ-[A-Za-z-]+): (.*)$", block))
        if "CTJ-Change" in values:
            try:
                yield Change(
                    values["CTJ-Change"],
                    values["CTJ-Job"],
                    values["CTJ-UID"],
                    int(values["CTJ-Generation"]),
                    int(values["CTJ-Attempt"]),
                    values["CTJ-Spoke"],
                    values["CTJ-Placement-Id"],
                )
            except (KeyError, ValueError):
                continue


def ledger_head_in(message: str) -> str:
    """The ledger's head that a message of ours names; empty where it names none."""
    last = message.rstrip("\n").rpartition("\n\n")[2]
    found = re.search(rf"(?m)^{LEDGER}: (.*)$", last)
    return found[1] if found else ""


def _subject(intents: Sequence[Intent]) -> str:
    first, more = intents[0], f" (+{len(intents) - 1} more)" if len(intents) > 1 else ""
    match first:
        case Place():
            text = f"place: {first.decision.key} -> {first.window.cluster}"
        case Remove():
            text = f"remove: {first.placement.key} from {first.placement.cluster}"
        case Suspend():
            text = f"{_action(first)}: {first.placement.key} on {first.placement.cluster}"
        case ProposeMove():
            text = f"move: {first.placement.key} -> {first.place.window.cluster}"
        case Lapse():
            text = f"lapse: the move of {first.placement.key} to {first.placement.cluster}"
    room = LONGEST_SUBJECT - len(more)
    return (text if len(text) <= room else text[: room - 1] + "…") + more


def _explain(intent: Intent, one_of_many: bool) -> list[str]:
    """Two lines: why there and then, and when at what cost."""
    head = f"{_job(intent)}: " if one_of_many else ""
    if isinstance(intent, ProposeMove):
        return [_told(intent.place.record.message), _told(_from(intent.placement))]
    if not isinstance(intent, Place):
        return [_told(head + intent.why)]
    # The first of several sentences says when and where, which the second line says too.
    what, _, why = intent.record.message.partition(". ")
    return [_told(head + (why or what)), _told(_figures(intent))]


def _from(placement: Placement) -> str:
    return (
        f"Attempt {placement.attempt} runs on in {placement.cluster}: this alone stops and starts nothing. The hub "
        "moves it in two steps."
    )


def _figures(intent: Place) -> str:
    window, expected = intent.window, intent.record.expected
    spread = expected.grams_spread if expected else None
    text = f"Starts {time(window.start)} on {gpus(window.gpus)} of {window.pool}: {figures(window, spread)}"
    if expected is None or expected.baseline_grams_co2e is None:
        return f"{text}."
    return f"{text}; in {expected.baseline_region} it would be {grams(expected.baseline_grams_co2e)}."


def _told(text: str) -> str:
    """One line for people: what is too long ends with a whole sentence, or word."""
    return shortened(_one_line(text, 10 * LONGEST_LINE), LONGEST_LINE)


def _trailers(intent: Intent) -> list[str]:
    if isinstance(intent, ProposeMove):
        return [*_placing(intent, intent.place), f"{FROM}: {_one_line(intent.placement.cluster)}"]
    if isinstance(intent, Place):
        return _placing(intent, intent)
    placement = intent.placement
    return _identity(intent, placement.uid, placement.generation, placement.attempt, placement.cluster)


def _placing(intent: Place | ProposeMove, place: Place) -> list[str]:
    decision = place.decision
    lines = _identity(intent, decision.uid, decision.generation, decision.attempt, place.window.cluster)
    lines.append(f"CTJ-Decision-Digest: {_one_line(place.record.digest or 'none')}")
    lines.append(f"CTJ-Carbon-Source: {_one_line(_carbon_source(place))}")
    if place.approved_in:
        lines.append(f"CTJ-Approved-In: {_one_line(place.approved_in)}")
    return lines


def _identity(intent: Intent, uid: str, generation: int, attempt: int, spoke: str) -> list[str]:
    return [
        f"CTJ-Change: {_action(intent)}",
        f"CTJ-Job: {_one_line(_job(intent))}",
        f"CTJ-UID: {_one_line(uid)}",
        f"CTJ-Generation: {generation}",
        f"CTJ-Attempt: {attempt}",
        f"CTJ-Spoke: {_one_line(spoke)}",
        f"CTJ-Placement-Id: {intent.placement.placement_id if isinstance(intent, Lapse) else intent.id}",
    ]


def _carbon_source(intent: Place) -> str:
    chosen = next((c for c in intent.record.candidates if c.cluster == intent.window.cluster), None)
    if chosen is None or not chosen.source:
        return "none"
    return f"{chosen.source}@{format_time(intent.record.decided_at - (chosen.data_age or timedelta()))}"


def _action(intent: Intent) -> str:
    if isinstance(intent, Suspend):
        return "suspend" if intent.suspended else "resume"
    return _ACTIONS[type(intent)]


_ACTIONS: Final = {Place: "place", Remove: "remove", ProposeMove: "move", Lapse: "lapse"}


def _job(intent: Intent) -> str:
    return intent.decision.key if isinstance(intent, Place) else intent.placement.key


def _one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Text that can't begin a line of its own: control characters and line breaks become spaces."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    # A line that looks like a trailer of ours, or like the end of the message (---), would be read as one.
    flat = re.sub(r"^(?=CTJ-|---)", "'", flat)
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"
