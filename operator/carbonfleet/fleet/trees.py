"""Git trees built along the path of what changes, so that a commit costs the same in a large fleet."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import pygit2
from pygit2.enums import FileMode

Value = TypeVar("Value")

Changes = Mapping[str, bytes | None]
"""New contents by path; None removes the file."""


def changed_tree(repository: pygit2.Repository, tree: pygit2.Tree | None, changes: Changes) -> pygit2.Oid:
    """The tree with the changes made. A folder that becomes empty goes; all else keeps its object."""
    blobs = {
        tuple(path.split("/")): None if content is None else repository.create_blob(content)
        for path, content in changes.items()
    }
    return _changed(repository, tree, blobs) or repository.TreeBuilder().write()


def _changed(
    repository: pygit2.Repository,
    tree: pygit2.Tree | None,
    changes: Mapping[tuple[str, ...], pygit2.Oid | None],
) -> pygit2.Oid | None:
    builder = repository.TreeBuilder(tree) if tree is not None else repository.TreeBuilder()
    folders: dict[str, dict[tuple[str, ...], pygit2.Oid | None]] = defaultdict(dict)
    for path, blob in changes.items():
        if len(path) > 1:
            folders[path[0]][path[1:]] = blob
        else:
            _set(builder, path[0], blob, FileMode.BLOB)
    for name, inside in folders.items():
        _set(builder, name, _changed(repository, subtree(tree, name), inside), FileMode.TREE)
    return builder.write() if len(builder) else None


def _set(builder: pygit2.TreeBuilder, name: str, oid: pygit2.Oid | None, mode: FileMode) -> None:
    if oid is not None:
        builder.insert(name, oid, mode)
    elif builder.get(name) is not None:
        builder.remove(name)


def subtree(tree: pygit2.Tree | None, path: str) -> pygit2.Tree | None:
    """The folder at `path`; None where there is none."""
    try:
        found = tree[path] if tree is not None else None
    except KeyError:
        return None
    return found if isinstance(found, pygit2.Tree) else None


def blob(tree: pygit2.Tree | None, path: str) -> bytes | None:
    """The content of the file at `path`; None where there is none."""
    try:
        found = tree[path] if tree is not None else None
    except KeyError:
        return None
    return found.data if isinstance(found, pygit2.Blob) else None


def walk_blobs(
    tree: pygit2.Tree | None, prefix: str, read: Callable[[pygit2.Blob], Value]
) -> Iterator[tuple[str, Value]]:
    """What `read` makes of every file under `tree`, by path, in Git's order; a link is its own text."""
    for entry in tree or ():
        path = f"{prefix}/{entry.name}"
        if isinstance(entry, pygit2.Tree):
            yield from walk_blobs(entry, path, read)
        elif isinstance(entry, pygit2.Blob):
            yield path, read(entry)
