"""`mouse-facelift train gslrm`: learn to turn a few views of a mouse into 3-D Gaussians.

python -m training.gslrm --data DATASET --out RUN --preset demo
"""

from __future__ import annotations

from collections.abc import Sequence

from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse
from training.gslrm_memory import with_profile
from training.gslrm_settings import PRESETS, GSLRMTrainingConfig
from training.gslrm_task import GSLRMTask
from training.launch import TrainingResult, launch
from training.metrics_log import METRICS_FILE, read_metrics_log
from training.overfit import overfit_verdict
from training.report import REPORT_FILE

__all__ = ["PRESETS", "GSLRMTask", "GSLRMTrainingConfig", "main", "train_gslrm"]

VERB = "train gslrm"


def train_gslrm(config: GSLRMTrainingConfig) -> TrainingResult:
    """Train, evaluate and export a GS-LRM; the model is then in `config.out/checkpoint`.

    Raises:
        InputError: see `training.launch.launch`.
    """
    config = with_profile(config)
    return launch(GSLRMTask(config), config, VERB)


def main(argv: Sequence[str] | None = None) -> int:
    config = parse(
        GSLRMTrainingConfig,
        argv,
        prog=f"mouse-facelift {VERB}",
        description="Train GS-LRM on a dataset of multi-view samples.",
        presets=PRESETS,
    )
    result = train_gslrm(config)
    for name in ("psnr_foreground", "ssim_foreground", "mask_iou"):
        rivals = {"model": "", "blank image": "blank_", "nearest input view": "nearest_"}
        row = (f"{rival} {result.metrics[prefix + name]:.3f}" for rival, prefix in rivals.items())
        print(f"held out, {name.replace('_', ' ')}: {', '.join(row)}")
    print(
        f"wrote {result.checkpoint} and {config.out / REPORT_FILE} after {result.steps} steps, {result.seconds:.0f} s"
    )
    if config.overfit:
        verdict = overfit_verdict(config, GSLRMTask.verdict, read_metrics_log(config.out / METRICS_FILE))
        print(f"overfitting test: {verdict.line()}")
        return 0 if verdict.passed else 1
    print(f"next: mouse-facelift reconstruct --checkpoint {config.out} --data {config.data} --out DIR")
    return 0


if __name__ == "__main__":
    run_verb(main)
