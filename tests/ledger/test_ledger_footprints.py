"""The clouds' footprint exports beside the ledger: each layout as documented, any other refused with file and line."""

import csv
import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import fsum
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_values import HOUR, NOON, entry, settled
from typer.testing import CliRunner

from carbonfleet.cli import app
from carbonfleet.cli.answers import adapter_of
from carbonfleet.ledger.exports import MarketFactors, read_market_factors
from carbonfleet.ledger.footprints import Cloud, FootprintError, footprints_in, reconcile
from carbonfleet.ledger.store import Ledger

RUN = CliRunner().invoke
HERE = Path(__file__).parent / "footprints"
AWS, GCP, AZURE = HERE / "aws.csv", HERE / "gcp.json", HERE / "azure.json"
AWS_ACCOUNT, GCP_PROJECT, AZURE_SUBSCRIPTION = "123456789012", "ml-training", "00000000-0000-0000-0000-000000000001"
OHIO = {"account": AWS_ACCOUNT, "region": "us-east-2", "cluster": "us-oh-1", "zone": "US-MIDA-PJM"}
STOCKHOLM = {"account": AZURE_SUBSCRIPTION.upper(), "region": "swedencentral", "cluster": "se-1", "zone": "SE-SE3"}
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def laid(entries, now=MARCH, factors=None, **files):
    exports = {Cloud(name): footprints_in(Cloud(name), [file], "2026-01") for name, file in files.items()}
    return reconcile(entries, exports, factors or MarketFactors(), now)


def why(line):
    return {str(reason.why): reason.detail for reason in line.reasons}


def test_each_cloud_stands_beside_the_attempts_of_its_account_region_and_month():
    lines = [entry(1, **OHIO), entry(2, account=GCP_PROJECT), entry(3, **STOCKHOLM)]
    made = laid([settled(each) for each in lines], aws=AWS, gcp=GCP, azure=AZURE).lines
    found = {(str(line.cloud), line.region): line.by_cloud.compared_grams for line in made}
    assert found == {
        ("aws", "us-east-2"): fsum([42_100.0, 1_700.0]),
        ("aws", ""): fsum([900.0, 200.0]),
        ("azure", "swedencentral"): 3375.0,
        ("gcp", "europe-north1"): fsum([1520.0, 80.0]),
    }
    differences = {line.region: line.difference_grams for line in made if line.cloud is Cloud.AWS}
    assert differences == {"us-east-2": pytest.approx(43_700.0), "": None}


def test_an_export_whose_figures_are_the_ledgers_differs_by_nothing(tmp_path):
    entries = [entry(number, **OHIO, grams=0.1 * number) for number in range(1, 40)]
    rows = [("AmazonEC2", each.grams / 1e6) for each in entries]
    file = aws(tmp_path, *((f"{name}{number}", value) for number, (name, value) in enumerate(rows)))
    [line] = laid(entries, aws=file).lines
    assert line.difference_grams == 0.0
    assert line.by_ledger.location_based_grams == fsum(each.grams for each in entries)


def test_it_says_why_the_figures_differ():
    before = entry(2, **OHIO, start=datetime(2025, 12, 31, 23, tzinfo=UTC))
    lines = [settled(entry(1, **OHIO)), before, entry(3, **OHIO, signal="marginal", grams=700.0)]
    ohio, _ = laid(lines, aws=AWS).lines
    assert why(ohio) == {
        "AllServices": "2 services, most of it AmazonEC2",
        "OwnMethod": "version v3.0.0",
        "NotSettled": "2 of 3",
        "MonthOfEnd": "1 began before it",
        "MarginalLeftOut": "1 with 0.700 kg",
    }
    assert {reason.kind for reason in ohio.reasons} == {"scope", "method", "lag"}
    assert (ohio.by_ledger.location_based_grams, ohio.by_ledger.marginal_grams) == (200.0, 700.0)


