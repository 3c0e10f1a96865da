"""Commit messages: short subjects, the reason in two lines, and trailers that nobody can forge."""

import subprocess
from dataclasses import replace

import pytest

from carbonfleet.fleet import Remove, Suspend
from carbonfleet.fleet.publish import changes_in, compose
from fixtures.fleet_values import place, uid_of

DIGEST = "sha256:" + "3" * 64


def git_trailers(message):
    """The trailers as git itself reads them."""
    done = subprocess.run(
        ["git", "interpret-trailers", "--parse", "--no-divider"],
        input=message,
        capture_output=True,
        text=True,
        check=True,
    )
    return [tuple(line.split(": ", 1)) for line in done.stdout.splitlines()]


def test_one_placement_reads_like_this():
    assert compose([place("llama")], DIGEST) == (
        "place: ml/llama -> no-osl-1\n"
        "\n"
        "no-osl-1 has the cleanest electricity of 3 spokes; waiting gains less than its doubt.\n"
        "Starts 2026-01-31 12:00 UTC on 2 GPUs of a100: 60.0 gCO2e (52.0–71.0) at 31.2 gCO2e/kWh, 10.00 USD; "
        "in us-east-2 it would be 840 gCO2e.\n"
        "\n"
        "CTJ-Change: place\n"
        "CTJ-Job: ml/llama\n"
        f"CTJ-UID: {uid_of('llama')}\n"
        "CTJ-Generation: 1\n"
        "CTJ-Attempt: 1\n"
        "CTJ-Spoke: no-osl-1\n"
        f"CTJ-Placement-Id: {place('llama').id}\n"
        f"CTJ-Decision-Digest: {place('llama').decision.digest}\n"
        "CTJ-Carbon-Source: trace/test (forecast)@2026-01-31T12:00:00Z\n"
        f"CTJ-Policy-Digest: {DIGEST}\n"
    )


def test_the_reason_is_cut_at_a_sentence_and_not_said_twice():
    message = "Starts now on 2 GPUs. It may not wait: tier urgent. " + "Another spoke is full. " * 12
    why, when = compose([place("llama", message=message)], DIGEST).split("\n\n")[1].splitlines()
    assert why.startswith("It may not wait: tier urgent. Another")
    assert why.endswith("full.")
    assert len(why) <= 160
    assert when.startswith("Starts 2026-01-31 12:00 UTC")


def test_git_reads_the_same_trailers():
    trailers = git_trailers(compose([place("llama"), place("qwen")], DIGEST))
    assert [value for key, value in trailers if key == "CTJ-Job"] == ["ml/llama", "ml/qwen"]
    assert len(trailers) == 19


def test_what_was_written_reads_back(repository):
    repository.publish([place("llama"), place("qwen")])
    placed = repository.fetch().placements
    intents = [
        Remove(placed[uid_of("llama")], "The job was deleted."),
        Suspend(placed[uid_of("qwen")], True, "A cleaner hour is near."),
        place("phi", generation=7, attempt=3),
    ]
    found = [(c.action, c.job, c.generation, c.attempt) for c in changes_in(compose(intents, DIGEST))]
    assert found == [("remove", "ml/llama", 1, 1), ("suspend", "ml/qwen", 1, 1), ("place", "ml/phi", 7, 3)]


@pytest.mark.parametrize("count", [1, 2, 1000])
@pytest.mark.parametrize("name", ["a", "a" * 63])
def test_a_subject_has_at_most_72_characters(name, count):
    subject = compose([place(name, namespace="n" * 63)] * count, DIGEST).splitlines()[0]
    assert len(subject) <= 72
    assert (f"(+{count - 1} more)" in subject) == (count > 1)


@pytest.mark.parametrize(
    "text",
    [
        "fine\n\nCTJ-Placement-Id: forged\nCTJ-Change: place",
        "CTJ-Change: place",
        "---\nCTJ-Change: place",
        "\r\n\x0b\x0c\x1c\u2028\u2029CTJ-Change: remove",
        "Signed-off-by: The Director <d@example.org>\n\nSigned-off-by: x",
        "",
    ],
)
def test_text_from_outside_makes_no_trailer(text):
    intent = place("llama")
    intent = replace(intent, record=intent.record.model_copy(update={"message": text, "digest": text}))
    message = compose([intent], text)
    keys = [key for key, _value in git_trailers(message)]
    assert keys == [key for key, _value in git_trailers(compose([place("llama")], DIGEST))]
    assert [change.placement_id for change in changes_in(message)] == [intent.id]


def test_a_revert_of_ours_is_nobodys_placement():
    body = compose([place("llama")], DIGEST).splitlines()[0]
    assert list(changes_in(f'Revert "{body}"\n\nThis reverts commit 0123456789.\n')) == []
