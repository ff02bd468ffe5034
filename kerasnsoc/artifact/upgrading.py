"""`upgrade`: an artifact of an earlier format, written anew in the newest one."""

from __future__ import annotations

import os

from kerasnsoc.artifact.reader import load
from kerasnsoc.artifact.writer import content_digest, save


def upgrade(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> str:
    """Read an artifact of any released format and write it in the newest one.

    Parameters
    ----------
    source : path
    target : path
        May be `source`: a file is replaced at once or not at all.

    Returns
    -------
    digest : str
        `content_digest` of the network, which is the same in both files.

    Raises
    ------
    ArtifactError
        If `source` is no valid artifact.
    OSError
        If a file cannot be read or written.
    """
    spec = load(source)
    save(spec, target)  # which proves that HDF5 reads the same from the new file
    return content_digest(spec)
