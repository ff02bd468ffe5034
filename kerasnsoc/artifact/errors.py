"""The one error of the artifact's door, and its reasons."""

from __future__ import annotations

import enum


class Reason(enum.Enum):
    """Why a file, a buffer or a network description was refused."""

    UNREADABLE = "unreadable"  # not a regular file, too large, or the system refused to read it
    TRUNCATED = "truncated"  # shorter than its own header says, or than any artifact
    MAGIC = "magic"  # not an artifact of this project
    VERSION = "version"  # a format version this release does not know
    HEADER = "header"  # lengths or reserved bytes that contradict each other
    DIGEST = "digest"  # content differs from what was sealed
    INDEX = "index"  # the index is not canonical JSON within its limits
    MEMBER = "member"  # a member is missing, unknown or of the wrong type
    NAME = "name"  # a name that is empty, too long, not printable or used twice
    DTYPE = "dtype"  # an array's dtype is not the one its role demands
    SHAPE = "shape"  # an array's or a layer's shape does not fit
    LAYOUT = "layout"  # an array outside the file, overlapping, misaligned or not listed
    VALUE = "value"  # a number outside its range
    GRAPH = "graph"  # layers that are not wired as a chain or a join towards one output
    OVERFLOW = "overflow"  # a sum could leave the integers that hold it


class ArtifactError(ValueError):
    """A file or a network description is not a valid artifact.

    Parameters
    ----------
    reason : Reason
        Machine-readable cause.
    message : str
        What was found, where, and what was expected.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ArtifactError], tuple[Reason, str]]:
        return type(self), (self.reason, str(self))
