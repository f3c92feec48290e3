from __future__ import annotations

from typing import Any

import pytest

from mouse_facelift.config import from_plain, to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.photos.options import PhotoOptions


def test_options_survive_a_configuration_file() -> None:
    options = PhotoOptions(background="colour", extent=0.4, steps=3)
    assert from_plain(PhotoOptions, to_plain(options)) == options


@pytest.mark.parametrize("wrong", [{"extent": 0.0}, {"extent": 1.5}, {"steps": 0}])
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="--photo"):
        PhotoOptions(**wrong)
