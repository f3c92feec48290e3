"""A run outlives the death of a worker and of a node; tests/benchmarks/reliability.py does this at many moments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.reliability import begin, finish, kill_node, kill_worker, shards, small_cluster
from tests.worlds import write_ball_recording


@pytest.mark.slow
def test_a_dead_worker_and_a_dead_node_cost_only_their_units(tmp_path: Path) -> None:
    recording = write_ball_recording(tmp_path / "ball", frames=16)
    finish(begin(recording, tmp_path / "peace"))
    expected = shards(tmp_path / "peace")
    assert len(expected) > 4
    assert "Map" in kill_worker(recording, tmp_path / "worker", files=2)
    assert shards(tmp_path / "worker") == expected
    with small_cluster(nodes=2) as cluster:
        kill_node(recording, tmp_path / "node", files=5, cluster=cluster)
    assert shards(tmp_path / "node") == expected
