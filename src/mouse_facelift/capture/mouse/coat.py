"""The mouse's coat: thousands of small Gaussians that cover its shape and move with its bones.

A black mouse with a touch of agouti: very dark fur with lighter flecks and soft patches, a paler belly, grey-pink ears,
pink feet, nose and tail, glossy black eyes. Colours are lit from above by a soft dome of light, frame by frame, so
that every camera sees the same brightness of the same hair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from mouse_facelift.capture.mouse.noise import smooth_noise
from mouse_facelift.capture.mouse.shape import TRUNK, Part, Surface, mouse_parts
from mouse_facelift.capture.mouse.skeleton import SPINE, SPINE_JOINTS, Bones, Pose, posed_bones
from mouse_facelift.gaussians.gaussians import Gaussians

# Gaussians of the core: a few large dark ones inside the trunk, so that nothing shines through the coat. Their standard
# deviation (mm) is small enough that none shows outside the skin.
CORE_COLOUR = (0.10, 0.085, 0.075)
CORE_RADIUS = 3.2
# Standard deviations of a hair along its growth, across it and through the skin, relative to the hairs' spacing.
HAIR_SHAPE = (0.85, 0.6, 0.28)
HAIR_OPACITY = 0.93
# Light by the vertical part of the normal: ambient (the white floor lights the belly) and the dome above.
AMBIENT, DOME = 0.74, 0.34


@dataclass(frozen=True)
class Coat:
    """Gaussians bound to bones. Every one follows two bones with weights that add up to 1.

    Attributes:
        local: Position in the axes of either bone (mm).
        rotations: Own axes -> axes of the bones (all bones of a chain are parallel in the standing animal).
        normals: Outward direction in the axes of the bones.
        bones, weight: The two bones, and how much of the second.
        scales: Standard deviations (mm).
        colours: RGB before light.
        area: Share of the animal's surface it stands for (mm^2); 0 inside the animal.
    """

    local: Float[np.ndarray, "n 2 3"]
    rotations: Float[np.ndarray, "n 3 3"]
    normals: Float[np.ndarray, "n 3"]
    bones: Int[np.ndarray, "n 2"]
    weight: Float[np.ndarray, " n"]
    scales: Float[np.ndarray, "n 3"]
    colours: Float[np.ndarray, "n 3"]
    area: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.weight)


@dataclass(frozen=True)
class PosedCoat:
    """A coat in a pose: what the renderer draws, and the same points in double precision for geometry.

    Attributes:
        gaussians: World frame, mm.
        means: Their centres.
        area: Surface each stands for (mm^2).
        bones: The bones' world frames.
    """

    gaussians: Gaussians
    means: Float[np.ndarray, "n 3"]
    area: Float[np.ndarray, " n"]
    bones: Bones

    @property
    def centre(self) -> Float[np.ndarray, " 3"]:
        """Centroid of the animal's surface (mm)."""
        return self.area @ self.means / self.area.sum()


def grow_coat(seed: int = 0, gaussians: int = 9000) -> Coat:
    """The coat of one animal with about ``gaussians`` Gaussians; its flecks and patches are drawn by the seed."""
    rng = np.random.default_rng([seed, 1])
    parts = mouse_parts()
    areas = [p.tube.area() for p in parts]
    density = gaussians / sum(a * p.detail for a, p in zip(areas, parts, strict=True))
    pieces = [_cover(part, area, density * part.detail, rng) for part, area in zip(parts, areas, strict=True)]
    pieces.append(_core())
    return Coat(*(np.concatenate([getattr(p, name) for p in pieces]) for name in Coat.__dataclass_fields__))


def pose_coat(pose: Pose, coat: Coat) -> PosedCoat:
    """The coat on a posed mouse: linear blend skinning of centres, blended rotations, light from above."""
    bones = posed_bones(pose)
    weights = np.stack([1 - coat.weight, coat.weight], axis=1)
    rotations = bones.rotations[coat.bones]
    means = np.einsum(
        "nk,nki->ni", weights, np.einsum("nkij,nkj->nki", rotations, coat.local) + bones.origins[coat.bones]
    )
    blended = _blend(bones, coat, weights)
    quaternions = (blended * Rotation.from_matrix(coat.rotations)).as_quat(scalar_first=True)
    up = blended.apply(coat.normals)[:, 2]
    # Near the floor the animal's own body keeps the light away.
    sheltered = 0.8 + 0.2 * np.clip(means[:, 2] / 10.0, 0, 1)
    light = np.where(coat.area > 0, (AMBIENT + DOME * up) * sheltered, 1.0)
    gaussians = Gaussians(
        _tensor(means),
        _tensor(coat.scales),
        _tensor(quaternions),
        torch.full((len(coat),), HAIR_OPACITY),
        _tensor(np.clip(coat.colours * light[:, None], 0, 1)),
    )
    return PosedCoat(gaussians, means, coat.area, bones)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _blend(bones: Bones, coat: Coat, weights: Float[np.ndarray, "n 2"]) -> Rotation:
    """Rotations between those of the two bones: normalised sum of quaternions on one hemisphere."""
    quaternions = Rotation.from_matrix(bones.rotations).as_quat()[coat.bones]
    sign = np.where(np.sum(quaternions[:, 0] * quaternions[:, 1], axis=1) < 0, -1.0, 1.0)
    return Rotation.from_quat(weights[:, :1] * quaternions[:, 0] + (weights[:, 1] * sign)[:, None] * quaternions[:, 1])


