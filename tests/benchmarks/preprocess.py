"""View-frames per second of `preprocess`, beside pure decoding and beside a script that seeks for every frame.

    python -m tests.benchmarks.preprocess --capture RECORDING [--image-size 512] [--seek-samples 24] [--repeat 3]

All in one run on the same recording (MAMMAL layout with mask videos):

* `decode`: every frame of every video and mask video grabbed and retrieved in sequence, one process per CPU: the limit,
  for `preprocess` decodes both.
* `seek`: one process; a `cv2.VideoCapture` per view that seeks to every frame, colour and mask resized with Lanczos and
  written as PNG by Pillow; then a second pass that reads, warps and writes every PNG again.
* `preprocess` on 1 and on all CPUs. *Steady* is from the moment Ray runs until the dataset is complete; *with start*
  includes starting Ray and its workers, which does not grow with the recording.

A view-frame is one frame of one view. The recording is used `--repeat` times under different names, so that the steady
state is longer than the ends of its two passes.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import ray
import tyro
from PIL import Image

from mouse_facelift.capture.layouts import MAMMAL_MASKS, MAMMAL_VIDEOS
from pipelines.preprocess import PreprocessConfig, preprocess
from pipelines.session import connect


@dataclass(frozen=True)
class Config:
    """What is timed."""

    capture: Path
    """A recording in the MAMMAL layout, with masks."""
    image_size: int = 512
    repeat: int = 3
    """How many copies (links) of the recording are preprocessed in one run."""
    seek_samples: int = 24
    """Frames, evenly spread, that the seeking script handles."""
    cpus: int = os.cpu_count() or 1


def decode_all(videos: Sequence[str]) -> int:
    """Grab and retrieve every frame of the videos; returns their number."""
    cv2.setNumThreads(1)
    count = 0
    for video in videos:
        capture = cv2.VideoCapture(video, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        while capture.grab():
            capture.retrieve()
            count += 1
        capture.release()
    return count


def decode_rate(views: Sequence[Path], cpus: int) -> float:
    """View-frames (a frame with its mask) per second of sequential decoding, with as many processes as CPUs."""
    jobs = [[str(view), str(view.parents[1] / MAMMAL_MASKS / view.name)] for view in views]
    with ProcessPoolExecutor(cpus) as pool:
        list(pool.map(decode_all, [[]] * cpus))
        start = time.perf_counter()
        decoded = sum(pool.map(decode_all, jobs))
        return decoded / 2 / (time.perf_counter() - start)


def seek_rate(views: Sequence[Path], frames: Sequence[int], size: int, folder: Path) -> float:
    """View-frames per second of seeking, resizing and writing, then reading, warping and writing again."""
    start = time.perf_counter()
    captures = [cv2.VideoCapture(str(view)) for view in views]
    masks = [cv2.VideoCapture(str(view.parents[1] / MAMMAL_MASKS / view.name)) for view in views]
    for frame in frames:
        for number, pair in enumerate(zip(captures, masks, strict=True)):
            for capture in pair:
                capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
            colour, mask = (capture.read()[1] for capture in pair)
            rgba = np.dstack([colour[..., ::-1], mask[..., 0]])
            picture = cv2.resize(rgba, (size, size), interpolation=cv2.INTER_LANCZOS4)
            Image.fromarray(picture).save(folder / f"{frame}_{number}.png")
    turn = np.array([[1.0, 0.02, 3.0], [-0.02, 1.0, 2.0]])
    for path in sorted(folder.glob("*.png")):
        picture = np.asarray(Image.open(path))
        warped = cv2.warpAffine(picture, turn, (size, size), flags=cv2.INTER_LANCZOS4)
        Image.fromarray(warped).save(path.with_suffix(".warped.png"))
    return len(frames) * len(views) / (time.perf_counter() - start)


def preprocess_rates(config: Config, cpus: int, folder: Path) -> tuple[float, float]:
    """View-frames per second of a whole run on so many CPUs: (steady, with the start of Ray)."""
    copies = []
    for number in range(config.repeat):
        copy = folder / f"recording_{number}"
        copy.mkdir(parents=True, exist_ok=True)
        for file in config.capture.resolve().iterdir():
            (copy / file.name).symlink_to(file)
        copies.append(str(copy))
    start = time.perf_counter()
    connect(num_cpus=cpus)
    # Workers start with the first tasks; what they import is the same for every length of recording.
    ray.get([_import_everything.remote() for _ in range(cpus)])
    running = time.perf_counter()
    counts = preprocess(PreprocessConfig(capture=tuple(copies), out=str(folder / "out"), image_size=config.image_size))[
        "counts"
    ]
    end = time.perf_counter()
    ray.shutdown()
    views = len(list((config.capture / MAMMAL_VIDEOS).glob("*.mp4")))
    done = (counts["train"] + counts["val"] + counts["rejected"]) * views
    return done / (end - running), done / (end - start)


@ray.remote(num_cpus=1)
def _import_everything() -> str:
    import pipelines.preprocess as module

    return module.__name__


def main(config: Config) -> None:
    views = sorted((config.capture / MAMMAL_VIDEOS).glob("*.mp4"))
    total = int(cv2.VideoCapture(str(views[0])).get(cv2.CAP_PROP_FRAME_COUNT))
    frames = np.linspace(0, total - 1, config.seek_samples).round().astype(int).tolist()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "seek").mkdir()
        decode = decode_rate(views, config.cpus)
        seek = seek_rate(views, frames, config.image_size, folder / "seek")
        single, single_started = preprocess_rates(config, 1, folder / "one")
        several, several_started = preprocess_rates(config, config.cpus, folder / "all")
    print(f"{len(views)} views, {total} frames, {config.image_size} px; view-frames/s")
    print(f"{'':34} {'rate':>8} {'of decode':>10} {'x seek':>8}")
    rows = {
        f"decode, {config.cpus} processes (limit)": decode,
        "seek per frame, two passes": seek,
        "preprocess, 1 CPU, steady": single,
        "preprocess, 1 CPU, with start": single_started,
        f"preprocess, {config.cpus} CPUs, steady": several,
        f"preprocess, {config.cpus} CPUs, with start": several_started,
    }
    for name, rate in rows.items():
        print(f"{name:34} {rate:8.1f} {rate / decode:10.0%} {rate / seek:8.1f}")
    print(f"scaling 1 -> {config.cpus} CPUs: {several / single:.2f}x")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
