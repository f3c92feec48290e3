"""The whole of Mouse-FaceLift in one command, on data it makes itself.

A rendered six-camera recording of a procedural mouse -> preprocess -> training from scratch -> reconstruction of
held-out frames from five views, scored on the sixth -> a report. Every stage is the application a person would run on
their own recording, with small settings; each resumes, so running the demo again goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from mouse_facelift import config as configuration
from mouse_facelift.capture.capture import open_capture
from mouse_facelift.capture.mouse.recording import MouseRecordingConfig, write_mouse_capture
from mouse_facelift.capture.video import read_frames
from mouse_facelift.checkpoints import RUN_CHECKPOINT
from mouse_facelift.cli import run_verb
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.images import Panel, SheetStyle, contact_sheet
from mouse_facelift.evaluation.report import Picture, Report, Section, Table, verdict_lines, write_report
from mouse_facelift.samples.splits import SplitConfig
from mouse_facelift.storage import Store
from pipelines.preprocess import PreprocessConfig, preprocess
from pipelines.reconstruct import ReconstructConfig, reconstruct
from training.gslrm import PRESETS, train_gslrm

STAGES = ("record", "preprocess", "train", "reconstruct", "report")
_PROGRESS_FILE = "demo.json"


@dataclass(frozen=True)
class DemoConfig:
    """What the demo makes. The defaults take under five minutes on two CPU cores."""

    out: Path
    """Folder for everything the demo makes."""
    seed: int = 0
    """Decides the animal, its path, the training and every draw; another seed needs another folder."""
    frames: int = 64
    """Length of the recording in frames."""
    width: int = 576
    """Width of the recorded videos in pixels; the cameras scale with it."""
    height: int = 512
    """Height of the recorded videos in pixels."""
    image_size: int = 64
    """Side of the normalised views that the model sees, in pixels."""
    steps: int | None = None
    """Training steps; the demo preset's number when None."""
    samples: int = 6
    """How many held-out frames are reconstructed."""
    workers: int = 2
    """Training processes (DDP)."""


