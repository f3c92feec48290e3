"""The numbers every rendering back end agrees on.

A Gaussian's centre is projected with `x = fx X/Z + cx` (OpenCV camera axes); the centre of the first pixel lies at
(0.5, 0.5). Its 2-D covariance is the EWA approximation `J W S W^T J^T` (Zwicker et al., "EWA splatting", 2002) plus
`low_pass_px2` on the diagonal. Front to back by the depth of the centre (ties: by index), with

    sigma = 1/2 d^T cov^-1 d          d: pixel centre minus projected centre
    alpha = min(max_alpha, opacity * exp(-sigma)), skipped when below min_alpha
    rgb  += T * alpha * colour;  T *= 1 - alpha;  stop *before* a Gaussian that would leave T <= min_transmittance

The image is `rgb + T * background`, its alpha `1 - T`. The values are those of 3-D Gaussian splatting (Kerbl et al.,
2023) as gsplat 1.5 has them, so that the CPU and the CUDA back ends draw the same picture.
"""

from __future__ import annotations

from typing import NamedTuple


class Conventions(NamedTuple):
    """One set for all engines; a named tuple because compiled code takes it as an argument."""

    near_plane: float = 0.2
    """Gaussians whose centre is nearer than this in camera z (world units) are not drawn."""
    low_pass_px2: float = 0.3
    """Added to both variances of the projected Gaussian, in square pixels: no splat is thinner than about a pixel."""
    max_alpha: float = 0.999
    """No Gaussian is fully opaque, so that transmittance can be divided out again."""
    min_alpha: float = 1.0 / 255.0
    """Contributions below one grey level are skipped; this also bounds every Gaussian's extent on the image."""
    min_transmittance: float = 1e-4
    """A pixel is finished when the next Gaussian would leave no more than this."""
    tangent_margin: float = 0.3
    """The slope at which perspective is linearised may leave the image by this share of half its extent.

    Beyond it the EWA approximation degenerates for centres far off screen; only the covariance is affected.
    """


CONVENTIONS = Conventions()
