from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mouse_facelift.capture.video import probe, read_frames
from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.turntable import TurntableConfig, turntable_frames, write_turntable


def dot(position: tuple[float, float, float]) -> Gaussians:
    """One small black Gaussian."""
    return Gaussians(
        torch.tensor([position]),
        torch.full((1, 3), 0.05),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        torch.ones(1),
        torch.zeros(1, 3),
    )


def darkest(frame: np.ndarray) -> tuple[float, float]:
    """Weighted centre (column, row) of what is dark, in pixels from the top-left corner."""
    weight = 255.0 - frame.mean(-1)
    rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]] + 0.5
    return float((columns * weight).sum() / weight.sum()), float((rows * weight).sum() / weight.sum())


def test_the_camera_walks_counter_clockwise_from_azimuth_270() -> None:
    frames = list(turntable_frames(dot((0.5, 0.0, 0.0)), TurntableConfig(views=4, size=64), backend="reference"))
    columns = [darkest(frame)[0] for frame in frames]
    # From -y, +x lies to the right; a quarter turn later the camera stands on +x and the dot is in the middle, near.
    assert columns[0] > 40 and columns[2] < 24
    assert columns[1] == pytest.approx(32, abs=0.2) and columns[3] == pytest.approx(32, abs=0.2)
    assert (255 - frames[1].astype(int)).sum() > (255 - frames[3].astype(int)).sum()


def test_up_is_up_and_elevation_looks_down() -> None:
    above = next(turntable_frames(dot((0.0, 0.0, 0.5)), TurntableConfig(views=1, size=64), backend="reference"))
    assert darkest(above)[1] < 24
    config = TurntableConfig(views=1, size=64, elevation_degrees=90.0)
    assert darkest(next(turntable_frames(dot((0.0, 0.0, 0.5)), config, "reference"))) == pytest.approx(
        (32, 32), abs=0.3
    )


def test_a_dot_lands_where_the_field_of_view_says() -> None:
    config = TurntableConfig(views=1, size=64, hfov_degrees=60.0)
    column, _ = darkest(next(turntable_frames(dot((0.3, 0.0, 0.0)), config, backend="reference")))
    expected = 32 + 32 / np.tan(np.radians(30)) * 0.3 / 2.7
    assert column == pytest.approx(expected, abs=0.2)


def test_the_video_holds_every_frame_on_white(tmp_path: Path) -> None:
    config = TurntableConfig(views=5, size=32, fps=10.0)
    done: list[int] = []
    path = write_turntable(tmp_path / "t.mp4", dot((0.0, 0.0, 0.0)), config, backend="reference", progress=done.append)
    info = probe(path)
    assert (info.frame_count, info.width, info.height, info.fps) == (5, 32, 32, 10.0)
    assert done == [1, 2, 3, 4, 5]
    frames = [frame for _, frame in read_frames(path, range(5))]
    assert all(frame[0, 0].min() > 245 for frame in frames)
    assert all(frame[16, 16].max() < 120 for frame in frames)


@pytest.mark.parametrize(
    "wrong",
    [{"views": 0}, {"size": 33}, {"fps": 0.0}, {"radius": 0.0}, {"hfov_degrees": 180.0}, {"elevation_degrees": 91.0}],
)
def test_impossible_turntables_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="turntable"):
        TurntableConfig(**wrong)  # type: ignore[arg-type]
