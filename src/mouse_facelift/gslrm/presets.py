"""Named GS-LRM architectures.

"demo" learns from scratch on two CPU cores in minutes: 64 px, 2 million parameters, about 0.1 s of one core per
sample of five inputs and six rendered targets, optimiser included. A transformer trained this briefly has no time to
learn to copy pixels or to match views, so both are built in: a Gaussian starts with its own pixel's colour, opaque
where the mask is, absent elsewhere, half a pixel wide (wider ones thicken the silhouette), and on the visual hull of
the input masks. What is left to learn is the difference: on a rendered mouse, 300 steps give 17.1 dB on the foreground
of held-out views with the hull and 12.3 dB without.
"debug" is for tests of what surrounds the model. The "facelift" ones take FaceLift's published weights (stage 1 was
trained at 256 px) and recompute activations to fit 512 px on one GPU; "mouse-512" is the 512 px one under the name that
mice are trained by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.config import GSLRMConfig

FACELIFT_512 = GSLRMConfig(checkpoint_every=1)

PRESETS: Mapping[str, GSLRMConfig] = MappingProxyType(
    {
        "demo": GSLRMConfig(
            image_size=64,
            width=192,
            layers=4,
            scale_bias=math.log(0.5),
            scale_max=math.log(4.0),
            scale_unit="pixel",
            opacity_bias=2.0,
            colour_base="pixel",
            depth_base="hull",
            depth_range=0.3,
            opacity_base="alpha",
        ),
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
