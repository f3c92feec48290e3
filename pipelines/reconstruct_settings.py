"""The settings of `reconstruct`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.outputs import OutputOptions, Units
from mouse_facelift.evaluation.reconstruction import ROTATE
from mouse_facelift.gaussians.turntable import TurntableConfig
from mouse_facelift.photos.options import PhotoOptions
from pipelines.export import FilmConfig
from pipelines.placement import PlacementConfig

ALL = "all"
"""The name that stands for all splits of a dataset together: a whole recording."""
_LEAST = {"max_samples": 1, "inputs": 1, "turntable_views": 0, "report_samples": 0, "workers": 1, "batch_size": 1}
_LEAST |= {"refine": 0, "steady": 0, "follow": 0}


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """What is reconstructed, and what is written. Lengths are in the dataset's normalised units unless said otherwise.

    Raises:
        InputError: settings that do not go together, or a count below its smallest meaningful value.
    """

    checkpoint: Path | None = None
    """A GS-LRM training run's folder, or a checkpoint folder inside it. Not needed with --init hull."""
    data: str | None = None
    """The dataset that `preprocess` made: a folder or URI."""
    image: tuple[Path, ...] = ()
    """Photos instead of a dataset: image files, or folders of them. Each becomes six views, then Gaussians."""
    generator: Path | None = None
    """For --image: the diffusion model that turns a photo into six views, a run or a folder."""
    seed: int = 0
    """For --image: of the generated views; each photo draws its own numbers from it."""
    photo: PhotoOptions = field(default_factory=PhotoOptions)
    """For --image."""
    out: Path
    """Where everything goes: sequences, the samples' folders, videos, metrics.json and report.html (a local folder)."""
    split: str = "val"
    """Which of the dataset's splits; `all` for all of them together, a whole recording in order of time."""
    max_samples: int | None = None
    """At most this many samples, spread evenly over the split; all of them when None."""
    hold_out: str = ROTATE
    """The view kept from the model to judge it: rotate (another camera for each sample), a camera's name, or none. For
    videos name a camera or none: with rotate, neighbouring frames are made from different views and flicker for it."""
    inputs: int | None = None
    """How many of the other views the model gets, spread evenly in azimuth; all of them when None."""
    init: Literal["model", "hull"] = "model"
    """What gives the Gaussians: the checkpoint's model, or the visual hull of the silhouettes, without any network."""
    refine: int = 0
    """Steps of fitting each sample's Gaussians to its own input views afterwards; 0 leaves them as they are."""
    outputs: Literal["full", "sequence"] = "full"
    """full: a folder for every sample (Gaussians, pictures, turntable) beside the sequence files. sequence: folders for
    the samples that the report shows, and no others; for long recordings."""
    units: Units = "normalised"
    """Units of gaussians.ply and of a film's camera path; similarity.json says how to convert either way."""
    turntable_views: int = TurntableConfig.views
    """Frames of the turntable video; 0 writes none."""
    turntable_size: int = TurntableConfig.size
    """Side of the turntable video in pixels (even)."""
    turntable_fps: float = TurntableConfig.fps
    """Frames per second of the turntable video."""
    turntable_elevation: float = 15.0
    """Height of the turntable's camera above the animal's horizon, degrees. Its zoom is that of the views."""
    prune: bool = True
    """Leave out of what is written what FaceLift's rules take for haze and floaters."""
    low_pass: bool = True
    """Give what is written the blur of the model's own pixels. Without it, what a model of small pictures makes falls
    apart into dust when it is drawn larger."""
    videos: tuple[Literal["orbit", "views"], ...] = ()
    """Films of each recording over time. orbit: along --film.camera or --film.orbit. views: through each of the
    recording's cameras, beside what the camera saw."""
    film: FilmConfig = field(default_factory=FilmConfig)
    follow: float = 0.1
    """How softly the orbit's camera follows the animal, seconds (standard deviation of the smoothing of its centre,
    never across a cut); 0 follows it exactly."""
    steady: float = 0.0
    """Seconds over which the animal's place in millimetres is smoothed in the sequence (standard deviation, never
    across a cut); 0 leaves it as reconstructed. Begin with the time between two frames: quick motion is damped,
    too, and the report says what that costs. May be changed later: no Gaussians are computed anew for it."""
    report_samples: int = 8
    """How many samples the report shows in pictures, the worst, the median and the best first."""
    batch_size: int = 1
    """Samples that go through the model at once. A GPU is faster with several; a CPU is not."""
    workers: int = 1
    """Copies of the model that work side by side; each takes one GPU where there are GPUs, or its share of the CPUs."""
    placement: PlacementConfig = field(default_factory=PlacementConfig)

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise InputError(f"--{name.replace('_', '-')} {value}: it must be at least {least}")
        if bool(self.image) == (self.data is not None):
            raise InputError("reconstruct needs --data DATASET or --image FILE, one of them")
        if self.checkpoint is None and (self.init == "model" or self.image):
            raise InputError("reconstruct needs --checkpoint RUN (a dataset's views do without it with --init hull)")
        if self.image and (self.init != "model" or self.videos):
            raise InputError(
                "--image: a photo has no silhouettes to begin with, and no time; leave --init and --videos"
            )
        self.output_options()

    def output_options(self) -> OutputOptions:
        """The part of the settings that the writer of a sample's files needs."""
        if not self.turntable_views:
            return OutputOptions(self.units, None, self.prune, self.low_pass)
        views, fps, size = self.turntable_views, self.turntable_fps, self.turntable_size
        turntable = TurntableConfig(views, fps, size, elevation_degrees=self.turntable_elevation)
        return OutputOptions(self.units, turntable, self.prune, self.low_pass)

    def makes(self) -> dict[str, Any]:
        """The settings that decide a sample's Gaussians and scores, beside checkpoint and dataset."""
        names = ("hold_out", "inputs", "init", "refine", "prune", "low_pass")
        return {name: getattr(self, name) for name in names}
