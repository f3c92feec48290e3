"""Smooth noise: soft patches of fur and floor."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

WAVES = 16


def smooth_noise(
    points: Float[np.ndarray, "*n d"], wavelength: float, rng: np.random.Generator
) -> Float[np.ndarray, "*n"]:
    """Values of mean 0 and variance 1/2: a sum of plane waves of random direction and phase.

    The waves' lengths lie within a third of ``wavelength`` (in the points' unit), so that no grid shows.
    """
    directions = rng.normal(size=(WAVES, points.shape[-1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions *= 2 * np.pi / (wavelength * rng.uniform(2 / 3, 4 / 3, (WAVES, 1)))
    phases = rng.uniform(0, 2 * np.pi, WAVES)
    total = np.zeros(points.shape[:-1])
    for direction, phase in zip(directions, phases, strict=True):
        total += np.sin(points @ direction + phase)
    return total / np.sqrt(WAVES)
