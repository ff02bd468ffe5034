"""The frame of a file: a sealed index in the user block of an HDF5 file.

======  ======  ====================================================================
offset  length  content
======  ======  ====================================================================
0       8       magic
8       4       format version
12      4       user block size, the least power of two >= 512 that holds the index
16      4       index length n
20      4       zero
24      8       length of the HDF5 part
32      32      SHA-256 of bytes 0-31, of the index and of the HDF5 part
64      n       index: canonical JSON
64 + n          zeros up to the user block size, then the HDF5 part
======  ======  ====================================================================

Numbers are unsigned and little-endian.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final, NoReturn

from kerasnsoc.artifact.errors import ArtifactError, Reason
from kerasnsoc.artifact.limits import MAX_INDEX_BYTES

MAGIC: Final = b"KNSOC\r\n\x1a"
VERSION: Final = 1
ALIGNMENT: Final = 64
HEADER_BYTES: Final = 64
MIN_USER_BLOCK: Final = 512
HDF5_MAGIC: Final = b"\x89HDF\r\n\x1a\n"

_HEAD = struct.Struct("<8sIIIIQ")

_FOREIGN = (
    (HDF5_MAGIC, "an HDF5 file without the sealed index; a Keras model has to be converted first"),
    (b"PK\x03\x04", "a zip archive; a Keras model has to be converted first"),
    (b"\x1f\x8b", "gzip data; decompress it first"),
    (b"\x80", "perhaps a pickle, which is never loaded"),
)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the parts of a file lie."""

    index_length: int
    body_start: int
    body_length: int

    @property
    def index(self) -> slice:
        return slice(HEADER_BYTES, HEADER_BYTES + self.index_length)

    @property
    def padding(self) -> slice:
        return slice(HEADER_BYTES + self.index_length, self.body_start)

    @property
    def body(self) -> slice:
        return slice(self.body_start, self.body_start + self.body_length)


def user_block_size(index_length: int) -> int:
    """Least power of two, at least 512, that holds the header and the index."""
    return max(MIN_USER_BLOCK, 1 << (HEADER_BYTES + index_length - 1).bit_length())


def frame(head: bytes, total: int) -> Frame:
    """Check the header of a file that has `total` bytes.

    Parameters
    ----------
    head : bytes
        The first 64 bytes, or all there are.
    total : int

    Raises
    ------
    ArtifactError
        With `Reason.MAGIC`, `VERSION`, `TRUNCATED` or `HEADER`.
    """
    if head[: len(MAGIC)] != MAGIC[: len(head)]:
        found = next((text for magic, text in _FOREIGN if head.startswith(magic)), "other data")
        _refuse(Reason.MAGIC, f"this is no artifact of kerasnsoc, but {found}")
    if total < MIN_USER_BLOCK or len(head) < HEADER_BYTES:
        _refuse(
            Reason.TRUNCATED, f"{total} bytes are fewer than the {MIN_USER_BLOCK} of any artifact"
        )
    _, version, user_block, index_length, zero, body_length = _HEAD.unpack_from(head)
    if version != VERSION:
        _refuse(
            Reason.VERSION,
            f"format version {version} is not known to this release, which reads {VERSION}",
        )
    if zero:
        _refuse(Reason.HEADER, f"the reserved bytes 20 to 23 hold {zero}, not 0")
    if index_length > MAX_INDEX_BYTES:
        _refuse(
            Reason.HEADER,
            f"the header announces an index of {index_length} bytes, allowed are {MAX_INDEX_BYTES}",
        )
    if user_block != user_block_size(index_length):
        _refuse(
            Reason.HEADER,
            f"the user block has {user_block} bytes, but an index of {index_length} bytes goes "
            f"into {user_block_size(index_length)}",
        )
    if total < user_block + body_length:
        _refuse(
            Reason.TRUNCATED,
            f"{total} bytes, but the header announces {user_block + body_length}",
        )
    if total > user_block + body_length:
        _refuse(
            Reason.HEADER,
            f"{total - user_block - body_length} bytes follow the end that the header announces",
        )
    return Frame(index_length, user_block, body_length)


def _refuse(reason: Reason, message: str) -> NoReturn:
    raise ArtifactError(reason, message)


def digest(data: memoryview, parts: Frame) -> bytes:
    """SHA-256 of what the seal covers."""
    state = hashlib.sha256(data[:32])
    state.update(data[parts.index])
    state.update(data[parts.body])
    return state.digest()


def check_seal(data: memoryview, parts: Frame) -> None:
    """Compare the digest, then the padding, with what the frame promises.

    Raises
    ------
    ArtifactError
        With `Reason.DIGEST` or `Reason.HEADER`.
    """
    found, sealed = digest(data, parts), bytes(data[32:64])
    if found != sealed:
        _refuse(
            Reason.DIGEST,
            f"the content has the SHA-256 {found.hex()}, but was sealed with {sealed.hex()}; the "
            f"file was damaged or changed",
        )
    if bytes(data[parts.padding]).strip(b"\0"):
        _refuse(Reason.HEADER, "the bytes between the index and the HDF5 part are not all zero")


def seal(index: bytes, body: bytes) -> bytes:
    """A whole file from its canonical index and its HDF5 part."""
    size = user_block_size(len(index))
    head = _HEAD.pack(MAGIC, VERSION, size, len(index), 0, len(body))
    state = hashlib.sha256(head)
    state.update(index)
    state.update(body)
    padding = bytes(size - HEADER_BYTES - len(index))
    return b"".join((head, state.digest(), index, padding, body))
