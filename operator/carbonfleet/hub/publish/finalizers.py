"""The hub's finalizer: on each job before anything of it is written outside, off when nothing stands there."""

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from carbonfleet.fleet import Intent, Place, Propose
from carbonfleet.hub.observe.job_state import FINALIZER, JobView, Stage
from carbonfleet.hub.observe.mirror import JOBS
from carbonfleet.hub.observe.observation import Scene
from carbonfleet.hub.publish.intents import may_leave
from carbonfleet.hub.world import World
from carbonfleet.kube import KubeError, Object, ours

_log = logging.getLogger(__name__)
Wanted = TypeVar("Wanted", bound=Intent | Propose)
_TRIES: Final = 3
"""Of a write that others were faster with."""


def claim(world: World, scene: Scene, wanted: list[Wanted]) -> list[Wanted]:
    """Put the finalizer on each job before its placement is written or proposed; what can't be claimed must wait."""
    views = {view.uid: view for view in scene.views}

    def claimed(wish: Intent | Propose) -> bool:
        place = wish.place if isinstance(wish, Propose) else wish
        if not isinstance(place, Place):
            return True
        view = views[place.decision.uid]
        return view.has_finalizer or _patch_finalizers(world, view, lambda present: present | {FINALIZER})

    return [wish for wish, done in zip(wanted, world.writers.map(claimed, wanted), strict=True) if done]


def release(world: World, scene: Scene) -> None:
    """Take the finalizer off jobs of which nothing stands outside any more."""

    def let_go(view: JobView) -> bool:
        return _patch_finalizers(world, view, lambda present: present - {FINALIZER})

    over = [view for view in scene.views if view.has_finalizer and _is_over(view, scene)]
    list(world.writers.map(let_go, over))


def _is_over(view: JobView, scene: Scene) -> bool:
    if view.stage is Stage.LEAVING:
        return may_leave(view, scene)
    return view.stage is Stage.DONE and scene.tip_is_fresh


def _patch_finalizers(world: World, view: JobView, change: Callable[[set[str]], set[str]]) -> bool:
    """Change the finalizers of this very object, as it is now; False where that can't be (yet)."""
    body = view.body
    where = ours("carbontrainingjobs", body["metadata"]["namespace"], body["metadata"]["name"])
    for _ in range(_TRIES):
        metadata = body["metadata"]
        wanted = sorted(change(set(metadata.get("finalizers") or ())))
        patch = {"metadata": {"finalizers": wanted, "resourceVersion": metadata["resourceVersion"]}}
        try:
            world.mirror.refresh(JOBS, world.kube.patch(where, patch))
        except KubeError as error:
            if not error.is_conflict:
                pass_over(world, view, error, "finalizer")
                return False
        else:
            return True
        now = _read_again(world, view, where)
        if now is None:
            return False
        body = now
    return False


def _read_again(world: World, view: JobView, where: str) -> Object | None:
    """The object as it is now; None when it is no more, or another of the same name."""
    try:
        body = world.kube.get(where)
    except KubeError as error:
        pass_over(world, view, error, "finalizer")
        return None
    if body["metadata"]["uid"] != view.uid:
        world.mirror.drop(JOBS, view.body)
        return None
    world.mirror.refresh(JOBS, body)
    return body


def pass_over(world: World, view: JobView, error: KubeError, what: str) -> None:
    """One job's write was refused: the others go on. Raises the error when the API itself is not well."""
    if not error.is_about_one_object:
        raise error
    if error.is_gone:
        world.mirror.drop(JOBS, view.body)
    else:
        _log.warning("the %s of %s was not written: %s", what, view.key, error)
