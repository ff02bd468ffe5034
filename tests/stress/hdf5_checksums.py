"""Finds and repairs the checksums of HDF5 metadata, as an attacker would.

Version 2 superblocks and object headers, heaps and trees end with Bob Jenkins' lookup3 hash
(``hashlittle``, http://burtleburtle.net/bob/c/lookup3.c, public domain) of all bytes before it,
with the start value 0; the HDF5 File Format Specification says which blocks.
"""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
_SIGNATURES = (
    b"\x89HDF",
    b"OHDR",
    b"OCHK",
    b"FRHP",
    b"FHDB",
    b"FHIB",
    b"BTHD",
    b"BTIN",
    b"BTLF",
)

Region = tuple[int, int]
"""Start of a block, and where its checksum lies."""


def _rotate(value: int, by: int) -> int:
    return ((value << by) | (value >> (32 - by))) & _MASK


def lookup3(data: bytes) -> int:
    """The 32-bit hash of some bytes."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    position = 0
    while len(data) - position > 12:
        x, y, z = struct.unpack_from("<III", data, position)
        a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
        for by in (4, 6, 8, 16, 19, 4):
            # one round of the mix: the three registers change their roles in turn
            a = ((a - c) & _MASK) ^ _rotate(c, by)
            c = (c + b) & _MASK
            a, b, c = b, c, a
        position += 12
    rest = data[position:]
    if not rest:
        return c
    x, y, z = struct.unpack("<III", rest.ljust(12, b"\0"))
    a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, by)) & _MASK
        a, b, c = b, c, a
    # after seven rounds the register that changed last stands in the middle
    return b


def regions(data: bytes, longest: int = 1200) -> list[Region]:
    """Blocks of metadata whose checksum is right."""
    found = []
    for signature in _SIGNATURES:
        start = data.find(signature)
        while start >= 0:
            for end in range(start + 8, min(len(data) - 4, start + longest) + 1):
                (stored,) = struct.unpack_from("<I", data, end)
                if stored and stored == lookup3(data[start:end]):
                    found.append((start, end))
                    break
            start = data.find(signature, start + 1)
    return sorted(found)


def repaired(data: bytes, blocks: list[Region]) -> bytes:
    """The same bytes with right checksums behind these blocks."""
    result = bytearray(data)
    for start, end in blocks:
        if end + 4 <= len(result):
            struct.pack_into("<I", result, end, lookup3(bytes(result[start:end])))
    return bytes(result)
