"""The chain over the ledger's lines, and what an auditor finds with it and with the evidence."""

import io
import json
import random
import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy as sa
from accounted_attempts import accounted, lines, recorded
from git_server import git
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ledger_values import entry, settled
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.hub.accounting import Derivation
from carbonfleet.ledger import Document, LedgerError, chain_faults
from carbonfleet.ledger import exported as parsed
from carbonfleet.ledger.export import LONGEST_LINE
from carbonfleet.ledger.store import Ledger
from carbonfleet.ledger.store.table import ENTRIES, EVIDENCE, LINKS

ATTEMPTS = 12
LINES = ATTEMPTS + ATTEMPTS // 2


@pytest.fixture
def full(ledger):
    """A ledger with attempts and settlements, all with their evidence."""
    recorded(ledger, lines(ATTEMPTS))
    return ledger


def exported(ledger) -> list[str]:
    text = io.StringIO()
    ledger.export(text)
    return text.getvalue().splitlines()


def verified(tmp_path, text: list[str], *options: str):
    """What the command says of an export, and its exit code."""
    file = tmp_path / "audit" / "export.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in text))
    done = CliRunner().invoke(app, ["report", "verify", str(file), *options])
    return done.exit_code, done.output.splitlines()


def is_entry(line: str) -> bool:
    return '"id"' in line


def test_every_line_of_a_ledger_is_chained_and_derives_again(full):
    derivation = Derivation(full.documents)
    assert [*chain_faults(full.chained()), *derivation.faults(full.chained())] == []
    assert (derivation.derived, derivation.underivable) == (LINES, 0)


def test_an_export_alone_shows_the_same(full, tmp_path):
    code, said = verified(tmp_path, exported(full))
    assert code == 0
    assert said == [
        f"{LINES} lines: the chain is whole",
        f"head: {full.head()}",
        "no anchor is of this ledger, so nothing shows whether lines were cut off, or all of it made anew",
        f"{LINES} lines derive again from their evidence",
    ]


def test_an_import_has_the_same_chain_and_evidence(full, tmp_path):
    copy = Ledger.at(tmp_path / "copy.sqlite")
    copy.load(exported(full))
    assert (copy.head(), exported(copy)) == (full.head(), exported(full))
    copy.close()


def fields_of(text: list[str]) -> list[tuple[int, str]]:
    """Every field of every line: its position and name."""
    return [(at, name) for at, line in enumerate(text) if is_entry(line) for name in json.loads(line)]


