"""A generator's run without its training: random weights, written as a run leaves them."""

from __future__ import annotations

from pathlib import Path

import torch

from mouse_facelift.checkpoints import write_checkpoint
from mouse_facelift.config import to_plain
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.mvdiffusion.pipeline import save_pipeline
from mouse_facelift.mvdiffusion.presets import new_pipeline, preset
from mouse_facelift.mvdiffusion.source import PipelineSource
from mouse_facelift.mvdiffusion.views import ViewsConfig

REFERENCES = ("turntable_000", "turntable_003")


def write_generator(run: Path, data: Path, seed: int = 0) -> Path:
    """The `debug` architecture at 16 px, as if trained on a dataset of `tests.synthetic.ring_sample` with six views."""
    torch.manual_seed(seed)
    pipeline = new_pipeline(preset("debug"))
    config = {
        "data": str(data),
        "views": to_plain(ViewsConfig(image_size=16, background="white", references=REFERENCES)),
        "model": to_plain(PipelineSource(scratch=preset("debug"))),
    }
    weights = pipeline.model.state_dict()
    write_checkpoint(run / "checkpoint", kind="mvdiffusion", weights=weights, config=config, metrics={})
    save_pipeline(pipeline, run / "pipeline")
    return run


def write_gslrm(run: Path, data: Path | None = None) -> Path:
    """A GS-LRM of 32 px with random weights."""
    torch.manual_seed(0)
    config = GSLRMConfig(image_size=32, width=32, head_width=32, layers=1)
    known = {"model": to_plain(config)} | ({"data": str(data)} if data else {})
    write_checkpoint(run / "checkpoint", kind="gslrm", weights=GSLRM(config).state_dict(), config=known, metrics={})
    return run
