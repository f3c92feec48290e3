"""`mouse-facelift cluster-files --profile FILE --out DIR`: from a profile to checked files for its platforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster import kuberay, ray_up
from cluster.profile import Profile, read_profile
from cluster.schemas import check_kuberay, check_ray_up
from cluster.slurm import sbatch_script
from cluster.text_checks import check_sbatch
from mouse_facelift.cli import run_verb
from mouse_facelift.config import parse
from mouse_facelift.errors import InputError

_RAY_UP: dict[str, Callable[[Profile, Any], dict[str, Any]]] = {
    "aws": ray_up.aws,
    "gcp": ray_up.gcp,
    "on_premise": ray_up.on_premise,
}


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """Settings of `cluster-files`."""

    profile: Path
    """The cluster, as in cluster/profiles/*.yaml."""
    out: Path
    """Folder for the files; files of the same names are replaced."""
    schemas: Path | None = None
    """Folder with KubeRay's ray.io_rayclusters.yaml and ray.io_rayjobs.yaml, to check its manifests against."""


class _Dumper(yaml.SafeDumper):
    """Writes repeated parts out in full: people read these files."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(profile: Profile) -> dict[str, dict[str, Any] | str]:
    """File name -> a document for YAML, or a script, for every platform of the profile."""
    files: dict[str, dict[str, Any] | str] = {}
    for platform, build in _RAY_UP.items():
        section = getattr(profile, platform)
        if section is not None:
            files[f"ray-up-{platform.replace('_', '-')}.yaml"] = build(profile, section)
    if profile.kuberay is not None:
        files["raycluster.yaml"] = kuberay.ray_cluster(profile, profile.kuberay)
        files["rayjob.yaml"] = kuberay.ray_job(profile, profile.kuberay)
    if profile.slurm is not None:
        files["slurm.sbatch"] = sbatch_script(profile, profile.slurm)
    return files


def check(name: str, content: dict[str, Any] | str, schemas: Path | None) -> bool:
    """Hold one rendered file against its schema; False where there is none to hold it against.

    Raises:
        InputError: the file is wrong.
    """
    if isinstance(content, str):
        check_sbatch(content, name)
    elif name.startswith("ray-up-"):
        check_ray_up(content, name)
    elif schemas is None:
        return False
    else:
        check_kuberay(content, schemas, name)
    return True


def to_text(content: dict[str, Any] | str, origin: str) -> str:
    """A file's text; YAML says where it comes from."""
    if isinstance(content, str):
        return content
    header = f"# Rendered from {origin} by `mouse-facelift cluster-files`: change the profile, not this file.\n"
    return header + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120)


def _next_step(path: Path) -> str:
    if path.name.startswith("ray-up-"):
        return f"ray up {path}"
    return f"sbatch {path}" if path.suffix == ".sbatch" else f"kubectl apply -f {path}"


def main(argv: Sequence[str] | None = None) -> int:
    """The verb: writes nothing unless every file is right."""
    config = parse(
        RenderConfig,
        argv,
        prog="mouse-facelift cluster-files",
        description="From a cluster's profile to files for ray up, KubeRay and Slurm, checked against their schemas.",
    )
    if config.out.exists() and not config.out.is_dir():
        raise InputError(f"{config.out}: is a file; give --out a folder")
    files = render(read_profile(config.profile))
    unchecked = [name for name, content in files.items() if not check(name, content, config.schemas)]
    config.out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = config.out / name
        path.write_text(to_text(content, config.profile.name), encoding="utf-8")
        print(f"wrote {path} ({'not checked' if name in unchecked else 'valid'})")
    if unchecked:
        print(f"{' and '.join(unchecked)}: give --schemas FOLDER to check them against KubeRay's definitions")
    print(f"next: {_next_step(config.out / next(iter(files)))} (see cluster/README.md)")
    return 0


if __name__ == "__main__":
    run_verb(main)
