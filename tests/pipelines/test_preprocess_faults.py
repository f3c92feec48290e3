"""A run outlives the death of a worker and of a node; tests/benchmarks/reliability.py does this at many moments."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.preprocess import main
from tests.benchmarks.reliability import kill_node, kill_worker, shards, small_cluster, words
from tests.worlds import write_ball_recording


@pytest.mark.slow
def test_a_dead_worker_and_a_dead_node_cost_only_their_units(tmp_path: Path, ray_session: None) -> None:
    recording = write_ball_recording(tmp_path / "ball", frames=16)
    assert main(words(recording, tmp_path / "peace")) == 0
    expected = shards(tmp_path / "peace")
    assert len(expected) > 4
    with small_cluster(nodes=2) as cluster:
        assert "Map" in kill_worker(recording, tmp_path / "worker", files=2, cluster=cluster)
        assert shards(tmp_path / "worker") == expected
        kill_node(recording, tmp_path / "node", files=5, cluster=cluster)
    assert shards(tmp_path / "node") == expected
