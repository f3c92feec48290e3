"""Multi-view diffusion as the loop sees it: what it draws, refuses, and how it is judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mouse_facelift.cameras.poses import FACELIFT_SLOTS, turntable
from mouse_facelift.checkpoints import read_state
from mouse_facelift.cli import main as cli
from mouse_facelift.config import from_plain, parse, to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.pipeline import save_pipeline
from mouse_facelift.mvdiffusion.sampling import SamplingConfig, sample, seeded
from mouse_facelift.mvdiffusion.scoring import SCORES
from mouse_facelift.mvdiffusion.source import PipelineSource, load_mvdiffusion
from mouse_facelift.mvdiffusion.unet import REFERENCE_AND_TARGET, build_unet
from mouse_facelift.mvdiffusion.views import ViewsConfig
from mouse_facelift.samples.schema import Sample, row_from_sample
from pipelines.encode import EncodeConfig, encode
from tests.mouse_facelift.mvdiffusion.conftest import TINY, tiny_pipeline
from tests.synthetic import blob, ring_sample, write_dataset
from tests.training.tiny import ListReporter
from training.data import memory_batches
from training.loop import step_seed, train
from training.metrics_log import read_metrics_log
from training.mvdiffusion import PRESETS, MVDiffusionTrainingConfig, prepare_training, train_mvdiffusion
from training.mvdiffusion_task import MVDiffusionTask
from training.task import Moment, Task, World

SAMPLES = [ring_sample(blob(seed), seed, views=6, size=32) for seed in range(6)]
SLOT_VIEWS = ViewsConfig(image_size=16, background="white", references=("turntable_000", "turntable_003"))
DEBUG = replace(PRESETS["debug"], data="unused", out=Path("unused"), views=SLOT_VIEWS, wandb="disabled", device="cpu")
TASK = MVDiffusionTask(DEBUG)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [row_from_sample(sample) for sample in SAMPLES]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), {"train": SAMPLES[:4], "val": SAMPLES[4:]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline folder with every component FaceLift's has, tiny."""
    made = tmp_path_factory.mktemp("pipeline") / "pipeckpts"
    save_pipeline(tiny_pipeline(), made)
    (made / "prompt_embeddings.safetensors").unlink()
    return made


def _moment(task: MVDiffusionTask, seed: int = 0) -> Moment:
    return Moment(0, torch.Generator().manual_seed(seed), task.companions(torch.device("cpu")))


def _latents(folder: Path, **changes: Any) -> MVDiffusionTrainingConfig:
    """A run over the tiny folder's latents."""
    return replace(DEBUG, **{"model": PipelineSource(folder=folder), **changes})


def test_presets_are_complete_but_for_the_paths() -> None:
    assert set(PRESETS) == {"demo", "small", "debug", "facelift-512", "mouse-512", "mouse-512-rays", "lowmem"}
    for name, preset in PRESETS.items():
        words = ["--preset", name, "--data", "d", "--out", "o"]
        given = parse(MVDiffusionTrainingConfig, words, prog="p", description="", presets=PRESETS)
        assert given == replace(preset, data=given.data, out=given.out)
        assert from_plain(MVDiffusionTrainingConfig, to_plain(given)) == given


def test_every_sample_gets_one_of_its_references_first(rows: list[dict[str, Any]]) -> None:
    batch = TASK.collate(rows[:2])
    assert batch["images"].dtype == torch.uint8 and batch["images"].shape == (2, 6, 16, 16, 4)
    # Azimuths rise by 60 degrees: the slots 0, -45, -90, 180, 90, 45 take 0, 5, 4, 3, 2, 1 from camera 0.
    assert batch["orders"].tolist() == [[[0, 5, 4, 3, 2, 1], [3, 2, 1, 0, 5, 4]]] * 2
    assert batch["references"].tolist() == [2, 2]
    frozen = TASK.companions(torch.device("cpu"))
    torch.manual_seed(0)
    pipeline = frozen.around(TASK.build_model())
    seen = set()
    for seed in range(12):
        encoded = TASK._encoded(pipeline, batch, torch.Generator().manual_seed(seed))
        first = [int(torch.isclose(encoded.reference[0], row, atol=1e-5).all()) for row in _white(batch)[0, [0, 3]]]
        seen.add(tuple(first))
    assert seen == {(1, 0), (0, 1)}, "both references are drawn, and nothing else"


