"""A report as one HTML page that needs nothing else: tables, and plots as inline SVG."""

from collections.abc import Sequence
from html import escape
from typing import Final

from carbonfleet.ledger.report import Line, Report, largest

_MOST_BARS: Final = 30
_BAR, _GAP, _LABEL, _WIDTH = 14, 10, 230, 560
_COLUMNS: Final = (
    "jobs",
    "attempts",
    "final",
    "energy kWh",
    "how found",
    "± energy",
    "emitted kg",
    "± kg",
    "baseline kg",
    "saved kg",
    "saved",
    "same spoke kg",
    "best static kg",
    "SCI E kWh",
    "SCI I g/kWh",
    "SCI M kg",
    "SCI R jobs",
    "SCI kg/job",
    "Scope 2 kg",
    "USD",
)
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:90rem;padding:0 1rem;color:#1d2b24;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13px}th,td{padding:.25rem .6rem;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{border-bottom:2px solid #1d2b24}td{border-bottom:1px solid #dde5e0}
.worse{color:#a8201a}.note{color:#55645c;max-width:60rem}svg{font:12px system-ui,sans-serif}
.ours{fill:#2a7f62}.base{fill:#b9c4be}
"""
_NOTES: Final = (
    "Emitted: machines and building (PUE), transfer, and the embodied share of the hardware; g CO2e.",
    "Baseline: the same length and energy in the baseline region, from submission on. Saved is baseline less "
    "emitted, for the attempts that have a baseline; below zero we did worse.",
    "Same spoke: the same place, from submission on. Best static: the region that was cleanest at submission.",
    "Energy is measured (nvml, dcgm, rapl) or the hardware profile's estimate; ± is its relative standard error "
    "with all attempts wrong the same way.",
    "Final: attempts that were integrated again with the grid's final values, 48 h or more after their end.",
    "SCI is the Software Carbon Intensity of ISO/IEC 21031, ((E x I) + M) per R, one R a training job. "
    "Scope 2 is the GHG Protocol's location-based total; it takes average intensities only.",
    "Figures of different kinds of signal are never added.",
)


def page(made: Report) -> str:
    """The whole page; text from users is escaped."""
    title = f"carbonfleet: emissions by {made.by.value}"
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>",
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1><p class='note'>{escape(_scope(made))}</p>",
        "<h2>In all</h2>",
        _table("signal", made.totals),
        _plot(f"Emitted and baseline by {made.by.value}, kg CO2e", largest(made.lines, _MOST_BARS), len(made.lines)),
    ]
    if made.months:
        parts.append(_plot("By month, kg CO2e", made.months[-_MOST_BARS:], len(made.months)))
    parts += [f"<h2>By {made.by.value}</h2>", _table(made.by.value, made.lines), "<h2>What the figures are</h2><ul>"]
    parts += [f"<li class='note'>{escape(note)}</li>" for note in _NOTES]
    return "\n".join([*parts, "</ul></body></html>\n"])


def _scope(made: Report) -> str:
    query = made.query
    limits = [f"{name} {value}" for name in ("namespace", "sweep", "job") if (value := getattr(query, name))]
    limits += [
        f"{word} {moment:%Y-%m-%d}" for word, moment in (("since", query.since), ("until", query.until)) if moment
    ]
    return f"{', '.join(limits) or 'everything in the ledger'}; made {made.made_at:%Y-%m-%d %H:%M} UTC"


def _table(first: str, lines: Sequence[Line]) -> str:
    if not lines:
        return "<p>Nothing.</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in (first, *_COLUMNS))
    rows = "".join(f"<tr>{_cells(line, first)}</tr>" for line in lines)
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _cells(line: Line, first: str) -> str:
    sums, sci = line.sums, line.sci
    name = sums.signal if first == "signal" else f"{sums.group} ({sums.signal})"
    cells = (
        str(sums.jobs),
        str(sums.attempts),
        str(sums.settled),
        _number(sums.energy_kwh),
        escape(line.energy_methods),
        f"{line.energy_uncertainty:.0%}",
        _kg(sums.grams),
        _kg(sums.doubt_grams),
        _kg(line.baseline_grams),
        _kg(line.saved_grams),
        "-" if line.saved_percent is None else f"{line.saved_percent:.2f} %",
        _kg(sums.same_spoke_grams),
        _kg(sums.best_static_grams),
        _number(sci.e_kwh),
        _number(sci.i_grams_per_kwh),
        _kg(sci.m_grams),
        str(sci.r_jobs),
        _kg(sci.grams_per_job),
        _number(line.location_based_kg),
        _number(sums.cost_usd if sums.priced else None),
    )
    worse = line.saved_grams is not None and line.saved_grams < 0
    marks = [" class='worse'" if worse and _COLUMNS[i].startswith("saved") else "" for i in range(len(cells))]
    body = "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks, cells, strict=True))
    return f"<td>{escape(name)}</td>{body}"


def _plot(title: str, lines: Sequence[Line], of: int) -> str:
    """Two bars a line: what was emitted, and the baseline's."""
    most = max((max(line.sums.grams, line.baseline_grams or 0.0) for line in lines), default=0.0)
    if most <= 0:
        return ""
    pitch = 2 * _BAR + _GAP
    bars = "".join(_bars(line, number * pitch, _WIDTH / most) for number, line in enumerate(lines))
    rest = f" (the {len(lines)} largest of {of})" if len(lines) < of else ""
    size = f"viewBox='0 0 {_LABEL + _WIDTH + 130} {len(lines) * pitch}' width='{_LABEL + _WIDTH + 130}'"
    return (
        f"<h2>{escape(title + rest)}</h2><svg role='img' aria-label='{escape(title)}' {size}>{bars}</svg>"
        "<p class='note'>Green: emitted. Grey: baseline.</p>"
    )


def _bars(line: Line, top: int, scale: float) -> str:
    shown = [(line.sums.grams, "ours", top)]
    if line.baseline_grams is not None:
        shown.append((line.baseline_grams, "base", top + _BAR))
    label = line.sums.group if len(line.sums.group) <= 34 else f"{line.sums.group[:33]}…"
    text = f"<text x='{_LABEL - 8}' y='{top + _BAR + 4}' text-anchor='end'>{escape(label)}</text>"
    return text + "".join(
        f"<rect class='{name}' x='{_LABEL}' y='{y}' width='{max(1.0, grams * scale):.1f}' height='{_BAR}'/>"
        f"<text x='{_LABEL + max(1.0, grams * scale) + 6:.1f}' y='{y + _BAR - 3}'>{_kg(grams)}</text>"
        for grams, name, y in shown
    )


def _kg(grams: float | None) -> str:
    return "-" if grams is None else _number(grams / 1000)


def _number(value: float | None) -> str:
    """Three or more significant digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
