"""Contact sheets: which samples they show, and that one lies beside a dataset that has any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2

from mouse_facelift.evaluation.sample_sheet import CONTACT_SHEET, sample_sheet, spread_samples, write_contact_sheet
from mouse_facelift.samples.dataset import open_dataset
from mouse_facelift.storage import Store
from tests.synthetic import blob, ring_sample, write_dataset


def test_a_sheet_of_both_splits_lies_beside_the_dataset(tmp_path: Path) -> None:
    first = ring_sample(blob(), size=24)
    samples = [replace(first, sample_id=f"ring-{n:06d}", frame=n) for n in range(8)]
    folder = write_dataset(tmp_path / "rings", {"train": samples[:6], "val": samples[6:]})
    assert [s.frame for s in spread_samples(open_dataset(str(folder)), "train", 3)] == [0, 2, 5]
    write_contact_sheet(Store.at(folder), 3)
    written = cv2.imread(str(folder / CONTACT_SHEET))
    expected = sample_sheet([samples[n] for n in (0, 2, 5, 6, 7)])
    assert written is not None and (written[..., ::-1] == expected).all()


def test_no_samples_no_sheet(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "nothing", {})
    write_contact_sheet(Store.at(folder))
    assert not (folder / CONTACT_SHEET).exists()
