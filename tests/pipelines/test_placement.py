"""Decoding stays on machines that decode, models on those that train, on a real cluster whose nodes carry labels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import Float
from torch import Tensor, nn

from cluster.profile import ROLE_LABEL, role_labels
from mouse_facelift.errors import InputError
from pipelines.placement import PlacementConfig, resources_of, selector
from tests.synthetic import blob, ring_sample, write_dataset
from tests.training.tiny import TinyTask
from training.settings import TrainingConfig
from training.task import Moment, Tensors

DATA_TASKS = 6


def here() -> str:
    """The node that this process runs on."""
    import ray

    return ray.get_runtime_context().get_node_id()


@dataclass(frozen=True)
class RecordingTask(TinyTask):
    """Leaves a file named after the node of every process that trains."""

    where: Path = field(default_factory=Path)

    def loss(
        self, model: nn.Module, batch: Tensors, moment: Moment
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        (self.where / f"{here()}-{os.getpid()}").touch()
        return super().loss(model, batch, moment)


def drive(folder: Path) -> None:
    """A driver: tasks, a model in an actor beside them, then a streamed training; prints where each ran."""
    import ray.data
    from ray.data import ActorPoolStrategy

    from pipelines.session import connect
    from pipelines.units_of_work import map_with_progress
    from training.launch import launch

    placement = PlacementConfig(roles="always", start_minutes=1)
    connect(placement)

    def task(row: dict[str, Any]) -> dict[str, Any]:
        (folder / "tasks" / f"{here()}-{row['item']}").touch()
        return {"count": 1}

    map_with_progress("tasks", DATA_TASKS, task, DATA_TASKS)
    print("tasks are done", flush=True)
    train_on = selector(placement, "train")  # Waits: there is no such machine yet.

    class Model:
        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            return {"model": here(), "read": row["read"]}

    rows = ray.data.range(4, override_num_blocks=2).map(lambda row: {"read": here()})
    pool = ActorPoolStrategy(size=1)
    seen = rows.map(Model, compute=pool, num_cpus=0.5, label_selector=train_on).take_all()  # pyright: ignore[reportArgumentType]
    config = TrainingConfig(
        data=str(folder / "data"), out=folder / "run", steps=6, batch_size=2, num_workers=2, cpus_per_worker=1,
        evaluate_every=6, panels_every=6, device="cpu", wandb="disabled", placement=placement,
    )  # fmt: skip
    config = config.__class__(**{**vars(config), "feed": type(config.feed)(mode="stream")})
    launch(RecordingTask(where=folder / "workers"), config, "train tiny")
    print(json.dumps(seen), flush=True)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    samples = [ring_sample(blob(seed), seed) for seed in range(4)]
    write_dataset(tmp_path / "data", {"train": samples[:3], "val": samples[3:]})
    for name in ("tasks", "workers"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_where_nobody_has_a_role_work_goes_anywhere(ray_session: None) -> None:
    import ray

    assert selector(PlacementConfig(), "decode") == selector(PlacementConfig(), "train") == {}
    assert resources_of({})["CPU"] == ray.cluster_resources()["CPU"]
    assert resources_of({ROLE_LABEL: "train"}) == {}


def test_a_machine_that_never_comes_is_said_in_one_line(ray_session: None) -> None:
    with pytest.raises(InputError, match="role train came within 0 minutes.*--placement.roles auto"):
        selector(PlacementConfig(roles="always", start_minutes=0), "train")


@pytest.mark.parametrize("wrong", [{"task_cpus": 0}, {"spare_cpus": -1}, {"start_minutes": -1}])
def test_shares_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        PlacementConfig(**wrong)  # pyright: ignore[reportArgumentType]


def test_placement_decides_nothing_about_the_result() -> None:
    """So a run that was stopped goes on elsewhere."""
    from training.launch import FREE_ON_RESUME

    assert "placement" in FREE_ON_RESUME


# Last in its file: a simulated cluster that is shut down takes this process's access to the real one's store with it.
@pytest.mark.slow
def test_each_machine_does_what_it_is_for_and_a_missing_one_is_waited_for(folders: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "labels": role_labels("head")})
    try:
        decode = cluster.add_node(num_cpus=1, labels=role_labels("decode"))
        code = "from pathlib import Path; from tests.pipelines.test_placement import drive; "
        driver = subprocess.Popen(
            [sys.executable, "-c", f"{code}drive(Path({str(folders)!r}))"],
            env=os.environ | {"RAY_ADDRESS": cluster.address, "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert driver.stdout is not None
        line = driver.stdout.readline()
        train = cluster.add_node(num_cpus=2, labels=role_labels("train"))
        output, errors = driver.communicate(timeout=600)
        assert driver.returncode == 0, errors
    finally:
        cluster.shutdown()
    assert line == "tasks are done\n"
    tasks = [file.name.split("-")[0] for file in (folders / "tasks").iterdir()]
    assert len(tasks) == DATA_TASKS and set(tasks) == {decode.node_id}
    seen = json.loads(output.splitlines()[-1])
    assert {row["read"] for row in seen} == {decode.node_id} and {row["model"] for row in seen} == {train.node_id}
    workers = [file.name.split("-")[0] for file in (folders / "workers").iterdir()]
    assert len(workers) == 2 and set(workers) == {train.node_id}
    stages = json.loads((folders / "run" / "ray_data.json").read_text())["stages"]
    by_name = {stage["stage"]: stage for stage in stages}
    assert 0 <= by_name["train"]["waited_for_data_seconds"] <= by_name["train"]["seconds"]
    assert by_name["stream train"]["ray_data"] and by_name["read val"]["ray_data"]
