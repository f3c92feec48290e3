"""From what compositing says about splats back to the Gaussians: the derivative of `tiled_projection`, by hand.

Names follow that module: `P = J W R diag(s)`, its rows `across` and `down`; `d_x` is dL/dx.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64
from numba import prange
from numpy import ndarray

from mouse_facelift.gaussians.conventions import Conventions
from mouse_facelift.gaussians.tiled_compile import Scalar, compiled
from mouse_facelift.gaussians.tiled_projection import (
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    OPACITY,
    Vector3,
    axes_in_camera,
    combine,
    dot,
    held,
    times,
    to_camera,
    unit_quaternion,
)

# Columns of what compositing sums over pixels; q is dL/d(opacity), the rest its moments in d = pixel - centre.
D_RED, D_GREEN, D_BLUE, SUM_Q, SUM_QX, SUM_QY, SUM_QXX, SUM_QXY, SUM_QYY = range(9)
GRADIENT_SIZE = 9

_ZERO, _HALF, _TWO = np.float32(0), np.float32(0.5), np.float32(2)


@compiled()
def _rotation_gradient(
    w: Scalar, x: Scalar, y: Scalar, z: Scalar, length: Scalar, d0: Vector3, d1: Vector3, d2: Vector3
) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """dL/d(quaternion as given) from the rows of dL/dR, through the normalisation."""
    dw = _TWO * (z * (d1[0] - d0[1]) + y * (d0[2] - d2[0]) + x * (d2[1] - d1[2]))
    dx = _TWO * (y * (d0[1] + d1[0]) + z * (d0[2] + d2[0]) + w * (d2[1] - d1[2]) - _TWO * x * (d1[1] + d2[2]))
    dy = _TWO * (x * (d0[1] + d1[0]) + z * (d1[2] + d2[1]) + w * (d0[2] - d2[0]) - _TWO * y * (d0[0] + d2[2]))
    dz = _TWO * (x * (d0[2] + d2[0]) + y * (d1[2] + d2[1]) + w * (d1[0] - d0[1]) - _TWO * z * (d0[0] + d1[1]))
    along = dw * w + dx * x + dy * y + dz * z
    return (dw - along * w) / length, (dx - along * x) / length, (dy - along * y) / length, (dz - along * z) / length


@compiled()
def _row_in_world(pose: Float32[ndarray, "3 4"], k: int, x: Vector3, y: Vector3, z: Vector3) -> Vector3:
    """Row k of W^T (x; y; z)."""
    a, b, c = pose[0, k], pose[1, k], pose[2, k]
    return a * x[0] + b * y[0] + c * z[0], a * x[1] + b * y[1] + c * z[1], a * x[2] + b * y[2] + c * z[2]


@compiled()
def _rows_in_world(
    pose: Float32[ndarray, "3 4"],
    jx: Scalar,
    jxz: Scalar,
    jy: Scalar,
    jyz: Scalar,
    through_x: Vector3,
    through_y: Vector3,
) -> tuple[Vector3, Vector3, Vector3]:
    """Rows of dL/dR = W^T J^T (through_x; through_y)."""
    x, y = combine(jx, through_x, _ZERO, through_x), combine(jy, through_y, _ZERO, through_y)
    z = combine(jxz, through_x, jyz, through_y)
    return _row_in_world(pose, 0, x, y, z), _row_in_world(pose, 1, x, y, z), _row_in_world(pose, 2, x, y, z)


@compiled()
def _covariance_gradient(record: Float32[ndarray, " 12"], sums: Float32[ndarray, " 9"]) -> Vector3:
    """dL/d(covariance xx, xy, yy) as a symmetric matrix: -Q (dL/dQ) Q with Q the conic and sigma = 1/2 d^T Q d."""
    a, b, c = record[CONIC_XX], record[CONIC_XY], record[CONIC_YY]
    factor = _HALF * record[OPACITY]
    qxx, qxy, qyy = factor * sums[SUM_QXX], factor * sums[SUM_QXY], factor * sums[SUM_QYY]
    left_xx, left_xy = a * qxx + b * qxy, a * qxy + b * qyy
    left_yx, left_yy = b * qxx + c * qxy, b * qxy + c * qyy
    return left_xx * a + left_xy * b, left_xx * b + left_xy * c, left_yx * b + left_yy * c


@compiled()
def _gather(rows: Float32[ndarray, "k 9"]) -> Float32[ndarray, " 9"]:
    """The sum of at least one row, collected in the first and always in the same order."""
    total = rows[0]
    for row in range(1, rows.shape[0]):
        for column in range(GRADIENT_SIZE):
            total[column] += rows[row, column]
    return total


@compiled(parallel=True)
def project_backward(
    means: Float32[ndarray, "n 3"],
    scales: Float32[ndarray, "n 3"],
    rotations: Float32[ndarray, "n 4"],
    pose: Float32[ndarray, "3 4"],
    lens: Float32[ndarray, " 4"],
    width: int,
    height: int,
    rules: Conventions,
    records: Float32[ndarray, "n 12"],
    first_entries: Int64[ndarray, " n+1"],
    per_entry: Float32[ndarray, "e 9"],
    d_means: Float32[ndarray, "n 3"],
    d_scales: Float32[ndarray, "n 3"],
    d_rotations: Float32[ndarray, "n 4"],
    d_opacities: Float32[ndarray, " n"],
    d_colours: Float32[ndarray, "n 3"],
) -> None:
    """Adds one view's gradients to the last five arrays, using `per_entry` up.

    `per_entry[first_entries[n] : first_entries[n + 1]]` are Gaussian n's sums over the pixels of each tile it touches.
    """
    margin = np.float32(rules.tangent_margin)
    fx, fy, cx, cy = lens[0], lens[1], lens[2], lens[3]
    wide, high = np.float32(width), np.float32(height)
    for n in prange(means.shape[0]):
        if first_entries[n + 1] == first_entries[n]:
            continue
        sums = _gather(per_entry[first_entries[n] : first_entries[n + 1]])
        record, scale = records[n], scales[n]
        x, y, z = to_camera(means[n], pose)
        w, i, j, k, length = unit_quaternion(rotations[n])
        row_x, row_y, row_z = axes_in_camera(w, i, j, k, pose)
        slope_x, slope_y = x / z, y / z
        held_x, held_y = held(slope_x, fx, cx, wide, margin), held(slope_y, fy, cy, high, margin)
        jx, jxz, jy, jyz = fx / z, -fx * held_x / z, fy / z, -fy * held_y / z
        unscaled_across, unscaled_down = combine(jx, row_x, jxz, row_z), combine(jy, row_y, jyz, row_z)
        across, down = times(unscaled_across, scale), times(unscaled_down, scale)

        # dL/dP = 2 G P; times the scales that is dL/d(J W R), from where J, W R and R follow.
        gxx, gxy, gyy = _covariance_gradient(record, sums)
        d_across = combine(_TWO * gxx, across, _TWO * gxy, down)
        d_down = combine(_TWO * gxy, across, _TWO * gyy, down)
        through_x, through_y = times(d_across, scale), times(d_down, scale)
        d_jx, d_jxz = dot(through_x, row_x), dot(through_x, row_z)
        d_jy, d_jyz = dot(through_y, row_y), dot(through_y, row_z)
        d0, d1, d2 = _rows_in_world(pose, jx, jxz, jy, jyz, through_x, through_y)
        d_rotation = _rotation_gradient(w, i, j, k, length, d0, d1, d2)
        for part in range(4):
            d_rotations[n, part] += d_rotation[part]

        # The centre moves the splat (d = pixel - centre, so the sign of sigma's derivative turns) and changes J.
        opacity = record[OPACITY]
        d_u = opacity * (record[CONIC_XX] * sums[SUM_QX] + record[CONIC_XY] * sums[SUM_QY])
        d_v = opacity * (record[CONIC_XY] * sums[SUM_QX] + record[CONIC_YY] * sums[SUM_QY])
        d_slope_x = fx * d_u + (-jx * d_jxz if held_x == slope_x else _ZERO)
        d_slope_y = fy * d_v + (-jy * d_jyz if held_y == slope_y else _ZERO)
        d_x, d_y = d_slope_x / z, d_slope_y / z
        d_z = -(slope_x * d_x + slope_y * d_y) - (jx * d_jx + jxz * d_jxz + jy * d_jy + jyz * d_jyz) / z
        for axis in range(3):
            d_means[n, axis] += pose[0, axis] * d_x + pose[1, axis] * d_y + pose[2, axis] * d_z
            d_scales[n, axis] += d_across[axis] * unscaled_across[axis] + d_down[axis] * unscaled_down[axis]
            d_colours[n, axis] += sums[D_RED + axis]
        d_opacities[n] += sums[SUM_Q]
