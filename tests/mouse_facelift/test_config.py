"""Command lines, presets and files become configurations, strictly, and come back from a run's record."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from mouse_facelift.config import REQUIRED, UsageError, parse, write_run_record
from mouse_facelift.errors import InputError


@dataclass(frozen=True)
class Shape:
    width: int = 64
    """Width (pixels)."""
    kind: Literal["square", "round"] = "square"


@dataclass(frozen=True)
class Settings:
    data: Path
    """Where the samples are."""
    image_size: int = 512
    """Side (pixels)."""
    zoom: float | Literal["fit"] = 1.0
    quick: bool = False
    capture: tuple[Path, ...] = ()
    limit: int | None = None
    shape: Shape = field(default_factory=Shape)

    def __post_init__(self) -> None:
        if self.image_size < 8:
            raise InputError(f"image_size is {self.image_size}; use at least 8")


PRESETS = {"small": Settings(data=REQUIRED, image_size=32, shape=Shape(width=8))}


def read(*argv: str) -> Settings:
    return parse(Settings, argv, prog="mouse-facelift try", description="Try it.", presets=PRESETS)


def test_flags() -> None:
    assert read("--data", "d") == Settings(Path("d"))
    given = read("--data=d", "--zoom", "fit", "--quick", "--capture", "a", "b", "--limit", "3", "--shape.width", "5")
    assert given == Settings(Path("d"), 512, "fit", True, (Path("a"), Path("b")), 3, Shape(5))


def test_priority_is_flag_then_file_then_preset_then_default(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("data: from_file\nshape: {width: 7}\n")
    assert read("--preset", "small", "--data", "d") == Settings(Path("d"), 32, shape=Shape(8))
    assert read("--config", str(file)) == Settings(Path("from_file"), shape=Shape(7))
    both = read("--preset", "small", "--config", str(file), "--shape.width=9")
    assert both == Settings(Path("from_file"), 32, shape=Shape(9))


def test_a_flag_may_give_what_the_file_lacks_or_has_wrong(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("image_size: 2\n")
    assert read("--config", str(file), "--data", "d", "--image-size", "16") == Settings(Path("d"), 16)
    with pytest.raises(InputError, match="key 'data' is missing; add it, or give --data"):
        read("--config", str(file))
    with pytest.raises(InputError, match="image_size is 2"):
        read("--config", str(file), "--data", "d")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--imge-size", "3"], "mouse-facelift try: unknown option --imge-size (did you mean --image-size?)"),
        (["--shape.widht=3"], "mouse-facelift try: unknown option --shape.widht (did you mean --shape.width?)"),
        (["--xyzzy"], "mouse-facelift try: unknown option --xyzzy (see mouse-facelift try --help)"),
        (["--preset", "smal"], "mouse-facelift try: unknown preset 'smal' (did you mean 'small'?)"),
        (["--preset"], "mouse-facelift try: --preset needs a value"),
        (["--data", "d", "--image-size", "big"], "--image-size"),
        (["--data", "d", "--shape.kind", "oval"], "oval"),
        (["--data", "d", "stray"], "stray"),
        ([], "--data"),
    ],
)
def test_bad_command_lines_give_one_line(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*argv)
    text = str(caught.value)
    assert message in text and text.startswith("mouse-facelift try: ")
    assert "\n" not in text and not set("│╭╰─") & set(text)


def test_help_shows_fields_presets_and_leaves_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        read("--help")
    assert left.value.code == 0
    text = capsys.readouterr().out
    for word in ("--image-size", "Side (pixels).", "512", "--preset NAME", "small", "--config FILE"):
        assert word in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("shape: {widht: 1}", "unknown key 'shape.widht' (did you mean 'shape.width'?)"),
        ("data: [", "not valid YAML"),
        ("- 1", "must hold keys and values"),
        ("!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_bad_files_name_the_file(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        read("--config", str(file))
    assert str(file) in str(caught.value) and message in str(caught.value)


def test_missing_file() -> None:
    with pytest.raises(InputError, match="nowhere.yaml: cannot be read"):
        read("--config", "nowhere.yaml")


def test_run_record_replays_and_holds_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hunter2")
    monkeypatch.setattr(sys, "argv", ["mouse-facelift", "try", "--data", "s3://name:hunter2@bucket/x"])
    settings = Settings(Path("d"), 64, "fit", True, (Path("a"),), None, Shape(3, "round"))
    write_run_record(tmp_path / "run", "try", settings)
    assert read("--config", str(tmp_path / "run" / "config.yaml")) == settings
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["versions"]["torch"] and record["verb"] == "try"
    assert record["command_line"][-1] == "s3://***@bucket/x"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml", "run.json"]
    assert "hunter2" not in "".join(path.read_text() for path in (tmp_path / "run").iterdir())
