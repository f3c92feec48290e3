"""What the frozen encoders say about a dataset, kept on disk: a folder of Parquet shards beside the dataset's own.

A row has a sample's id and cameras, and of every camera's image on every background the VAE's posterior (`moments`,
float16, unscaled: mean and log-variance) and the CLIP embedding (`embeddings`, float32). Which camera is the
reference, which background is taken and what is drawn from the posterior is decided at every training step, so nothing
of the augmentation is lost. `encodings.json` says what the shards are of and which weights made them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.conditioning import clip_embedding, clip_pixels_for_training, posterior
from mouse_facelift.mvdiffusion.pipeline import FrozenParts
from mouse_facelift.mvdiffusion.views import BACKGROUNDS, Row, composited, decode_reduced
from mouse_facelift.samples.schema import SAMPLE_SCHEMA
from mouse_facelift.storage import Store

MANIFEST = "encodings.json"
VERSION = 1

_FROM_SAMPLE = ("sample_id", "camera", "fxfycxcy", "w2c")
ENCODING_SCHEMA = pa.schema(
    [
        *(SAMPLE_SCHEMA.field(name) for name in _FROM_SAMPLE),
        pa.field("moments", pa.binary()),
        pa.field("embeddings", pa.binary()),
    ]
)
COLUMNS = tuple(ENCODING_SCHEMA.names)
_AGAIN = "encode the dataset anew with mouse-facelift encode"


@dataclass(frozen=True)
class Encodings:
    """A complete folder of encodings."""

    store: Store
    dataset: str
    """Fingerprint of the dataset they are of."""
    encoder: str
    """Fingerprint of the weights that made them."""
    image_size: int
    backgrounds: tuple[str, ...]
    moments: tuple[int, int, int]
    """Channels, height and width of one posterior."""
    embedding: int
    """Width of a CLIP embedding; 0 without an image encoder."""
    shards: Mapping[str, int]
    """Name -> rows."""

    def decode(self, row: Row) -> tuple[Float[Tensor, "g c m h w"], Float[Tensor, "g c e"] | None]:
        """A row's posteriors and embeddings by background and camera (float16 and float32, as stored).

        Raises:
            InputError: the row holds something else.
        """
        shape = (len(self.backgrounds), len(row["camera"]))
        moments = _unpacked(row, "moments", np.float16, (*shape, *self.moments))
        if not self.embedding:
            return moments, None
        return moments, _unpacked(row, "embeddings", np.float32, (*shape, self.embedding))

    def check(self, dataset: str, image_size: int, backgrounds: Sequence[str]) -> None:
        """Refuse encodings of something else than a run needs.

        Raises:
            InputError: in one line.
        """
        if self.dataset != dataset:
            raise InputError(f"{self.store.uri}: encodings of another dataset than --data; {_AGAIN}")
        if self.image_size != image_size:
            raise InputError(
                f"{self.store.uri}: encodings of {self.image_size} px images, the run trains on {image_size} px; "
                f"use --views.image-size {self.image_size} or {_AGAIN}"
            )
        absent = [name for name in backgrounds if name not in self.backgrounds]
        if absent:
            raise InputError(
                f"{self.store.uri}: holds no encodings on {absent[0]}, only on {', '.join(self.backgrounds)}; choose "
                f"--views.background among them or {_AGAIN}"
            )

    def check_encoder(self, frozen: FrozenParts) -> None:
        """Refuse encodings that other weights made than the run's.

        Raises:
            InputError: in one line.
        """
        own = encoder_fingerprint(frozen)
        if own != self.encoder:
            raise InputError(
                f"{self.store.uri}: made by encoders {self.encoder[:12]}, the run's are {own[:12]}; {_AGAIN}, or train "
                "without --encodings"
            )


def open_encodings(location: str) -> Encodings:
    """Open a folder of encodings.

    Raises:
        InputError: there is none, it is not complete, or another version wrote it.
    """
    store = Store.at(location)
    if not store.exists(MANIFEST):
        raise InputError(
            f"{store.uri}: holds no complete encodings (no {MANIFEST}); run the same encode command again to finish it"
        )
    record = store.read_json(MANIFEST)
    if record.get("version") != VERSION:
        raise InputError(f"{store.path(MANIFEST)}: version {record.get('version')}, this software reads {VERSION}")
    try:
        return Encodings(
            store,
            record["dataset"],
            record["encoder"],
            int(record["image_size"]),
            tuple(record["backgrounds"]),
            cast(tuple[int, int, int], tuple(record["moments"])),
            int(record["embedding"]),
            dict(record["shards"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{store.path(MANIFEST)}: is damaged ({error}); {_AGAIN}") from error


def encoder_fingerprint(frozen: FrozenParts) -> str:
    """A hash of the encoders' weights, as single precision, and of the settings by which images reach them.

    Raises:
        InputError: there are no encoders: the model is one over pixels.
    """
    if frozen.vae is None:
        raise InputError("a model over pixels has no encoders whose work could be kept; train it without --encodings")
    digest = hashlib.sha256(f"encodings {VERSION}".encode())
    vae = cast(Any, frozen.vae)
    networks: list[Any] = [network for network in (vae.encoder, vae.quant_conv) if network is not None]
    if frozen.embedder is not None:
        extractor: Any = frozen.embedder.feature_extractor
        seen = (dict(extractor.crop_size), list(extractor.image_mean), list(extractor.image_std))
        digest.update(repr(seen).encode())
        networks.append(frozen.embedder.image_encoder)
    for network in networks:
        for name, tensor in sorted(network.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().data)
    return digest.hexdigest()


@torch.no_grad()
def encode_row(
    row: Row, frozen: FrozenParts, image_size: int, backgrounds: Sequence[str], device: torch.device
) -> dict[str, Any]:
    """A sample's row of `ENCODING_SCHEMA`. The intrinsics are those of the images at `image_size`.

    Raises:
        InputError: its images cannot be used.
    """
    views = decode_reduced(row, image_size)
    images = torch.from_numpy(views.images).to(device)
    moments, embeddings = [], []
    for name in backgrounds:
        pictures = composited(images[None], torch.tensor([BACKGROUNDS[name]]))[0]
        moments.append(posterior(pictures, frozen.vae))
        if frozen.embedder is not None:
            pixels = clip_pixels_for_training(pictures, frozen.embedder.feature_extractor)
            embeddings.append(clip_embedding(pixels, frozen.embedder.image_encoder))
    return {
        **{name: row[name] for name in _FROM_SAMPLE},
        "fxfycxcy": list(views.fxfycxcy),
        "moments": _packed(moments, np.float16),
        "embeddings": _packed(embeddings, np.float32),
    }


def shapes(frozen: FrozenParts, image_size: int) -> tuple[tuple[int, int, int], int]:
    """Shape of one posterior, and width of an embedding (0 without an image encoder).

    Raises:
        InputError: images of that size are not whole cells of the VAE.
    """
    vae = cast(Any, frozen.vae)
    cell = 2 ** (len(vae.config.block_out_channels) - 1)
    if image_size % cell:
        raise InputError(
            f"encode: {image_size} px images are not a multiple of the VAE's {cell} px; give another --image-size"
        )
    cells = image_size // cell
    width = 0 if frozen.embedder is None else frozen.embedder.image_encoder.config.projection_dim
    return (2 * vae.config.latent_channels, cells, cells), width


def table_of(rows: Iterator[dict[str, Any]]) -> pa.Table:
    """Encoded rows as an Arrow table."""
    return pa.Table.from_pylist(list(rows), schema=ENCODING_SCHEMA)


def _packed(parts: Sequence[Tensor], kind: type[np.floating]) -> bytes:
    return torch.stack(list(parts)).float().cpu().numpy().astype(kind).tobytes() if parts else b""


def _unpacked(row: Row, name: str, kind: type[np.floating], shape: tuple[int, ...]) -> Tensor:
    data = np.frombuffer(row[name], kind)
    if data.size != np.prod(shape):
        raise InputError(
            f"sample {row['sample_id']}: {name} of {data.size} numbers, {MANIFEST} says {list(shape)}; {_AGAIN}"
        )
    return torch.from_numpy(data.reshape(shape).copy())
