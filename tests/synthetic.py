"""Small data with known truth, shared by tests: Gaussians seen by a ring of cameras, and datasets made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from mouse_facelift.cameras import stack_cameras
from mouse_facelift.cameras.poses import turntable
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import render
from mouse_facelift.samples.dataset import finish_dataset
from mouse_facelift.samples.schema import Agreement, Sample, table_from_samples
from mouse_facelift.samples.shards import REJECTED_SCHEMA
from mouse_facelift.storage import Store


def blob(seed: int = 0, count: int = 60) -> Gaussians:
    """A lopsided coloured object around the origin of the normalised world."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(count, 3, generator=generator) * torch.tensor([0.35, 0.15, 0.1]) + torch.tensor(
        [0.1, 0.0, 0.05]
    )
    return Gaussians(
        means,
        torch.full((count, 3), 0.09),
        torch.randn(count, 4, generator=generator),
        torch.full((count,), 0.95),
        torch.rand(count, 3, generator=generator) * 0.7,
    )


def ring_sample(gaussians: Gaussians, number: int = 0, views: int = 4, size: int = 32) -> Sample:
    """The object as ``views`` cameras on a circle see it, drawn by the reference renderer."""
    cameras = turntable(views, size, elevation_degrees=10.0, hfov_degrees=35.0)
    w2c, fxfycxcy = (torch.from_numpy(a).float() for a in stack_cameras(cameras))
    with torch.no_grad():
        drawn = render(gaussians, w2c, fxfycxcy, size, size, background=torch.zeros(3), backend="reference")
    straight = drawn.rgb / drawn.alpha[..., None].clamp_min(1e-6)
    rgba = torch.cat([straight.clamp(0, 1), drawn.alpha[..., None]], dim=-1)
    images = (rgba * 255).round().byte().numpy()
    ones = np.ones(views, dtype=np.float32)
    return Sample(
        sample_id=f"ring-{number:06d}",
        capture="ring",
        frame=number,
        time_s=number / 10,
        segment=0,
        images=images,
        cameras=tuple(cameras),
        centre_mm=np.array([50.0, 60.0, 20.0]),
        scale=0.01,
        agreement=Agreement(images[..., 3].mean((1, 2)) / np.float32(255), 0 * ones, ones, 0.0, ones, ones, 0 * ones),
        mask_source="video",
        source="rendered",
    )


def write_dataset(folder: Path, splits: Mapping[str, Sequence[Sample]]) -> Path:
    """A complete dataset with one shard per split."""
    store = Store.at(folder)
    shards = {f"split={split}/part.parquet": samples for split, samples in splits.items()}
    for name, samples in shards.items():
        store.write_table(name, table_from_samples(samples), digest=True)
    rejected = pa.Table.from_pylist([], schema=REJECTED_SCHEMA)
    finish_dataset(store, list(shards), rejected, [], {}, {"scale": 0.01, "zoom": 1.0}, 0)
    return folder
