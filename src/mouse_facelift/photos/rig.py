"""The cameras that a generator's views belong to, and how large it knows the animal in its reference view.

A generator without camera conditioning has learnt one arrangement of cameras about the animal: that of its training
samples, on average. This is what its views are written and reconstructed with, never the cameras of whatever picture it
is given. A run keeps it in `rig.json`, made from the run's dataset when it is first asked for; FaceLift's published
weights belong to FaceLift's six inference cameras.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.poses import FACELIFT_FRONT_AZIMUTH_DEGREES, facelift_rig, look_at
from mouse_facelift.checkpoints import RUN_CHECKPOINT, WEIGHTS_FILE, find_checkpoint, read_config
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.pipeline import INDEX_FILE, TOKENS_FILE
from mouse_facelift.mvdiffusion.source import RUN_PIPELINE, PipelineSource
from mouse_facelift.mvdiffusion.views import BACKGROUNDS, ViewRule, ViewsConfig, row_cameras, view_orders
from mouse_facelift.plain import from_plain
from mouse_facelift.samples.dataset import Dataset, open_dataset

RIG_FILE = "rig.json"
FACELIFT = "facelift"
"""The word for FaceLift's six inference cameras."""

_VERSION = 1
_COLUMNS = ["sample_id", "camera", "w2c", "fxfycxcy", "mask_fraction"]
_SHARDS, _ROWS_PER_SHARD = 16, 16
# Root of the share of the picture, 36.8 %, whose alpha the front view (cam_000) of FaceLift's published sample of six
# training views covers.
_FACELIFT_EXTENT = 0.606


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras about the animal, which is at the world's origin.

    Attributes:
        cameras: In the order of the generator's views, the reference first, at azimuth 270 degrees.
        background: Grey level that the generator expects behind the animal.
        extent: Root of the share of the reference view that the animal covers, in the median.
        spread_degrees: How far, as root mean square, the cameras that were learnt from stand from these, seen from the
            animal.
        origin: What it was made from.
        references: Names of the cameras that were references in training; none where it is not known.
    """

    cameras: tuple[Camera, ...]
    background: float
    extent: float
    spread_degrees: float
    origin: str
    references: tuple[str, ...] = ()

    @property
    def image_size(self) -> int:
        """Side of the generator's views (pixels)."""
        return self.cameras[0].width

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        frames = [
            {"name": camera.name, "fxfycxcy": camera.fxfycxcy.tolist(), "w2c": camera.w2c.tolist()}
            for camera in self.cameras
        ]
        numbers = {name: getattr(self, name) for name in ("background", "extent", "spread_degrees", "origin")}
        said = {"image_size": self.image_size, **numbers, "references": list(self.references)}
        return {"version": _VERSION, **said, "cameras": frames}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all it says."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()

    @staticmethod
    def from_plain(plain: Mapping[str, Any], source: str) -> Rig:
        """The inverse of :meth:`plain`.

        Raises:
            InputError: It is not a rig; ``source`` is the file that says so.
        """
        try:
            if plain["version"] != _VERSION:
                raise InputError(f"{source}: a rig of version {plain['version']}, this software reads {_VERSION}")
            size, cameras = int(plain["image_size"]), []
            for frame in plain["cameras"]:
                fx, fy, cx, cy = (float(value) for value in frame["fxfycxcy"])
                w2c = np.array(frame["w2c"], dtype=np.float64)
                K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
                cameras.append(Camera(str(frame["name"]), size, size, K, w2c[:3, :3], w2c[:3, 3]))
            background, extent, spread = (float(plain[name]) for name in ("background", "extent", "spread_degrees"))
            references = tuple(str(name) for name in plain["references"])
            return Rig(tuple(cameras), background, extent, spread, str(plain["origin"]), references)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{source}: is not a generator's rig ({error}); delete it, it is made again") from error


def facelift_convention() -> Rig:
    """FaceLift's six inference cameras, white behind the head."""
    return Rig(facelift_rig(), BACKGROUNDS["white"], _FACELIFT_EXTENT, 0.0, "FaceLift's inference cameras")


def measure_rig(dataset: Dataset, views: ViewsConfig, rule: ViewRule) -> Rig:
    """The mean arrangement of a dataset's cameras as a generator trained on it sees them.

    Every sample counts once for each of its references, turned about the vertical until the reference stands at 270
    degrees. Directions and distances are averaged apart, as the mean of scattered points lies too near. With rays the
    model is told where its views are; its rig is that of the first reference.

    Raises:
        InputError: The dataset has no training samples, or not these references.
    """
    places, extents, focals = [], [], []
    for row in _spread_rows(dataset):
        orders = view_orders(row, views.references, rule)
        w2c, fxfycxcy = row_cameras(row)
        centres = -np.einsum("vji,vj->vi", w2c[:, :3, :3], w2c[:, :3, 3]).astype(np.float64)
        for order in orders[:1] if rule.cameras == "rays" else orders:
            places.append(_facing_front(centres[order]))
            distance = np.linalg.norm(centres[order[0]])
            extents.append((float(np.sqrt(row["mask_fraction"][order[0]])), distance))
        # Half the picture is the principal point, by normalisation.
        focals.append(float(np.mean(fxfycxcy[:, 0] / (2 * fxfycxcy[:, 2]))))
    found = np.stack(places)
    distances = np.linalg.norm(found, axis=-1)
    directions = found / distances[..., None]
    mean = directions.mean(axis=0)
    mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
    away = np.degrees(np.arccos(np.clip(np.einsum("nvi,vi->nv", directions, mean), -1, 1)))
    centre = mean * distances.mean(axis=0)[:, None]
    size = views.image_size
    focal = size * float(np.mean(focals))
    K = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    names = rule.names(len(centre))
    cameras = tuple(look_at(name, place, np.zeros(3), K, size, size) for name, place in zip(names, centre, strict=True))
    # At the mean distance; nearer animals look larger.
    extent = float(np.median([root * d for root, d in extents]) / distances[:, 0].mean())
    spread = float(np.sqrt(np.mean(away**2)))
    level = BACKGROUNDS[views.backgrounds[0]]
    origin = f"dataset {dataset.manifest['fingerprint'][:12]}"
    return Rig(cameras, level, extent, spread, origin, views.references)