def other(value: object) -> object:
    """Something near a value, which is not it."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + 1
    return value * (1 + 1e-15) + 5e-324 if isinstance(value, float) else f"{value}x"


def test_any_field_of_any_line_that_is_altered_is_found(full):
    text = exported(full)
    for at, name in random.Random(7).sample(fields_of(text), 150):
        said = json.loads(text[at])
        said[name] = other(said[name])
        altered = [*text[:at], json.dumps(said), *text[at + 1 :]]
        assert chain_faults_of(altered), f"{name} of {text[at]}"
        if name != "number":  # an importing ledger counts anew
            with pytest.raises(LedgerError, match=r"not as it was exported|no entry of a ledger"):
                Ledger("sqlite://").load(altered)


def chain_faults_of(text):
    return list(chain_faults(line for _, line in parsed(text) if not isinstance(line, Document)))


def test_one_gram_altered_is_named_with_its_line_and_figure(full, tmp_path):
    text = exported(full)
    at = [number for number, line in enumerate(text) if is_entry(line)][4]
    said = json.loads(text[at])
    honest, said["grams"] = said["grams"], said["grams"] - 1.0
    code, told = verified(tmp_path, [*text[:at], json.dumps(said), *text[at + 1 :]])
    assert code == 1
    assert told[0] == f"line 5 ({said['id']}): it, or the link before it, is not as it was written"
    assert f"line 5 ({said['id']}): grams is {said['grams']}, and derives as {honest}" in told


@pytest.mark.parametrize("change", ["removed", "doubled", "moved"])
def test_a_line_that_is_not_in_its_place_is_found(full, tmp_path, change):
    text = [line for line in exported(full) if is_entry(line)]
    third = text.pop(2)
    changed = {"removed": text, "doubled": [*text[:2], third, third, *text[2:]], "moved": [*text[:7], third, *text[7:]]}
    found = [(fault.number, fault.message) for fault in chain_faults_of(changed[change])]
    assert (
        found[0]
        == {
            "removed": (4, "line 3 is missing before it, or moved"),
            "doubled": (3, "it stands after line 3: lines were doubled or moved"),
            "moved": (4, "line 3 is missing before it, or moved"),
        }[change]
    )


def test_a_tail_that_was_cut_is_found_by_an_anchor(full, tmp_path):
    anchor = str(full.head())
    text = exported(full)
    last = max(at for at, line in enumerate(text) if is_entry(line))
    assert verified(tmp_path, text, "--anchor", anchor)[0] == 0
    code, said = verified(tmp_path, text[:last], "--anchor", anchor)
    assert code == 1
    assert f"the anchor given names a head of {LINES} lines that is not here: lines were cut or made anew" in said


def test_a_ledger_made_anew_is_found_by_the_heads_in_commits(full, tmp_path):
    """The forger has all of the ledger, but not the fleet repository that others cloned."""
    clone = tmp_path / "clone"
    git(tmp_path, "init", "--quiet", str(clone))
    message = f"remove: ml/x from y\n\nIt ended.\n\nCTJ-Policy-Digest: none\nCTJ-Ledger: {full.head()}\n"
    git(clone, "commit", "--quiet", "--allow-empty", "-m", message)
    forged = Ledger.at(tmp_path / "forged.sqlite")
    recorded(forged, lines(ATTEMPTS, seed=2))
    _, said = verified(tmp_path, exported(full), "--fleet", str(clone))
    assert f"1 anchors, until line {LINES}: all are here" in said
    code, said = verified(tmp_path, exported(forged), "--fleet", str(clone))
    forged.close()
    assert code == 1
    assert f"1 anchors are of other ledgers: {full.head().ledger}" in said


def test_a_ledger_made_anew_is_found_though_its_hub_goes_on_to_note_its_heads(tmp_path):
    """Commits until then name the old one's heads, among them those that placed what the new one's lines say."""
    clone = tmp_path / "clone"
    git(tmp_path, "init", "--quiet", str(clone))

    def commit_with(head: object) -> str:
        git(clone, "commit", "--quiet", "--allow-empty", "-m", f"place: ml/x on y\n\nCTJ-Ledger: {head}\n")
        return git(clone, "rev-parse", "HEAD").strip()

    old, forged = Ledger.at(tmp_path / "old.sqlite"), Ledger.at(tmp_path / "forged.sqlite")
    old.record(*accounted(1, random.Random(1)))
    placed = commit_with(old.head())
    forged.record(*accounted(1, random.Random(2)))
    forged.record(*accounted(2, random.Random(3), placed))
    commit_with(forged.head())
    code, said = verified(tmp_path, exported(forged), "--fleet", str(clone))
    assert code == 1
    assert (
        f"line 2 says that commit {placed[:10]} placed it, which names a head of another ledger, {old.head().ledger}: "
        "this one was made anew, or another hub placed it"
    ) in said
    for one in (old, forged):
        one.close()


def test_lines_whose_commits_were_taken_away_are_counted_where_there_is_a_clone(ledger, tmp_path):
    """Where a forger would keep what was placed from being looked up."""
    clone = tmp_path / "clone"
    git(tmp_path, "init", "--quiet", str(clone))
    git(clone, "commit", "--quiet", "--allow-empty", "-m", "Begin")
    ledger.record(*accounted(1, random.Random(1), commit=""))
    _, said = verified(tmp_path, exported(ledger), "--fleet", str(clone))
    assert said[-2:] == [
        "1 lines derive again from their evidence",
        "1 lines name no commit that placed them: the clone says nothing of them",
    ]


def test_what_is_found_is_data_by_its_schema(full, tmp_path):
    lines = exported(full)
    schema = json.loads(CliRunner().invoke(app, ["schema", "report verify"]).output)
    head = str(full.head())
    for wrong, text in ((0, lines), (1, lines[:-1])):
        code, said = verified(tmp_path, text, "--anchor", head, "-o", "json")
        found = json.loads("\n".join(said))
        Draft202012Validator(schema).validate(found)
        assert (code, bool(found["wrong"]), bool(found["faults"])) == (wrong, bool(wrong), bool(wrong))
    code, said = verified(tmp_path, lines, "--anchor", head, "-o", "json")
    count = sum(map(is_entry, lines))
    assert json.loads("\n".join(said)) == {
        "lines": count,
        "head": head,
        "anchors": 1,
        "derived": count,
        "underivable": 0,
        "unplaced": 0,
        "wrong": 0,
        "faults": [],
    }
    assert verified(tmp_path, lines, "-o", "name") == (0, [head])


def test_lines_that_others_put_into_the_database_are_found(full, ledger_url):
    engine = sa.create_engine(ledger_url)
    with engine.begin() as connection:
        forged = {**next(iter(full.chained())).row, "id": "attempt:forged"}
        connection.execute(ENTRIES.insert(), forged)
    engine.dispose()
    [fault] = chain_faults(Ledger(ledger_url).chained())
    assert (fault.entry, fault.message) == (
        "attempt:forged",
        "it is not in the chain: it was added by other hands than the ledger's",
    )


@pytest.mark.parametrize("table", [ENTRIES, LINKS, EVIDENCE], ids=str)
def test_no_table_of_the_ledger_lets_a_row_change_or_go(full, ledger_url, table):
    engine = sa.create_engine(ledger_url)
    for statement in (sa.update(table).values({column.name: column for column in table.c}), sa.delete(table)):
        with pytest.raises(sa.exc.IntegrityError, match="append-only"), engine.begin() as connection:
            connection.execute(statement)
    engine.dispose()


def test_lines_from_before_are_chained_as_they_stand_and_said_to_be_underivable(tmp_path):
    file = tmp_path / "ledger.sqlite"
    made = Ledger.at(file)
    made.record_all([entry(1), entry(2), settled(entry(1))])
    made.close()
    with sqlite3.connect(file) as connection:
        connection.executescript("DROP TABLE chain; DROP TABLE evidence;")
        for name in ("commit", "report_digest", "signal_digest", "inputs_digest", "places_digest"):
            connection.execute(f'ALTER TABLE entries DROP COLUMN "{name}"')
    connection.close()

    again = Ledger.at(file)
    again.record(*accounted(3, random.Random(1)))
    code, said = verified(tmp_path, exported(again))
    again.close()
    assert (code, said[0]) == (0, "4 lines: the chain is whole")
    assert said[-2:] == [
        "1 lines derive again from their evidence",
        "3 lines are from before evidence was kept, and can't be derived",
    ]


def test_a_line_without_evidence_that_comes_later_is_a_fault(full):
    full.record(entry(77))
    [fault] = Derivation(full.documents).faults(full.chained())
    assert (fault.entry, fault.number) == ("attempt:77", LINES + 1)
    assert "names no evidence, though lines before it do" in fault.message


@pytest.mark.parametrize("kind", ["report", "signal", "inputs", "places"])
def test_evidence_that_is_missing_is_named(full, kind):
    gone = next(iter(full.chained())).row[f"{kind}_digest"]
    without = Derivation(lambda digests: {k: v for k, v in full.documents(digests).items() if k != gone})
    faults = [fault.message for fault in without.faults(full.chained())]
    assert faults
    assert set(faults) == {f"it does not derive: its evidence {gone} is missing"}


def test_altered_evidence_of_an_export_is_named_at_its_lines_and_the_others_derive(full, tmp_path):
    text = exported(full)
    gone = next(iter(full.chained())).row["report_digest"]
    at = next(number for number, line in enumerate(text) if line.startswith(f'{{"evidence": "{gone}"'))
    altered = [*text[:at], text[at].replace("Succeeded", "Failed"), *text[at + 1 :]]
    code, said = verified(tmp_path, altered)
    assert (code, said[0]) == (1, f"{LINES} lines: the chain is whole")
    assert [line for line in said if "derive" in line] == [
        f"line 1 (attempt:{0:016d}): it does not derive: its evidence {gone} was altered",
        "not all lines derive",
    ]
    with pytest.raises(LedgerError, match=f"line {at + 1}: the evidence {gone} was altered"):
        Ledger("sqlite://").load(altered)


ODD = {
    "no JSON": ("{", "no entry of a ledger: JSONDecodeError"),
    "no object": ("[1, 2]", "no entry of a ledger: TypeError: it is no JSON object"),
    "nested": ("[" * 100_000, "no entry of a ledger: RecursionError"),
    "no text": ("\udcff\udcfe", "no entry of a ledger: UnicodeDecodeError"),
    "too long": (f'{{"evidence": "{"a" * LONGEST_LINE * 2}"}}', f"it has more than {LONGEST_LINE} characters"),
    "evidence of nothing": ('{"evidence": 7}', "no entry of a ledger: TypeError: 7 stands where a digest does"),
}


def test_a_line_that_is_none_is_named_with_its_number_and_all_others_are_held_against_the_chain(full, tmp_path):
    text = exported(full)
    for at, (line, _) in enumerate(ODD.values()):
        text.insert(3 * at, line)
    file = tmp_path / "export.jsonl"
    file.write_bytes("\n".join(text).encode("utf-8", "surrogateescape"))
    done = CliRunner().invoke(app, ["report", "verify", str(file)])
    said = done.output.splitlines()
    assert (done.exit_code, said[0]) == (1, f"{LINES} lines: the chain is whole")
    assert f"{LINES} lines derive again from their evidence" in said
    for at, (_, why) in enumerate(ODD.values()):
        [told] = [line for line in said if line.startswith(f"line {3 * at + 1} ")]
        assert why in told, told


whatever = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_stands_in_a_line_ends_as_a_fault_of_that_line(full, tmp_path, data):
    text = exported(full)
    at = data.draw(st.integers(0, len(text) - 1))
    said = json.loads(text[at])
    name = data.draw(st.sampled_from([*said, ""]))
    value = data.draw(whatever)
    line = json.dumps({**said, name: value} if name else value)
    if name and json.dumps(said[name]) == json.dumps(value):
        return
    code, told = verified(tmp_path, [*text[:at], line, *text[at + 1 :]])
    assert code in (1, 2), told
    assert any("line " in one for one in told), told


def test_an_export_is_held_against_its_chain_by_the_standard_library_alone(full, tmp_path):
    """What takes longest to find an altered line is to load what finds it."""
    file = tmp_path / "export.jsonl"
    file.write_text("\n".join(exported(full)))
    walk = (
        "import sys; from carbonfleet.ledger import chain_faults, exported\n"
        "assert not list(chain_faults(line for _, line in exported(open(sys.argv[1]), with_evidence=False)))\n"
        "print([name for name in ('sqlalchemy', 'numpy', 'pydantic', 'pygit2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", walk, str(file)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[{}]", '{"a":', "[[1]]", '"x"', "1e999"])
def test_evidence_that_is_none_is_the_fault_of_its_line_alone(full, text):
    """A forger has made the digests fit; the other lines derive all the same."""
    forged = (
        Document.of(json.loads(text)) if text not in ("", '{"a":', "1e999") else Document("sha256:" + "0" * 64, text)
    )
    rows = [
        line if number else type(line)(line.link, {**line.row, "signal_digest": forged.digest})
        for number, line in enumerate(full.chained())
    ]
    derivation = Derivation(lambda digests: {**full.documents(digests), forged.digest: forged.text})
    faults = list(derivation.faults(rows))
    assert [fault.number for fault in faults] == [1]
    assert derivation.derived == LINES - 1