def _cover(part: Part, area: float, density: float, rng: np.random.Generator) -> Coat:
    """The Gaussians of one part, bound to its chain of bones."""
    count = max(int(round(area * density)), 12)
    surface = part.tube.spread(count, rng.random(2))
    spacing = np.sqrt(area / count)
    scales = spacing * np.array(HAIR_SHAPE) * rng.uniform(0.85, 1.15, (count, 1))
    across = np.cross(surface.normals, surface.along)
    bones, weight, local = _bind(part, surface.points)
    return Coat(
        local=local,
        rotations=np.stack([surface.along, across, surface.normals], axis=2),
        normals=surface.normals,
        bones=bones,
        weight=weight,
        scales=scales,
        colours=np.clip(PALETTES[part.cover](part, surface, rng), 0, 1),
        area=np.full(count, area / count),
    )


def _bind(part: Part, points: Float[np.ndarray, "n 3"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(two bones, weight of the second, position in either) of points along a chain that runs along x."""
    joints = part.joints
    place = np.interp(points[:, 0], joints[:, 0], np.arange(len(joints)))
    first = np.minimum(place.astype(int), max(len(joints) - 2, 0))
    second = np.minimum(first + 1, len(joints) - 1)
    pair = np.stack([first, second], axis=1)
    return np.array(part.bones)[pair], place - first, points[:, None] - joints[pair]


def _core() -> Coat:
    """Large dark Gaussians along the spine."""
    joints = SPINE_JOINTS[list(SPINE)]
    points = np.concatenate([joints, (joints[1:] + joints[:-1]) / 2, joints[-1:] + [8.0, 0.0, 0.0]])
    count = len(points)
    radius = np.where(points[:, 0] > 8, 0.7 * CORE_RADIUS, CORE_RADIUS)
    bones, weight, local = _bind(Part("core", TRUNK, tuple(SPINE), SPINE_JOINTS, "fur"), points)
    return Coat(
        local=local,
        rotations=np.broadcast_to(np.eye(3), (count, 3, 3)),
        normals=np.broadcast_to([0.0, 0.0, 1.0], (count, 3)),
        bones=bones,
        weight=weight,
        scales=np.repeat(radius[:, None], 3, axis=1),
        colours=np.broadcast_to(CORE_COLOUR, (count, 3)),
        area=np.zeros(count),
    )


def _fur(part: Part, surface: Surface, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Dark agouti: brown-black, paler and greyer on the belly, yellow-brown flecks, soft patches."""
    n = len(surface.points)
    back, belly = np.array([0.142, 0.117, 0.098]), np.array([0.43, 0.39, 0.345])
    if part.name == "trunk":
        pale = 1 / (1 + np.exp((surface.normals[:, 2] + 0.56) / 0.09))
    else:
        pale = np.full(n, 0.18 if part.name == "lower leg" else 0.06)
    fur = back + pale[:, None] * (belly - back)
    patches = 0.22 * smooth_noise(surface.points, 22.0, rng) + 0.16 * smooth_noise(surface.points, 8.0, rng)
    fur = fur * (1 + patches)[:, None]
    fleck = (rng.random(n) < 0.16) * rng.uniform(0.35, 1.0, n)
    fur = fur + fleck[:, None] * np.array([0.17, 0.125, 0.07])
    return fur * rng.normal(1.0, 0.13, (n, 1))


def _skin(part: Part, surface: Surface, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Bare pink skin of the feet."""
    return np.array([0.76, 0.56, 0.52]) * rng.normal(1.0, 0.05, (len(surface.points), 1))


def _nose(part: Part, surface: Surface, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    return np.array([0.66, 0.45, 0.43]) * rng.normal(1.0, 0.04, (len(surface.points), 1))


def _tail(part: Part, surface: Surface, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Pinkish grey with rings of scales, darker at the root where the fur ends."""
    x = surface.points[:, 0]
    rings = 1 + 0.07 * np.sin(2 * np.pi * x / 3.0)
    root = np.clip(1 - x / 6.0, 0, 1)[:, None]
    bare = np.array([0.56, 0.43, 0.39]) * (rings * rng.normal(1.0, 0.06, len(x)))[:, None]
    return bare + root * (np.array([0.17, 0.14, 0.12]) - bare)


def _ear(part: Part, surface: Surface, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Pink inside with a darker hollow, grey-brown outside, a dark rim."""
    axes = (surface.points - part.tube.origin) @ part.tube.rotation
    inner = np.clip(0.5 + 1.5 * (surface.normals @ part.tube.rotation[:, 2]), 0, 1)[:, None]
    rim = np.clip((np.hypot(axes[:, 0] - 6.5, axes[:, 1]) - 5.0) / 2.0, 0, 1)[:, None]
    hollow = np.exp(-((axes[:, 0] - 4.0) ** 2 + axes[:, 1] ** 2) / 8.0)[:, None]
    pink = np.array([0.60, 0.42, 0.38]) * (1 - 0.45 * hollow)
    colour = np.array([0.34, 0.27, 0.24]) + inner * (pink - np.array([0.34, 0.27, 0.24]))
    return colour * (1 - 0.3 * rim) * rng.normal(1.0, 0.05, (len(axes), 1))


def _eye(part: Part, surface: Surface, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Black, with the highlight of a lamp above."""
    side = np.sign(part.tube.origin[1])
    towards_lamp = np.array([0.35, 0.62 * side, 0.7])
    towards_lamp /= np.linalg.norm(towards_lamp)
    glint = (surface.normals @ towards_lamp > 0.93)[:, None]
    return np.where(glint, 0.85, 0.03) * np.ones((len(surface.points), 3))


PALETTES: dict[str, Callable[[Part, Surface, np.random.Generator], Float[np.ndarray, "n 3"]]] = {
    "fur": _fur,
    "skin": _skin,
    "nose": _nose,
    "tail": _tail,
    "ear": _ear,
    "eye": _eye,
}
