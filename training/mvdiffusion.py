"""`mouse-facelift train mvdiffusion`: learn to turn one image of a mouse into all its views.

python -m training.mvdiffusion --data DATASET --out RUN --preset small
python -m training.mvdiffusion --data DATASET --out RUN --preset mouse-512 --model.folder pipeckpts
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mouse_facelift.checkpoints import RUN_CHECKPOINT
from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.encodings import Encodings, open_encodings
from mouse_facelift.mvdiffusion.pipeline import save_pipeline
from mouse_facelift.mvdiffusion.scoring import SCORES
from mouse_facelift.mvdiffusion.source import RUN_PIPELINE, PipelineSource, load_mvdiffusion
from mouse_facelift.mvdiffusion.views import choose_references
from mouse_facelift.samples.dataset import open_dataset
from training.dataset import Split
from training.launch import TrainingResult, launch
from training.metrics_log import METRICS_FILE, read_metrics_log
from training.mvdiffusion_settings import PRESETS, MVDiffusionTrainingConfig
from training.mvdiffusion_task import MeanViews, MVDiffusionTask
from training.overfit import overfit_verdict
from training.report import REPORT_FILE

__all__ = ["PRESETS", "MVDiffusionTask", "MVDiffusionTrainingConfig", "main", "train_mvdiffusion"]

VERB = "train mvdiffusion"

_RIG_ROWS = 64
"""Samples that the rig is judged by."""
_MEAN_ROWS = 64
"""Samples that the mean training image is of."""


def train_mvdiffusion(config: MVDiffusionTrainingConfig) -> TrainingResult:
    """Train, evaluate and export: the model is then in `config.out/checkpoint`, the pipeline in `config.out/pipeline`.

    Raises:
        InputError: cameras that do not fit the slots, encodings of something else, a pipeline folder that is
            incomplete; see `training.launch.launch` for what every training refuses.
    """
    task, learned_from = prepare_training(config)
    result = launch(task, task.config, VERB, learned_from)
    export_pipeline(task.config.out)
    return result


def prepare_training(config: MVDiffusionTrainingConfig) -> tuple[MVDiffusionTask, Split | None]:
    """Everything that is decided before Ray is involved: whole paths, references, encodings, the mean image.

    Returns:
        The task, and where its training samples are when not in the dataset.

    Raises:
        InputError: as for `train_mvdiffusion`.
    """
    config = replace(config, model=_checked_source(config.model), out=config.out.absolute())
    split = Split.find(config.data, "train")
    rows = split.spread_rows(_RIG_ROWS, ("sample_id", "camera", "w2c", "fxfycxcy"))
    references = choose_references(rows, config.views, config.rule())
    config = replace(config, views=replace(config.views, references=references))
    task = MVDiffusionTask(config)
    # One look at a picture before anything is averaged or encoded.
    task.check_sample(split.first_row())
    if config.views.image_size % config.model.cell:
        raise InputError(
            f"training: images of {config.views.image_size} px are not a multiple of the VAE's {config.model.cell} px; "
            "give another --views.image-size"
        )
    task = replace(task, mean_views=mean_views(task, split))
    if config.encodings is None:
        return task, None
    encodings = open_encodings(config.encodings)
    encodings.check(
        open_dataset(config.data).manifest["fingerprint"], config.views.image_size, config.views.backgrounds
    )
    return replace(task, encodings=encodings), encoded_split(encodings)


def encoded_split(encodings: Encodings) -> Split:
    """The training samples of a folder of encodings.

    Raises:
        InputError: it has none.
    """
    shards = {name: rows for name, rows in encodings.shards.items() if name.startswith("split=train/")}
    if not shards:
        raise InputError(f"{encodings.store.uri}: holds no encodings of split=train; encode the dataset anew")
    return Split.of(encodings.store, shards, "train")


def mean_views(task: MVDiffusionTask, split: Split) -> MeanViews | None:
    """The mean training image of every view, as held-out samples are shown; None where a view has no place of its own.

    Views of a slot look alike and so does their mean; "some target" has no mean worth comparing with.
    """
    if task.config.rule().free:
        return None
    total = np.zeros(())
    rows = split.spread_rows(_MEAN_ROWS, task.columns)
    for row in rows:
        total = total + task.true_views(row).images.numpy().astype(np.float64)
    return (total / len(rows)).astype(np.float32)


def export_pipeline(run: Path) -> Path:
    """Write a finished run's pipeline folder, which needs nothing of what the run was started from."""
    target = run / RUN_PIPELINE
    staging = Path(tempfile.mkdtemp(dir=run, prefix=f".{RUN_PIPELINE}."))
    try:
        save_pipeline(load_mvdiffusion(run / RUN_CHECKPOINT), staging / "new")
        if target.exists():
            target.rename(staging / "old")
        (staging / "new").rename(target)
    finally:
        shutil.rmtree(staging)
    return target


def _checked_source(source: PipelineSource) -> PipelineSource:
    """The model's source with whole paths, as Ray changes the workers' current folder; refused before work starts."""
    if source.folder is not None:
        prompts = None if source.prompt_embeddings is None else source.prompt_embeddings.absolute()
        source = replace(source, folder=source.folder.absolute(), prompt_embeddings=prompts)
    # What is missing or does not fit is said now, not by a worker; weights are for the workers to read.
    source.check()
    return source


def main(argv: Sequence[str] | None = None) -> int:
    config = parse(
        MVDiffusionTrainingConfig,
        argv,
        prog=f"mouse-facelift {VERB}",
        description="Train multi-view diffusion, one image to all views, on a dataset of multi-view samples.",
        presets=PRESETS,
    )
    result = train_mvdiffusion(config)
    print("\n".join(score_lines(result.metrics)))
    print(
        f"wrote {result.checkpoint}, {config.out / RUN_PIPELINE} and {config.out / REPORT_FILE} after {result.steps} "
        f"steps, {result.seconds:.0f} s"
    )
    if config.overfit:
        verdict = overfit_verdict(config, MVDiffusionTask.verdict, read_metrics_log(config.out / METRICS_FILE))
        print(f"overfitting test: {verdict.line()}")
        return 0 if verdict.passed else 1
    print(f"next: look at the generated views in {config.out / REPORT_FILE}")
    return 0


def score_lines(metrics: dict[str, float]) -> list[str]:
    """Held-out scores per view, the model beside both baselines; the first line is the mean over invented views."""
    stem = SCORES[0]
    names = [name.removeprefix(stem) for name in metrics if name.startswith(stem) and "_guidance_" not in name]
    lines = []
    for view in names:
        cells = []
        for score in SCORES:
            rivals = " / ".join(f"{metrics[prefix + score + view]:.2f}" for prefix in ("nearest_", "mean_"))
            cells.append(f"{score.replace('_', ' ')} {metrics[score + view]:.2f} ({rivals})")
        lines.append(f"held out, {view.removeprefix('_').replace('_', ' ') or 'invented views'}: {', '.join(cells)}")
    lines.append("  in brackets: the reference image itself / the mean training image")
    lines.append(f"hull IoU of the silhouettes: {metrics['hull_iou']:.3f} (true views {metrics['true_hull_iou']:.3f})")
    return lines


if __name__ == "__main__":
    run_verb(main)
