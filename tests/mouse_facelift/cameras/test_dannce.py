"""DANNCE's MATLAB calibrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from mouse_facelift.cameras.camera import Camera, intrinsics_to_pixel_centre
from mouse_facelift.cameras.dannce import label3d_names, params_files, read_dannce_params, read_label3d
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.errors import InputError

DISTORTIONS = [np.array([-0.2, 0.1, 0.001, 0.002, 0.03]), np.array([-0.2, 0.1, 0.001, 0.002, 0]), None]
SKEW = 2.25


@pytest.fixture
def cameras() -> list[Camera]:
    rig = turntable(3, radius=300)
    K = np.array(rig[0].K)
    K[0, 1] = SKEW
    return [
        Camera(f"Camera{i + 1}", 512, 512, K, c.R, c.t, d)
        for i, (c, d) in enumerate(zip(rig, DISTORTIONS, strict=True))
    ]


def _sizes(cameras: list[Camera]) -> dict[str, tuple[int, int]]:
    return {c.name: (c.width, c.height) for c in cameras}


def _matlab(camera: Camera) -> dict[str, Any]:
    """The camera as MATLAB writes it; a third radial term only where there is one."""
    k1, k2, p1, p2, k3 = np.zeros(5) if camera.distortion is None else camera.distortion
    K = intrinsics_to_pixel_centre(camera.K).T
    radial = [[k1, k2, k3]] if k3 else [[k1, k2]]
    return {"K": K, "RDistort": radial, "TDistort": [[p1, p2]], "r": camera.R.T, "t": camera.t.reshape(1, 3)}


def _cells(items: list[Any]) -> np.ndarray:
    cells = np.empty((len(items), 1), dtype=object)
    for i, item in enumerate(items):
        cells[i, 0] = item
    return cells


def _assert_same(found: list[Camera], expected: list[Camera]) -> None:
    assert [c.name for c in found] == [c.name for c in expected]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.K, b.K, atol=1e-12)
        np.testing.assert_array_equal(a.w2c, b.w2c)
        np.testing.assert_array_equal(a.distortion, b.distortion)


def test_one_file_per_camera(tmp_path: Path, cameras: list[Camera]) -> None:
    for camera in cameras:
        scipy.io.savemat(tmp_path / f"{camera.name}_params.mat", _matlab(camera))
    _assert_same(read_dannce_params(tmp_path, _sizes(cameras)), cameras)


def test_cameras_are_in_numerical_order(tmp_path: Path) -> None:
    for name in ("Camera10", "Camera2", "Camera1", "L", "E"):
        (tmp_path / f"{name}_params.mat").touch()
    assert list(params_files(tmp_path)) == ["Camera1", "Camera2", "Camera10", "E", "L"]


@pytest.mark.parametrize("names", [None, ["Camera1", "Camera2", "Camera3"], ["left", "right", "top"]])
def test_one_file_for_all_cameras(tmp_path: Path, cameras: list[Camera], names: list[str] | None) -> None:
    path = tmp_path / "label3d_dannce.mat"
    content: dict[str, Any] = {"params": _cells([_matlab(c) for c in cameras])}
    scipy.io.savemat(path, content | ({"camnames": _cells(names)} if names else {}))
    expected = names or [c.name for c in cameras]
    assert label3d_names(path) == expected
    found = read_label3d(path, dict.fromkeys(expected, (512, 512)))
    _assert_same(
        found, [Camera(n, 512, 512, c.K, c.R, c.t, c.distortion) for n, c in zip(expected, cameras, strict=True)]
    )


def test_hdf5_names_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "label3d_dannce.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512, b" ") + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match="label3d_dannce.mat.*save it again with -v7"):
        label3d_names(path)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0", b"\x00" * 400, b"not a matrix at all" * 30])
def test_damaged_files_are_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "label3d_dannce.mat"
    path.write_bytes(content)
    with pytest.raises(InputError, match="label3d_dannce.mat"):
        label3d_names(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K": None}, "camera Camera1 has no K"),
        ({"RDistort": [[1.0, 2, 3, 4]]}, "RDistort has shape"),
        ({"r": np.diag([1.0, 1, -1])}, "R is not a rotation"),
        ({"K": np.array([[500.0, 0, 250], [0, 500, 250], [0, 0, 1]])}, "transposed"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, cameras: list[Camera], change: dict[str, Any], message: str) -> None:
    fields = {key: value for key, value in (_matlab(cameras[0]) | change).items() if value is not None}
    scipy.io.savemat(tmp_path / "Camera1_params.mat", fields)
    with pytest.raises(InputError, match=f"Camera1_params.mat.*{message}"):
        read_dannce_params(tmp_path, _sizes(cameras))


def test_missing_things_are_named(tmp_path: Path, cameras: list[Camera]) -> None:
    with pytest.raises(InputError, match="holds no NAME_params.mat"):
        read_dannce_params(tmp_path, {})
    scipy.io.savemat(tmp_path / "label3d_dannce.mat", {"other": 1})
    with pytest.raises(InputError, match="no variable 'params'"):
        label3d_names(tmp_path / "label3d_dannce.mat")
    cells = _cells([_matlab(c) for c in cameras])
    scipy.io.savemat(tmp_path / "label3d_dannce.mat", {"params": cells, "camnames": _cells(["a", "b"])})
    with pytest.raises(InputError, match="camnames"):
        label3d_names(tmp_path / "label3d_dannce.mat")
    scipy.io.savemat(tmp_path / "a_params.mat", _matlab(cameras[0]))
    with pytest.raises(InputError, match="camera a has no video"):
        read_dannce_params(tmp_path, {"b": (1, 1)})


def test_reproduces_the_labels_of_a_real_rig(shared_data: Path) -> None:
    """The stored 2-D labels are projections of the 3-D ones: to rounding error, but for the half pixel."""
    folder = shared_data / "mouse5"
    cameras = read_dannce_params(folder, dict.fromkeys("ELRSU", (1328, 1048)))
    assert [c.name for c in cameras] == list("ELRSU")
    for camera in cameras:
        labels = scipy.io.loadmat(folder / f"{camera.name}_labels.mat")
        points, pixels = labels["data_3d"].reshape(-1, 3), labels["data_2d"].reshape(-1, 2)
        known = np.isfinite(points).all(axis=1)
        assert known.sum() > 300
        np.testing.assert_allclose(camera.project(points[known]) - 0.5, pixels[known], atol=1e-9)
