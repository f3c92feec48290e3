"""What travels with a job: the code of the working tree, and never recordings, results or secrets.

Ray unpacks it on every machine that runs a part of the job. A file travels unless a rule leaves it out, so that a new
module needs no list; the rules are one table per reason. What `.gitignore` names stays at home too. The archive is
made here, from exactly the files that were listed, and equal trees give equal archives: Ray sends each one only once.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mouse_facelift.errors import InputError

LIMIT_BYTES = 100 << 20
"""What Ray's head accepts in one request (`DASHBOARD_CLIENT_MAX_SIZE` of ray 2.60): 100 MiB."""

_OFFENDERS = 5
"""How many of the biggest files and folders a refusal names."""

# Folders, wherever they are.
_FOLDERS = {
    "version control": (".git", ".hg", ".svn"),
    "environments": (".venv", "venv", "node_modules", ".tox", ".eggs", "*.egg-info"),
    "caches": ("__pycache__", ".cache", ".*_cache", ".ipynb_checkpoints"),
    "secrets": (".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", ".ray", "gcloud"),
    "data and results": ("wandb",),
}
# Folders at the top only: inside the packages the same words name code and its tables.
_TOP_FOLDERS = {"data and results": ("data", "datasets", "runs", "results", "outputs", "build", "dist", "logs")}
_FILES = {
    "secrets": (
        *(".env", ".env.*", "*.env", ".netrc", "_netrc", ".npmrc", ".pypirc", ".git-credentials", ".htpasswd"),
        *("*.pem", "*.key", "*.ppk", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.keytab", "*.kdbx", "*.gpg"),
        *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "auth_token", "*_token", "*token*.txt"),
        *("credentials", "credentials.[!p]*", "client_secret*.json", "service[-_]account*.json", "kubeconfig*"),
        *("*password*.txt", "*secret*.txt", "*secret*.json", "*secret*.y*ml"),
    ),
    "data and results": (
        *("*.mp4", "*.avi", "*.mkv", "*.mov", "*.webm", "*.parquet", "*.arrow", "*.h5", "*.hdf5", "*.mat", "*.pkl"),
        *("*.safetensors", "*.pt", "*.pth", "*.ckpt", "*.bin", "*.onnx", "*.npy", "*.npz", "*.ply", "*.splat"),
        *("*.zip", "*.tar", "*.tar.*", "*.tgz", "*.7z", "core.[0-9]*"),
    ),
    "caches": ("*.py[cod]", ".DS_Store", "*.log"),
}
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".webp", ".exr")
_PICTURE_BYTES = 1 << 20
# Documentation of a secret's shape is text; a key is a file that holds one.
_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----")
_TEXTS = (".py", ".md", ".rst", ".sh")
_HEAD_BYTES = 16 << 10


@dataclass(frozen=True)
class Package:
    """The files that travel."""

    root: Path
    files: tuple[tuple[str, int], ...]
    """(path below the root, with "/", and size in bytes), sorted."""
    left_out: Counter[str]
    """How many files (of folders: one) stay at home, by reason."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self.files)

    @property
    def names(self) -> frozenset[str]:
        """The paths that travel."""
        return frozenset(name for name, _ in self.files)

    def summary(self) -> str:
        """One line for people."""
        kept = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items()))
        home = f" (left at home: {kept})" if kept else ""
        return f"{len(self.files)} files, {_mib(self.size)}{home}"


def choose_files(root: Path, exclude: Sequence[str] = (), limit: int = LIMIT_BYTES) -> Package:
    """The files of a working tree that travel with a job.

    Args:
        root: the tree's top.
        exclude: more patterns to leave out; each is held against names and against paths below the root.
        limit: the most that may travel (bytes).

    Raises:
        InputError: no such folder, nothing to send, or more than `limit`; it then names the biggest offenders.
    """
    if not root.is_dir():
        raise InputError(f"{root}: is not a folder; give --working-dir the project's")
    root = root.resolve()
    left_out: Counter[str] = Counter()
    sizes = {name: (root / name).stat().st_size for name in _walk(root, tuple(exclude), left_out)}
    for name in _git_ignored(root, list(sizes)):
        del sizes[name]
        left_out["ignored by git"] += 1
    package = Package(root, tuple(sorted(sizes.items())), left_out)
    if not package.files:
        raise InputError(f"{root}: holds nothing to send; give --working-dir the project's folder")
    if package.size > limit:
        raise InputError(
            f"{root}: {_mib(package.size)} would travel, Ray takes {_mib(limit)}; move away or --exclude the biggest: "
            + _offenders(package)
        )
    return package


def write_archive(package: Package, target: Path) -> None:
    """Write the package as a zip; equal content gives equal bytes.

    Raises:
        InputError: a file that changed into something else since it was chosen.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, _ in package.files:
            content, executable = _read(package.root / name)
            # The earliest time that a zip can state, so that the archive depends on nothing but content.
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)


