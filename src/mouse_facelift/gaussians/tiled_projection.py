"""Projection of 3-D Gaussians to splats and its analytic derivative, compiled, one Gaussian per loop turn.

With W the camera's rotation, R and s the Gaussian's rotation and scales and J the derivative of the perspective
division, the splat's covariance is `P P^T + low_pass I` where `P = J W R diag(s)` is 2 x 3. Both directions work with
P; no 3 x 3 covariance is formed. J has four entries other than 0: fx/z, -fx u/z, fy/z, -fy v/z, where u and v are the
slopes x/z and y/z, held within the (slightly enlarged) image.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32
from numba import prange
from numpy import ndarray

from mouse_facelift.gaussians.conventions import Conventions
from mouse_facelift.gaussians.tiled_compile import Scalar, compiled

# Columns of a splat record. Extents are half widths of the box outside which alpha is below `min_alpha`;
# a splat that is not drawn has negative ones.
CENTRE_X, CENTRE_Y, CONIC_XX, CONIC_XY, CONIC_YY, OPACITY, RED, GREEN, BLUE, EXTENT_X, EXTENT_Y, DEPTH = range(12)
RECORD_SIZE = 12

# Extents grow by this much, so that rounding never cuts off a pixel that the alpha threshold would keep.
_SLACK, _SLACK_PX = np.float32(1.001), np.float32(0.01)
_NORMALISE_EPS = np.float32(1e-12)  # the epsilon of torch.nn.functional.normalize
_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)

Vector3 = tuple[Scalar, Scalar, Scalar]


@compiled()
def unit_quaternion(rotation: Float32[ndarray, " 4"]) -> tuple[Scalar, Scalar, Scalar, Scalar, Scalar]:
    """w, x, y, z of length one, and the length they were divided by; a zero quaternion stays zero."""
    w, x, y, z = rotation[0], rotation[1], rotation[2], rotation[3]
    length = max(math.sqrt(w * w + x * x + y * y + z * z), _NORMALISE_EPS)
    return w / length, x / length, y / length, z / length, length


@compiled()
def axes_in_camera(
    w: Scalar, x: Scalar, y: Scalar, z: Scalar, pose: Float32[ndarray, "3 4"]
) -> tuple[Vector3, Vector3, Vector3]:
    """Rows of W R."""
    r00, r01, r02 = _ONE - _TWO * (y * y + z * z), _TWO * (x * y - w * z), _TWO * (x * z + w * y)
    r10, r11, r12 = _TWO * (x * y + w * z), _ONE - _TWO * (x * x + z * z), _TWO * (y * z - w * x)
    r20, r21, r22 = _TWO * (x * z - w * y), _TWO * (y * z + w * x), _ONE - _TWO * (x * x + y * y)
    a, b, c = pose[0, 0], pose[0, 1], pose[0, 2]
    row_x = (a * r00 + b * r10 + c * r20, a * r01 + b * r11 + c * r21, a * r02 + b * r12 + c * r22)
    a, b, c = pose[1, 0], pose[1, 1], pose[1, 2]
    row_y = (a * r00 + b * r10 + c * r20, a * r01 + b * r11 + c * r21, a * r02 + b * r12 + c * r22)
    a, b, c = pose[2, 0], pose[2, 1], pose[2, 2]
    row_z = (a * r00 + b * r10 + c * r20, a * r01 + b * r11 + c * r21, a * r02 + b * r12 + c * r22)
    return row_x, row_y, row_z


@compiled()
def to_camera(mean: Float32[ndarray, " 3"], pose: Float32[ndarray, "3 4"]) -> Vector3:
    x = pose[0, 0] * mean[0] + pose[0, 1] * mean[1] + pose[0, 2] * mean[2] + pose[0, 3]
    y = pose[1, 0] * mean[0] + pose[1, 1] * mean[1] + pose[1, 2] * mean[2] + pose[1, 3]
    z = pose[2, 0] * mean[0] + pose[2, 1] * mean[1] + pose[2, 2] * mean[2] + pose[2, 3]
    return x, y, z


@compiled()
def held(slope: Scalar, focal: Scalar, principal: Scalar, size: Scalar, margin: Scalar) -> Scalar:
    """The slope at which perspective is linearised."""
    extra = margin * _HALF * size / focal
    return min(max(slope, -principal / focal - extra), (size - principal) / focal + extra)


@compiled()
def combine(a: Scalar, row_a: Vector3, b: Scalar, row_b: Vector3) -> Vector3:
    return a * row_a[0] + b * row_b[0], a * row_a[1] + b * row_b[1], a * row_a[2] + b * row_b[2]


@compiled()
def times(row: Vector3, scale: Float32[ndarray, " 3"]) -> Vector3:
    return row[0] * scale[0], row[1] * scale[1], row[2] * scale[2]


@compiled()
def dot(a: Vector3, b: Vector3) -> Scalar:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled()
def _determinant(across: Vector3, down: Vector3, low_pass: Scalar) -> Scalar:
    """det(P P^T + low_pass I) by Lagrange's identity: no difference of large products for long thin splats."""
    x = across[1] * down[2] - across[2] * down[1]
    y = across[2] * down[0] - across[0] * down[2]
    z = across[0] * down[1] - across[1] * down[0]
    return x * x + y * y + z * z + low_pass * (dot(across, across) + dot(down, down)) + low_pass * low_pass


