"""`mouse-facelift export-weights`: a GS-LRM checkpoint in, a file that FaceLift's own code loads out.

python -m pipelines.export_weights --checkpoint RUN --out ckpt_mouse.pt
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mouse_facelift.checkpoints import find_checkpoint, load_gslrm
from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse
from mouse_facelift.errors import InputError
from mouse_facelift.gslrm.facelift_weights import VGG_FILE, write_facelift_weights
from mouse_facelift.perceptual.weights import vgg19_tensors


@dataclass(frozen=True)
class ExportWeightsConfig:
    """Settings of `export-weights`."""

    checkpoint: Path
    """A training run's folder, or a checkpoint folder."""
    out: Path
    """The .pt file to write."""
    vgg: Path | None = None
    """VGG-19 to put in: vgg19.safetensors of an imported checkpoint, or a .pt of FaceLift's; by default the one
    beside the weights, if any."""


def export_weights(config: ExportWeightsConfig) -> tuple[int, bool]:
    """Write the file.

    Returns:
        The number of the model's tensors, and whether VGG-19 went in.

    Raises:
        InputError: no GS-LRM checkpoint, one that FaceLift's code cannot run, or a file that is there already.
    """
    if config.out.exists():
        raise InputError(f"{config.out}: already exists; choose another --out")
    model = load_gslrm(config.checkpoint)
    beside = find_checkpoint(config.checkpoint) / VGG_FILE
    vgg_file = config.vgg or (beside if beside.is_file() else None)
    vgg = vgg19_tensors(vgg_file) if vgg_file else None
    state = model.state_dict()
    write_facelift_weights(config.out, model.config, state, vgg)
    return len(state), vgg is not None


def main(argv: Sequence[str] | None = None) -> int:
    """The verb `export-weights`."""
    config = parse(
        ExportWeightsConfig,
        argv,
        prog="mouse-facelift export-weights",
        description="Write a GS-LRM checkpoint as the .pt file of FaceLift's trainer, its counters at 0.",
    )
    tensors, has_vgg = export_weights(config)
    print(f"wrote {config.out}: {tensors} tensors{' and VGG-19' if has_vgg else ''}")
    if not has_vgg:
        print("without VGG-19 FaceLift loads it only with its perceptual weight set to 0; --vgg FILE puts it in")
    print(f"next: give it to FaceLift's own code, or mouse-facelift import-weights --file {config.out} --out DIR")
    return 0


if __name__ == "__main__":
    run_verb(main)
