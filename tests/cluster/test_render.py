"""The command: every file checked before any is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import cluster
from cluster import kuberay, render
from cluster.render import main
from mouse_facelift.errors import InputError

PROFILES = Path(cluster.__file__).parent / "profiles"


def test_it_writes_checked_files_and_says_what_is_next(
    tmp_path: Path, schemas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--profile", str(PROFILES / "kuberay.yaml"), "--out", str(tmp_path), "--schemas", str(schemas)]) == 0
    out = capsys.readouterr().out
    assert out.count("(valid)") == 2 and "kubectl apply -f" in out
    text = (tmp_path / "rayjob.yaml").read_text()
    assert "&id" not in text and "kuberay.yaml" in text.splitlines()[0]
    assert yaml.safe_load(text)["kind"] == "RayJob"


def test_it_says_what_it_could_not_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--profile", str(PROFILES / "kuberay.yaml"), "--out", str(tmp_path)])
    assert "raycluster.yaml and rayjob.yaml: give --schemas" in capsys.readouterr().out


def test_nothing_is_written_when_a_file_is_wrong(
    tmp_path: Path, schemas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*args: object) -> dict[str, object]:
        return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "x"}, "spec": {"entrypont": "x"}}

    monkeypatch.setattr(kuberay, "ray_job", wrong)
    with pytest.raises(InputError, match="entrypont"):
        main(["--profile", str(PROFILES / "kuberay.yaml"), "--out", str(tmp_path / "out"), "--schemas", str(schemas)])
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"):
        main(["--profile", str(PROFILES / "slurm.yaml"), "--out", str(tmp_path / "out")])


@pytest.mark.parametrize("profile", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_rendering_twice_gives_the_same_text(profile: Path) -> None:
    texts = [
        {name: render.to_text(content, "p") for name, content in render.render(render.read_profile(profile)).items()}
        for _ in range(2)
    ]
    assert texts[0] == texts[1] and texts[0]
