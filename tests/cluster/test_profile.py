"""A profile says everything once, strictly, and never a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.label_utils import validate_label_key, validate_label_value

from cluster.profile import PLATFORMS, ROLE_LABEL, Profile, read_profile, role_labels
from mouse_facelift.errors import InputError

MINIMAL = {
    "name": "lab",
    "storage": "s3://bucket/facelift",
    "job": ["python", "-m", "pipelines.preprocess", "--out", "{storage}/mine"],
    "decode": {"cpus": 8, "memory_gib": 32},
    "train": {"cpus": 8, "memory_gib": 32, "gpus": 1},
    "slurm": {},
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | changes))
    return path


def test_the_profiles_that_come_along_cover_every_platform(profiles: dict[str, Profile]) -> None:
    assert {platform for profile in profiles.values() for platform in profile.platforms} == set(PLATFORMS)


def test_places_in_the_job_are_filled_in(tmp_path: Path) -> None:
    profile = read_profile(write(tmp_path, storage="s3://bucket/facelift/"))
    assert profile.command[-1] == "s3://bucket/facelift/mine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"storge": "x"}, "did you mean 'storage'"),
        ({"decode": {"cpus": 8, "memory_gb": 3}}, "decode.memory_gb"),
        ({"kuberay": {"namespce": "a"}}, "kuberay.namespce"),
        ({"decode": {"cpus": "many", "memory_gib": 3}}, "whole number"),
        ({"decode": {"cpus": 8, "memory_gib": 3, "min_nodes": 4, "max_nodes": 2}}, "min_nodes"),
        ({"name": "Not A Label"}, "lower-case"),
        ({"job": []}, "job is empty"),
        ({"slurm": None}, "nowhere to run"),
        ({"kuberay": {}}, "image.cpu"),
        ({"environment": ["wandb=1"]}, "names of variables"),
        ({"on_premise": {"head_ip": "10.0.0.1", "train_ips": ["10.0.0.1"], "ssh_user": "u"}}, "two roles"),
    ],
)
def test_what_cannot_be_used_is_one_line_naming_file_and_key(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(InputError) as raised:
        read_profile(path)
    assert words in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


# Made up for this test, in the shapes of the real ones.
SECRETS = {
    "aws": "AKIA" + "ABCDEFGH12345678",
    "github": "ghp_" + "a1B2" * 9,
    "wandb": "3f9a1c7e5b8d2046" + "a9c3e17f60b4d825" + "9e1c7a30",
    "url": "s3://user:" + "hunter2@bucket/x",
    "option": "mount -o password=" + "hunter2 /x",
    "query": "s3://bucket/x?secret_key=" + "abc",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("place", ["storage", "mount_commands", "an_unknown_key"])
def test_a_secret_is_refused_anywhere_and_never_repeated(tmp_path: Path, secret: str, place: str) -> None:
    value: Any = [secret] if place == "mount_commands" else secret
    with pytest.raises(InputError) as raised:
        read_profile(write(tmp_path, **{place: value}))
    assert place in str(raised.value) and "looks like" in str(raised.value)
    assert secret not in str(raised.value) and "hunter2" not in str(raised.value)


def test_the_name_of_a_key_counts_as_well_as_its_value(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wandb_token"):
        read_profile(write(tmp_path, wandb_token="short"))


def test_names_and_digests_are_not_taken_for_secrets(tmp_path: Path) -> None:
    digest = "registry/mouse@sha256:" + "0123456789abcdef" * 4
    changes = {
        "image": {"cpu": digest},
        "environment": ["WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY"],
        "storage": "s3://a-bucket-with-a-rather-long-name-2026-11-21/and/folders?region=eu-central-1",
        "kuberay": {"environment_secret": "my-secret", "redis_secret": "another-secret"},
    }
    assert read_profile(write(tmp_path, **changes)).image.cpu == digest


@pytest.mark.parametrize("role", ["head", "decode", "train"])
def test_ray_takes_the_labels(role: str) -> None:
    assert role_labels(role) == {ROLE_LABEL: role}
    assert validate_label_key(ROLE_LABEL) is None
    validate_label_value(role)