@pytest.mark.parametrize(
    ("cloud", "file", "place", "now", "detail"),
    [
        ("gcp", GCP, {"account": GCP_PROJECT}, datetime(2026, 3, 14, tzinfo=UTC), "due on 2026-03-15"),
        ("gcp", GCP, {"account": GCP_PROJECT}, datetime(2026, 3, 16, tzinfo=UTC), "due on 2026-03-15: export it anew"),
        ("azure", AZURE, STOCKHOLM, MARCH, "due on 2026-03-19"),
        ("aws", AWS, OHIO, MARCH, ""),
    ],
)
def test_a_month_that_is_not_there_lags(cloud, file, place, now, detail):
    later = NOON + 35 * 24 * HOUR
    [line] = laid([settled(entry(1, **place, start=later, end=later + HOUR))], now, **{cloud: file}).lines
    assert (line.month, why(line)) == ("2026-02", {"MonthNotPublished": detail})


def test_what_matches_nothing_is_a_line_that_says_so():
    lines = [entry(1), entry(2, account="elsewhere"), entry(3, **(OHIO | {"region": "us-west-9"}))]
    made = laid(map(settled, lines), aws=AWS)
    assert [(line.account, why(line)) for line in made.lines if line.by_ledger] == [
        (AWS_ACCOUNT, {"NoRowOfRegion": ""}),
        ("", {"NoAccount": "no-osl-1"}),
        ("elsewhere", {"AccountNotInExports": "no-osl-1"}),
    ]
    assert made.other_accounts == {Cloud.AWS: 1}


def test_more_than_the_whole_account_is_no_matter_of_scope():
    line = laid([entry(1, **STOCKHOLM, operational_grams=9000.0, grams=9010.0)], azure=AZURE).lines[0]
    assert why(line)["MoreThanCloud"] == "9.010 kg here, 3.375 kg there"
    assert "UnstatedMethod" in why(line)


def test_market_based_figures_stand_beside_where_factors_are_declared(tmp_path):
    (tmp_path / "f.yaml").write_text(
        'factors: [{zone: US-MIDA-PJM, year: 2026, gramsPerKwh: 400, kind: residual-mix, source: "Green-e 2025"}]'
    )
    factors = read_market_factors(tmp_path / "f.yaml")
    line = laid([entry(1, **OHIO)], factors=factors, aws=AWS).lines[0]
    assert line.by_cloud.market_based_grams == pytest.approx(1400)
    assert line.by_ledger.market_based_grams == fsum([2.4 * 1.1 * 400, 1.0, 9.0])


HEAD = (
    *("usage_account_id", "usage_period_start", "usage_period_end", "model_version", "region_code", "product_code"),
    *("total_lbm_emissions_value", "total_lbm_emissions_unit", "total_mbm_emissions_value", "total_mbm_emissions_unit"),
)
PLAIN = (
    *(AWS_ACCOUNT, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "v3.0.0", "us-east-2", "EC2"),
    *("0.01", "MTCO2e", "0.02", "MTCO2e"),
)


def aws(folder, *services):
    """An export with a row for each service and its tonnes."""
    rows = [(*PLAIN[:5], name, value, *PLAIN[7:]) for name, value in services]
    return table(folder / "made.csv", HEAD, *rows)


def table(file, *rows):
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(rows)
    return file


