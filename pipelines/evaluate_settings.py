"""What `evaluate` compares, on what, and where it puts the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.comparison import EACH
from mouse_facelift.evaluation.reconstruction import NO_HOLD_OUT
from mouse_facelift.evaluation.rivals import Rival
from mouse_facelift.gaussians.refining import HullConfig, RefineConfig
from pipelines.placement import PlacementConfig


@dataclass(frozen=True)
class EvaluateConfig:
    """What is compared, on what.

    Raises:
        InputError: nothing to compare, or a count below its smallest meaningful value.
    """

    data: str
    """The dataset: a folder or URI. Its held-out frames judge by held-out time; a dataset of another animal, or one
    recording of several (--capture), by held-out animal."""
    out: str
    """Where rows, metrics.json, metrics.parquet and report.html go: a folder or URI."""
    runs: tuple[Path, ...] = ()
    """Training runs of GS-LRM, or checkpoint folders; known by their folders' names."""
    rivals: tuple[Rival, ...] = ("blank", "nearest", "hull")
    """What stands beside them: blank (white paper), nearest (the nearest input view), hull (the visual hull of the
    inputs), refine (the hull fitted to the inputs)."""
    refine_runs: bool = False
    """Show every run a second time, its Gaussians fitted to the inputs."""
    split: Literal["val", "train", "all"] = "val"
    """Which samples; val is time that training never saw."""
    capture: tuple[str, ...] = ()
    """Samples of these recordings alone; all when empty."""
    max_samples: int | None = None
    """At most this many samples, spread evenly over what was chosen; all of them when None."""
    hold_out: tuple[str, ...] = (EACH,)
    """Cameras that are held out one at a time: names, each (all of them in turn), or rotate (another for each
    sample)."""
    inputs: tuple[int, ...] = ()
    """Numbers of input views to compare, each spread evenly in azimuth; all but the held-out one when empty."""
    image_size: int | None = None
    """Side at which is drawn and scored, in pixels; when None the largest of the runs' own, or the dataset's without
    runs. Each run is given its views at its own size."""
    lpips_weights: Path | None = None
    """torchvision's VGG-16 (vgg16-397923af.pth), for LPIPS; none is measured without."""
    lpips_heads: Path | None = None
    """LPIPS' linear heads (the lpips package's vgg.pth); taken from torchmetrics when not given."""
    workers: int = 1
    """Ray actors that work side by side, each with all runs, on a GPU where there are GPUs; 0 works in this process,
    without Ray."""
    placement: PlacementConfig = field(default_factory=PlacementConfig)
    hull: HullConfig = field(default_factory=HullConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)

    def __post_init__(self) -> None:
        if not self.runs and not self.rivals:
            raise InputError("nothing to compare: name a run with --runs, or --rivals such as hull and refine")
        if NO_HOLD_OUT in self.hold_out or not self.hold_out:
            raise InputError("--hold-out: name cameras, each or rotate; without a held-out view nothing can be judged")
        if len(set(self.hold_out)) < len(self.hold_out) or (len(self.hold_out) > 1 and EACH in self.hold_out):
            raise InputError(f"--hold-out {' '.join(self.hold_out)}: names a camera twice, or more than each")
        least = {"max_samples": 1, "image_size": 16, "workers": 0}
        for name, value in [(name, getattr(self, name)) for name in least] + [("inputs", n) for n in self.inputs]:
            if value is not None and value < least.get(name, 1):
                raise InputError(f"--{name.replace('_', '-')} {value}: it must be at least {least.get(name, 1)}")
