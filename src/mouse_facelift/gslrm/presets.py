"""Named GS-LRM architectures.

"demo" (64 px, minutes) and "small" (128 px, under an hour) learn from scratch on two CPU cores. A transformer trained
this briefly has no time to learn to copy pixels or to match views, so both are built in: a Gaussian starts with its own
pixel's colour, half a pixel wide (wider ones thicken the silhouette), on the visual hull of the input masks, and as
opaque as the view that sees least of the animal there. What is left to learn is the difference. Patches without animal
get no token, which is nine tenths of them, so patches can be small. On a rendered recording at 128 px, after 300 steps
of four samples, scored by cameras that no dataset holds (foreground PSNR, mask IoU): 19.1 dB, 0.837 with opacities from
each pixel's own mask alone; 20.1 dB, 0.884 with the hull's; 20.4 dB, 0.880 with patches of 4 px instead of 8.
"debug" is for tests of what surrounds the model. The "facelift" ones take FaceLift's published weights (stage 1 was
trained at 256 px) and recompute activations to fit 512 px on one GPU; "mouse-512" is the 512 px one under the name that
mice are trained by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.config import GSLRMConfig

DEMO = GSLRMConfig(
    image_size=64,
    patch_size=4,
    width=192,
    layers=4,
    scale_bias=math.log(0.5),
    scale_max=math.log(4.0),
    scale_unit="pixel",
    opacity_bias=2.0,
    opacity_base="hull",
    colour_base="pixel",
    depth_base="hull",
    depth_range=0.3,
    tokens="foreground",
)

FACELIFT_512 = GSLRMConfig(checkpoint_every=1)

PRESETS: Mapping[str, GSLRMConfig] = MappingProxyType(
    {
        "demo": DEMO,
        "small": replace(DEMO, image_size=128, layers=6, scale_bias=math.log(0.4)),
        "debug": GSLRMConfig(image_size=32, width=64, layers=2),
        "facelift-256": GSLRMConfig(image_size=256, checkpoint_every=1),
        "facelift-512": FACELIFT_512,
        "mouse-512": FACELIFT_512,
    }
)


def preset(name: str) -> GSLRMConfig:
    """The architecture of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PRESETS:
        raise InputError(f"GS-LRM: no preset named {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
