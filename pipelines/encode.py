"""`mouse-facelift encode`: what a pipeline's frozen encoders say about a dataset, computed once instead of every step.

Ray Data hands the dataset's shards to actors, each of which loads the encoders once and writes a shard of encodings
for each; a shard appears whole or not at all and has the name of the one it is of, so a run that was killed goes on
where it stopped. `train mvdiffusion --encodings` reads the result.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import ray.data
import torch
from ray.data import ActorPoolStrategy
from tqdm import tqdm

from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse, to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.encodings import (
    MANIFEST,
    VERSION,
    Encodings,
    encode_row,
    encoder_fingerprint,
    open_encodings,
    shapes,
    table_of,
)
from mouse_facelift.mvdiffusion.pipeline import load_frozen
from mouse_facelift.samples.dataset import Dataset, open_dataset
from mouse_facelift.storage import Store
from pipelines.placement import PlacementConfig, model_options
from pipelines.session import connect
from pipelines.telemetry import Stage, in_a_job
from pipelines.units_of_work import WORK, claim

_COLUMNS = ["sample_id", "images", "camera", "fxfycxcy", "w2c"]


@dataclass(frozen=True)
class EncodeConfig:
    """Settings of `encode`."""

    data: str
    """Dataset: a folder or a URI that pyarrow opens."""
    folder: Path
    """Pipeline folder whose VAE and image encoder are used, such as FaceLift's pipeckpts."""
    out: str
    """Where the encodings go: a folder or a URI that pyarrow opens."""
    image_size: int = 512
    """Side of the encoded images (pixels); larger ones are averaged down to it, as in training."""
    backgrounds: tuple[Literal["white", "black", "grey"], ...] = ("white", "black", "grey")
    """Backgrounds to encode on; training can draw among these."""
    workers: int = 1
    """Copies of the encoders that work side by side; each takes one GPU where there are GPUs."""
    placement: PlacementConfig = field(default_factory=PlacementConfig)

    def __post_init__(self) -> None:
        if self.workers < 1 or self.image_size < 1 or not self.backgrounds:
            raise InputError(
                "encode: workers and image-size must be at least 1, and backgrounds must name one at least"
            )


class ShardEncoder:
    """The encoders in a Ray actor: names of shards in, shards of encodings written."""

    def __init__(self, config: EncodeConfig, dataset: Dataset, threads: int) -> None:
        torch.set_num_threads(threads)
        self.config, self.dataset, self.store = config, dataset, Store.at(config.out)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.frozen = load_frozen(config.folder, prompter=False).to(self.device)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            rows = self.dataset.store.read_table(row["shard"], _COLUMNS).to_pylist()
            size, backgrounds = self.config.image_size, self.config.backgrounds
            encoded = (encode_row(sample, self.frozen, size, backgrounds, self.device) for sample in rows)
            self.store.write_table(row["shard"], table_of(encoded))
        except InputError as error:
            # As an exception Ray Data would hand over a traceback and no reason.
            return {"count": 0, "refused": str(error)}
        return {"count": len(rows), "refused": ""}


def encode(config: EncodeConfig) -> Encodings:
    """Encode what is missing; a complete folder that is encoded again does nothing.

    Raises:
        InputError: the dataset or the pipeline cannot be used, or the folder holds something else.
    """
    folder = config.folder.absolute()
    dataset, store = open_dataset(config.data), Store.at(config.out)
    frozen = load_frozen(folder, prompter=False)
    settings = {k: v for k, v in to_plain(config).items() if k in ("image_size", "backgrounds")}
    identity = {
        "dataset": dataset.manifest["fingerprint"],
        "encoder": encoder_fingerprint(frozen),
        **settings,
    }
    if store.exists(MANIFEST):
        made = open_encodings(config.out)
        if store.read_json(MANIFEST)["config"] != identity:
            raise InputError(f"{store.uri} holds encodings of other images or weights; choose another --out")
        return made
    moments, embedding = shapes(frozen, config.image_size)
    shards = {name: rows for name, rows in dataset.manifest["shards"].items() if rows}
    if not shards:
        raise InputError(f"{config.data} holds no samples to encode; see its rejected.parquet for the reasons")
    claim(store, identity, "encode", config)
    done = set(store.list(suffix=".parquet"))
    _run(config, folder, dataset, {name: rows for name, rows in shards.items() if name not in done})
    record = {
        "version": VERSION,
        "config": identity,
        **identity,
        "moments": list(moments),
        "embedding": embedding,
        "shards": shards,
    }
    store.write(MANIFEST, (json.dumps(record, indent=1) + "\n").encode())
    store.delete(WORK)
    return open_encodings(config.out)


def _run(config: EncodeConfig, folder: Path, dataset: Dataset, todo: dict[str, int]) -> None:
    if not todo:
        return
    connect(config.placement)
    workers = min(config.workers, len(todo))
    threads = max(1, (os.cpu_count() or 1) // workers)
    shards = ray.data.from_items([{"shard": name} for name in todo], override_num_blocks=len(todo))
    whole = replace(config, folder=folder, out=Store.at(config.out).uri, workers=workers)
    results = shards.map(
        cast(Any, ShardEncoder),  # Ray types only functions of a row
        fn_constructor_args=(whole, dataset, threads),
        compute=ActorPoolStrategy(size=workers),
        **model_options(config.placement, workers),
    )
    stage = Stage("encode", len(todo), sum(todo.values()), "samples")
    with tqdm(total=sum(todo.values()), desc="encode", unit=" samples", file=sys.stderr, disable=in_a_job()) as bar:
        for row in results.iter_rows():
            if row["refused"]:
                raise InputError(row["refused"])
            bar.update(row["count"])
            stage.finished(row["count"])
    stage.keep(Store.at(config.out), results.stats())


def main(argv: Sequence[str] | None = None) -> int:
    """The verb `encode`."""
    config = parse(
        EncodeConfig,
        argv,
        prog="mouse-facelift encode",
        description="Keep what a pipeline's VAE and image encoder say about a dataset, for training without them.",
    )
    made = encode(config)
    print(
        f"wrote {made.store.uri}: {sum(made.shards.values())} samples on {', '.join(made.backgrounds)} at "
        f"{made.image_size} px, encoders {made.encoder[:12]}"
    )
    print(
        f"next: mouse-facelift train mvdiffusion --preset mouse-512 --data {config.data} --encodings {config.out} "
        f"--model.folder {config.folder} --out RUN"
    )
    return 0


if __name__ == "__main__":
    # Under its own name, so that Ray's workers import this module (and its package's path set-up) by reference.
    from pipelines.encode import main as verb

    run_verb(verb)