@compiled()
def _all_finite(values: Float32[ndarray, " k"]) -> bool:
    finite = True
    for k in range(values.size):
        finite = finite and math.isfinite(values[k])
    return finite


@compiled(parallel=True)
def project(
    means: Float32[ndarray, "n 3"],
    scales: Float32[ndarray, "n 3"],
    rotations: Float32[ndarray, "n 4"],
    opacities: Float32[ndarray, " n"],
    colours: Float32[ndarray, "n 3"],
    pose: Float32[ndarray, "3 4"],
    lens: Float32[ndarray, " 4"],
    width: int,
    height: int,
    rules: Conventions,
) -> Float32[ndarray, "n 12"]:
    """A record for every Gaussian; those that no pixel can see have negative extents."""
    records = np.empty((means.shape[0], RECORD_SIZE), np.float32)
    low_pass, margin = np.float32(rules.low_pass_px2), np.float32(rules.tangent_margin)
    near, min_alpha = np.float32(rules.near_plane), np.float32(rules.min_alpha)
    fx, fy, cx, cy = lens[0], lens[1], lens[2], lens[3]
    wide, high = np.float32(width), np.float32(height)
    for n in prange(means.shape[0]):
        record = records[n]
        record[EXTENT_X] = record[EXTENT_Y] = -_ONE
        opacity = opacities[n]
        x, y, z = to_camera(means[n], pose)
        if not (z >= near and opacity >= min_alpha):
            continue
        finite = _all_finite(means[n]) and _all_finite(scales[n]) and _all_finite(rotations[n])
        if not (finite and _all_finite(colours[n]) and math.isfinite(opacity)):
            continue
        w, i, j, k, _ = unit_quaternion(rotations[n])
        row_x, row_y, row_z = axes_in_camera(w, i, j, k, pose)
        held_x, held_y = held(x / z, fx, cx, wide, margin), held(y / z, fy, cy, high, margin)
        across = times(combine(fx / z, row_x, -fx * held_x / z, row_z), scales[n])
        down = times(combine(fy / z, row_y, -fy * held_y / z, row_z), scales[n])
        xx, yy = dot(across, across) + low_pass, dot(down, down) + low_pass
        determinant = _determinant(across, down, low_pass)
        if not math.isfinite(determinant):
            continue
        reach = math.sqrt(_TWO * math.log(opacity / min_alpha)) * _SLACK
        u, v = fx * (x / z) + cx, fy * (y / z) + cy
        extent_x, extent_y = reach * math.sqrt(xx) + _SLACK_PX, reach * math.sqrt(yy) + _SLACK_PX
        if u + extent_x <= _ZERO or u - extent_x >= wide or v + extent_y <= _ZERO or v - extent_y >= high:
            continue
        record[CENTRE_X], record[CENTRE_Y], record[DEPTH] = u, v, z
        record[CONIC_XX], record[CONIC_YY] = yy / determinant, xx / determinant
        record[CONIC_XY] = -dot(across, down) / determinant
        record[OPACITY] = opacity
        record[RED], record[GREEN], record[BLUE] = colours[n, 0], colours[n, 1], colours[n, 2]
        record[EXTENT_X], record[EXTENT_Y] = extent_x, extent_y
    return records