def _walk(root: Path, exclude: tuple[str, ...], left_out: Counter[str]) -> Iterator[str]:
    """Names of the files that no rule leaves out; links are not followed, but for links to files that travel."""
    links = []
    for folder, subfolders, files in os.walk(root):
        here = Path(folder)
        below = here.relative_to(root)
        for name in list(subfolders):
            reason = _why_not_folder(here / name, below / name, exclude)
            if reason:
                subfolders.remove(name)
                left_out[reason] += 1
        for name in files:
            path = here / name
            if path.is_symlink():
                links.append(path)
                continue
            reason = _why_not_file(path, below / name, exclude)
            if reason:
                left_out[reason] += 1
            else:
                yield (below / name).as_posix()
    for link in links:
        if _stays_inside(link, root, exclude):
            yield link.relative_to(root).as_posix()
        else:
            left_out["links"] += 1


def _stays_inside(link: Path, root: Path, exclude: tuple[str, ...]) -> bool:
    """Whether a link means a file of the tree that travels under its own name as well."""
    target = link.resolve()
    if not target.is_relative_to(root) or not target.is_file():
        return False
    inside = target.relative_to(root)
    folders = (root / parent for parent in inside.parents if parent.parts)
    return (
        not any(_why_not_folder(folder, folder.relative_to(root), exclude) for folder in folders)
        and not _why_not_file(target, inside, exclude)
        and not _why_not_file(link, link.relative_to(root), exclude)
        and inside.as_posix() not in _git_ignored(root, [inside.as_posix()])
    )


def _why_not_folder(path: Path, below: Path, exclude: tuple[str, ...]) -> str | None:
    if path.is_symlink():
        return "links"
    tables = [_FOLDERS] + ([_TOP_FOLDERS] if len(below.parts) == 1 else [])
    for table in tables:
        for reason, patterns in table.items():
            if _matches(path.name, patterns):
                return reason
    if (path / "pyvenv.cfg").exists():
        return "environments"
    # Datasets and runs under any name; both say what they are.
    if any((path / name).exists() for name in ("rejected.parquet", "metrics.jsonl")):
        return "data and results"
    return "excluded" if _excluded(below, exclude) else None


def _why_not_file(path: Path, below: Path, exclude: tuple[str, ...]) -> str | None:
    for reason, patterns in _FILES.items():
        if _matches(path.name, patterns):
            return reason
    if _excluded(below, exclude):
        return "excluded"
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return "pipes and devices"
    if path.suffix.lower() in _PICTURES and status.st_size > _PICTURE_BYTES:
        return "data and results"
    return "secrets" if _holds_key(path) else None


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def _excluded(below: Path, exclude: tuple[str, ...]) -> bool:
    return any(
        fnmatch.fnmatchcase(below.as_posix(), pattern.strip("/")) or fnmatch.fnmatchcase(below.name, pattern.strip("/"))
        for pattern in exclude
    )


def _holds_key(path: Path) -> bool:
    """Whether a file is a private key, whatever its name; source and prose may speak of one further down."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); mend or --exclude it") from error
    return bool(_KEY.match(head.lstrip()) if path.suffix in _TEXTS else _KEY.search(head))


def _git_ignored(root: Path, names: list[str]) -> set[str]:
    """Those of the names that `.gitignore` leaves out; none outside a repository or without git."""
    if not names:
        return set()
    command = ["git", "-C", str(root), "check-ignore", "-z", "--stdin"]
    try:
        asked = subprocess.run(command, input="\0".join(names).encode(), capture_output=True, check=False)
    except FileNotFoundError:
        return set()
    # 0: some are ignored, 1: none is, 128: no repository.
    return set(filter(None, asked.stdout.decode().split("\0"))) if asked.returncode == 0 else set()


def _read(path: Path) -> tuple[bytes, bool]:
    """A file's content and whether it is executable."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: changed while it was packed; send again")
        return path.read_bytes(), bool(status.st_mode & stat.S_IXUSR)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); send again") from error


def _offenders(package: Package) -> str:
    """The biggest entries of the tree: files by themselves, and folders of many small ones, each counted once."""
    folders: Counter[str] = Counter()
    for name, size in package.files:
        folders[name.rpartition("/")[0]] += size
    files = Counter({name: size for name, size in package.files if size > folders[name.rpartition("/")[0]] // 2})
    for name in files:
        folders[name.rpartition("/")[0]] -= files[name]
    biggest = (files + Counter({f"{name or '.'}/": size for name, size in folders.items()})).most_common(_OFFENDERS)
    return ", ".join(f"{name} ({_mib(size)})" for name, size in biggest)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
