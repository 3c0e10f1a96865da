"""An intent over which anything is raised is refused, and the others are written."""

from dataclasses import replace

import pytest

from carbonfleet.fleet import Refused
from fixtures.any_error import ANY_ERROR
from fixtures.fleet_values import place, uid_of


class Raising:
    """A decision's record of which nothing can be read."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> object:
        raise self._error


@pytest.mark.parametrize("error", ANY_ERROR, ids=lambda error: type(error).__name__)
def test_an_intent_that_nobody_can_render_holds_up_no_other(repository, error):
    culprit = replace(place("culprit"), record=Raising(error))
    published = repository.publish([place("first"), culprit, place("second")])
    assert set(repository.fetch().placements) == {uid_of("first"), uid_of("second")}
    refused = published.results[culprit.id]
    assert isinstance(refused, Refused)
    assert refused.reason == "NotRenderable"
