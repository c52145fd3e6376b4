"""Triangulations of the unit disk in rings, and where the electrodes lie on its edge.

Ring k of R has radius k/R and 4 round(kB/(4R)) nodes, so that all edges are about as long as those
of the boundary, which has B of them. The strip between two rings is closed quarter by quarter,
triangle by triangle, always on the side that lags behind. Coordinates are rounded to 12 digits and
the order is decided in integers: every machine makes the same mesh, to the last bit.

Triangles are numbered strip by strip from the centre, and counterclockwise in a strip. Consecutive
triangles then share an edge (but R - 1 times), so that a convolution over the numbers is one over
neighbours.
"""

from __future__ import annotations

import math

import numpy as np
from skfem import MeshTri

ELECTRODES = 16
ROUND = 1e-9  # how far from the unit circle a boundary node may be


def disk(rings: int, boundary: int) -> MeshTri:
    """The unit disk in `rings` rings, with `boundary` nodes on the circle.

    For electrodes that cover half of the circle, `boundary` is a multiple of 32.
    """
    quarters = [0, *(max(1, round(boundary * k / rings / 4)) for k in range(1, rings)), 0]
    quarters[-1] = boundary // 4
    if rings < 2 or boundary < 8 or boundary % 4:
        raise ValueError(
            f"a disk has 2 rings or more and a multiple of 4 nodes on its edge, 8 or more, not "
            f"{rings} rings and {boundary} nodes"
        )
    first = np.cumsum([0, 1, *(4 * count for count in quarters[1:])])
    angles = [2 * math.pi * j / (4 * n) for n in quarters[1:] for j in range(4 * n)]
    radii = [k / rings for k, n in enumerate(quarters) for _ in range(4 * n)]
    nodes = [(0.0, 0.0)]
    nodes += [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]
    triangles = [(0, 1 + j, 1 + (j + 1) % (4 * quarters[1])) for j in range(4 * quarters[1])]
    for k in range(1, rings):
        triangles += [
            tuple(first[k + ring] + j % (4 * quarters[k + ring]) for ring, j in corners)
            for corners in _strip(quarters[k], quarters[k + 1])
        ]  # fmt: skip
    return MeshTri(
        np.ascontiguousarray(np.round(np.array(nodes).T, 12) + 0.0),  # + 0.0: no negative zeros
        np.ascontiguousarray(np.array(triangles, dtype=np.int64).T),
    )


def _strip(inner: int, outer: int) -> list[tuple[tuple[int, int], ...]]:
    """Triangles between two rings: corners (0 = inner | 1 = outer, number), counterclockwise.

    The arguments are nodes in a quarter. The next triangle is on the ring whose next edge has its
    middle at the smaller angle: (i + ½)/inner or (j + ½)/outer.
    """
    triangles, i, j = [], 0, 0
    while i < 4 * inner or j < 4 * outer:
        if (2 * j + 1) * inner <= (2 * i + 1) * outer:
            triangles.append(((0, i), (1, j), (1, j + 1)))
            j += 1
        else:
            triangles.append(((0, i), (1, j), (0, i + 1)))
            i += 1
    return triangles


def check_disk(mesh: MeshTri) -> None:
    """Raise a ValueError that says why a mesh is none of the unit disk.

    It must be of triangles with an area, in one piece without a hole (V - E + F = 1), with all
    boundary nodes on the unit circle.
    """
    if not isinstance(mesh, MeshTri):
        raise TypeError(f"a mesh of triangles is needed (skfem.MeshTri), not {type(mesh).__name__}")
    if not np.isfinite(mesh.p).all():
        raise ValueError("the mesh is not the unit disk's: it has nodes that are not finite")
    flat = np.flatnonzero(areas(mesh) <= np.finfo(float).eps)
    if len(flat):
        raise ValueError(f"the mesh is not the unit disk's: triangle {flat[0]} has no area")
    radii = np.linalg.norm(mesh.p[:, mesh.boundary_nodes()], axis=0)
    worst = np.abs(radii - 1).argmax()
    if abs(radii[worst] - 1) > ROUND:
        raise ValueError(
            f"the mesh is not the unit disk's: its boundary node {mesh.boundary_nodes()[worst]} is "
            f"{radii[worst]:.6g} away from the origin instead of 1"
        )
    characteristic = mesh.nvertices - mesh.nfacets + mesh.nelements
    loops = _pieces(mesh.facets[:, mesh.boundary_facets()])
    if characteristic != 1 or loops != 1 or _pieces(mesh.facets) != 1:
        raise ValueError(
            "the mesh is not the unit disk's: it is in pieces or has holes, or nodes that no "
            f"triangle uses (nodes - edges + triangles = {characteristic} instead of 1, "
            f"{loops} boundary curves instead of 1)"
        )


def _pieces(edges: np.ndarray) -> int:
    """How many connected pieces edges (2, count) form."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, ends = np.unique(edges, return_inverse=True)
    ends = ends.reshape(edges.shape)
    graph = coo_array((np.ones(edges.shape[1]), (ends[0], ends[1])), shape=(len(names),) * 2)
    return int(connected_components(graph, directed=False)[0])


def areas(mesh: MeshTri) -> np.ndarray:
    """The areas of the triangles."""
    a, b, c = (mesh.p[:, corner] for corner in mesh.t)
    (x1, y1), (x2, y2) = b - a, c - a
    return np.abs(x1 * y2 - y1 * x2) / 2


def electrode_edges(mesh: MeshTri) -> list[np.ndarray]:
    """The boundary edges of each of 16 electrodes, as numbers of `mesh.facets`.

    Electrode l covers the angles from 2πl/16 to 2π(l + ½)/16: half of the circle is covered.
    """
    edges = mesh.boundary_facets()
    ends = mesh.p[:, mesh.facets[:, edges]]  # (2 coordinates, 2 ends, edges)
    arcs = 2 * ELECTRODES  # covered and free ones in turn
    middles = np.arctan2(*ends.mean(axis=1)[::-1]) * arcs / (2 * np.pi) % arcs
    arc = middles.astype(int)
    offsets = np.arctan2(*ends[::-1]) * arcs / (2 * np.pi) - (arc + 0.5)
    offsets -= arcs * np.round(offsets / arcs)
    if (np.abs(offsets) > 0.5 + ROUND * arcs).any() or len(np.unique(arc)) < arcs:
        raise ValueError(
            "an electrode does not begin and end at nodes of the mesh: of equal boundary edges, "
            f"the first one beginning at angle 0, there must be a multiple of {arcs}"
        )
    return [edges[arc == 2 * number] for number in range(ELECTRODES)]
