"""The verbs after training on what they cannot use: one clear line each that says what and where, and the cure."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from mouse_facelift.checkpoints import write_checkpoint
from mouse_facelift.config import to_plain
from mouse_facelift.gaussians.ply import write_ply
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM
from tests.generators import write_generator, write_gslrm
from tests.refusals import refusal
from tests.synthetic import blob, ring_sample, write_dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of both kinds, a dataset of 32 px, and pictures and splats that nobody can use."""
    folder = tmp_path_factory.mktemp("bad")
    samples = [ring_sample(blob(seed), seed, views=6) for seed in range(2)]
    data = write_dataset(folder / "data", {"train": samples[:1], "val": samples[1:]})
    write_generator(folder / "generator", data)
    write_gslrm(folder / "gslrm", data)
    large = GSLRMConfig(image_size=64, width=32, head_width=32, layers=1)
    weights, config = GSLRM(large).state_dict(), {"model": to_plain(large)}
    write_checkpoint(folder / "gslrm64/checkpoint", kind="gslrm", weights=weights, config=config, metrics={})
    cv2.imwrite(str(folder / "sound.png"), cv2.cvtColor(samples[0].images[0], cv2.COLOR_RGBA2BGRA))
    (folder / "cut.png").write_bytes((folder / "sound.png").read_bytes()[:90])
    cv2.imwrite(str(folder / "bare.png"), np.full((64, 64, 3), 200, np.uint8))
    write_ply(folder / "nan.ply", blob())
    written = bytearray((folder / "nan.ply").read_bytes())
    written[-4:] = np.float32(np.nan).tobytes()
    (folder / "nan.ply").write_bytes(written)
    return folder


PHOTO = "reconstruct --checkpoint gslrm --generator generator --out out --photo.steps 1 --photo.guidance 1 --image"
DATA = "reconstruct --data data --out out"
CASES = {
    "damaged photo": (f"{PHOTO} cut.png", r"cut\.png: is not a picture, or is damaged; export it again"),
    "photo of nothing": (f"{PHOTO} bare.png", r"bare\.png: no animal found"),
    "no photo": (f"{PHOTO} absent.png", r"absent\.png: no such picture or folder"),
    "a generator that is none": (f"{PHOTO} sound.png --generator gslrm", "kind 'gslrm', not mvdiffusion"),
    "a model that is none, photos": (f"{PHOTO} sound.png --checkpoint generator", "kind 'mvdiffusion', not gslrm"),
    "a model that is none": (f"{DATA} --checkpoint generator", "kind 'mvdiffusion', not gslrm"),
    "small pictures": (f"{DATA} --checkpoint gslrm64", "has images of 32 px, .* preprocess .*--image-size 64"),
    "no such camera": (f"{DATA} --checkpoint gslrm --hold-out 7", r"--hold-out 7: no such camera in sample ring-"),
    "no model": (DATA, "needs --checkpoint RUN"),
    "no dataset": ("reconstruct --data nowhere --out out --checkpoint gslrm", "nowhere"),
    "evaluate a generator": ("evaluate --data data --out out --runs generator", "generator: is a run of mvdiffusion"),
    "evaluate no camera": ("evaluate --data data --out out --hold-out 7", "7: no such camera"),
    "evaluate small pictures": (
        "evaluate --data data --out out --runs gslrm64",
        "has images of 32 px, gslrm64 was .* --image-size 64",
    ),
    "synthesize with a GS-LRM": (
        "synthesize --data data --out out --checkpoint gslrm",
        "kind 'gslrm', not mvdiffusion",
    ),
    "synthesize from no camera": (
        "synthesize --data data --out out --checkpoint generator --references left",
        "none of the reference cameras left; choose --references among",
    ),
    "view splats with nan": ("view nan.ply --port 0", r"nan\.ply: 1 of 60 Gaussians are not finite; make the file"),
    "export splats with nan": ("export nan.ply --to splat --out out", r"nan\.ply: 1 of 60 Gaussians are not finite"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_in_one_line_and_nothing_is_left(
    name: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, says = CASES[name]
    monkeypatch.chdir(place)
    line = refusal(capsys, command)
    assert re.search(says, line), line
    assert not list(place.glob("out/samples")) and not list(place.glob("out/*.parquet"))
