from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.files import ENCODERS, GaussiansFormat, is_gaussians_file, read_gaussians
from tests.synthetic import blob


@pytest.mark.parametrize(("kind", "name"), [("ply", "a.ply"), ("compressed-ply", "b.ply"), ("splat", "c.splat")])
def test_every_format_is_recognised(tmp_path: Path, kind: GaussiansFormat, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(ENCODERS[kind](blob(), name))
    back = read_gaussians(path)
    assert len(back) == len(blob()) and is_gaussians_file(str(path))
    for a, b in ((back.means, blob().means), (back.colours, blob().colours)):
        assert torch.allclose(a.mean(0), b.mean(0), atol=2e-3)
    assert torch.equal(read_gaussians(str(path)).means, back.means)


def test_on_an_object_store(s3_server: str) -> None:
    from mouse_facelift.storage import Store

    Store.at(f"s3://lab/files{s3_server}").write("a.splat", ENCODERS["splat"](blob(), "a.splat"))
    assert len(read_gaussians(f"s3://lab/files/a.splat{s3_server}")) == len(blob())


def test_other_names_and_absent_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not named .ply"):
        read_gaussians(tmp_path / "a.txt")
    with pytest.raises(InputError, match="a.ply does not exist"):
        read_gaussians(tmp_path / "a.ply")