def changed(**values):
    return tuple(values.get(name, value) for name, value in zip(HEAD, PLAIN, strict=True))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"total_lbm_emissions_value": "-0.1"}, "nothing can emit"),
        ({"total_lbm_emissions_value": "NaN"}, "no number with a decimal point"),
        ({"total_lbm_emissions_value": "inf"}, "no number with a decimal point"),
        ({"total_lbm_emissions_value": "1e400"}, "nothing can emit"),
        ({"total_lbm_emissions_value": "1.234,56"}, "no number with a decimal point"),
        ({"total_lbm_emissions_value": "=1+1"}, "no number with a decimal point"),
        ({"total_lbm_emissions_value": "1_0"}, "no number with a decimal point"),
        ({"total_lbm_emissions_value": "9" * 5000}, "nothing can emit"),
        ({"total_mbm_emissions_unit": "EUR"}, "only MTCO2e is documented"),
        ({"total_lbm_emissions_unit": "kg"}, "only MTCO2e is documented"),
        ({"usage_account_id": "=cmd()"}, "no such name"),
        ({"usage_account_id": ""}, "lacks usage_account_id"),
        ({"region_code": "\x1b[2J"}, "no such name"),
        ({"usage_period_start": "2026-01-15"}, "only whole months"),
        ({"usage_period_end": "2026-12-31"}, "only whole months"),
        ({"usage_period_start": "yesterday"}, "no date such as"),
        ({"model_version": ""}, "lacks model_version"),
    ],
    ids=lambda value: (
        " ".join(f"{name} {text[:12]!r}" for name, text in value.items()) if isinstance(value, dict) else ""
    ),
)
def test_a_row_that_can_not_be_is_refused_with_its_line(tmp_path, row, said):
    file = table(tmp_path / "made.csv", HEAD, PLAIN, changed(**row))
    with pytest.raises(FootprintError, match=rf"made\.csv:3: .*{said}"):
        footprints_in(Cloud.AWS, [file])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "made:1: it is empty"),
        (b"\xff\xfea\x00", "made:1: it is UTF-16"),
        (",".join(HEAD).encode() + b"\n\xe9\n", "made:2: it is not UTF-8"),
        (b"a,b\n1\n", "made:1: it lacks usage_account_id and 7 more.*docs.aws.amazon.com"),
        (b"date,emissions\n1,2\n", "made:1: it lacks"),
        (",".join(HEAD).encode() + b"\n", "made:1: it has no rows"),
        (",".join((*HEAD, "region_code")).encode() + b"\n", "made:1: the column region_code is there twice"),
        (",".join(HEAD).encode() + b"\n1,2\n", "made:2: it has 2 fields, and the header 10"),
        (",".join(HEAD).encode() + b'\n"a\n', "made:2: it is no CSV from here on"),
        (b'{"usage_account_id": NaN}', "made:1: it is no JSON"),
        (b'{"a": 1}\n', "made:1: it lacks usage_account_id"),
        (b"[1]", "made:1: 1 stands where an object does"),
        (b"[" * 100_000, "made:1: it is no JSON"),
        (b'{"a":' * 20 + b"1" + b"}" * 20, "made:1: its objects are nested too deep"),
        (b"PAR1 no", "made:1: it is no Parquet"),
        (b"\x1f\x8b no", "made:1: it can't be unpacked"),
        (gzip.compress(AWS.read_bytes())[:-20], "made:[0-9]+: it can't be unpacked"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_no_known_layout_is_refused(tmp_path, content, said):
    file = tmp_path / "made"
    file.write_bytes(content)
    with pytest.raises(FootprintError, match=said):
        footprints_in(Cloud.AWS, [file])


def test_a_row_that_is_there_twice_would_count_twice(tmp_path):
    file = table(tmp_path / "made.csv", HEAD, PLAIN, PLAIN)
    with pytest.raises(FootprintError, match=r"made\.csv:3: it is the row of .*made\.csv:2 again"):
        footprints_in(Cloud.AWS, [file])
    with pytest.raises(FootprintError, match=r"aws\.csv:2: it is the row of"):
        footprints_in(Cloud.AWS, [AWS, AWS])


def test_of_several_versions_of_the_method_the_newest_counts(tmp_path):
    file = table(
        tmp_path / "made.csv",
        HEAD,
        changed(model_version="v9.0.0", total_lbm_emissions_value="7"),
        changed(model_version="v10.0.0"),
    )
    [line] = laid([entry(1, **OHIO)], aws=file).lines
    assert (line.by_cloud.location_based_grams, why(line)["OlderMethodLeftOut"]) == (10_000.0, "v9.0.0")


def test_an_older_export_of_aws_is_market_based_and_without_scope_3(tmp_path):
    at = [HEAD.index(name) for name in HEAD if "lbm" not in name]
    rows = [[row[place] for place in at] for row in (HEAD, changed(model_version="v2.0.0"))]
    line = laid([entry(1, **OHIO)], aws=table(tmp_path / "made.csv", *rows)).lines[0]
    assert {"MarketBasedOnly", "NoScope3"} <= set(why(line))
    assert line.by_cloud.compared_grams == 20_000.0


def test_rows_without_a_value_are_counted_and_told(tmp_path):
    file = aws(tmp_path, ("EC2", ""), ("S3", "0.5"))
    file.write_text(file.read_text().replace("0.02", ""))
    line = laid([entry(1, **OHIO)], aws=file).lines[0]
    assert (line.by_cloud.location_based_grams, why(line)["RowsWithoutValue"]) == (500_000.0, "1 rows")


def as_gzip(file, folder):
    (folder / "made.csv.gz").write_bytes(gzip.compress(file.read_bytes()))
    return folder / "made.csv.gz"


def as_marked(file, folder):
    (folder / "marked.csv").write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    return folder / "marked.csv"


def as_parquet(file, folder):
    with file.open(newline="") as content:
        rows = list(csv.DictReader(content))
    for row in rows:
        row |= {name: float(row[name]) if row[name] else None for name in row if name.endswith("_value")}
        row |= {name: datetime.fromisoformat(row[name]) for name in ("usage_period_start", "usage_period_end")}
    pq.write_table(pa.Table.from_pylist(rows), folder / "made.parquet")
    return folder / "made.parquet"


@pytest.mark.parametrize("form", [as_gzip, as_marked, as_parquet])
def test_the_same_rows_come_in_other_forms(tmp_path, form):
    wanted = [replace(row, line=0) for row in footprints_in(Cloud.AWS, [AWS])]
    assert [replace(row, line=0) for row in footprints_in(Cloud.AWS, [form(AWS, tmp_path)])] == wanted


def flat(value, before=""):
    for name, each in value.items():
        yield from flat(each, f"{before}{name}.") if isinstance(each, dict) else [(f"{before}{name}", each)]


def test_googles_export_is_read_as_lines_list_table_and_parquet(tmp_path):
    rows = [json.loads(line) for line in GCP.read_text().splitlines()]
    wanted = [replace(row, line=0) for row in footprints_in(Cloud.GCP, [GCP])]
    (tmp_path / "list.json").write_text(json.dumps(rows, indent=1))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "nested.parquet")
    names = sorted({name for row in rows for name, _ in flat(row)})
    table(tmp_path / "flat.csv", names, *([dict(flat(row)).get(name, "") for name in names] for row in rows))
    for name in ("list.json", "nested.parquet", "flat.csv"):
        assert [replace(row, line=0) for row in footprints_in(Cloud.GCP, [tmp_path / name])] == wanted, name


