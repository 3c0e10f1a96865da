"""What a proposal says to people: its title, and a body that they can check with `carbonfleet explain`."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from carbonfleet.api.job_status import DecisionRecord
from carbonfleet.api.wire import format_time
from carbonfleet.fleet.manifests import PlacementInvalid, manifests
from carbonfleet.fleet.review.branches import Branch

LONGEST_TITLE: Final = 120
_BLOCK: Final = re.compile(r"(?ms)^```yaml carbon-placement\n(.*?)\n```$")
LONGEST_BODY: Final = 60_000
_BEGIN: Final = "<!-- carbonfleet: begin, written anew with each decision -->"
_END: Final = "<!-- carbonfleet: end -->"
_DRAFT: Final = re.compile(r"((draft|wip)\b:?|\[(draft|wip)\])\s*", re.IGNORECASE)
"""How GitLab and Gitea know a request that is not to be merged yet."""


def title_of(branch: Branch) -> str:
    """One line: the job and where it is to go."""
    if branch.placement is None:
        return branch.name
    if branch.leaves:
        return f"Move {branch.placement.key} from {branch.leaves} to {branch.placement.cluster}"[:LONGEST_TITLE]
    return f"Place {branch.placement.key} on {branch.placement.cluster}"[:LONGEST_TITLE]


def record_in(branch: Branch) -> dict[str, Any]:
    """The decision as the branch keeps it; empty where a person left none that can be read."""
    if branch.placement is None:
        return {}
    try:
        config, _job = manifests(branch.placement.path, branch.content)
        record = json.loads(config["data"]["decision.json"])
    except (PlacementInvalid, KeyError, TypeError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def body_of(branch: Branch) -> str:
    """Why here and now, beside the other candidates; ends with the record for `carbonfleet explain`."""
    record = record_in(branch)
    expected = record.get("expected") or {}
    until = format_time(branch.expires_at) if branch.expires_at else "a time that can't be read"
    lines = [
        *_about_the_move(branch),
        plain(str(record.get("message", ""))),
        "",
        f"Expected: **{_number(expected.get('gramsCo2e'))}{_doubt(expected)} gCO2e** at "
        f"{_number(expected.get('gramsPerKwh'))} gCO2e/kWh and {_number(expected.get('costUsd'), 2)} USD, "
        f"start {plain(str(record.get('start', '')))}{_finish(expected)}; the baseline would emit "
        f"{_number(expected.get('baselineGramsCo2e'))} gCO2e.",
        "",
        "| Cluster | Verdict | Start | gCO2e | gCO2e/kWh now | in its window | USD | Why |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(candidate) for candidate in record.get("candidates", ())),
        "",
        f"Good until {until}; later it is closed and proposed anew. Closing it without merging is a no "
        f"{'to moving it ' if branch.leaves else ''}that holds until the job's spec changes.",
        f"Policies: `{branch.policy_digest}`",
        "",
    ]
    # Three backticks in the record would end the block; as JSON they may be written otherwise.
    text = json.dumps(record, indent=1).replace("`", "\\u0060")
    return _fitted("\n".join(lines), f"```yaml carbon-placement\n{text}\n```")


def in_title(present: str, ours: str) -> str:
    """Our title for a request that has one; what a person put before it, so that it is not merged yet, stays."""
    draft = _DRAFT.match(present)
    return f"{draft[0] if draft else ''}{ours}"


def in_body(present: str, ours: str) -> str:
    """Our text for a request's body, between marks: what people wrote before and after it stays.

    A body without our marks is one that we are to write.
    """
    block = f"{_BEGIN}\n{ours}\n{_END}"
    before, begin, rest = present.replace("\r\n", "\n").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    return f"{before}{block}{after}" if begin and end else block


def _about_the_move(branch: Branch) -> list[str]:
    """What merging a move does, and what it does not."""
    placed = branch.placement
    if placed is None or not branch.leaves:
        return []
    before = f"Attempt {placed.attempt - 1}"
    return [
        f"**Moves a job that runs**, from {plain(branch.leaves)} to {plain(placed.cluster)}. {before} runs on until "
        f"this is merged; then the hub has it saved and stopped, and only when its spoke has said so, attempt "
        f"{placed.attempt} is placed and goes on from the checkpoint. Merging alone stops and starts nothing.",
        "",
    ]


def _doubt(expected: Mapping[str, Any]) -> str:
    """` (350–505)`: P10 and P90."""
    grams = _promised(expected, "gramsCo2e")
    low, high = _number(grams.get("p10")), _number(grams.get("p90"))
    return "" if low == high else f" ({low}–{high})"


def _finish(expected: Mapping[str, Any]) -> str:
    finish = _promised(expected, "finish").get("p90")
    return f", promised to have finished by {plain(str(finish))}" if finish else ""


def _promised(expected: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """The percentiles of a figure; empty where the record has none that can be read."""
    promise = expected.get("promise")
    found = promise.get(what) if isinstance(promise, dict) else None
    return found if isinstance(found, dict) else {}


def decision_of(text: str) -> DecisionRecord | None:
    """The record in a proposal's text, as a forge shows it; None where there is none, or it is not whole."""
    found = _BLOCK.search(text.replace("\r\n", "\n"))
    try:
        return DecisionRecord.model_validate_json(found[1]) if found else None
    except ValueError:
        return None


def plain(text: str) -> str:
    """Text from outside that formats, links and calls nobody in Markdown: one line, its marks escaped."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~@&])", r"\\\1", flat)


def _row(candidate: dict[str, Any]) -> str:
    cells = [
        plain(str(candidate.get("cluster", ""))),
        plain(str(candidate.get("verdict", ""))),
        plain(str(candidate.get("start", ""))),
        _number(candidate.get("gramsCo2e")),
        _number(candidate.get("gramsPerKwhNow")),
        _number(candidate.get("gramsPerKwhWindow")),
        _number(candidate.get("costUsd"), 2),
        plain(str(candidate.get("message") or candidate.get("reason") or "")),
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: object, digits: int = 0) -> str:
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else "?"


def _fitted(head: str, block: str) -> str:
    if len(block) > LONGEST_BODY // 2:
        block = "The whole decision is in the file, under `decision.json`."
    room = LONGEST_BODY - len(block)
    return (head if len(head) <= room else head[: room - 2] + "…\n") + block
