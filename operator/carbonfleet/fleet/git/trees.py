"""Git trees built along the path of what changes, so that a commit costs the same in a large fleet."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

import pygit2
from pygit2.enums import FileMode

from carbonfleet.yaml_reader import MOST_BYTES

Changes = Mapping[str, bytes | None]
"""New contents by path; None removes the file."""

MOST_ENTRIES: Final = 50_000
"""In a folder that people write, with all below it, or in one of a namespace's placements."""
DEEPEST: Final = 16
"""Folders within folders."""
_TOO_LARGE: Final = bytes(MOST_BYTES + 1)
"""In place of a file that is larger, so that hub and agent never hold it: the reader refuses either."""
Files = Mapping[str, bytes | None]
"""Contents by path; None for what is no file but a link or a submodule."""


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


def blob(odb: pygit2.Odb, tree: pygit2.Tree | None, path: str) -> bytes | None:
    """The content of the file at `path`; None where there is none."""
    try:
        found = tree[path] if tree is not None else None
    except KeyError:
        return None
    return content_of(odb, found) if found is not None else None


def content_of(odb: pygit2.Odb, entry: pygit2.Object) -> bytes | None:
    """A file's content, or more bytes than any reader takes where it has more; None for what is no file."""
    if not isinstance(entry, pygit2.Blob) or not is_file(entry):
        return None
    return measured(odb, entry.id)


def measured(odb: pygit2.Odb, blob_id: pygit2.Oid) -> bytes:
    """A blob's content, or more bytes than any reader takes where it has more."""
    # By its header, since libgit2 reads all of a blob to say its size.
    return bytes(odb.read(blob_id)[1]) if odb.read_header(blob_id)[1] <= MOST_BYTES else _TOO_LARGE


def is_file(entry: pygit2.Object) -> bool:
    """Whether a tree's entry is a file: no folder, no link, no submodule."""
    return isinstance(entry, pygit2.Blob) and entry.filemode in (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)


def leaves(entry: pygit2.Object, path: str) -> Iterator[tuple[str, pygit2.Object]]:
    """All under an entry that is no folder, or the entry itself, by path, in Git's order.

    A folder that is too deep, or beyond the first `MOST_ENTRIES`, comes as it is: nobody reads a folder in place of
    a file, so that it is named like what does not belong there.
    """
    todo, count = [(entry, path, 0)], 0
    while todo:
        found, where, depth = todo.pop()
        count += 1
        if not isinstance(found, pygit2.Tree) or depth > DEEPEST or len(found) > MOST_ENTRIES - count:
            yield where, found
        else:
            todo += reversed([(inside, f"{where}/{inside.name}", depth + 1) for inside in found])


def contents(odb: pygit2.Odb, entry: pygit2.Object | None, path: str) -> Files:
    """All that lies under an entry, by path."""
    found = leaves(entry, path) if entry is not None else ()
    return {inside: content_of(odb, leaf) for inside, leaf in found}
