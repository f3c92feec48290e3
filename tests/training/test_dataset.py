"""Training reads a dataset on an object store as it reads one on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from mouse_facelift.storage import Store
from tests.synthetic import blob, ring_sample, write_dataset
from training.dataset import Split, read_split


@pytest.mark.slow
def test_a_split_on_an_object_store_is_read_by_ray(s3_server: str, tmp_path: Path, ray_session: None) -> None:
    """Ray's workers take the credentials from the environment that Ray was started in."""
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
    read = read_split(split, ["sample_id", "images"], shuffle_seed=3, shuffle_rows=2).take_all()
    rows = there.read_table(split.paths[0].partition("?")[0].removeprefix("s3://lab/rings/")).to_pylist()
    pictures = [{row["sample_id"]: [i["bytes"] for i in row["images"]] for row in table} for table in (read, rows)]
    assert pictures[0] == pictures[1] and sorted(pictures[0]) == [sample.sample_id for sample in samples[:4]]
