"""The renderer's blur at one resolution, made part of the Gaussians, for drawing them at any other.

A renderer widens every splat by a fraction of *its* pixel (`conventions.low_pass_px2`). A model trained on small
pictures learns Gaussians that are complete only with the blur of its own large pixels; drawn larger, or in another
viewer, they fall apart into dust. The 3-D smoothing filter of Mip-Splatting (Yu et al. 2024, arXiv:2311.16493, eq. 9,
without its change of opacity, which our renderers do not make in 2-D either) keeps them whole.
"""

from __future__ import annotations

from dataclasses import replace

from mouse_facelift.gaussians.conventions import CONVENTIONS
from mouse_facelift.gaussians.gaussians import Gaussians


def with_low_pass(gaussians: Gaussians, footprint: float) -> Gaussians:
    """The Gaussians as wide as they look in pictures whose pixels cover ``footprint`` (world units) at the object.

    Adds ``low_pass_px2 * footprint**2`` to the variance along every axis.
    """
    variance = CONVENTIONS.low_pass_px2 * footprint**2
    return replace(gaussians, scales=(gaussians.scales.square() + variance).sqrt())
