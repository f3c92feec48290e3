from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mouse_facelift.cameras.paths import Orbit
from mouse_facelift.capture.video import probe, read_frames
from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.film import film_frames, write_film
from mouse_facelift.gaussians.turntable import TurntableConfig, turntable_frames
from tests.synthetic import blob


def test_one_turn_around_what_stands_still_is_the_turntable() -> None:
    cameras = Orbit(elevation_degrees=10.0).cameras(3, 32, 32)
    ours = film_frames([blob()] * 3, cameras, backend="reference")
    theirs = turntable_frames(blob(), TurntableConfig(3, size=32, elevation_degrees=10.0), backend="reference")
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1


def test_what_moves_is_seen_to_move_and_the_video_plays(tmp_path: Path) -> None:
    moments = [replace(blob(), means=blob().means + torch.tensor([0.2 * i, 0.0, 0.0])) for i in range(3)]
    cameras = Orbit(turns=0.0, elevation_degrees=0.0).cameras(3, 48, 32)
    frames = list(film_frames(moments, cameras, backend="reference"))
    columns = [((255.0 - f.mean(-1)) * np.arange(48)).sum() / (255.0 - f.mean(-1)).sum() for f in frames]
    assert columns[0] + 1 < columns[1] < columns[2] - 1
    told: list[int] = []
    path = write_film(tmp_path / "film.mp4", moments, cameras, 25.0, backend="reference", progress=told.append)
    info = probe(path)
    assert (info.width, info.height, info.frame_count, info.fps) == (48, 32, 3, 25.0) and told == [1, 2, 3]
    for (_, seen), truth in zip(read_frames(path, [0, 1, 2]), frames, strict=True):
        assert np.abs(seen.astype(float) - truth).mean() < 8


def test_browsers_can_play_it(tmp_path: Path) -> None:
    import av

    path = write_film(tmp_path / "f.mp4", [blob()], Orbit().cameras(1, 32, 32), 30.0, backend="reference")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
    head = path.read_bytes()
    # The index lies before the pictures: playing starts before all is loaded.
    assert head.index(b"moov") < head.index(b"mdat")


def test_a_film_that_cannot_be_is_refused(tmp_path: Path) -> None:
    cameras = Orbit().cameras(2, 32, 32)
    with pytest.raises(ValueError):
        list(film_frames([blob()], cameras, backend="reference"))
    for bad, fps in (([], 30.0), (cameras, 0.0), ([cameras[0], cameras[1].resized(16, 16)], 30.0)):
        with pytest.raises(InputError, match="f.mp4"):
            write_film(tmp_path / "f.mp4", [blob()] * 2, bad, fps)
    assert not (tmp_path / "f.mp4").exists()
