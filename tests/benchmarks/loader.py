"""Training samples per second: this project's shards against FaceLift's folders of PNG and JSON.

    python -m tests.benchmarks.loader --data DATASET [--samples 96] [--batch-size 2]

DATASET is made by `preprocess` (at 512 px, six views, to compare with the figures in circulation). Its first samples
are written once as FaceLift folders and read as FaceLift's trainer does, by a DataLoader with two processes; once with
this project's PNGs and once with Pillow's, which other software writes. Against them the feed from memory (one thread
of the trainer), and the one that streams shards through Ray Data. FaceLift's loader hands over floats on white; for a
fair end, "+ float on white" makes the same of our bytes on the CPU, which a training step does on its own device.

Time begins after the first batches. Processor time is that of all processes that take part; what holds the rate back
is beside it: milliseconds per picture of the parts.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro
from PIL import Image

from mouse_facelift.gslrm.step import composite
from mouse_facelift.samples.schema import decode_image
from pipelines.session import connect
from tests.benchmarks.facelift_trainer import EndlessLoader, FaceLiftScenes, export_folders, write_pngs_as_pillow_does
from tests.benchmarks.stopwatch import Spent, descendants, timed
from training.data import RowTable, memory_batches, prefetched, stream_batches
from training.dataset import Split, read_split
from training.gslrm import PRESETS, GSLRMTask
from training.task import Row, Tensors

WORKERS = 2
WARM = 3
"""Batches before the clock starts."""


@dataclass(frozen=True)
class Config:
    """What is read."""

    data: str
    """A dataset made by `preprocess`."""
    samples: int = 96
    """Samples read while the clock runs."""
    folders: int = 48
    """FaceLift folders written; they are read again and again."""
    batch_size: int = 2


def measure(
    batches: Iterator[Any], count: int, processes: Callable[[], Iterable[int]], finish: Callable[[Any], object] = id
) -> Spent:
    """Take `count` batches after the first few; `finish` is done to each."""
    for batch in islice(batches, WARM):
        finish(batch)

    def take() -> None:
        for batch in islice(batches, count):
            finish(batch)

    return timed(take, processes)


def on_white(batch: Tensors) -> torch.Tensor:
    """What FaceLift's loader hands over: colours in [0, 1] on white, and alpha."""
    images = batch["images"].permute(0, 1, 4, 2, 3).float() / 255
    return torch.cat([composite(images, torch.ones(len(images), 3)), images[:, :, 3:]], dim=2)


def facelift(list_file: Path, size: int, views: int, config: Config) -> Spent:
    """FaceLift's loader over a list."""
    loader = EndlessLoader(FaceLiftScenes(list_file, size, views - 1, views), config.batch_size, WORKERS)
    return measure(iter(loader), config.samples // config.batch_size, lambda: loader.pids)


def memory(rows: Sequence[Row], task: GSLRMTask, config: Config, finish: Callable[[Tensors], object]) -> Spent:
    """The feed of datasets that fit into memory."""
    made = memory_batches(rows, task.collate, batch_size=config.batch_size, seed=0, rank=0, world_size=1, start=0)
    feed = prefetched(made, task.config.feed.prefetch)
    spent = measure(feed, config.samples // config.batch_size, lambda: (), finish)
    feed.close()
    return spent


def stream(split: Split, task: GSLRMTask, config: Config) -> Spent:
    """The feed of datasets that do not, with Ray's own processes."""
    feed = task.config.feed
    data = read_split(split, task.columns, shuffle_seed=0, shuffle_rows=feed.shuffle_rows)
    batches = stream_batches(data.iterator(), task.collate, share=config.batch_size, prefetch=feed.prefetch)
    return measure(batches, config.samples // config.batch_size, lambda: descendants())


def per_picture(data: bytes, repeats: int = 20) -> dict[str, float]:
    """Milliseconds of processor time that parts of reading one picture take here."""
    as_pillow = Path(tempfile.mkdtemp()) / "view.png"
    Image.fromarray(decode_image(data)).save(as_pillow)
    pillows = as_pillow.read_bytes()
    pixels = decode_image(data)
    parts: dict[str, Callable[[], object]] = {
        "decode, as here": lambda: decode_image(data),
        "of it cv2.imdecode": lambda: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED),
        "decode, a PNG of Pillow's": lambda: decode_image(pillows),
        "bytes to float": lambda: pixels.astype(np.float32) / 255,
    }
    found = {}
    for name, part in parts.items():
        part()
        began = time.process_time()
        for _ in range(repeats):
            part()
        found[name] = 1e3 * (time.process_time() - began) / repeats
    return found


def main(config: Config) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    preset = PRESETS["facelift-512"]
    split = Split.find(config.data, "train")
    first = decode_image(split.first_row()["images"][0]["bytes"])
    size, views = first.shape[0], len(split.first_row()["images"])
    task = GSLRMTask(preset)
    found: dict[str, Spent] = {}
    with tempfile.TemporaryDirectory() as scratch:
        listed = export_folders(config.data, Path(scratch), config.folders, size)
        found["FaceLift's, our PNGs"] = facelift(listed, size, views, config)
        write_pngs_as_pillow_does(listed)
        found["FaceLift's, Pillow's PNGs"] = facelift(listed, size, views, config)
    connect(num_cpus=WORKERS)
    rows = RowTable(read_split(split, task.columns).materialize().iterator())
    found["memory"] = memory(rows, task, config, id)
    found["memory + float on white"] = memory(rows, task, config, on_white)
    found["stream, all of Ray"] = stream(split, task, config)
    peer = found["FaceLift's, our PNGs"]
    print(f"{views} views of {size} px, batches of {config.batch_size}, {config.samples} samples per row")
    print(f"{'loader':26} {'samples/s':>10} {'ratio':>7} {'CPU ms/sample':>14} {'ratio':>7}")
    for name, spent in found.items():
        rate, cost = config.samples / spent.wall, 1e3 * spent.cpu / config.samples
        print(f"{name:26} {rate:10.1f} {peer.wall / spent.wall:7.2f} {cost:14.1f} {peer.cpu / spent.cpu:7.2f}")
    print("per picture, processor ms: ", end="")
    print(", ".join(f"{name} {ms:.2f}" for name, ms in per_picture(split.first_row()["images"][0]["bytes"]).items()))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
