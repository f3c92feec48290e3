"""One frame at a time, without any network: Gaussians from the visual hull, and Gaussians fitted to their own views.

`gaussians_from_hull` makes Gaussians from silhouettes and cameras alone; `refine` fits any Gaussians, those or a
model's, to the frame's pictures by gradient descent through the renderer. Both take the views of one frame as straight
RGBA and their cameras, in the normalised world.
"""

from mouse_facelift.gaussians.refining.config import HullConfig, RefineConfig
from mouse_facelift.gaussians.refining.hull import gaussians_from_hull
from mouse_facelift.gaussians.refining.refine import Refined, Step, refine

__all__ = ["HullConfig", "RefineConfig", "Refined", "Step", "gaussians_from_hull", "refine"]
