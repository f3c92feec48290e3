"""`mouse-facelift import-weights`: FaceLift's published GS-LRM in, a checkpoint of ours out.

python -m pipelines.import_weights --file ckpt_0000000000021125.pt --out weights/facelift
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors.torch import save_file

from mouse_facelift.checkpoints import write_checkpoint
from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse, to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.facelift_weights import VGG_FILE, FaceLiftWeights, read_facelift_weights


@dataclass(frozen=True)
class ImportWeightsConfig:
    """Settings of `import-weights`."""

    file: Path
    """FaceLift's file, such as ckpt_0000000000021125.pt."""
    out: Path
    """The checkpoint folder to make: model.safetensors, config.yaml, and vgg19.safetensors for the perceptual loss."""
    image_size: int = GSLRMConfig.image_size
    """Side of the images the model was trained on (pixels); 256 for FaceLift's first stage."""
    precision: Literal["exact", "compat"] = GSLRMConfig.precision
    """"compat" makes the model round rays and heads to half precision where FaceLift's own code does."""


def import_weights(config: ImportWeightsConfig) -> FaceLiftWeights:
    """Read, check and write; the folder appears whole or not at all.

    Raises:
        InputError: the file cannot be used, or the folder already holds something.
    """
    if config.out.exists() and (config.out.is_file() or any(config.out.iterdir())):
        raise InputError(f"{config.out}: already holds something; choose another --out")
    weights = read_facelift_weights(config.file, config.image_size)
    model = dataclasses.replace(weights.config, precision=config.precision)
    config.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=config.out.absolute().parent, prefix=f".{config.out.name}."))
    try:
        fresh = staging / "new"
        write_checkpoint(
            fresh,
            kind="gslrm",
            weights=weights.model,
            config={"model": to_plain(model), "imported": {"file": config.file.name, "step": weights.step}},
            metrics={},
        )
        if weights.vgg:
            save_file({name: tensor.contiguous() for name, tensor in weights.vgg.items()}, fresh / VGG_FILE)
        fresh.rename(config.out)
    finally:
        shutil.rmtree(staging)
    return weights


def main(argv: Sequence[str] | None = None) -> int:
    """The verb `import-weights`."""
    config = parse(
        ImportWeightsConfig,
        argv,
        prog="mouse-facelift import-weights",
        description="Make a checkpoint of FaceLift's published GS-LRM weights (non-commercial research licence).",
    )
    weights = import_weights(config)
    model, count = weights.config, sum(tensor.numel() for tensor in weights.model.values())
    print(
        f"took {len(weights.model)} tensors, {count:,} parameters: {model.layers} layers of width {model.width}, "
        f"patches of {model.patch_size} px, {model.free_gaussians} free Gaussians; trained for {weights.step} steps"
    )
    if weights.vgg:
        print(f"kept {len(weights.vgg)} tensors of VGG-19 for the perceptual loss: {config.out / VGG_FILE}")
    else:
        print("the file has no VGG-19: the perceptual loss needs its weights from elsewhere")
    if weights.dropped:
        print(f"dropped: {', '.join(f'{name} ({n})' for name, n in sorted(weights.dropped.items()))}")
    print(f"wrote {config.out}")
    preset = "facelift-256" if config.image_size == 256 else "facelift-512"
    print(f"next: mouse-facelift train gslrm --preset {preset} --init-from {config.out} --data DATASET --out RUN")
    return 0


if __name__ == "__main__":
    run_verb(main)