def test_azure_is_told_its_month_and_read_whole(tmp_path):
    with pytest.raises(FootprintError, match="--azure-month"):
        footprints_in(Cloud.AZURE, [AZURE])
    page = json.loads(AZURE.read_text()) | {"skipToken": "more"}
    (tmp_path / "page.json").write_text(json.dumps(page))
    with pytest.raises(FootprintError, match="one page of several"):
        footprints_in(Cloud.AZURE, [tmp_path / "page.json"], "2026-01")
    (tmp_path / "portal.csv").write_text("Subscription,Emissions (kgCO2E)\na,1\n")
    with pytest.raises(FootprintError, match=r"it lacks subscriptionId and 3 more.*learn\.microsoft\.com"):
        footprints_in(Cloud.AZURE, [tmp_path / "portal.csv"], "2026-01")


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(tmp_path):
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb") as out:
        out.writelines([b"x" * (1 << 20)] * 70)
    with pytest.raises(FootprintError, match=r"bomb\.gz:1: it is too large"):
        footprints_in(Cloud.AWS, [bomb])


def outcome(cloud, file):
    """The rows, or the complaint."""
    try:
        return footprints_in(cloud, [file])
    except FootprintError as error:
        return str(error)


@given(st.sampled_from(HEAD), st.text(max_size=40))
def test_any_cell_is_read_or_refused(tmp_path_factory, column, text):
    file = table(tmp_path_factory.mktemp("any") / "made.csv", HEAD, changed(**{column: text}))
    found = outcome(Cloud.AWS, file)
    if isinstance(found, str):
        assert "made.csv:" in found
    else:
        assert found[0].location_based_grams is None or 0 <= found[0].location_based_grams <= 1e15


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=9), lambda e: st.lists(e, max_size=3)))
def test_any_json_value_is_read_or_refused(tmp_path_factory, value):
    row = json.loads(GCP.read_text().splitlines()[0])
    row["carbon_footprint_total_kgCO2e"]["location_based"] = row["project"]["id"] = row["service"] = value
    file = tmp_path_factory.mktemp("any") / "made.json"
    file.write_text(json.dumps(row))
    found = outcome(Cloud.GCP, file)
    assert not isinstance(found, str) or "made.json:1: " in found


