"""A triangle mesh with vertex colours around what the Gaussians make opaque, and OBJ files of it.

Marching tetrahedra: every cube of the density's grid is cut into six tetrahedra around its diagonal, the same six in
every cube, so that neighbours share whole faces; in a tetrahedron the surface of a linear field is a triangle or two.
Unlike marching cubes it has no ambiguous case: the mesh is always closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from jaxtyping import Float, Int

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.density import DensityGrid, density_grid
from mouse_facelift.gaussians.gaussians import Gaussians

# A surface is kept this share of an edge away from grid nodes, so that no triangle is without area.
_MARGIN = 1e-3


@dataclass(frozen=True)
class MeshConfig:
    """How a mesh is cut out of the Gaussians."""

    resolution: int = 160
    """Voxels along the longest side of the Gaussians' box."""
    opacity: float = 0.5
    """The surface runs where all Gaussians together are as opaque as this."""

    def __post_init__(self) -> None:
        if not 0 < self.opacity < 1:
            raise InputError(f"mesh: opacity {self.opacity}: the surface lies at an opacity between 0 and 1")


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles, anticlockwise seen from outside; every edge belongs to two of them."""

    vertices: Float[np.ndarray, "n 3"]
    colours: Float[np.ndarray, "n 3"]
    """RGB in [0, 1]."""
    triangles: Int[np.ndarray, "m 3"]


def gaussians_mesh(gaussians: Gaussians, config: MeshConfig | None = None) -> Mesh:
    """The surface around the Gaussians, in their world.

    Raises:
        InputError: Nothing is as opaque as the surface has to be, or as `density_grid` does.
    """
    config = config or MeshConfig()
    grid = density_grid(gaussians, config.resolution)
    level = -np.log1p(-config.opacity)
    if not grid.density.max() > level:
        most = 1 - np.exp(-grid.density.max())
        raise InputError(
            f"mesh: nowhere do the Gaussians reach an opacity of {config.opacity} (the most is {most:.3f} at this "
            "resolution); lower the opacity or raise the resolution"
        )
    return surface(grid, float(level))


def surface(grid: DensityGrid, level: float) -> Mesh:
    """The closed surface at which the density passes ``level``; the grid's outermost nodes must lie below it."""
    shape = np.array(grid.density.shape)
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    values = grid.density.reshape(-1).astype(np.float64)
    inside = values > level
    tetrahedra = _crossed_tetrahedra(grid.density > level, strides)
    # Nodes inside come first: with one, two or three of them the surface cuts off a corner or an edge.
    order = np.argsort(~inside[tetrahedra], axis=1, kind="stable")
    tetrahedra = np.take_along_axis(tetrahedra, order, axis=1)
    count = inside[tetrahedra].sum(axis=1)
    one, two, three = (tetrahedra[count == k] for k in (1, 2, 3))
    corners = [
        _edges(one, ((0, 1), (0, 2), (0, 3))),
        _edges(two, ((0, 2), (0, 3), (1, 3))),
        _edges(two, ((0, 2), (1, 3), (1, 2))),
        _edges(three, ((0, 3), (1, 3), (2, 3))),
    ]
    edges = np.concatenate(corners)
    nodes, triangles = np.unique(edges.reshape(-1, 2), axis=0, return_inverse=True)
    share = (values[nodes[:, 0]] - level) / (values[nodes[:, 0]] - values[nodes[:, 1]])
    share = np.clip(share, _MARGIN, 1 - _MARGIN)[:, None]
    places = np.stack(np.unravel_index(nodes, tuple(shape)), axis=-1)
    vertices = places[:, 0] * (1 - share) + places[:, 1] * share
    colours = grid.colours.reshape(-1, 3)
    # Weighted by the density, so that a colour does not fade towards empty nodes, which have none.
    near, far = (1 - share) * values[nodes[:, :1]], share * values[nodes[:, 1:]]
    mixed = (colours[nodes[:, 0]] * near + colours[nodes[:, 1]] * far) / (near + far)
    outward = np.concatenate([_outward(t, shape) for t in (one, two, two, three)])
    facing = _facing_out(vertices, triangles.reshape(-1, 3), outward)
    return Mesh(grid.origin + grid.spacing * vertices, np.clip(mixed, 0, 1), facing)


def write_obj(mesh: Mesh) -> bytes:
    """A Wavefront OBJ with colours behind the coordinates of every vertex, as MeshLab, Blender and three.js read it."""
    rows = np.concatenate([mesh.vertices, mesh.colours], axis=1)
    lines = [f"v {x:.6g} {y:.6g} {z:.6g} {r:.4f} {g:.4f} {b:.4f}" for x, y, z, r, g, b in rows.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (mesh.triangles + 1).tolist()]
    return ("\n".join(lines) + "\n").encode("ascii")


def _crossed_tetrahedra(inside: np.ndarray, strides: np.ndarray) -> Int[np.ndarray, "t 4"]:
    """Node numbers of the tetrahedra that the surface passes through."""
    # Kuhn's cut: a tetrahedron for every order in which one can walk from a cube's first corner to its last.
    paths = np.array([np.cumsum([0, *strides[list(order)]]) for order in permutations(range(3))])
    corners = [
        inside[i : inside.shape[0] - 1 + i, j : inside.shape[1] - 1 + j, k : inside.shape[2] - 1 + k]
        for i in (0, 1)
        for j in (0, 1)
        for k in (0, 1)
    ]
    mixed = np.logical_or.reduce(corners) & ~np.logical_and.reduce(corners)
    cubes = np.stack(np.nonzero(mixed), axis=-1) @ strides
    tetrahedra = (cubes[:, None, None] + paths).reshape(-1, 4)
    within = inside.reshape(-1)[tetrahedra].sum(axis=1)
    return tetrahedra[(within > 0) & (within < 4)]


def _edges(tetrahedra: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> Int[np.ndarray, "t 3 2"]:
    """The three grid edges (inside node, outside node) on which a triangle of every tetrahedron has its corners."""
    return tetrahedra[:, np.array(pairs)]


def _outward(tetrahedra: np.ndarray, shape: np.ndarray) -> Float[np.ndarray, "t 3"]:
    """From a node inside to one outside: the field falls along it, in a tetrahedron as everywhere."""
    ends = np.stack(np.unravel_index(tetrahedra[:, [0, 3]], tuple(shape)), axis=-1)
    return (ends[:, 1] - ends[:, 0]).astype(np.float64)


def _facing_out(
    vertices: Float[np.ndarray, "n 3"], triangles: Int[np.ndarray, "m 3"], outward: Float[np.ndarray, "m 3"]
) -> Int[np.ndarray, "m 3"]:
    """Triangles with their corners in the order that makes normals point outward."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    inward = (np.cross(b - a, c - a) * outward).sum(axis=1) < 0
    return np.where(inward[:, None], triangles[:, ::-1], triangles)
