"""A search from its command to its results: killed twice on the way, with trials that cannot work among the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mouse_facelift.config import read_yaml
from mouse_facelift.errors import InputError
from mouse_facelift.evaluation.trials import Search
from tests.benchmarks.stopwatch import descendants
from tests.synthetic import blob, ring_sample, write_dataset
from training.gslrm import main as train_gslrm
from tune.app import main
from tune.journal import JOURNAL_FILE

DIVERGES = 1e38
# The default has a rate of 1e-3 and an alpha of 1: these are four further trials, two of which cannot work.
SPACE = f"kind: gslrm\nsearch: grid\naxes:\n  losses.alpha: {{options: [0.5, {DIVERGES}]}}\n"
SPACE += "  optimiser.lr: {options: [2.0e-3, 3.0e-3]}\n"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [ring_sample(blob(i), i, views=4) for i in range(4)]
    return write_dataset(tmp_path_factory.mktemp("dataset"), {"train": samples[:2], "val": samples[2:]})


def arguments(dataset: Path, out: Path, space: Path, *more: str) -> list[str]:
    given = ["--data", dataset, "--out", out, "--space", space, "--preset", "debug", "--final-seeds", "2"]
    return [*map(str, given), "--scheduler", "none", "--device", "cpu", "--max-samples", "60", *more]


def journal(out: Path) -> list[dict[str, Any]]:
    file = out / JOURNAL_FILE
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def ends(out: Path) -> int:
    return sum(entry["event"] == "ended" for entry in journal(out))


def killed_after(command: list[str], out: Path, count: int, ray_address: str) -> None:
    """Start the command, and kill -9 its process as soon as so many trials have ended."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_ADDRESS": ray_address}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    patience = time.monotonic() + 300
    while ends(out) < count:
        assert process.poll() is None and time.monotonic() < patience, f"{process.poll()}: {ends(out)} trials ended"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_killed_twice_a_search_ends_with_every_trial_once_and_its_best_is_replayed(
    dataset: Path, tmp_path: Path, ray_address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, space = tmp_path / "search", tmp_path / "space.yaml"
    space.write_text(SPACE)
    given = arguments(dataset, out, space, "--side-by-side", "2")
    command = [sys.executable, "-m", "tune.app", *given]
    for count in (1, 3):
        killed_after(command, out, count, ray_address)
    before = ends(out)
    assert main(given) == 0

    events = journal(out)
    suggested = [entry["trial_id"] for entry in events if entry["event"] == "suggested"]
    ended = Counter(entry["trial_id"] for entry in events if entry["event"] == "ended")
    finals = [item["trial_id"] for entry in events if entry["event"] == "finals" for item in entry["trials"]]
    assert before >= 3 and sum(entry["event"] == "session" for entry in events) == 3
    assert suggested == [f"t{number:03d}" for number in range(5)], "none suggested twice, none lost"
    assert ended == Counter([*suggested, *finals]), "each ended once"
    points = [(e["trial_id"], e["report"]["samples_seen"]) for e in events if e["event"] == "point"]
    assert len(points) == len(set(points)), "no point is counted twice"

    search = Search.read(out)
    tried = {(t.overrides.get("losses.alpha"), t.overrides.get("optimiser.lr")) for t in search.trials[:5]}
    assert tried == {(None, None), *((alpha, lr) for alpha in (0.5, DIVERGES) for lr in (2e-3, 3e-3))}
    for trial in search.trials:
        diverged = trial.overrides.get("losses.alpha") == DIVERGES
        assert trial.status == ("failed" if diverged else "completed"), trial
        assert ("diverged" in trial.reason) == diverged and "\n" not in trial.reason
    assert {one.is_default for one in search.finalists} == {True, False}
    assert all(len(one.seeds) == 2 for one in search.finalists)
    page = (out / "report.html").read_text()
    assert "The finalists on the same frames" in page and "What failed, and why" in page
    assert "default" in capsys.readouterr().out

    replay = tmp_path / "replay"
    assert train_gslrm(["--config", str(out / "best.yaml"), "--out", str(replay)]) == 0
    best = next(one for one in search.finalists if one.repeats == search.best_trial)
    kept = out / search.trial(best.trials[0]).checkpoint / "model.safetensors"
    assert (replay / "checkpoint/model.safetensors").read_bytes() == kept.read_bytes()
    assert read_yaml(out / "best.yaml")["seed"] == best.seeds[0]


@pytest.mark.slow
def test_a_trial_whose_process_is_lost_for_good_is_a_reason_and_the_others_go_on(
    dataset: Path, tmp_path: Path, ray_session: None
) -> None:
    out, space = tmp_path / "search", tmp_path / "space.yaml"
    space.write_text("kind: gslrm\nsearch: grid\naxes: {losses.alpha: {options: [0.5, 2.0]}}\n")
    log = out / "trials/t001/metrics.jsonl"

    def strike() -> None:
        patience = time.monotonic() + 300
        while time.monotonic() < patience and not log.exists():
            time.sleep(0.02)
        # The trials of a search that trains one at a time have one process, of this test's own Ray.
        for pid in descendants():
            if "ImplicitFunc" in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)

    hand = threading.Thread(target=strike)
    hand.start()
    assert main(arguments(dataset, out, space, "--side-by-side", "1", "--finalists", "0", "--max-failures", "0")) == 0
    hand.join()
    lost = Search.read(out).trial("t001")
    assert lost.status == "failed" and "\n" not in lost.reason and "Actor" in lost.reason, lost.reason
    assert [t.status for t in Search.read(out).trials if t is not lost].count("completed") == 2


