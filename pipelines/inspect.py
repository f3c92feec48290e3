"""`mouse-facelift inspect PATH`: look at a recording, a dataset or a training run before spending hours on it.

A recording is judged by a few frames spread over it, seen as `preprocess` would see them; a dataset by its rows'
numbers and a few pictures; a training run by its log. Answers on the terminal, and in a page with pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from mouse_facelift.capture.capture import Capture, open_capture
from mouse_facelift.capture.masks import MaskConfig
from mouse_facelift.capture.sync import SyncConfig
from mouse_facelift.capture.video import Decoder
from mouse_facelift.checkpoints import WEIGHTS_FILE, read_config, read_metrics, weight_shapes
from mouse_facelift.cli import run_verb
from mouse_facelift.config import CONFIG_FILE, parse
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.audit import Disagreement, audit
from mouse_facelift.evaluation.capture_health import HealthConfig
from mouse_facelift.evaluation.dataset_health import read_rows
from mouse_facelift.evaluation.frame_look import FrameLook, estimate_backgrounds, look_at_frames
from mouse_facelift.evaluation.inspection import (
    Findings,
    capture_findings,
    checkpoint_findings,
    dataset_findings,
    training_findings,
)
from mouse_facelift.evaluation.report import Report, write_report
from mouse_facelift.samples.cleaning import CleaningConfig
from mouse_facelift.samples.dataset import MANIFEST, open_dataset
from mouse_facelift.storage import Store
from training.metrics_log import METRICS_FILE, read_metrics_log

# With more frames the audit says the same and takes longer.
AUDIT_FRAMES = 30
# A background from half as many frames as `preprocess` takes is good enough to judge by.
_BACKGROUND_FRAMES = 31


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """Settings of `inspect`."""

    path: Annotated[str, tyro.conf.Positional]
    """A recording's folder, a dataset (folder or URI), a training run's folder or a checkpoint's."""
    out: Path | None = None
    """Where report.html goes; ./inspect-NAME by default."""
    frames: int = 24
    """Frames of a recording that are looked at, evenly spread over it."""
    audit: bool | None = None
    """Measure, on a recording, recipes whose cameras do not describe their pictures; by default where up to 30 frames
    are looked at."""
    decoder: Decoder = "auto"
    """Video decoder; auto is OpenCV, with decord where that fails."""
    sync: SyncConfig = field(default_factory=SyncConfig)
    masks: MaskConfig = field(default_factory=lambda: MaskConfig(background_frames=_BACKGROUND_FRAMES))
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    health: HealthConfig = field(default_factory=HealthConfig)

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise InputError(f"inspect: frames must be at least 1, not {self.frames}")


def inspect(config: InspectConfig) -> Findings:
    """Recognise what lies at the path, and look at it.

    Raises:
        InputError: it is none of these, or it cannot be read.
    """
    store = Store.at(config.path)
    if store.exists(MANIFEST):
        return _inspect_dataset(config)
    if "://" in config.path:
        raise InputError(f"{config.path}: is not a complete dataset (no {MANIFEST}); recordings are read from disk")
    path = Path(config.path)
    if (path / METRICS_FILE).exists():
        return training_findings(path.name, read_metrics_log(path / METRICS_FILE), config.path)
    if (path / WEIGHTS_FILE).exists():
        shapes = weight_shapes(path)
        return checkpoint_findings(path.name, read_config(path), shapes, read_metrics(path), config.path)
    if (path / CONFIG_FILE).exists() or any(path.glob("split=*")):
        raise InputError(
            f"{path}: holds an unfinished run (no {MANIFEST}, no {METRICS_FILE}); give its command again to finish it"
        )
    return _inspect_capture(config)


def _inspect_dataset(config: InspectConfig) -> Findings:
    dataset = open_dataset(config.path)
    return dataset_findings(dataset, read_rows(dataset), config.health)


def _inspect_capture(config: InspectConfig) -> Findings:
    capture = open_capture(config.path, config.sync)
    count = min(config.frames, capture.frame_count)
    frames = np.unique(np.linspace(0, capture.frame_count - 1, count).round().astype(int)).tolist()
    if capture.mask_source == "estimated":
        print("inspect: the recording has no masks; they are estimated from a background", file=sys.stderr)
    backgrounds = estimate_backgrounds(capture, config.masks, config.decoder)
    size = config.health.image_size
    looking = look_at_frames(capture, frames, backgrounds, config.masks, config.cleaning, size, config.decoder)
    looks = list(tqdm(looking, total=len(frames), desc="frames", unit=" frames", file=sys.stderr))
    wanted = len(looks) <= AUDIT_FRAMES if config.audit is None else config.audit
    return capture_findings(capture, looks, _audit(capture, looks) if wanted else {}, config.health)


def _audit(capture: Capture, looks: Sequence[FrameLook]) -> dict[str, Disagreement]:
    frames = [look.audit for look in looks if look.audit is not None]
    if not frames:
        return {}
    return audit(frames, [view.camera for view in capture.views])


def _settings(location: str) -> dict[str, str]:
    """The settings that a dataset or a run was made with, where they lie beside it."""
    store = Store.at(location)
    return {CONFIG_FILE: store.read(CONFIG_FILE).decode()} if store.exists(CONFIG_FILE) else {}


def main(argv: Sequence[str] | None = None) -> int:
    """The verb: status 0 whatever is found; a finding is not an error."""
    config = parse(
        InspectConfig,
        argv,
        prog="mouse-facelift inspect",
        description="Look at a recording, a dataset or a training run: what is there, and can it be trusted?",
    )
    out = config.out or Path(f"inspect-{Store.at(config.path).name}")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give --out a folder for the report")
    findings = inspect(config)
    out.mkdir(parents=True, exist_ok=True)
    report = Report(findings.title, findings.summary, findings.scores, findings.sections, _settings(config.path))
    page = write_report(out / "report.html", report)
    print("\n".join(findings.lines))
    print(f"wrote {page}")
    print(f"next: {findings.next_step}")
    return 0


if __name__ == "__main__":
    run_verb(main)
