"""A report as one HTML page that needs nothing else: tables, and plots as inline SVG."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from carbonfleet.api.signal import SignalKind
from carbonfleet.ledger.report import Line, Report, largest

_MOST_BARS: Final = 30
_BAR, _GAP, _LABEL, _LETTERS, _WIDTH = 14, 10, 230, 30, 560
_Column = tuple[str, Callable[[Line], str]]
_IN_WORDS: Final = "energy found by"
_MAIN: Final[tuple[_Column, ...]] = (
    ("jobs", lambda line: str(line.sums.jobs)),
    ("attempts", lambda line: str(line.sums.attempts)),
    ("final", lambda line: str(line.sums.settled)),
    ("energy kWh", lambda line: _number(line.sums.energy_kwh)),
    ("of hosts kWh", lambda line: _number(line.sums.host_kwh)),
    ("±", lambda line: f"{line.energy_uncertainty:.0%}".replace("%", " %")),
    ("emitted kg", lambda line: _kg(line.sums.grams)),
    ("± kg", lambda line: _kg(line.sums.doubt_grams)),
    ("baseline kg", lambda line: _kg(line.baseline_grams)),
    ("saved kg", lambda line: _kg(line.saved_grams)),
    ("saved", lambda line: "-" if line.saved_percent is None else f"{line.saved_percent:z.2f} %"),
    ("USD", lambda line: _number(line.sums.cost_usd if line.sums.priced else None)),
    (_IN_WORDS, lambda line: line.energy_methods),
)
_STANDARDS: Final[tuple[_Column, ...]] = (
    ("same spoke kg", lambda line: _kg(line.sums.same_spoke_grams)),
    ("best static kg", lambda line: _kg(line.sums.best_static_grams)),
    ("SCI E kWh", lambda line: _number(line.sci.e_kwh)),
    ("SCI I g/kWh", lambda line: _number(line.sci.i_grams_per_kwh)),
    ("SCI M kg", lambda line: _kg(line.sci.m_grams)),
    ("SCI R jobs", lambda line: str(line.sci.r_jobs)),
    ("SCI kg/job", lambda line: _kg(line.sci.grams_per_job)),
    ("Scope 2 kg", lambda line: _number(line.location_based_kg)),
)
_TABLES: Final = (("Energy, emissions and savings", _MAIN), ("Other places, SCI and Scope 2", _STANDARDS))
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:90rem;padding:0 1rem;color:#1d2b24;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13px}th,td{padding:.25rem .6rem;text-align:right;white-space:nowrap}
th:first-child,td:first-child,th.word,td.word{text-align:left}td{font-variant-numeric:tabular-nums}
th{border-bottom:2px solid #1d2b24}td{border-bottom:1px solid #dde5e0}
.cards{display:flex;flex-wrap:wrap;gap:1rem}.card{border:1px solid #dde5e0;border-radius:6px;padding:.6rem 1rem}
td.word{white-space:normal;min-width:12rem}.card b{display:block;font-size:1.35rem}
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
    by = made.by.value
    title = f"carbonfleet: emissions by {by}"
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>",
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1><p class='note'>{escape(_scope(made))}</p>",
        *map(_cards, made.totals),
        _plot(f"Emitted and baseline by {by}, kg CO2e", largest(made.lines, _MOST_BARS), len(made.lines)),
    ]
    if made.months:
        parts.append(_plot("By month, kg CO2e", made.months[-_MOST_BARS:], len(made.months)))
    for heading, columns in _TABLES:
        parts.append(f"<h2>{heading} by {by}</h2>{_table(by, columns, made)}")
    notes = "".join(f"<li class='note'>{escape(note)}</li>" for note in _NOTES)
    return "\n".join([*parts, f"<h2>What the figures are</h2><ul>{notes}</ul></body></html>\n"])


def _scope(made: Report) -> str:
    query = made.query
    limits = [f"{name} {value}" for name in ("namespace", "sweep", "job") if (value := getattr(query, name))]
    limits += [
        f"{word} {moment:%Y-%m-%d}" for word, moment in (("since", query.since), ("until", query.until)) if moment
    ]
    return f"{', '.join(limits) or 'everything in the ledger'}; made {made.made_at:%Y-%m-%d %H:%M} UTC"


def _cards(line: Line) -> str:
    """The totals of one kind of signal at a glance."""
    share = "" if line.saved_percent is None else f" ({line.saved_percent:z.1f} %)"
    shown = (
        ("emitted", f"{_kg(line.sums.grams)} kg", ""),
        ("baseline", f"{_kg(line.baseline_grams)} kg", ""),
        ("saved", f"{_kg(line.saved_grams)} kg{share}", _mark(line)),
        ("energy", f"{_number(line.sums.energy_kwh)} kWh", ""),
        ("attempts, final of them", f"{line.sums.attempts}, {line.sums.settled}", ""),
    )
    cards = "".join(f"<div class='card'>{name}<b{mark}>{value}</b></div>" for name, value, mark in shown)
    return f"<p class='note'>In all, {escape(line.sums.signal)}:</p><div class='cards'>{cards}</div>"


def _table(first: str, columns: Sequence[_Column], made: Report) -> str:
    if not made.lines:
        return "<p>Nothing.</p>"
    heads = "".join(f"<th{_left(name)}>{escape(name)}</th>" for name, _ in columns)
    rows = [*((line, f"{line.sums.group} ({line.sums.signal})") for line in made.lines)]
    rows += [(line, f"in all ({line.sums.signal})") for line in made.totals]
    body = "".join(f"<tr><td>{escape(name)}</td>{_cells(line, columns)}</tr>" for line, name in rows)
    head = f"<thead><tr><th>{escape(first)}</th>{heads}</tr></thead>"
    return f"<div class='scroll'><table>{head}<tbody>{body}</tbody></table></div>"


def _cells(line: Line, columns: Sequence[_Column]) -> str:
    marks = [_mark(line) if name.startswith("saved") else _left(name) for name, _ in columns]
    return "".join(f"<td{mark}>{escape(cell(line))}</td>" for mark, (_, cell) in zip(marks, columns, strict=True))


def _mark(line: Line) -> str:
    return " class='worse'" if line.saved_grams is not None and line.saved_grams < 0 else ""


def _left(name: str) -> str:
    return " class='word'" if name == _IN_WORDS else ""


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
    is_usual = line.sums.signal == SignalKind.AVERAGE_LIFECYCLE.value
    name = line.sums.group if is_usual else f"{line.sums.signal}: {line.sums.group}"
    label = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
    text = (
        f"<text x='{_LABEL - 8}' y='{top + _BAR + 4}' text-anchor='end'>"
        f"<title>{escape(name)}</title>{escape(label)}</text>"
    )
    return text + "".join(
        f"<rect class='{whose}' x='{_LABEL}' y='{y}' width='{max(1.0, grams * scale):.1f}' height='{_BAR}'/>"
        f"<text x='{_LABEL + max(1.0, grams * scale) + 6:.1f}' y='{y + _BAR - 3}'>{_kg(grams)}</text>"
        for grams, whose, y in shown
    )


def _kg(grams: float | None) -> str:
    return "-" if grams is None else _number(grams / 1000)


def _number(value: float | None) -> str:
    """Three or more significant digits."""
    if value is None:
        return "-"
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 10 else f"{value:.3g}"