def _white(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    rgba = batch["images"].float().movedim(-1, -3) / 255
    return (rgba[:, :, :3] * rgba[:, :, 3:] + 1 - rgba[:, :, 3:]) * 2 - 1


def test_one_background_is_drawn_for_all_views_of_a_sample(rows: list[dict[str, Any]]) -> None:
    task = MVDiffusionTask(replace(DEBUG, views=replace(SLOT_VIEWS, background="three_choices")))
    pipeline = task.companions(torch.device("cpu")).around(task.build_model())
    batch = task.collate(rows[:2] * 8)
    corners = task._encoded(pipeline, batch, torch.Generator().manual_seed(3)).targets[..., 0, 0]
    assert (corners == corners[:, :1, :1]).all()
    assert set(corners[:, 0, 0].tolist()) == {-1.0, 0.0, 1.0}


def test_loss_reaches_every_parameter(rows: list[dict[str, Any]], folder: Path) -> None:
    for config in (DEBUG, _latents(folder), replace(_latents(folder), model=PipelineSource(folder, cameras="rays"))):
        task = MVDiffusionTask(replace(config, losses=replace(config.losses, condition_drop_rate=0.0)))
        torch.manual_seed(0)
        model = task.build_model()
        loss, scalars = task.loss(model, task.collate(rows[:2]), _moment(task))
        loss.backward()
        assert torch.isfinite(loss) and scalars["loss"] == loss.detach()
        # DDP waits for the gradient of every parameter.
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_checkpointing_changes_memory_and_nothing_else(rows: list[dict[str, Any]]) -> None:
    found = []
    for checkpointing in (False, True):
        task = MVDiffusionTask(replace(DEBUG, gradient_checkpointing=checkpointing))
        torch.manual_seed(0)
        model = task.build_model()
        assert model.unet.is_gradient_checkpointing == checkpointing
        task.loss(model, task.collate(rows[:1]), _moment(task))[0].backward()
        found.append([p.grad for p in model.parameters()])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain)


def test_rays_train_on_targets_drawn_anew(rows: list[dict[str, Any]], folder: Path) -> None:
    source = PipelineSource(folder, cameras="rays", slots=REFERENCE_AND_TARGET)
    views = ViewsConfig(image_size=16, background="white", num_targets=2)
    task = MVDiffusionTask(_latents(folder, model=source, views=views))
    torch.manual_seed(0)
    model = task.build_model()
    batch = task.collate(rows[:2])
    assert batch["orders"].shape == (2, 6, 6)
    pipeline = task.companions(torch.device("cpu")).around(model)
    encoded = task._encoded(pipeline, batch, torch.Generator().manual_seed(1))
    assert encoded.targets.shape[:2] == (2, 3) and encoded.cameras is not None
    # Pictures, embeddings and cameras are of the same views.
    poses = [int((batch["w2c"][0] - pose).abs().amax(dim=(1, 2)).argmin()) for pose in encoded.cameras.w2c[0]]
    assert len(set(poses)) == 3 and poses[1] < poses[2]
    scores = task.evaluate(model.eval(), [(0, rows[0])], _moment(task).companions)[0]
    assert "psnr_foreground_view_2" in scores and "psnr_foreground_view_3" not in scores
    assert np.isnan(scores["mean_psnr_foreground"]), "targets of no fixed place have no mean"


def test_workers_draw_different_noise_and_time_steps(rows: list[dict[str, Any]]) -> None:
    """FaceLift gives every process the same generator; here a pass draws by its place in the global batch."""
    noises, steps = [], []
    for rank in range(2):
        batches = memory_batches(rows[:1], TASK.collate, batch_size=2, seed=0, rank=rank, world_size=2, start=0)
        spy = _Spy(TASK)
        train(spy, replace(DEBUG, steps=1, num_workers=2), lambda _, b=batches: b, [], _Silent(), World(rank, 2))
        noises.append(spy.asked["noisy"])
        steps.append(spy.asked["timesteps"])
    assert noises[0].shape == noises[1].shape and not torch.equal(noises[0], noises[1])
    assert not torch.equal(steps[0], steps[1])
    assert step_seed(0, 0, 0) != step_seed(0, 0, 1)


