"""What Git wants of this spoke: its own folder of the fleet repository, at a commit it may trust."""

from carbonfleet.spoke.wanted.folder import Folder, Wanted, WantedSet, read_folder, read_wanted
from carbonfleet.spoke.wanted.source import FleetFolder, FleetSource, folder_of

__all__ = [
    "FleetFolder",
    "FleetSource",
    "Folder",
    "Wanted",
    "WantedSet",
    "folder_of",
    "read_folder",
    "read_wanted",
]
