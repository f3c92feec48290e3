"""Training reads a dataset on an object store as it reads one on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mouse_facelift.storage import Store
from tests.synthetic import blob, ring_sample, write_dataset
from training.dataset import Split

READ = """
import sys
from pipelines.session import connect
from training.dataset import Split, read_split
split = Split.find(sys.argv[1], "train")
connect(num_cpus=2)
rows = read_split(split, ["sample_id", "images"], shuffle_seed=3, shuffle_rows=2).take_all()
print(*sorted(row["sample_id"] for row in rows), sum(len(i["bytes"]) for row in rows for i in row["images"]))
"""


@pytest.mark.slow
def test_a_split_on_an_object_store_is_read_by_ray(s3_server: str, tmp_path: Path) -> None:
    """A process of its own: Ray's workers take the credentials from the environment that Ray starts in."""
    samples = [ring_sample(blob(), number, size=24) for number in range(5)]
    local = write_dataset(tmp_path / "rings", {"train": samples[:4], "val": samples[4:]})
    there = Store.at(f"s3://lab/rings{s3_server}")
    for path in local.rglob("*"):
        if path.is_file():
            there.write(str(path.relative_to(local)), path.read_bytes())
    split = Split.find(there.uri, "train")
    assert (split.rows, split.bytes) == (4, Split.find(str(local), "train").bytes)
    assert split.first_row()["sample_id"] == samples[0].sample_id
    assert split.spread_ids(2) == [samples[0].sample_id, samples[3].sample_id]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    reading = subprocess.run(
        [sys.executable, "-c", READ, there.uri], env=environment, capture_output=True, text=True, timeout=300
    )
    assert reading.returncode == 0, reading.stderr
    *ids, size = reading.stdout.split()
    rows = there.read_table(split.paths[0].partition("?")[0].removeprefix("s3://lab/rings/"))["images"].to_pylist()
    assert ids == [sample.sample_id for sample in samples[:4]]
    assert int(size) == sum(len(image["bytes"]) for row in rows for image in row)
