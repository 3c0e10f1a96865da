"""Each kubectl command that a page shows is one that the real kubectl understands, and the API has what it names."""

import ast
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_docs_commands import SHOWN, VERBS, commands

from fixtures.hub_process import install_crds
from fixtures.rendered import ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*/*.md"), *ROOT.glob("kustomize/*.md"), *ROOT.glob("crds/*.md")]
DRY_RUN = {"annotate", "apply", "create", "delete", "label", "patch"}
FILES = ("-k", "-f")
"""They read files: those of the pages on installing are typed by the tests of tests/install and tests/kustomize."""
MISTAKEN = re.compile(
    r"unknown (flag|command|shorthand)|doesn't have a resource type|Usage:|See 'kubectl"
    r"|error: (unknown|unrecognized|you must|there is no|arguments in|invalid|expected|at least|exactly|required|flag)"
    r"|error: (unable to parse|no (resource|match)|resource\(s\))"
)
PRINTED = re.compile(rf"kubectl (?:-n \S+ )?(?:{'|'.join(sorted(VERBS))}) [^`;,]*(?=`|$)")
"""In a sentence of ours it stands between backticks, or ends it."""


def inline() -> set[str]:
    """Whole commands within the text of the pages: those that go on after the verb."""
    found = re.findall(r"`(kubectl [^`\n]+)`", "\n".join(page.read_text() for page in PAGES))
    return {each for each in found if len(each.split()) > 2 and "..." not in each}


def printed() -> set[str]:
    """What the program's own texts tell people to type, with names in place of what is filled in."""
    found: set[str] = set()
    for file in (ROOT / "operator/carbonfleet").rglob("*.py"):
        tree = ast.parse(file.read_text())
        formatted = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        within = {part for node in formatted for part in node.values}
        plain = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in within]
        for parts in (*(node.values for node in formatted), *([node] for node in plain)):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in parts)
            text = re.sub(r"(?<=describe )\0|(?<=patch )\0", "deploy/x", text).replace("\0", "x")
            found |= {command.rstrip(" .") for command in PRINTED.findall(text) if "\n" not in command}
    return {command for command in found if len(command.split()) > 2 and not re.search("argoproj.io|: ", command)}


def typed() -> list[list[str]]:
    """The words of each, once."""
    lines = {line for _, line in SHOWN if "kubectl" in line} | inline() | printed()
    every = {tuple(words) for line in lines for words in commands(line) if words[0] == "kubectl"}
    return sorted([word for word in words if word not in {">", "<"}] for words in every)


@pytest.fixture(scope="module")
def api(shared_kube_api):
    """One that knows our kinds."""
    install_crds(shared_kube_api)
    return shared_kube_api


def mistake(api, words: list[str]) -> str:
    """What kubectl says is wrong with a command, beside that the object is not there; nothing is changed by it."""
    at = words.index("--") if "--" in words else len(words)
    given = [*words[:at], "--request-timeout=20s", *(["--dry-run=server"] if DRY_RUN & set(words) else []), *words[at:]]
    said = api.kubectl(*given).stderr
    return said if MISTAKEN.search(said) else ""


def test_the_check_finds_what_kubectl_would_not_take(api):
    for words in (["get", "ctj", "--al"], ["get", "ctjs"], ["gett", "ctj"], ["delete", "a,b/c"], ["wait", "ctj/x"]):
        assert mistake(api, words), words


def test_kubectl_understands_each_command_of_the_pages(api):
    asked = [words[1:] for words in typed() if not {*FILES, "kustomize"} & set(words)]
    assert len(asked) > 25
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda words: mistake(api, words), asked))
    assert {" ".join(words): why for words, why in zip(asked, said, strict=True) if why} == {}
