"""What travels with a job: code does; data, results and secrets stay, whatever their names and wherever they lie."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from cluster.packaging import LIMIT_BYTES, choose_files, write_archive
from mouse_facelift.errors import InputError

ROOT = Path(__file__).parents[2]
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n"
CODE = ("pipelines/preprocess.py", "src/lab/data/rig.json", "src/lab/build/table.py", "README.md", ".ci/run")
SECRETS = (
    *(".env", ".env.local", "prod.env", "key.pem", "a/b/server.key", "id_rsa", "id_ed25519.bak", ".ssh/config"),
    *(".netrc", "auth_token", "wandb_token", "redis-password.txt", "credentials", "credentials.json", ".aws/config"),
    *("service_account.json", "client_secret_7.json", "kubeconfig.yaml", ".ray/auth_token", "ID_RSA"),
)
DATA = (
    *(
        ".git/config",
        "data/rec/new_cam.txt",
        "runs/a/config.yaml",
        ".venv/bin/x",
        "my-env/pyvenv.cfg",
        "my-env/lib/x.py",
    ),
    *("src/lab/__pycache__/x.pyc", "wandb/run/x", "clips/0.mp4", "shard.parquet", "model.safetensors", "old/shard.npz"),
    *("found/metrics.jsonl", "found/config.yaml", "dist/x.whl", "x.egg-info/PKG-INFO", ".ruff_cache/x"),
)


def tree(root: Path, *names: str, content: str = "x") -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_code_travels_and_nothing_else_does(tmp_path: Path) -> None:
    package = choose_files(tree(tmp_path, *CODE, *SECRETS, *DATA))
    assert package.names == set(CODE)
    assert package.left_out["secrets"] == len(SECRETS)
    assert package.summary().startswith("5 files, 0.0 MiB (left at home: ")


def test_the_project_itself_travels_whole_and_light() -> None:
    package = choose_files(ROOT)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    if not tracked:
        pytest.skip("no git checkout: nothing says what belongs to the project")
    assert [name for name in tracked if name not in package.names and (ROOT / name).exists()] == []
    assert package.size < LIMIT_BYTES / 10


@pytest.mark.parametrize("name", ["notes.txt", "deploy", "config.json", "odd.py"])
def test_a_key_stays_whatever_its_name(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "main.py")
    tree(tmp_path, name, content=KEY if name.endswith(".py") else f'{{"private_key": "{KEY}"}}')
    # Code and prose that only speak of one travel.
    tree(tmp_path, "checks.py", "README.md", content=f'PATTERN = "{KEY}"')
    assert choose_files(tmp_path).names == {"main.py", "checks.py", "README.md"}


def test_links_never_lead_out_or_around_a_rule(tmp_path: Path) -> None:
    outside = tree(tmp_path / "outside", "secret.py", "folder/more.py")
    root = tree(tmp_path / "tree", "code.py", ".env", "data/list.txt", "cycle/here.py")
    links = {
        "to_file.py": outside / "secret.py",
        "to_folder": outside / "folder",
        "to_env.py": root / ".env",
        "to_data.txt": root / "data" / "list.txt",
        "broken.py": root / "absent",
        "up.py": Path("..") / "outside" / "secret.py",
        "cycle/again": root,
        "same.py": root / "code.py",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    package = choose_files(root)
    assert package.names == {"code.py", "same.py", "cycle/here.py"}
    write_archive(package, tmp_path / "a.zip")
    assert set(zipfile.ZipFile(tmp_path / "a.zip").namelist()) == package.names


def test_pipes_are_not_read(tmp_path: Path) -> None:
    tree(tmp_path, "code.py")
    os.mkfifo(tmp_path / "pipe.py")
    assert choose_files(tmp_path).names == {"code.py"}


def test_what_git_ignores_stays(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    tree(tmp_path, "code.py", "private/notes.md", "new.py", "späte notiz.md")
    tree(tmp_path, ".gitignore", content="private/\nsp*.md\n")
    assert choose_files(tmp_path).names == {"code.py", "new.py", ".gitignore"}


def test_patterns_of_ones_own(tmp_path: Path) -> None:
    tree(tmp_path, "code.py", "drafts/a.py", "docs/drafts.md", "docs/big.md")
    assert choose_files(tmp_path, ["drafts/", "docs/big*"]).names == {"code.py", "docs/drafts.md"}


def test_too_much_is_refused_with_the_biggest_named(tmp_path: Path) -> None:
    tree(tmp_path, "code.py")
    tree(tmp_path, "atlas/brain.txt", content="x" * 3_000_000)
    tree(tmp_path, *(f"frames/{i}.csv" for i in range(20)), content="x" * 100_000)
    with pytest.raises(InputError, match=r"4\.8 MiB would travel, Ray takes 4\.0 MiB") as refusal:
        choose_files(tmp_path, limit=4 << 20)
    assert str(refusal.value).endswith("atlas/brain.txt (2.9 MiB), frames/ (1.9 MiB), code.py (0.0 MiB)")
    assert choose_files(tmp_path, ["frames"], limit=4 << 20).names == {"code.py", "atlas/brain.txt"}


def test_equal_trees_make_equal_archives(tmp_path: Path) -> None:
    archives = []
    for name in ("a", "b"):
        root = tree(tmp_path / name, *CODE)
        (root / ".ci/run").chmod(0o755)
        os.utime(root / "README.md", (len(archives), len(archives)))
        write_archive(choose_files(root), tmp_path / f"{name}.zip")
        archives.append((tmp_path / f"{name}.zip").read_bytes())
    assert archives[0] == archives[1]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
        assert modes[".ci/run"] == 0o755 and modes["README.md"] == 0o644
        assert archive.read("README.md") == b"x"


@pytest.mark.parametrize(("names", "message"), [((), "holds nothing to send"), ((".env",), "holds nothing to send")])
def test_empty_and_absent_folders(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_files(tree(tmp_path, *names))
    with pytest.raises(InputError, match="is not a folder"):
        choose_files(tmp_path / "absent")
