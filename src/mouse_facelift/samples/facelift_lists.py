"""Where FaceLift's samples lie: sample folders, folders of them, and list files that name one folder per line.

Lists come from other machines and hold their absolute paths; none of them leads out of the list's own folder.
Source: FaceLift's data loaders, as described in their repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mouse_facelift.cameras.facelift import FILE_NAME
from mouse_facelift.errors import InputError
from mouse_facelift.storage import Store

_LIST_NAME = re.compile(r"(?<![a-z])(train|val)", re.IGNORECASE)


@dataclass(frozen=True)
class FoundSample:
    """A sample folder, the split that its list file's name decides, and where it was named (for messages)."""

    folder: Path
    split: Literal["train", "val"] | None
    named_in: str


def find_samples(path: str | Path) -> list[FoundSample]:
    """All samples of a list file, of one sample folder, or of a folder that holds such at any depth.

    Where a folder holds lists that name a split (``*train*.txt``, ``*val*.txt``), they say which of its samples count.
    A list's lines are found below the list file's own folder by as many of their last components as exist there, so
    that lists with absolute paths of another machine work where the folders lie beside them.

    Raises:
        InputError: Nothing there, or a line names no folder below the list's folder.
    """
    path = Path(path).resolve()
    if path.is_file():
        found = list(_listed(path))
    elif path.is_dir():
        found = list(_search(path))
    else:
        raise InputError(f"{path} does not exist; give a sample folder, a folder of them, or a list file")
    if not found:
        raise InputError(f"{path}: no FaceLift samples (folders with {FILE_NAME} or cam_000.png); check the path")
    return found


def _is_sample(folder: Path) -> bool:
    return any((folder / name).exists() for name in (FILE_NAME, "cam_000.png", "images/cam_000.png"))


def _search(folder: Path) -> Iterator[FoundSample]:
    if _is_sample(folder):
        yield FoundSample(folder, None, str(folder.parent))
        return
    lists = sorted(file for file in folder.glob("*.txt") if _split_of(file))
    for file in lists:
        yield from _listed(file)
    for child in [] if lists else sorted(folder.iterdir()):
        # Links are not followed: they can lead out of the folder, and round in circles.
        if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
            yield from _search(child)


def _split_of(list_file: Path) -> Literal["train", "val"] | None:
    """The split that a list file's name decides: the one that it mentions, if it mentions one."""
    named = {match.lower() for match in _LIST_NAME.findall(list_file.stem)}
    return "train" if named == {"train"} else "val" if named == {"val"} else None


def _listed(list_file: Path) -> Iterator[FoundSample]:
    try:
        lines = list_file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{list_file}: is not a list of sample folders ({error}); check the path") from error
    split = _split_of(list_file)
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{list_file}, line {number}"
            yield FoundSample(_resolve(line.strip(), list_file.parent, where), split, where)


def _resolve(line: str, root: Path, where: str) -> Path:
    """The folder that a line means: the longest tail of the line that exists below ``root``."""
    parts = [part for part in re.split(r"[\\/]+", line) if part not in ("", ".")]
    if ".." in parts:
        raise InputError(f"{where}: {line!r} leaves the list's folder; move the list above the folders it names")
    for first in range(len(parts)):
        candidate = root.joinpath(*parts[first:])
        if candidate.is_dir():
            return stay_inside(candidate, root, where)
    raise InputError(f"{where}: no folder {line!r} below {root}; put the list beside the folders that it names")


def stay_inside(path: Path, root: Path, where: str) -> Path:
    """``path`` itself, if no link on it leads out of ``root``; ``where`` it was named goes into the message.

    Raises:
        InputError: It leaves.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{where}: {path} is a link that leaves {root}; copy what it points to")
    return path


def write_list(store: Store, name: str, folders: Sequence[str]) -> None:
    """Write a list file: one folder per line, the last line ended like every other."""
    store.write(name, "".join(f"{folder}\n" for folder in folders).encode())
