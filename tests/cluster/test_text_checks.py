"""The Containerfile: what it copies exists, and nothing in it is secret or bound to one registry."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import cluster
from cluster.text_checks import check_containerfile
from mouse_facelift.errors import InputError

CONTAINERFILE = Path(cluster.__file__).parent / "Containerfile"
ROOT = CONTAINERFILE.parents[1]


def test_the_containerfile_is_right() -> None:
    check_containerfile(CONTAINERFILE, ROOT)


def test_both_images_hold_every_package_and_the_pinned_versions() -> None:
    lines = CONTAINERFILE.read_text().splitlines()
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"].values()
    for folder in {path.split("/")[0] for path in packages}:
        assert f"COPY {folder} ./{folder}" in lines
        assert f"!{folder}" in CONTAINERFILE.with_suffix(".dockerignore").read_text().splitlines()
    assert any("-c constraints.txt" in line for line in lines if line.startswith("RUN pip install"))
    for stage in ("cpu", "gpu"):
        start = lines.index(f"FROM packages AS {stage}")
        assert "USER ray" in lines[start : start + 7]


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("COPY src ./src", "COPY scr ./src", "scr is not in"),
        ("COPY src ./src", "COPYY src ./src", "did you mean 'COPY'"),
        ("COPY src ./src", "COPY . .", "whole context"),
        ("COPY src ./src", "COPY --form=base src ./src", "no option --form"),
        ("--from=cuda", "--from=cuda12", "no stage cuda12"),
        ("FROM packages AS cpu", "FROM pakages AS cpu", "neither a stage"),
        ("FROM ${CUDA_IMAGE}", "FROM ${CUDA_IMGE}", "no ARG"),
        ("=python:3.11", "=registry.lab.example/python:3.11", "one registry"),
        ("=python:3.11", "=localhost:5000/python:3.11", "one registry"),
        ("USER ray", "ENV WANDB_API_KEY=abc", "a credential"),
    ],
)
def test_a_slip_in_the_containerfile_is_noticed(tmp_path: Path, right: str, wrong: str, words: str) -> None:
    text = CONTAINERFILE.read_text()
    assert right in text
    path = tmp_path / "Containerfile"
    path.write_text(text.replace(right, wrong, 1))
    with pytest.raises(InputError) as raised:
        check_containerfile(path, ROOT)
    assert words in str(raised.value)
