from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.photos.fit import check_fit
from mouse_facelift.photos.rig import facelift_convention
from tests.synthetic import blob, ring_sample, write_dataset


def test_generators_of_the_same_field_of_view_fit(tmp_path: Path) -> None:
    sample = ring_sample(blob(), views=6)
    config = {"data": str(write_dataset(tmp_path / "d", {"train": [sample]}))}
    rig = replace(facelift_convention(), cameras=tuple(camera.resized(64, 64) for camera in sample.cameras))
    width = 2.7 * 2 * np.tan(np.radians(35) / 2)
    assert f"{width:.2f} units wide at the animal, the GS-LRM was trained on {width:.2f}" in check_fit(rig, config, "c")
    zoomed = []
    for camera in sample.cameras:
        K = camera.K.copy()
        K[[0, 1], [0, 1]] *= 1.8
        zoomed.append(replace(camera, K=K))
    with pytest.raises(InputError, match="^c: was trained on views 1.70 units wide"):
        check_fit(replace(rig, cameras=tuple(zoomed)), config, "c")


@pytest.mark.parametrize("config", [{}, {"data": "/nowhere/at/all"}])
def test_a_model_without_its_dataset_is_not_judged(config: dict[str, str]) -> None:
    assert "could not be checked" in check_fit(facelift_convention(), config, "c")
