"""A name stands for one thing: no two packages of carbonfleet define a class of the same name."""

import ast
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "operator" / "carbonfleet"


def test_no_two_packages_define_a_class_of_the_same_name():
    packages = defaultdict(set)
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                packages[node.name].add(file.relative_to(SOURCE).parts[0])
    assert {name: sorted(found) for name, found in packages.items() if len(found) > 1} == {}
