"""Cameras: the one place where every geometric convention is stated.

* World: right-handed, z up, floor at z = 0; millimetres for a capture, a similarity of it once normalised.
* Camera axes: OpenCV (x right, y down, z forward). ``X_cam = R X_world + t`` and det R = +1, always.
  ``w2c`` is the 4x4 matrix [R|t]; ``c2w`` is its inverse.
* Distortion: Brown-Conrady [k1, k2, p1, p2, k3], acting on ``(x, y) = X_cam[:2] / X_cam[2]`` before K.
* Pixels: the origin is the top-left *corner* of the image, so the centre of the first pixel is (0.5, 0.5) and the
  image spans [0, width] x [0, height]. OpenCV and MATLAB-style calibrations put the centre of the first pixel at
  (0, 0): readers add the half pixel once (:func:`~mouse_facelift.cameras.camera.intrinsics_from_pixel_centre`),
  writers take it away again, and nothing in between thinks about it.
* Azimuth: ``atan2(y, x)`` of the camera's position about the object, counter-clockwise seen from above.
"""

from mouse_facelift.cameras.camera import Camera, stack_cameras

__all__ = ["Camera", "stack_cameras"]
