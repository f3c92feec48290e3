from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.sampling import SamplingConfig
from mouse_facelift.photos.options import PhotoOptions
from mouse_facelift.photos.preparing import Generator, load_generator
from mouse_facelift.photos.synthesis import (
    SYNTHETIC_SCHEMA,
    Reference,
    SourceRows,
    SynthesisGate,
    references_of,
    synthesize_rows,
)
from mouse_facelift.samples.gate import GateConfig
from mouse_facelift.samples.schema import row_from_sample, sample_from_row
from tests.generators import write_generator
from tests.synthetic import blob, ring_sample, write_dataset

STEPS = SamplingConfig(steps=2, guidance=1.0)
ANYTHING = SynthesisGate(GateConfig(0, 0, np.inf, np.inf), 0, 0, np.inf)
SAMPLES = [ring_sample(blob(seed), seed, views=6, size=32) for seed in range(2)]
SOURCE = SourceRows([row_from_sample(sample) for sample in SAMPLES], "fingerprint", "val")
REFERENCES = [Reference(0, "turntable_000", 0), Reference(1, "turntable_003", 0), Reference(1, "turntable_003", 1)]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    folder = tmp_path_factory.mktemp("generator")
    data = write_dataset(folder / "data", {"train": SAMPLES})
    return load_generator(write_generator(folder / "run", data), PhotoOptions())


def test_rows_say_where_they_come_from_and_have_the_generators_cameras(generator: Generator) -> None:
    made = synthesize_rows(generator, SOURCE, REFERENCES, 5, STEPS, ANYTHING, 1)
    assert made.samples.schema.equals(SYNTHETIC_SCHEMA) and made.rejected.num_rows == 0
    rows = made.samples.to_pylist()
    assert [row["sample_id"] for row in rows] == [
        "ring-000000_turntable_000_0",
        "ring-000001_turntable_003_0",
        "ring-000001_turntable_003_1",
    ]
    assert len({row["seed"] for row in rows}) == 3 and len({row["images"][1]["bytes"] for row in rows}) == 3
    for row, number in zip(rows, (0, 1, 1), strict=True):
        sample, source = sample_from_row(row), SAMPLES[number]
        assert row["source"] == generator.fingerprint and row["source_dataset"] == "fingerprint"
        assert row["source_sample"] == source.sample_id and row["frame"] == source.frame
        assert row["source_scale"] == source.scale and row["source_centre_mm"] == pytest.approx(source.centre_mm)
        assert (sample.scale, tuple(sample.centre_mm)) == (1.0, (0.0, 0.0, 0.0))
        for written, rig in zip(sample.cameras, generator.rig.cameras, strict=True):
            assert np.allclose(written.w2c, rig.w2c, atol=1e-6) and np.allclose(written.K, rig.K, rtol=1e-6)
    # Camera 0 stands at 270 degrees, where a generator's front is; camera 3 opposite.
    assert [round(row["heading_degrees"]) % 360 for row in rows] == [0, 180, 180]


def test_batches_change_nothing(generator: Generator) -> None:
    alone, together = (
        synthesize_rows(generator, SOURCE, REFERENCES, 5, STEPS, ANYTHING, size).samples.to_pylist() for size in (1, 3)
    )
    assert [row["seed"] for row in alone] == [row["seed"] for row in together]
    for a, b in zip(alone, together, strict=True):
        assert np.abs(sample_from_row(a).images.astype(int) - sample_from_row(b).images)[..., 3].mean() < 2


def test_what_fails_the_gate_is_kept_aside_with_its_numbers(generator: Generator) -> None:
    strict = SynthesisGate(GateConfig(0, 1.1, np.inf, np.inf), 1, 0, np.inf)
    made = synthesize_rows(generator, SOURCE, REFERENCES[:1], 5, STEPS, strict, 1)
    assert made.samples.num_rows == 0
    row = made.rejected.to_pylist()[0]
    assert "silhouettes disagree" in row["reason"] and "the first view is not the reference" in row["reason"]
    assert row["split"] == "val" and row["source"] == generator.fingerprint and not row["unreadable"]
    assert 0 <= row["reference_iou"] < 1 and len(row["relative_sharpness"]) == 6 and row["hull_iou"] is not None
    with pytest.raises(InputError, match="min_reference_iou"):
        SynthesisGate(min_reference_iou=1.2)


def test_references_are_the_wanted_cameras_a_sample_has() -> None:
    row = {"sample_id": "s", "camera": ["a", "b", "c"]}
    assert references_of(row, ("c", "x", "a")) == ["c", "a"]
    assert references_of(row, ()) == ["a"]
    with pytest.raises(InputError, match="sample s has none of the reference cameras x"):
        references_of(row, ("x",))


def test_the_whole_room_reads_what_it_writes(generator: Generator, tmp_path: Path) -> None:
    """A generator's own redrawing, judged as a reference of itself, is found sharp and in place."""
    made = synthesize_rows(generator, SOURCE, REFERENCES[:1], 5, STEPS, ANYTHING, 1).samples
    again = SourceRows(made.to_pylist(), "d", "train")
    row = synthesize_rows(generator, again, [Reference(0, "front", 0)], 5, STEPS, ANYTHING, 1).samples.to_pylist()[0]
    assert row["source_sample"] == "ring-000000_turntable_000_0" and row["heading_degrees"] % 360 == pytest.approx(0)