class StageClock:
    """Says which stage runs, and keeps in demo.json how long each took over all runs of the same demo.

    Raises:
        InputError: the folder holds a demo with other settings.
    """

    def __init__(self, config: DemoConfig) -> None:
        self.file, self.started = config.out / _PROGRESS_FILE, time.monotonic()
        self.settings = {k: v for k, v in configuration.to_plain(config).items() if k != "out"}
        self.stages: dict[str, dict[str, Any]] = {}
        if self.file.is_file():
            record = json.loads(self.file.read_text(encoding="utf-8"))
            if record["settings"] != self.settings:
                raise InputError(f"{config.out} holds a demo with other settings; choose another --out or delete it")
            self.stages = record["stages"]

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Runs one stage; time spent before an interruption counts, time spent finding it finished does not."""
        begun, earlier = time.monotonic(), self.stages.get(name, {"seconds": 0.0, "finished": False})
        print(f"\n[{STAGES.index(name) + 1}/{len(STAGES)}] {name}: {what} ({self.elapsed()} elapsed)", flush=True)
        finished = False
        try:
            yield
            finished = True
        finally:
            seconds = earlier["seconds"] + (0.0 if earlier["finished"] else time.monotonic() - begun)
            self.stages[name] = {"seconds": seconds, "finished": finished or earlier["finished"]}
            record = {"settings": self.settings, "stages": self.stages}
            Store.at(self.file.parent).write(self.file.name, (json.dumps(record, indent=1) + "\n").encode())

    def elapsed(self) -> str:
        """Time since this run began, as minutes and seconds."""
        minutes, seconds = divmod(round(time.monotonic() - self.started), 60)
        return f"{minutes}:{seconds:02d}"

    def rows(self) -> list[tuple[str, str]]:
        """(stage, seconds) of the stages done so far, and their sum."""
        done = {name: self.stages[name]["seconds"] for name in STAGES if name in self.stages}
        return [(name, f"{s:.1f}") for name, s in [*done.items(), ("together", sum(done.values()))]]


def demo(config: DemoConfig) -> Report:
    """Runs what is missing of the demo and returns its report.

    Raises:
        InputError: the folder holds something else.
    """
    config = replace(config, out=config.out.absolute())
    clock = StageClock(config)
    configuration.write_run_record(config.out, "demo", config)
    recording, dataset, run = (config.out / name for name in ("recording", "dataset", "run"))
    size = f"{config.width}x{config.height} px"
    with clock.stage("record", f"{config.frames} frames of a mouse, six cameras of {size}"):
        _record(config, recording)
    with clock.stage("preprocess", f"aim, crop and check every view at {config.image_size} px"):
        manifest = _preprocess(config, recording, dataset)
    with clock.stage("train", f"a small GS-LRM from scratch, {config.workers} workers"):
        _train(config, dataset, run)
    with clock.stage("reconstruct", f"{config.samples} held-out frames, five views in, the sixth to judge"):
        results = _reconstruct(config, dataset, run)
    with clock.stage("report", "everything on one page"):
        report = _report(config, results, manifest, recording, clock)
        write_report(config.out / "report.html", report)
    print(_final_table(clock, report))
    return report


def _record(config: DemoConfig, folder: Path) -> None:
    film = MouseRecordingConfig(frames=config.frames, width=config.width, height=config.height, seed=config.seed)
    with tqdm(total=config.frames, desc="record", unit=" frames") as bar:

        def show(done: int, _total: int) -> None:
            bar.update(done - bar.n)

        write_mouse_capture(film, folder, progress=show)


def _preprocess(config: DemoConfig, recording: Path, dataset: Path) -> Mapping[str, Any]:
    return preprocess(
        PreprocessConfig(
            capture=(str(recording),),
            out=str(dataset),
            image_size=config.image_size,
            zoom="fit",
            unit_frames=16,
            source="rendered",
            split=SplitConfig(val_fraction=0.15),
        )
    )


def _train(config: DemoConfig, dataset: Path, run: Path) -> None:
    training = replace(PRESETS["demo"], data=str(dataset), out=run, seed=config.seed, num_workers=config.workers)
    if config.steps is not None:
        training = replace(training, steps=config.steps)
    if (run / RUN_CHECKPOINT).exists():
        return
    train_gslrm(replace(training, resume=(run / configuration.CONFIG_FILE).exists()))


def _reconstruct(config: DemoConfig, dataset: Path, run: Path) -> Report:
    return reconstruct(
        ReconstructConfig(
            checkpoint=run,
            data=str(dataset),
            out=config.out / "reconstructions",
            max_samples=config.samples,
            turntable_views=60,
            turntable_fps=20.0,
            turntable_size=256,
            report_samples=config.samples,
        )
    )


def _report(
    config: DemoConfig, results: Report, manifest: Mapping[str, Any], recording: Path, clock: StageClock
) -> Report:
    """The page of the reconstructions, with the recording before them and the cost of the stages after them."""
    counts = manifest["counts"]
    text = (
        f"{counts['train']} frames for training, {counts['val']} held out at the end of the recording, "
        f"{counts['gap']} left out between them, {counts['rejected']} rejected by the gate."
    )
    sheet = Picture(recording_sheet(recording, config.frames), "First, middle and last frame of every camera")
    cost = Table(["stage", "seconds"], clock.rows())
    return replace(
        results,
        title="Mouse-FaceLift demo",
        summary=(
            "A small GS-LRM trained from scratch on a rendered six-camera recording. Scores are of views held out, "
            "at times held out: the model gets the other five views and draws the sixth."
        ),
        sections=[
            Section("The recording", [sheet], text),
            *results.sections,
            Section("What the stages before this page took", [cost]),
        ],
        settings={"demo": (config.out / configuration.CONFIG_FILE).read_text(encoding="utf-8"), **results.settings},
    )


def recording_sheet(recording: Path, frames: int) -> UInt8[np.ndarray, "h w 3"]:
    """First, middle and last frame of every view of a recording."""
    wanted = sorted({0, frames // 2, frames - 1})
    views = open_capture(recording).views
    columns = [[image for _, image in read_frames(view.video, wanted)] for view in views]
    rows = [
        [Panel(column[row], f"camera {view.name}, frame {frame}") for view, column in zip(views, columns, strict=True)]
        for row, frame in enumerate(wanted)
    ]
    return contact_sheet(rows, SheetStyle(cell=180))


def _final_table(clock: StageClock, report: Report) -> str:
    stages = [f"{name:<12}{seconds:>8} s" for name, seconds in clock.rows()]
    return "\n".join(["", *stages, "", *verdict_lines(report.verdicts)])


def main(argv: Sequence[str] | None = None) -> int:
    """The verb `demo`."""
    config = configuration.parse(
        DemoConfig,
        argv,
        prog="mouse-facelift demo",
        description="A rendered recording -> dataset -> trained model -> Gaussians -> report.html, on this machine.",
    )
    demo(config)
    print(f"\nwrote {config.out}/report.html (open it in a browser) and everything it shows below {config.out}")
    print("next: mouse-facelift preprocess --capture YOUR_RECORDING --out DATASET")
    return 0


if __name__ == "__main__":
    run_verb(main)
