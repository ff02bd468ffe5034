"""A `NetworkSpec` into bytes, into a file, and the proof that both views of the file agree."""

from __future__ import annotations

import hashlib
import io
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from kerasnsoc.artifact import hdf5_check
from kerasnsoc.artifact.atomic import write_atomically
from kerasnsoc.artifact.description import array_name, describe
from kerasnsoc.artifact.errors import ArtifactError, Reason
from kerasnsoc.artifact.jsontext import canonical, parse
from kerasnsoc.artifact.layout import ALIGNMENT, seal
from kerasnsoc.artifact.limits import MAX_FILE_BYTES
from kerasnsoc.artifact.reader import (
    STORED_DTYPES,
    Source,
    array_entries,
    parse_network,
    read,
)
from kerasnsoc.artifact.schema import NetworkSpec
from kerasnsoc.artifact.validation import validate

DESCRIPTION = "description"
"""Dataset for people with an HDF5 tool: the index without offsets, as JSON text."""


def to_bytes(spec: NetworkSpec) -> bytes:
    """The file of a network, as bytes.

    The same network gives the same bytes with the same versions of h5py and HDF5; what is equal
    across versions is `content_digest`. Nothing is added: what the metadata should say about the
    producer, the caller puts there.

    Parameters
    ----------
    spec : NetworkSpec

    Raises
    ------
    ArtifactError
        If the network is not valid, or would not fit into a file.
    ImportError
        If h5py is missing.
    """
    validate(spec)
    arrays = _stored_arrays(spec)
    described = describe(spec)
    text = canonical(described)
    # before HDF5 takes as much memory again
    _check_size(sum(array.nbytes for array in arrays.values()) + 2 * len(text))
    body, offsets = _hdf5(text, arrays)
    listed = {
        name: [array.dtype.str, list(array.shape), offsets[name]] for name, array in arrays.items()
    }
    index = canonical({**described, "arrays": listed})
    parse(index)  # its limits count the whole index, which no rule for a part can foresee
    data = seal(index, body)
    _check_size(len(data))
    return data


def save(spec: NetworkSpec, path: str | os.PathLike[str], *, verify: bool = True) -> None:
    """Write a network to a file, so that its path leads to the whole new file or to the old one.

    The bytes go to a file beside the target, which is synced, checked, and then renamed. A link is
    followed, an existing file's mode is kept; hard links to the old file keep the old content.

    Parameters
    ----------
    spec : NetworkSpec
    path : str or path-like
        Used as given; the folder must exist.
    verify : bool
        Let HDF5 read the new file in a child process and compare, before it replaces the old one
        (about 0.2 s, most of it the start of the child).

    Raises
    ------
    ArtifactError
        If the network is not valid, or the views differ.
    OSError
        Naming the path. The old file is untouched; only if the folder itself cannot be synced after
        the rename, the new file is already in place, and the message says so.
    ImportError
        If h5py is missing.
    """
    target = os.fspath(path)
    if not isinstance(target, str):
        raise TypeError(f"path is of {type(target).__name__}, but must be one of str")
    write_atomically(target, to_bytes(spec), _verify_file if verify else None)


def verify(source: Source) -> None:
    """Check that an HDF5 tool sees in a file what the index says.

    The file is loaded as always; then libhdf5 reads the same bytes in a child process with limits
    on time and memory, since it is not to be trusted with a stranger's file. Names, dtypes, shapes,
    places and values of all arrays must agree.

    Parameters
    ----------
    source : str, path-like or bytes-like
        As `load`.

    Raises
    ------
    ArtifactError
        If the file does not load, or the views differ, naming the array.
    FileNotFoundError, PermissionError
        If the system says so about a path.
    ImportError
        If h5py is missing.
    """
    data = read(source)
    spec = parse_network(data)
    text = canonical(describe(spec))
    expected: dict[str, hdf5_check.Dataset] = {
        name: (dtype, list(shape), offset, "")
        for name, (dtype, shape, offset) in array_entries(data).items()
    }
    for name, array in _stored_arrays(spec).items():
        dtype, shape, offset, _ = expected[name]
        expected[name] = (dtype, shape, offset, hashlib.sha256(array.data).hexdigest())
    hdf5_check.compare(data, expected, DESCRIPTION, text)


def _verify_file(path: str) -> None:
    verify(path)


def content_digest(spec: NetworkSpec) -> str:
    """SHA-256 of what a network is, whoever wrote it.

    It covers layers, input scaling, arrays and the metadata without its member ``"producer"``: the
    same network has the same digest whatever versions of kerasnsoc, h5py and HDF5 wrote its file.

    Parameters
    ----------
    spec : NetworkSpec

    Returns
    -------
    digest : str
        64 hexadecimal digits.

    Raises
    ------
    ArtifactError
        If the network is not valid.
    """
    validate(spec)
    arrays = _stored_arrays(spec)
    described = describe(spec)
    described["metadata"].pop("producer", None)
    described["arrays"] = {
        name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()
    }
    state = hashlib.sha256(canonical(described))
    # the text ends with a brace and lists all lengths, so that nothing can move between the parts
    for array in arrays.values():
        state.update(array.data)
    return state.hexdigest()


def _check_size(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise ArtifactError(
            Reason.SHAPE, f"the file would have {size} bytes, allowed are {MAX_FILE_BYTES}"
        )


def _stored_arrays(spec: NetworkSpec) -> dict[str, npt.NDArray[Any]]:
    """All arrays in file order, contiguous and little-endian."""
    return {
        array_name(index, variable): np.ascontiguousarray(
            layer.variables[variable], STORED_DTYPES[variable]
        )
        for index, layer in enumerate(spec.layers)
        for variable in sorted(layer.variables)
    }


def _hdf5(text: bytes, arrays: dict[str, npt.NDArray[Any]]) -> tuple[bytes, dict[str, int]]:
    """An HDF5 file in memory, and where its arrays lie in it."""
    hdf5_check.require_h5py()
    import h5py
    from h5py import h5f, h5fd, h5p

    target = io.BytesIO()
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fileobj_driver(h5fd.fileobj_driver, target)
    access.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
    access.set_alignment(1, ALIGNMENT)
    creation = h5p.create(h5p.FILE_CREATE)
    # h5py 3.14 would write the clock into the headers of groups
    creation.set_obj_track_times(False)
    # not get_file_image(): h5py 3.14 gives the superblock of that image a wrong checksum
    handle = h5f.create(repr(target).encode(), h5f.ACC_TRUNC, fcpl=creation, fapl=access)
    with h5py.File(handle) as file:
        datasets = {DESCRIPTION: np.frombuffer(text, np.uint8), **arrays}
        for name, array in datasets.items():
            file.create_dataset(name, data=array, track_times=False)
        file.flush()
        offsets = {name: int(file[name].id.get_offset()) for name in arrays}
    misplaced = [name for name, offset in offsets.items() if offset % ALIGNMENT]
    if misplaced:  # the reader would refuse the file
        raise RuntimeError(f"this HDF5 library did not align {misplaced[0]} to {ALIGNMENT} bytes")
    return target.getvalue(), offsets
