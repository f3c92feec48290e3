"""The mesh: closed, where the opacity says, in the Gaussians' colours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.density import density_grid
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.mesh import Mesh, MeshConfig, gaussians_mesh, write_obj
from tests.synthetic import blob

MIDDLE = torch.tensor([3.0, -1.0, 0.5])


def one(scales: tuple[float, float, float], opacity: float = 0.9, quaternion: tuple[float, ...] = (1, 0, 0, 0)):
    return Gaussians(
        MIDDLE[None],
        torch.tensor([scales]),
        torch.tensor([quaternion], dtype=torch.float32),
        torch.tensor([opacity]),
        torch.tensor([[0.8, 0.3, 0.1]]),
    )


def edges(mesh: Mesh) -> np.ndarray:
    """Directed edges of all triangles."""
    return np.concatenate([mesh.triangles[:, [k, (k + 1) % 3]] for k in range(3)])


def euler(mesh: Mesh) -> int:
    return len(mesh.vertices) - len(np.unique(np.sort(edges(mesh), axis=1), axis=0)) + len(mesh.triangles)


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.triangles[:, k]] for k in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


def is_closed(mesh: Mesh) -> bool:
    """Every directed edge occurs once, and once in the other direction."""
    there, counts = np.unique(edges(mesh), axis=0, return_counts=True)
    back = np.unique(edges(mesh)[:, ::-1], axis=0)
    return bool((counts == 1).all()) and np.array_equal(there, back)


@pytest.mark.parametrize("resolution", [12, 30])
def test_a_ball_has_its_radius_and_no_hole(resolution: int) -> None:
    scale, opacity = 0.2, 0.9
    ball = one((scale, scale, scale), opacity)
    mesh = gaussians_mesh(ball, MeshConfig(resolution))
    radius = scale * math.sqrt(2 * math.log(opacity / 0.5))
    voxel = density_grid(ball, resolution).spacing
    found = np.linalg.norm(mesh.vertices - MIDDLE.numpy(), axis=1)
    assert np.abs(found - radius).max() < voxel / 2
    assert is_closed(mesh) and euler(mesh) == 2
    assert volume(mesh) == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.1 if resolution > 20 else 0.4)
    assert np.abs(mesh.colours - [0.8, 0.3, 0.1]).max() < 1e-5


def test_a_ball_of_many_gaussians_is_one_surface_in_their_colours() -> None:
    steps = np.arange(-1.0, 1.01, 0.08)
    points = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    points = points[np.linalg.norm(points, axis=1) < 1.0]
    count = len(points)
    ball = Gaussians(
        torch.from_numpy(points).float(),
        torch.full((count, 3), 0.06),
        torch.randn(count, 4, generator=torch.Generator().manual_seed(0)),
        torch.full((count,), 0.9),
        torch.from_numpy(points > 0).float(),
    )
    mesh = gaussians_mesh(ball, MeshConfig(30))
    assert is_closed(mesh) and euler(mesh) == 2
    distance = np.linalg.norm(mesh.vertices, axis=1)
    assert distance.std() < density_grid(ball, 30).spacing / 2
    assert 1.0 < distance.mean() < 1.0 + 2 * 0.06
    deep = np.abs(mesh.vertices).min(axis=1) > 0.2
    assert np.abs(mesh.colours[deep] - (mesh.vertices[deep] > 0)).max() < 0.1


def test_a_turned_ellipsoid_has_its_axes() -> None:
    turn = (math.cos(0.3), 0.0, 0.0, math.sin(0.3))
    mesh = gaussians_mesh(one((0.3, 0.1, 0.15), 0.9, turn), MeshConfig(60))
    local = mesh.vertices - MIDDLE.numpy()
    axis = np.array([math.cos(0.6), math.sin(0.6), 0.0])
    reach = math.sqrt(2 * math.log(0.9 / 0.5))
    assert (local @ axis).max() == pytest.approx(0.3 * reach, rel=0.03)
    assert (local @ [-axis[1], axis[0], 0.0]).max() == pytest.approx(0.1 * reach, rel=0.05)
    assert local[:, 2].max() == pytest.approx(0.15 * reach, rel=0.05)


def test_whatever_the_shape_the_mesh_is_closed_and_faces_outward() -> None:
    mesh = gaussians_mesh(blob(2), MeshConfig(24))
    assert is_closed(mesh) and euler(mesh) % 2 == 0
    assert volume(mesh) > 0


def test_density_is_the_opacity_that_alphas_make_together() -> None:
    two = Gaussians.concatenate([one((0.2, 0.2, 0.2), 0.6), one((0.2, 0.2, 0.2), 0.5)])
    grid = density_grid(two, 40)
    nearest = np.rint((MIDDLE.numpy() - grid.origin) / grid.spacing).astype(int)
    where = grid.origin + grid.spacing * nearest
    fall = math.exp(-0.5 * ((where - MIDDLE.numpy()) ** 2).sum() / 0.04)
    opaque = 1 - math.exp(-grid.density[tuple(nearest)])
    assert opaque == pytest.approx(1 - (1 - 0.6 * fall) * (1 - 0.5 * fall), abs=1e-5)


def test_obj_holds_the_mesh() -> None:
    mesh = gaussians_mesh(one((0.2, 0.2, 0.2)), MeshConfig(10))
    lines = [line.split() for line in write_obj(mesh).decode().splitlines()]
    rows = np.array([line[1:] for line in lines if line[0] == "v"], float)
    faces = np.array([line[1:] for line in lines if line[0] == "f"], int)
    assert np.allclose(rows[:, :3], mesh.vertices, atol=1e-5) and np.allclose(rows[:, 3:], mesh.colours, atol=1e-4)
    assert np.array_equal(faces - 1, mesh.triangles)


def test_what_has_no_surface_is_refused() -> None:
    with pytest.raises(InputError, match="nowhere do the Gaussians reach an opacity of 0.5 .the most is 0.3"):
        gaussians_mesh(one((0.2, 0.2, 0.2), 0.3))
    with pytest.raises(InputError, match="no Gaussian is visible"):
        gaussians_mesh(Gaussians.empty())
    with pytest.raises(InputError, match="between 0 and 1"):
        MeshConfig(opacity=1.0)
    with pytest.raises(InputError, match="too large"):
        gaussians_mesh(one((0.2, 0.2, 0.2)), MeshConfig(2000))