@pytest.mark.slow
def test_a_population_copies_its_best_and_leaves_the_default_alone(
    dataset: Path, tmp_path: Path, ray_session: None
) -> None:
    out, space = tmp_path / "search", tmp_path / "space.yaml"
    space.write_text("kind: gslrm\naxes: {optimiser.lr: {low: 1.0e-6, high: 1.0e-2, scale: log}}\n")
    # Trials copy those that train beside them: many points, because one may be over before another has its first.
    more = ["--scheduler", "pbt", "--search", "random", "--trials", "5", "--grace-samples", "6", "--finalists", "0"]
    given = arguments(dataset, out, space, *more)
    del given[given.index("none") - 1 : given.index("none") + 1]
    assert main(given) == 0
    suggested = {e["trial_id"]: e["overrides"] for e in journal(out) if e["event"] == "suggested"}
    trials = Search.read(out).trials
    assert [trial.status for trial in trials] == ["completed"] * 5 and not trials[0].overrides
    assert any(trial.overrides != suggested[trial.trial_id] for trial in trials), "nobody copied anybody"
    assert {trial.samples_seen for trial in trials} == {60}


@pytest.mark.parametrize(
    ("space", "more", "said"),
    [
        ("axes: {losses.alhpa: {low: 0.1, high: 1}}", [], "did you mean 'losses.alpha'"),
        ("axes: {losses.alpha: {options: [much]}}", [], "must be a number"),
        ("axes: {losses.alpha: {low: 1, high: 1}}", [], "is empty"),
        ("axes: {views.num_inputs: {options: [1, 9]}}", [], "'views.num_inputs' = 9"),
        ("axes: {losses.alpha: {low: 0.1, high: 1}}", ["--cpus-per-worker", "999"], "= 999 CPU, Ray's machines have"),
        ("axes: {losses.alpha: {low: 0.1, high: 1}}", ["--grace-samples", "999"], "never be compared"),
        ("axes: {losses.alpha: {low: 0.1, high: 1}}", ["--objectives", "loss"], "no score is called 'loss'"),
    ],
)
def test_what_cannot_work_is_one_line_before_any_trial(
    space: str, more: list[str], said: str, dataset: Path, tmp_path: Path, ray_session: None
) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(f"kind: gslrm\n{space}\n")
    with pytest.raises(InputError) as caught:
        main(arguments(dataset, tmp_path / "search", file, *more))
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "search").exists()


def test_a_dataset_without_validation_samples_and_an_unknown_space_are_refused(dataset: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    bare = write_dataset(tmp_path / "bare", {"train": [ring_sample(blob(0), 0, views=4)]})
    with pytest.raises(InputError, match="split=val"):
        main(arguments(bare, tmp_path / "search", space))
    with pytest.raises(InputError, match="did you mean 'loss-weights'"):
        main(arguments(dataset, tmp_path / "search", Path("loss-weight")))
    assert not (tmp_path / "search").exists()


def test_another_search_is_not_mixed_into_a_folder(dataset: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no search"):
        main(arguments(dataset, tmp_path / "full", space))