@pytest.fixture(scope="module")
def ledger(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("reconciled") / "ledger.sqlite"
    made = Ledger.at(file)
    made.record_all([entry(1, **OHIO), entry(2), entry(3, **OHIO, end=NOON + timedelta(days=40))])
    made.close()
    return file


def shown(ledger, *more, width=80):
    given = ["report", "reconcile", "--ledger", str(ledger), *map(str, more)]
    return RUN(app, given, env={"COLUMNS": str(width), "NO_COLOR": "1"})


def test_the_table_names_places_figures_and_reasons(ledger):
    said = shown(ledger, "--aws", AWS, "--until", "2026-02").stdout
    row = next(line for line in said.splitlines() if "us-east-2" in line)
    assert row.split() == [AWS_ACCOUNT, "us-east-2", "2026-01", "43.800", "0.100", "43.700", "1", "2", "3"]
    assert "scope: the cloud counts all that the account runs there" in said
    assert "Accounts in the export of aws in which nothing trained: 1." in said
    assert "1 of 1" in shown(ledger, "--aws", AWS, "-o", "wide").stdout


def test_data_is_as_its_schema_says(ledger):
    said = json.loads(shown(ledger, "--aws", AWS, "--since", "2026-01", "-o", "json").stdout)
    adapter_of("report reconcile").validate_python(said)
    line = next(line for line in said["lines"] if line["region"] == "us-east-2")
    assert line["difference_grams"] == pytest.approx(43_700)
    assert {reason["why"] for reason in line["reasons"]} == {"AllServices", "OwnMethod", "NotSettled"}
    assert said["query"] == {"since": "2026-01-01T00:00:00Z"}


def test_lines_from_before_the_account_was_named_can_be_given_one(ledger):
    done = shown(ledger, "--gcp", GCP, "--account", f"no-osl-1={GCP_PROJECT}", "-o", "json")
    line = next(line for line in json.loads(done.stdout)["lines"] if line["cloud"] == "gcp")
    assert line["by_cloud"]["location_based_grams"] == pytest.approx(1600)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "give at least one export"),
        (["--aws", "none.csv"], "none.csv: No such file"),
        (["--aws", str(HERE)], "Is a directory"),
        (["--aws", str(GCP)], "gcp.json:1: it lacks usage_account_id"),
        (["--azure", str(AZURE)], "azure.json:1: it does not say which month"),
        (["--azure", str(AZURE), "--azure-month", "2026-13"], "no month such as"),
        (["--aws", str(AWS), "--account", "x"], "write CLUSTER=ACCOUNT"),
        (["--aws", str(AWS), "--account", "a=b", "--account", "a=c"], "each cluster once"),
    ],
)
def test_a_wrong_call_says_what_to_do(ledger, more, said):
    done = shown(ledger, *more)
    assert done.exit_code == 2
    assert said in done.stderr