def rig_of_generator(generator: Path, given: str | None = None) -> Rig:
    """The rig of a generator's run, checkpoint or pipeline folder.

    Args:
        generator: What `load_mvdiffusion` takes.
        given: In place of what the generator says of itself: the word "facelift", a `rig.json`, or the dataset that the
            generator was trained on (a folder or URI).

    Raises:
        InputError: The generator does not say which cameras it was trained with.
    """
    if given == FACELIFT:
        return facelift_convention()
    if given is not None and given.endswith(".json"):
        return read_rig(Path(given))
    for folder in (generator, generator.parent):
        if given is None and (folder / RIG_FILE).is_file() and _belongs(generator, folder):
            return read_rig(folder / RIG_FILE)
    run = _run_folder(generator)
    if run is None:
        if given is None and _is_facelift(generator):
            return facelift_convention()
        raise InputError(
            f"{generator}: does not say which cameras it was trained with; give the run's folder, or a "
            f"{RIG_FILE} or the word {FACELIFT} with --photo.rig (synthesize: --rig)"
        )
    rig = _measured(run, given)
    if given is None and os.access(run, os.W_OK):
        write_rig(run / RIG_FILE, rig)
    return rig


def read_rig(file: Path) -> Rig:
    """A rig from its JSON.

    Raises:
        InputError: It cannot be read, or is not one.
    """
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as a rig ({error}); delete it, it is made again") from error
    if not isinstance(plain, dict):
        raise InputError(f"{file}: is not a generator's rig; delete it, it is made again")
    return Rig.from_plain(plain, str(file))


def write_rig(file: Path, rig: Rig) -> None:
    """Write a rig's JSON, whole or not at all."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    partial.write_text(json.dumps(rig.plain(), indent=1) + "\n", encoding="utf-8")
    partial.replace(file)


def resized(rig: Rig, size: int) -> tuple[Camera, ...]:
    """The rig's cameras for views of another size."""
    return tuple(camera.resized(size, size) for camera in rig.cameras)


def _measured(run: Path, given: str | None) -> Rig:
    """The rig of the dataset that a run was trained on, or of one that is said to be."""
    config = read_config(run)
    source = str(find_checkpoint(run) / "config.yaml")
    for key in ("data", "views", "model"):
        if key not in config:
            raise InputError(f"{source}: key '{key}' is missing; this is not a generator's run")
    views = from_plain(ViewsConfig, config["views"], source=source)
    model = from_plain(PipelineSource, config["model"], source=source)
    try:
        dataset = open_dataset(given or str(config["data"]))
    except InputError as error:
        if given is not None:
            raise
        raise InputError(
            f"{run}: keeps no {RIG_FILE}, and the dataset it was trained on is not there ({error}); give it with "
            "--photo.rig DATASET (synthesize: --rig)"
        ) from error
    return measure_rig(dataset, views, ViewRule(model.view_slots, model.conditioning))


def _run_folder(generator: Path) -> Path | None:
    """The run that a path lies in or is; a checkpoint that was copied from its run is one by itself."""
    for folder in (generator, generator.parent if generator.name == RUN_PIPELINE else generator):
        if any((folder / place / WEIGHTS_FILE).is_file() for place in ("", RUN_CHECKPOINT)):
            return folder.parent if folder.name == RUN_CHECKPOINT else folder
    return None


def _belongs(generator: Path, folder: Path) -> bool:
    return folder == generator or generator.name in (RUN_PIPELINE, RUN_CHECKPOINT)


def _is_facelift(folder: Path) -> bool:
    """Whether a pipeline folder can be FaceLift's: it has no tokens of its own, and was not written by a run."""
    return (folder / INDEX_FILE).is_file() and (folder / "vae").is_dir() and not (folder / TOKENS_FILE).is_file()


def _spread_rows(dataset: Dataset) -> Sequence[dict[str, Any]]:
    """Training rows without their pictures, from shards spread over the dataset."""
    shards = dataset.shards("train")
    if not shards:
        raise InputError(f"{dataset.store.uri}: holds no training samples to learn a generator's cameras from")
    rows: list[dict[str, Any]] = []
    for number in np.unique(np.linspace(0, len(shards) - 1, min(len(shards), _SHARDS)).round().astype(int)):
        table = dataset.store.read_table(shards[number], _COLUMNS)
        picked = np.unique(np.linspace(0, len(table) - 1, min(len(table), _ROWS_PER_SHARD)).round().astype(int))
        rows += table.take(picked).to_pylist()
    return rows


def _facing_front(centres: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """Places turned about the vertical until the first has FaceLift's front azimuth."""
    turn = np.radians(FACELIFT_FRONT_AZIMUTH_DEGREES) - np.arctan2(centres[0, 1], centres[0, 0])
    cos, sin = np.cos(turn), np.sin(turn)
    return centres @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.0]])
