"""How Gaussians are made from a visual hull, and how they are fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from mouse_facelift.errors import InputError


@dataclass(frozen=True)
class HullConfig:
    """How densely the visual hull's surface is covered. A voxel is the pixel's footprint at the world's origin, times
    `voxel_pixels`.

    Raises:
        InputError: a number out of range.
    """

    voxel_pixels: float = 1.25
    """Side of a voxel in pixels."""
    most_voxels: int = 160
    """Voxels along the hull's longest side at most: larger pictures get larger voxels."""
    inside: float = 0.5
    """Alpha from which a view counts a point as inside its silhouette."""
    covering_views: int = 3
    """Views whose picture must cover a point (all, of fewer): what hardly anybody sees, nobody can deny."""
    inset: float = 0.75
    """How far below the hull's surface the centres lie, in voxels."""
    spread: float = 0.6
    """Standard deviation along the surface, in voxels."""
    thickness: float = 0.25
    """Standard deviation across the surface, in voxels."""
    opacity: float = 0.9
    """Of every Gaussian."""

    def __post_init__(self) -> None:
        positive = ("voxel_pixels", "spread", "thickness")
        shares = ("inside", "opacity")
        for name in positive:
            _require(name, getattr(self, name), 0 < getattr(self, name) < math.inf, "above 0")
        _require("inset", self.inset, 0 <= self.inset < math.inf, "at least 0")
        for name in shares:
            _require(name, getattr(self, name), 0 < getattr(self, name) < 1, "between 0 and 1")
        _require("most_voxels", self.most_voxels, self.most_voxels >= 8, "at least 8")
        _require("covering_views", self.covering_views, self.covering_views >= 1, "at least 1")


def _require(name: str, value: float, good: bool, words: str) -> None:
    if not good:
        raise InputError(f"refine: {name} is {value}; it must be {words}")


@dataclass(frozen=True)
class RefineConfig:
    """How Gaussians are fitted to a frame's views. "Pixels" are a view's pixel's footprint at the world's origin.

    Raises:
        InputError: a number out of range.
    """

    steps: int = 300
    """Optimiser steps; 0 gives the Gaussians back as they are. On a rig's own cameras, left out in turn (256 px, two
    frames), 150 / 300 / 600 gave 20.1 / 20.9 / 21.1 dB and mask IoU 0.883 / 0.897 / 0.906."""
    views_per_step: int = 3
    """Views drawn per step, in turns; all of them when there are fewer."""
    mean_rate: float = 0.15
    """Adam's rate for centres, pixels per step at the start. All rates fall to `final_rate` of this, as a cosine."""
    scale_rate: float = 0.02
    """For the logarithms of the scales."""
    rotation_rate: float = 0.01
    """For unit quaternions."""
    opacity_rate: float = 0.05
    """For the logits of the opacities."""
    colour_rate: float = 0.005
    """For colours in [0, 1]."""
    final_rate: float = 0.1
    """Share of the rates that is left at the last step."""
    colour: float = 1.0
    """Weight of the mean absolute colour error over the animal and its surroundings, on random backgrounds."""
    silhouette: float = 1.0
    """Weight of the mean absolute difference of alpha and mask."""
    structure: float = 0.2
    """Weight of 1 - SSIM; 0 does without."""
    opacity: float = 0.3
    """Weight of the mean opacity: thins out what no view needs. On the same cameras, 0.1 / 0.3 gave 20.0 / 20.1 dB and
    IoU 0.879 / 0.883 after 150 steps; 0.6 is no better after 300."""
    drift: float = 0.1
    """Weight of how differently neighbours have moved since the start (pixels): a surface moves as a whole."""
    speckle: float = 0.1
    """Weight of how much colours differ from their neighbours'."""
    neighbours: int = 6
    """How many of the nearest Gaussians at the start count as neighbours."""
    spikes: float = 0.1
    """Weight of what scales exceed `widest` and `longest` by; unseen views would see them as spikes."""
    widest: float = 3.0
    """Largest standard deviation that is free, pixels."""
    longest: float = 4.0
    """Largest ratio of the largest to the middle standard deviation that is free."""
    photometric: Literal["none", "affine"] = "affine"
    """affine: a rendering is given its view's gain and bias before its colours are compared, for cameras that differ in
    exposure or haze."""
    exposure: Literal["clear", "mean"] = "clear"
    """Whose exposure the colours have in the end, with affine: clear, that of the views with the least haze; mean, what
    the fit came to, between all views. Of a rendered recording with hazy cameras (256 px), clear won 0.8 dB on four
    further cameras without haze (two frames) and lost 0.5 dB on the rig's own six, left out in turn (one frame)."""
    prune_below: float = 0.02
    """Opacity below which a Gaussian is left out at the end."""
    seed: int = 0
    """Of the backgrounds and of the order of views."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.type in ("float", "int"):
                _require(item.name, value, math.isfinite(value) and value >= 0, "at least 0")
        _require("views_per_step", self.views_per_step, self.views_per_step >= 1, "at least 1")
        _require("final_rate", self.final_rate, 0 < self.final_rate <= 1, "above 0 and at most 1")
        _require("neighbours", self.neighbours, self.neighbours >= 1, "at least 1")
        _require("widest", self.widest, self.widest > 0, "above 0")
        _require("longest", self.longest, self.longest >= 1, "at least 1")
        _require("prune_below", self.prune_below, self.prune_below < 1, "below 1")
