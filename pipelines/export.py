"""`mouse-facelift export PATH --to FORMAT --out FILE`: results in the files of other programs.

Gaussians of one moment go to `ply`, `compressed-ply` (SuperSplat, PlayCanvas), `splat` (antimatter15's viewer and its
kin) or `obj` (a mesh with vertex colours); moments along a camera path to `mp4`; a dataset's sample, cameras and
pictures, to `transforms` (nerfstudio) or `colmap` (a text model).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from tqdm import tqdm

from mouse_facelift.cameras import Camera
from mouse_facelift.cameras.exchange import TRANSFORMS, colmap_text, transforms_json
from mouse_facelift.cameras.paths import Orbit, read_keyframes
from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse
from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.files import ENCODERS
from mouse_facelift.gaussians.film import write_film
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.mesh import MeshConfig, gaussians_mesh, write_obj
from mouse_facelift.gaussians.steadying import centre_of
from mouse_facelift.results import Result, Units, open_result
from mouse_facelift.samples.schema import Sample, encode_image
from mouse_facelift.storage import Store, is_uri

Format = Literal["ply", "compressed-ply", "splat", "obj", "mp4", "transforms", "colmap"]
_READERS = {
    "ply": "any 3DGS viewer",
    "compressed-ply": "SuperSplat (superspl.at/editor)",
    "splat": "antimatter15.com/splat and its kin",
    "obj": "MeshLab or Blender",
    "mp4": "a browser",
    "transforms": "nerfstudio (ns-train splatfacto --data FOLDER)",
    "colmap": "COLMAP (import the model in sparse/0)",
}
# COLMAP looks for a model here, beside the folder of images.
_SPARSE = "sparse/0"


@dataclass(frozen=True)
class FilmConfig:
    """Of the format mp4."""

    size: int = 512
    """Side of the square picture, pixels; even."""
    fps: float = 30.0
    """Pictures per second; moments of a sequence follow one another at this rate."""
    views: int = 150
    """Pictures of a film of one moment."""
    camera: Path | None = None
    """Camera path: a JSON in the layout of opencv_cameras.json (one frame stands still, several are keyframes;
    `time` in a frame, seconds, is optional). The orbit when left out."""
    orbit: Orbit = field(default_factory=Orbit)

    def __post_init__(self) -> None:
        if self.views < 1 or self.size < 2 or self.size % 2 or not self.fps > 0:
            raise InputError(f"export: {self.views} views of {self.size} px at {self.fps} per second make no film")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of `export`."""

    path: Annotated[str, tyro.conf.Positional]
    """A .ply or .splat, a *.sequence.parquet, a folder of reconstructed samples, or a dataset: a path or URI."""
    to: Format
    """What to write."""
    out: str
    """The file, or for transforms and colmap the folder, that is written: a path, or (but for mp4) a URI."""
    moment: str | None = None
    """Which one: a sample's id, or a position from 0. By default the first, and for mp4 all of them."""
    units: Units = "normalised"
    """Units of what is written, where the similarity is known."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    film: FilmConfig = field(default_factory=FilmConfig)


def export(config: ExportConfig) -> str:
    """Write the export; returns what was written, in words.

    Raises:
        InputError: a path, a moment or a format that do not go together.
    """
    result = open_result(config.path, config.units)
    position = 0 if config.moment is None else result.find(config.moment)
    if config.to in ("transforms", "colmap"):
        if result.sample is None:
            raise InputError(f"{config.path}: has no cameras; give --to {config.to} a dataset")
        return _export_sample(config, result.sample(position))
    if result.gaussians is None:
        raise InputError(f"{config.path}: is a dataset, without Gaussians; export it --to transforms or colmap")
    if config.to == "mp4":
        return _export_film(config, result, position)
    gaussians = result.gaussians(position)
    if config.to == "obj":
        mesh = gaussians_mesh(gaussians, config.mesh)
        _write(config.out, write_obj(mesh))
        return f"{config.out}, {len(mesh.vertices)} vertices, {len(mesh.triangles)} triangles"
    data = ENCODERS[config.to](gaussians, config.out)
    _write(config.out, data)
    return f"{config.out}, {len(gaussians)} Gaussians, {len(data) / 1e6:.2f} MB"


def _export_film(config: ExportConfig, result: Result, position: int) -> str:
    if is_uri(config.out):
        raise InputError(f"{config.out}: a video is written to a disk first; give --out a path")
    film = config.film
    wanted = range(len(result)) if config.moment is None else range(position, position + 1)
    count = film.views if len(wanted) == 1 else len(wanted)
    cameras = _cameras(config, result, wanted[0], count)
    with tqdm(total=count, desc="export", unit=" pictures") as bar:
        write_film(
            config.out, _moments(result, wanted, count), cameras, film.fps, progress=lambda done: _advance(bar, done)
        )
    return f"{config.out}, {count} pictures of {len(wanted)} moments"


def _advance(bar: tqdm, done: int) -> None:
    bar.update(done - bar.n)


def _moments(result: Result, wanted: range, count: int) -> Iterator[Gaussians]:
    """The Gaussians of each picture; those of a single moment are read once."""
    assert result.gaussians is not None
    if len(wanted) == 1:
        still = result.gaussians(wanted[0])
        yield from (still for _ in range(count))
    else:
        yield from map(result.gaussians, wanted)


def _cameras(config: ExportConfig, result: Result, first: int, count: int) -> list[Camera]:
    film = config.film
    if film.camera is not None:
        return read_keyframes(film.camera).cameras(count, film.size, film.size)
    centre = np.zeros(3)
    if config.units == "mm" and result.gaussians is not None:
        # In the recording's world the animal is not at the origin; where it is at first, the camera circles.
        centre = centre_of(result.gaussians(first))
    return film.orbit.cameras(count, film.size, film.size, centre)


def _export_sample(config: ExportConfig, sample: Sample) -> str:
    """Cameras and pictures of a sample in a folder."""
    cameras = list(sample.cameras)
    if config.units == "mm":
        # The inverse of X' = scale (X - centre) is the similarity with these two.
        cameras = [camera.normalised(-sample.scale * sample.centre_mm, 1 / sample.scale) for camera in cameras]
    store, names = Store.at(config.out), [f"cam_{i:03d}.png" for i in range(len(cameras))]
    for name, image in zip(names, sample.images, strict=True):
        store.write(f"images/{name}", encode_image(image))
    record = {
        "sample_id": sample.sample_id,
        "units": config.units,
        "scale": sample.scale,
        "centre_mm": sample.centre_mm.tolist(),
        "camera_names": [camera.name for camera in cameras],
    }
    if config.to == "transforms":
        paths = [f"images/{name}" for name in names]
        store.write(TRANSFORMS, transforms_json(cameras, paths, record).encode())
    else:
        for name, text in colmap_text(cameras, names).items():
            store.write(f"{_SPARSE}/{name}", text.encode())
        store.write("sample.json", (json.dumps(record, indent=1) + "\n").encode())
    return f"{config.out}, {len(cameras)} pictures and cameras of {sample.sample_id} in {config.units} units"


def _write(out: str, data: bytes) -> None:
    place, mark, options = out.partition("?") if is_uri(out) else (out, "", "")
    folder, _, name = place.rpartition("/")
    Store.at((folder or ".") + mark + options).write(name, data)


def main(argv: Sequence[str] | None = None) -> int:
    """The verb `export`."""
    config = parse(
        ExportConfig,
        argv,
        prog="mouse-facelift export",
        description="Gaussians, films of them, and a dataset's cameras in the files of other programs.",
    )
    written = export(config)
    print(f"wrote {written}")
    print(f"next: open it in {_READERS[config.to]}")
    return 0


if __name__ == "__main__":
    run_verb(main)
