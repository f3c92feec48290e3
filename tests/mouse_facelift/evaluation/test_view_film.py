"""A camera's film: the recording beside the sequence, and the numbers that belong to it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.capture.video import probe, read_frames
from mouse_facelift.evaluation.view_film import FilmMoment, ViewFilm, write_view_film
from mouse_facelift.gaussians.sequence_row import FrameIndex, SequenceFrame
from mouse_facelift.gaussians.steadying import steadied
from mouse_facelift.samples.schema import row_from_sample
from tests.synthetic import blob, ring_sample

SIZE = 32


def moments(shifts: list[float], segments: list[int] | None = None) -> Iterator[FilmMoment]:
    """The Gaussians that the samples were drawn from, moved sideways by so many millimetres."""
    for number, shift in enumerate(shifts):
        sample = ring_sample(blob(), number, size=SIZE)
        segment = segments[number] if segments else 0
        index = FrameIndex(sample.sample_id, sample.capture, number, sample.time_s, segment)
        frame = SequenceFrame(index, sample.centre_mm, sample.scale, blob())
        moved = steadied(frame, np.array([0.0, shift, 0.0])) if shift else frame
        yield FilmMoment(row_from_sample(replace(sample, segment=segment)), 1, moved)


def test_a_perfect_sequence_looks_like_the_recording(tmp_path: Path) -> None:
    film = write_view_film(tmp_path / "view.mp4", moments([0, 0, 0]), 2 * SIZE, 10.0)
    video = probe(tmp_path / "view.mp4")
    assert (video.width, video.height, video.frame_count) == (4 * SIZE, 2 * SIZE, 3)
    (_, picture), *_ = read_frames(tmp_path / "view.mp4", [1])
    seen, shown = picture[:, : 2 * SIZE].astype(float), picture[:, 2 * SIZE :].astype(float)
    assert np.abs(seen - shown).mean() < 3 and seen.std() > 10
    assert film.moments == 3 and film.truth.pairs == film.rendered.pairs == 2
    assert film.mask_iou > 0.95 and film.unsteadied == film.rendered
    assert film.truth.residual < 1e-3 and film.rendered.residual < 1e-3


def test_what_steadying_does_is_measured_beside_what_was(tmp_path: Path) -> None:
    film = write_view_film(None, moments([0, 8, 0, 8]), SIZE, 10.0)
    assert not list(tmp_path.iterdir())
    assert film.mask_iou_unsteadied > 0.95 > 0.93 > film.mask_iou
    assert film.rendered.difference > 5 * max(film.unsteadied.difference, 1e-3)
    assert "before steadying" in film.words()


def test_a_cut_is_not_compared_and_numbers_survive_json() -> None:
    film = write_view_film(None, moments([0, 0, 0, 0], [0, 0, 1, 1]), SIZE, 10.0)
    assert film.truth.pairs == 2
    alone = write_view_film(None, moments([0]), SIZE, 10.0)
    assert math.isnan(alone.truth.residual)
    for one in (film, replace(alone, mask_iou=math.nan)):
        text = json.dumps(asdict(one)).replace("NaN", "null")
        back = ViewFilm.from_plain(json.loads(text))
        assert repr(back) == repr(one)


def test_pictures_of_another_size_stop_the_film(tmp_path: Path) -> None:
    first, second = moments([0, 0])
    larger = FilmMoment(row_from_sample(ring_sample(blob(), 1, size=2 * SIZE)), 1, second.frame)
    with pytest.raises(ValueError, match="the one before it"):
        write_view_film(tmp_path / "view.mp4", [first, larger], SIZE, 10.0)
    assert not list(tmp_path.iterdir())
