"""Meshes in OFF files, and points on their surfaces."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

_LARGEST_FILE = 1 << 30


def read_off(
    path: str | os.PathLike[str],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Corners and triangles of a mesh.

    Header and counts may share a line (``OFF490 518 0``), as in some files of ModelNet. Polygons
    of more than three corners are cut into triangles that share their first corner.

    Returns
    -------
    vertices : ndarray of float64, shape (vertices, 3)
    triangles : ndarray of int64, shape (triangles, 3)

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no valid OFF file; the message names it.
    """
    name = repr(os.fspath(path))
    if Path(path).stat().st_size > _LARGEST_FILE:
        raise ValueError(f"{name} is larger than {_LARGEST_FILE} bytes")
    text = Path(path).read_text(encoding="ascii", errors="replace")
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    if not lines or not lines[0].startswith("OFF"):
        raise ValueError(f"{name} is no OFF file: it begins {text[:20]!r}")
    counts, *rest = lines if lines[0] != "OFF" else lines[1:] or [""]
    try:
        corners, faces = map(int, counts.removeprefix("OFF").split()[:2])
        if not 0 <= corners <= corners + faces <= len(rest):
            raise ValueError(
                f"{corners} vertices and {faces} faces do not fit into {len(rest)} lines"
            )
        vertices = np.array([line.split()[:3] for line in rest[:corners]], np.float64)
        triangles = _triangles(rest[corners : corners + faces])
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name} is no valid OFF file: {error}") from None
    vertices = vertices.reshape(corners, 3)
    if triangles.size and (triangles.min() < 0 or triangles.max() >= corners):
        raise ValueError(f"{name}: a face has a corner outside of 0 to {corners - 1}")
    if not np.isfinite(vertices).all():
        raise ValueError(f"{name}: a coordinate is not finite")
    return vertices, triangles


def _triangles(lines: list[str]) -> npt.NDArray[np.int64]:
    triangles = []
    for line in lines:
        count, *face = map(int, line.split()[: 1 + int(line.split()[0])])  # a colour may follow
        if len(face) < count:
            raise ValueError(f"the face {line!r} has fewer than {count} corners")
        triangles += [(face[0], face[k], face[k + 1]) for k in range(1, count - 1)]
    return np.array(triangles, np.int64).reshape(-1, 3)


def sample_surface(
    vertices: npt.NDArray[np.float64],
    triangles: npt.NDArray[np.int64],
    num_points: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Points that lie anywhere on the surface with equal probability [1]_.

    Parameters
    ----------
    vertices : ndarray of float64, shape (vertices, 3)
    triangles : ndarray of int64, shape (triangles, 3)
    num_points : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float64, shape (num_points, 3)

    Raises
    ------
    ValueError
        If the surface has no area.

    References
    ----------
    .. [1] R. Osada et al., "Shape Distributions", ACM Transactions on Graphics 21(4), 2002,
       section 4.2.
    """
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    total = areas.sum()
    if not total > 0 or not np.isfinite(total):
        raise ValueError(f"{len(triangles)} triangles with an area of {total:g} in total")
    chosen = rng.choice(len(areas), num_points, p=areas / total)
    root, share = np.sqrt(rng.random((num_points, 1))), rng.random((num_points, 1))
    points: npt.NDArray[np.float64] = (
        (1 - root) * a[chosen] + root * (1 - share) * b[chosen] + root * share * c[chosen]
    )
    return points
