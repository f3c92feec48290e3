from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from mouse_facelift.checkpoints import write_checkpoint
from mouse_facelift.config import to_plain
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.comparison import ROW_SCHEMA
from mouse_facelift.gaussians.refining import RefineConfig
from mouse_facelift.gslrm.config import GSLRMConfig
from mouse_facelift.gslrm.model import GSLRM
from mouse_facelift.samples.dataset import open_dataset
from pipelines.evaluate import evaluate, main
from pipelines.evaluate_settings import EvaluateConfig
from pipelines.evaluate_work import contestants, find_samples, rows_file, scoring_size
from tests.synthetic import blob, ring_sample, write_dataset


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two recordings and an untrained model."""
    folder = tmp_path_factory.mktemp("evaluate")
    samples = [ring_sample(blob(number), number) for number in range(5)]
    samples[4] = replace(samples[4], capture="other")
    write_dataset(folder / "data", {"train": samples[:1], "val": samples[1:]})
    torch.manual_seed(0)
    config = GSLRMConfig(image_size=32, width=32, head_width=32, layers=1)
    written = {"model": to_plain(config)}
    write_checkpoint(
        folder / "run/checkpoint", kind="gslrm", weights=GSLRM(config).state_dict(), config=written, metrics={}
    )
    write_checkpoint(folder / "diffusion/checkpoint", kind="mvdiffusion", weights={}, config={}, metrics={})
    return folder


def settings(workplace: Path, out: Path) -> EvaluateConfig:
    return EvaluateConfig(
        data=str(workplace / "data"), out=str(out), runs=(workplace / "run",), max_samples=2,
        rivals=("blank", "nearest", "hull", "refine"), hold_out=("rotate",), refine=RefineConfig(steps=2), workers=0,
    )  # fmt: skip


def test_runs_and_rivals_end_up_in_table_numbers_and_page(workplace: Path, tmp_path: Path) -> None:
    config = replace(
        settings(workplace, tmp_path / "out"), hold_out=("each",), inputs=(2, 3), refine_runs=True, max_samples=1
    )
    comparison = evaluate(config)
    ways = ("run", "run + refine", "blank", "nearest", "hull", "refine")
    assert comparison.ways == ways
    table = pq.read_table(tmp_path / "out/metrics.parquet")
    assert table.schema.equals(ROW_SCHEMA) and table.num_rows == len(ways) * 1 * 4 * 2
    record = json.loads((tmp_path / "out/metrics.json").read_text())
    assert set(record["mean"]) == set(ways) and set(record["by_inputs"]) == {"2", "3"}
    assert len(record["by_camera"]) == 4 and record["samples"] == 1
    assert record["mean"]["blank"]["mask_iou"]["mean"] == 0.0 < record["mean"]["hull"]["mask_iou"]["mean"]
    page = (tmp_path / "out/report.html").read_text()
    for words in ("Targets", "FAIL", "Worst view", "run + refine", "Per number of inputs", "steps: 2"):
        assert words in page


def test_only_what_is_missing_is_done_again(workplace: Path, tmp_path: Path) -> None:
    config = replace(settings(workplace, tmp_path), runs=(), rivals=("blank", "nearest"))
    first = evaluate(config)
    jobs = find_samples(config, open_dataset(config.data))
    files = {way: [tmp_path / rows_file(way, job.sample_id) for job in jobs] for way in ("blank", "nearest", "hull")}
    for file in (*files["blank"], *files["nearest"]):
        os.utime(file, (1, 1))
    files["nearest"][1].unlink()
    again = evaluate(replace(config, rivals=("blank", "nearest", "hull")))
    done = [[file.stat().st_mtime > 1 for file in files[way]] for way in ("blank", "nearest", "hull")]
    assert done == [[False, False], [False, True], [True, True]]
    timeless = [[{k: v for k, v in row.items() if k != "seconds"} for row in c.rows] for c in (first, again)]
    assert timeless[1][: len(timeless[0])] == timeless[0]
    evaluate(replace(config, inputs=(2,)))
    assert all(file.stat().st_mtime > 1 for file in files["blank"])


def test_actors_find_the_same_numbers(workplace: Path, tmp_path: Path, ray_session: None) -> None:
    config = settings(workplace, tmp_path / "here")
    here, there = (evaluate(c) for c in (config, replace(config, out=str(tmp_path / "ray"), workers=1)))
    for a, b in zip(here.rows, there.rows, strict=True):
        assert {k: v for k, v in a.items() if not isinstance(v, float)} == {
            k: v for k, v in b.items() if not isinstance(v, float)
        }
        measured = [k for k, v in a.items() if isinstance(v, float) and k != "seconds"]
        assert "psnr" in measured and [a[k] for k in measured] == pytest.approx([b[k] for k in measured], abs=1e-3)


def test_a_recording_can_be_chosen_as_the_held_out_animal(workplace: Path, tmp_path: Path) -> None:
    config = replace(settings(workplace, tmp_path), capture=("other",))
    dataset = open_dataset(config.data)
    assert [job.sample_id for job in find_samples(config, dataset)] == ["ring-000004"]
    everything = find_samples(replace(config, capture=(), split="all", max_samples=None), dataset)
    assert [job.shard.partition("/")[0] for job in everything] == ["split=train"] + ["split=val"] * 4
    with pytest.raises(InputError, match="holds no samples of nobody"):
        find_samples(replace(config, capture=("nobody",)), dataset)


def test_runs_that_cannot_be_compared_are_refused_in_one_line(workplace: Path, tmp_path: Path) -> None:
    config = settings(workplace, tmp_path)
    with pytest.raises(InputError, match=r"diffusion: is a run of mvdiffusion.*give GS-LRM's"):
        contestants(replace(config, runs=(workplace / "diffusion",)))
    with pytest.raises(InputError, match="one name"):
        contestants(replace(config, runs=(workplace / "run", workplace / "run")))
    with pytest.raises(InputError, match="no such checkpoint"):
        contestants(replace(config, runs=(workplace / "nothing",)))
    with pytest.raises(InputError, match="image-size 64"):
        evaluate(replace(config, image_size=64))
    with pytest.raises(InputError, match="no such camera"):
        evaluate(replace(config, hold_out=("17",)))
    assert not (tmp_path / "rows").exists()


def test_scored_is_at_the_largest_size_that_a_run_knows(workplace: Path, tmp_path: Path) -> None:
    small = GSLRMConfig(image_size=16, width=32, head_width=32, layers=1)
    weights, written = GSLRM(small).state_dict(), {"model": to_plain(small)}
    write_checkpoint(tmp_path / "small/checkpoint", kind="gslrm", weights=weights, config=written, metrics={})
    config = replace(settings(workplace, tmp_path / "out"), runs=(tmp_path / "small", workplace / "run"))
    sample = ring_sample(blob())
    assert scoring_size(config, sample, contestants(config)) == 32
    alone = replace(config, runs=config.runs[:1])
    assert scoring_size(alone, sample, contestants(alone)) == 16
    assert scoring_size(replace(alone, image_size=32), sample, contestants(alone)) == 32
    assert scoring_size(replace(config, runs=()), sample, []) == 32
    with pytest.raises(InputError, match="--image-size 16: run was trained on 32 px"):
        scoring_size(replace(config, image_size=16), sample, contestants(config))
    with pytest.raises(InputError, match="cannot be averaged down to 24 px"):
        scoring_size(replace(alone, image_size=24), sample, contestants(alone))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"runs": (), "rivals": ()}, "nothing to compare"),
        ({"hold_out": ("none",)}, "nothing can be judged"),
        ({"hold_out": ("each", "0")}, "more than each"),
        ({"inputs": (0,)}, "inputs 0"),
        ({"workers": -1}, "workers -1"),
    ],
)
def test_impossible_settings_are_refused(workplace: Path, tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(settings(workplace, tmp_path), **change)


def test_the_verb_prints_the_targets_and_where_things_are(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(workplace / "data"), "--out", str(tmp_path / "out"), "--max-samples", "1"]
    assert main([*arguments, "--rivals", "blank", "nearest", "--hold-out", "rotate", "--workers", "0"]) == 0
    printed = capsys.readouterr().out
    assert "foreground PSNR > 25" in printed and "FAIL" in printed and "next: open" in printed