class _Silent(ListReporter):
    def __init__(self) -> None:
        super().__init__(Path("unused"))

    def checkpoint(self, metrics: Any, write: Any, last: bool) -> None:
        return


class _Spy(MVDiffusionTask):
    """Keeps what its model was asked."""

    def __init__(self, task: MVDiffusionTask) -> None:
        super().__init__(task.config)
        object.__setattr__(self, "asked", {})

    asked: dict[str, torch.Tensor]

    def build_model(self) -> Any:
        model = super().build_model()

        def keep(_: Any, inputs: tuple[Any, ...]) -> None:
            self.asked.update(noisy=inputs[0].detach().clone(), timesteps=inputs[2].clone())

        model.register_forward_pre_hook(keep)
        return model


def _run(task: Task, config: Any, rows: list[dict[str, Any]], out: Path, resume: Path | None = None) -> ListReporter:
    reporter = ListReporter(out)

    def batches(start: int) -> Iterator[Any]:
        return memory_batches(rows, task.collate, batch_size=2, seed=0, rank=0, world_size=1, start=start)

    train(task, config, batches, rows[:1], reporter, resume_from=resume)
    return reporter


def test_a_resumed_run_has_the_same_next_losses(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    config = replace(DEBUG, steps=4, log_every=1, evaluate_every=4, panels_every=4, checkpoint_every=2)
    whole = _run(MVDiffusionTask(config), config, rows[:3], tmp_path / "whole")
    resumed = _run(MVDiffusionTask(config), config, rows[:3], tmp_path / "again", tmp_path / "whole" / "step2")

    def losses(reporter: ListReporter) -> dict[int, float]:
        return {line["step"]: line["loss"] for line in reporter.lines if line["event"] == "train"}

    assert losses(resumed) == {step: loss for step, loss in losses(whole).items() if step > 2}
    assert read_state(tmp_path / "again" / "step4")["step"] == 4
    assert whole.pictures[4]["sample0"].shape[1] > 6 * 128
    loaded = load_mvdiffusion(tmp_path / "whole" / "step4")
    again = load_mvdiffusion(tmp_path / "again" / "step4")
    image = torch.rand(1, 3, 16, 16)
    first, second = (sample(p, image, seeded([1]), SamplingConfig(steps=2)) for p in (loaded, again))
    assert torch.equal(first, second)


def test_scores_stand_beside_both_baselines(rows: list[dict[str, Any]]) -> None:
    truth = TASK.true_views(rows[0])
    mean = np.full((6, 3, 16, 16), 1.0, np.float32)
    mean[2] = truth.images[2].numpy()
    task = replace(TASK, mean_views=mean)
    torch.manual_seed(0)
    scores = task.evaluate(task.build_model().eval(), [(0, rows[0])], task.companions(torch.device("cpu")))[0]
    # The reference shows itself exactly, and the planted mean its slot.
    assert scores["nearest_psnr_foreground_front"] == 100.0 and scores["nearest_mask_iou_front"] > 0.6
    assert scores["mean_psnr_foreground_right"] == pytest.approx(100.0) and scores["mean_psnr_foreground_back"] < 30
    slots = {f"{score}_{slot}{end}" for score in SCORES for slot in FACELIFT_SLOTS for end in ("", "_guidance_1")}
    assert slots <= set(scores)
    assert {"psnr_foreground", "psnr_foreground_guidance_1", "hull_iou", "hull_iou_guidance_1"} <= set(scores)
    assert 0.5 < scores["true_hull_iou"] <= 1 and scores["mask_iou"] <= 1
    assert task.verdict[0] in scores and task.verdict[1] in scores


def test_a_start_from_a_single_image_pipeline(folder: Path, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    base = shutil.copytree(folder, tmp_path / "base")
    torch.manual_seed(1)
    four = build_unet(TINY)
    weights = {name: tensor for name, tensor in four.state_dict().items()}
    weights["conv_in.weight"] = weights["conv_in.weight"][:, :4].contiguous()
    save_file(weights, base / "unet" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    config = json.loads((base / "unet" / "config.json").read_text()) | {"in_channels": 4}
    (base / "unet" / "config.json").write_text(json.dumps(config))
    for cameras, channels in (("none", 8), ("rays", 14)):
        task = MVDiffusionTask(replace(DEBUG, model=PipelineSource(base, cameras=cameras)))  # type: ignore[arg-type]
        model = task.build_model()
        assert model.unet.conv_in.in_channels == channels
        assert model.unet.conv_in.weight[:, 4:].abs().max() == 0
        loss, _ = task.loss(model, task.collate(rows[:1]), _moment(task))
        assert torch.isfinite(loss)


def test_facts_for_a_person(rows: list[dict[str, Any]], folder: Path) -> None:
    facts = TASK.describe(TASK.build_model(), TASK.collate(rows[:2]))
    assert facts["latent_size"] == "3x16x16" and facts["views"] == 6 and facts["tokens"] == 6 * 8 * 8
    task = MVDiffusionTask(_latents(folder))
    assert task.describe(task.build_model(), task.collate(rows[:1]))["latent_size"] == "4x8x8"


def test_cached_encodings_say_what_the_encoders_would(
    dataset: Path, folder: Path, tmp_path: Path, ray_session: None
) -> None:
    settings = EncodeConfig(str(dataset), folder, str(tmp_path / "kept"), image_size=16, backgrounds=("white", "grey"))
    made = encode(settings)
    assert encode(settings) == made and sum(made.shards.values()) == 6
    config = _latents(folder, data=str(dataset), out=tmp_path / "run", views=SLOT_VIEWS)
    plain, _ = prepare_training(config)
    cached, split = prepare_training(replace(config, encodings=str(tmp_path / "kept")))
    assert split is not None and split.rows == 4
    model = plain.build_model()
    rows = [row_from_sample(sample) for sample in SAMPLES[:4]]
    kept = split.spread_rows(4, cached.columns)
    losses = []
    for task, given in ((plain, rows), (cached, kept)):
        losses.append(float(task.loss(model, task.collate(given), _moment(task, 5))[0].detach()))
    # Moments are kept in half precision.
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)

    for changes, message in (
        ({"views": replace(SLOT_VIEWS, image_size=32)}, "encodings of 16 px images, the run trains on 32 px"),
        ({"views": replace(SLOT_VIEWS, background="black")}, "holds no encodings on black, only on white, grey"),
    ):
        with pytest.raises(InputError, match=message):
            prepare_training(replace(config, encodings=str(tmp_path / "kept"), **changes))
    other = shutil.copytree(folder, tmp_path / "other")
    file = other / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["encoder.conv_in.bias"] += 0.1
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="made by encoders [0-9a-f]{12}, the run's are"):
        replace(cached, config=replace(cached.config, model=PipelineSource(other))).companions(torch.device("cpu"))


def _verb(capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path, *words: str) -> str:
    """The one line that the verb refuses with."""
    given = ["--preset", "debug", "--data", str(dataset), "--out", str(tmp_path / "run"), *words]
    status = cli(["train", "mvdiffusion", *given])
    lines = capsys.readouterr().err.strip().splitlines()
    assert status == 1 and len(lines) == 1 and lines[0].startswith("error: "), lines
    assert not (tmp_path / "run").exists()
    return lines[0]


def test_a_pipeline_that_does_not_fit_is_one_clear_line(
    dataset: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(torch.randn(6, 77, 768), tmp_path / "clr_embeds.pt")
    narrow = ("--model.folder", str(folder), "--model.prompt-embeddings", str(tmp_path / "clr_embeds.pt"))
    assert "shape [6, 77, 768], but the model attends to tokens of width 24" in _verb(
        capsys, dataset, tmp_path, *narrow
    )
    broken = shutil.copytree(folder, tmp_path / "broken")
    shutil.rmtree(broken / "image_normalizer")
    assert "component 'image_normalizer' is named in model_index.json but its folder is missing" in _verb(
        capsys, dataset, tmp_path, "--model.folder", str(broken)
    )
    line = _verb(capsys, dataset, tmp_path, "--preset", "mouse-512")
    assert "start from a pipeline folder such as FaceLift's pipeckpts (--model.folder)" in line


def _reshot(sample_: Sample, views: list[int], azimuths: list[float] | None = None) -> Sample:
    cameras = [sample_.cameras[i] for i in views]
    if azimuths is not None:
        placed = [turntable(1, 32, elevation_degrees=10.0, hfov_degrees=35.0, start_degrees=270 + a) for a in azimuths]
        cameras = [replace(p[0], name=c.name) for p, c in zip(placed, cameras, strict=True)]
    measured = {name: value[views] for name, value in vars(sample_.agreement).items() if isinstance(value, np.ndarray)}
    agreement = replace(sample_.agreement, **measured)
    return replace(sample_, images=sample_.images[views], cameras=tuple(cameras), agreement=agreement)


def test_a_dataset_that_does_not_fit_is_one_clear_line(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def dataset(name: str, samples: list[Sample]) -> Path:
        return write_dataset(tmp_path / name, {"train": samples, "val": samples[:1]})

    few = dataset("few", [_reshot(s, [0, 1, 2, 3, 4]) for s in SAMPLES[:2]])
    line = _verb(capsys, few, tmp_path)
    assert "5 cameras for 6 slots" in line and "would stay empty" in line
    assert "serves any number of views" in line
    crowded = dataset("crowded", [_reshot(s, [0, 1, 2, 3, 4, 5], [0, 10, 20, 30, 40, 50]) for s in SAMPLES[:2]])
    line = _verb(capsys, crowded, tmp_path)
    assert "degrees from slot" in line and "use camera conditioning (rays)" in line
    line = _verb(capsys, dataset("whole", SAMPLES[:2]), tmp_path, "--views.references", "9")
    assert "there is no camera 9 to be the reference" in line
    line = _verb(capsys, dataset("small", SAMPLES[:2]), tmp_path, "--views.image-size", "64")
    assert "an image of 32x32 px, the run trains on 64x64" in line
    line = _verb(capsys, dataset("odd", SAMPLES[:2]), tmp_path, "--views.image-size", "24")
    assert "cannot be averaged down to 24 px" in line
    mixed = [SAMPLES[0], ring_sample(blob(9), 9, views=6, size=24)]
    line = _verb(capsys, dataset("mixed", mixed), tmp_path)
    assert "sample ring-000009, camera turntable_000 has images of 24 px" in line


def test_mixed_resolutions_are_refused_by_sample(rows: list[dict[str, Any]]) -> None:
    mixed = [rows[0], row_from_sample(ring_sample(blob(9), 9, views=6, size=24))]
    with pytest.raises(InputError, match="sample ring-000009, camera turntable_000 has images of 24 px"):
        TASK.collate(mixed)
    # Twice the size is the same picture, averaged.
    larger = row_from_sample(ring_sample(blob(0), 0, views=6, size=64))
    batch = TASK.collate([rows[0], larger])
    torch.testing.assert_close(batch["fxfycxcy"][0], batch["fxfycxcy"][1])


@pytest.mark.slow
def test_a_run_on_two_workers_leaves_a_pipeline(dataset: Path, tmp_path: Path, ray_session: None) -> None:
    config = replace(
        DEBUG,
        data=str(dataset),
        out=tmp_path / "run",
        views=replace(SLOT_VIEWS, references=()),
        steps=4,
        num_workers=2,
        log_every=1,
        evaluate_every=4,
        panels_every=4,
        checkpoint_every=2,
    )
    result = train_mvdiffusion(config)
    log = read_metrics_log(config.out / "metrics.jsonl", "train")
    assert [entry["step"] for entry in log] == [1, 2, 3, 4]
    assert result.metrics["psnr_foreground"] > 0 and result.metrics["mean_psnr_foreground"] > 0
    start = read_metrics_log(config.out / "metrics.jsonl", "start")[0]
    assert start["workers"] == 2 and start["encoders"] == "in every step"
    # On a ring every camera sees the same arrangement.
    assert len(start["references"].split(", ")) == 6
    image = torch.rand(1, 3, 16, 16)
    exported, checkpoint = load_mvdiffusion(config.out), load_mvdiffusion(config.out / "checkpoint")
    first, second = (sample(p, image, seeded([1]), SamplingConfig(steps=2)) for p in (exported, checkpoint))
    assert torch.equal(first, second)
    with pytest.raises(InputError, match="already holds a training run"):
        train_mvdiffusion(config)
