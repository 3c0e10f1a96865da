"""The example notebook runs from its first cell to its last, and shows tables."""

import ast
import json
from datetime import timedelta
from pathlib import Path

import pytest

from carbonfleet import notebook
from carbonfleet.ledger.store import Ledger
from fixtures.ledger_values import entry

FILE = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
CELLS = ["".join(cell["source"]) for cell in json.loads(FILE.read_text())["cells"] if cell["cell_type"] == "code"]


def run_cell(source, names):
    """As a notebook does: the value of the last expression is what is shown."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(FILE), "exec"), names)  # noqa: S102 - our own notebook
    return eval(compile(ast.Expression(last.value), str(FILE), "eval"), names) if last else None  # noqa: S307


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A ledger of two jobs, where the notebook looks; files are written beside it."""
    path = tmp_path / "ledger.sqlite"
    kept = Ledger.at(path)
    kept.record_all(entry(number, job=f"job-{number}") for number in range(2))
    kept.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARBONFLEET_LEDGER", str(path))
    return path


def test_the_example_notebook_shows_what_it_promises(file, capsys):
    names: dict[str, object] = {}
    shown = [run_cell(cell, names) for cell in CELLS]
    tables = [each for each in shown if hasattr(each, "_repr_html_")]
    assert len(tables) == 6
    assert all("<table" in table._repr_html_() for table in tables)
    said = capsys.readouterr().out
    assert "waiting saves" in said
    assert "is worth it" in said
    decisions, scores, lines = names["decisions"], names["scores"], names["lines"]
    assert decisions.loc["team-a/waits", "outcome"] == "Wait"
    assert scores.loc[[name for name in scores.index if name.startswith("carbonfleet")], "saving_percent"].max() > 20
    assert list(lines.index) == ["ml/job-0", "ml/job-1"]


def test_forecasts_lie_within_their_quantiles_hour_by_hour():
    found = notebook.forecast("US-MIDA-PJM", hours=6, demo=True)
    assert len(found) >= 6
    assert set(found.index.to_series().diff().dropna()) == {timedelta(hours=1)}
    assert (found.p10_grams_per_kwh <= found.grams_per_kwh).all()
    assert (found.grams_per_kwh <= found.p90_grams_per_kwh).all()


def test_an_empty_ledger_is_an_empty_table_with_every_column(file):
    assert list(notebook.ledger(file, namespace="nobody").columns) == list(notebook.ledger(file).columns)
    assert len(notebook.ledger(file, namespace="nobody")) == 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda _: notebook.plan("nowhere.yaml", demo=True), "nowhere.yaml"),
        (lambda _: notebook.forecast("NOWHERE", demo=True), "NOWHERE"),
        (lambda _: notebook.backtest("nowhere.csv", ["DE"]), "nowhere.csv"),
        (lambda file: notebook.ledger(file, by="moon"), "moon"),
    ],
)
def test_what_can_not_be_done_is_an_error_with_a_sentence(file, call, says):
    with pytest.raises(ValueError, match=says):
        call(file)
