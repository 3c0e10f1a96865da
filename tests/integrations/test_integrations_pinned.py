"""What Airflow's environment holds follows what carbonfleet needs."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def test_each_dependency_stands_in_the_constraints_of_airflow_s_environment():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "constraints-airflow.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9.-]+)(?:\[\S+\])?==(\S+)", text, re.MULTILINE))
    asked = map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["airflow"]])
    missing = [str(each) for each in asked if not each.specifier.contains(pinned.get(each.name, "0"))]
    assert missing == [], "run make constraints"
    assert "://" not in text
