"""What `ray up` files must say, whatever the schema allows."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster import ray_up
from cluster.profile import ROLE_LABEL, Image, Profile
from cluster.schemas import check_ray_up
from mouse_facelift.errors import InputError

CLOUDS = ["ray-up-aws.yaml", "ray-up-gcp.yaml"]
ALL = [*CLOUDS, "ray-up-on-premise.yaml"]


def commands(config: dict[str, Any]) -> list[str]:
    return [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]


@pytest.mark.parametrize("name", CLOUDS)
def test_the_head_offers_nothing_and_every_group_its_role(name: str, rendered: dict[str, Any]) -> None:
    types = rendered[name]["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["decode"]["resources"].keys() == {"CPU"}
    assert types["train"]["resources"]["GPU"] > 0
    for role, node in types.items():
        assert node["labels"] == {ROLE_LABEL: role}
    assert types["decode"]["docker"]["worker_image"] != types["train"]["docker"]["worker_image"]


@pytest.mark.parametrize("name", ALL)
def test_ports_are_private_and_every_ray_wants_the_token(name: str, rendered: dict[str, Any]) -> None:
    config = rendered[name]
    starts = [command for command in commands(config) if "ray start" in command]
    assert len(starts) == 2
    for command in starts:
        assert command.index("RAY_AUTH_MODE=token") < command.index("ray start")
        assert "0.0.0.0" not in command
    assert "--dashboard-host=127.0.0.1" in starts[0] and "--num-cpus=0" in starts[0]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"][0]
    if name in CLOUDS:
        assert config["provider"]["use_internal_ips"] is True


@pytest.mark.parametrize("name", ALL)
def test_bash_can_read_every_command(name: str, rendered: dict[str, Any]) -> None:
    config = rendered[name]
    for command in [*commands(config), *config["setup_commands"], *config["initialization_commands"]]:
        subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.parametrize(("content", "status"), [("WANDB_API_KEY=x", 0), ("OTHER=x", 1)])
def test_ray_does_not_start_without_the_secrets_it_was_promised(
    content: str, status: int, rendered: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / ".mouse-facelift.env").write_text(content + "\n")
    tool = tmp_path / "ray"
    tool.write_text('#!/bin/bash\n[[ $1 == start && $RAY_AUTH_MODE == token ]] && echo "started $WANDB_API_KEY"\n')
    tool.chmod(0o755)
    command = rendered["ray-up-aws.yaml"]["worker_start_ray_commands"][-1].replace("/tmp/ray-spill", str(tmp_path))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "RAY_HEAD_IP": "10.0.0.1"}
    done = subprocess.run(["bash", "-c", command], env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == status
    assert done.stdout == ("started x\n" if status == 0 else "")
    assert ("WANDB_API_KEY is missing" in done.stderr) == (status != 0)


@pytest.mark.parametrize(("address", "role"), [("10.0.0.11", "decode"), ("10.0.0.21", "train"), ("10.0.0.2", "decode")])
def test_a_machine_on_premise_finds_its_role_by_its_address(
    address: str, role: str, rendered: dict[str, Any], tmp_path: Path
) -> None:
    for tool, line in {"hostname": f"echo 172.17.0.1 {address}", "ray": 'echo "$*"', "mkdir": ":"}.items():
        (tmp_path / tool).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / tool).chmod(0o755)
    command = rendered["ray-up-on-premise.yaml"]["worker_start_ray_commands"][-1]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "RAY_HEAD_IP": "10.0.0.10"}
    done = subprocess.run(["bash", "-c", command], env=environment, text=True, capture_output=True, check=True)
    assert f"--labels={ROLE_LABEL}={role}" in done.stdout.split()


def test_without_images_the_packages_come_from_the_constraints(profiles: dict[str, Profile]) -> None:
    profile = dataclasses.replace(profiles["aws"], image=Image())
    assert profile.aws is not None
    config = ray_up.aws(profile, profile.aws)
    assert "docker" not in config
    assert any("-c ~/mouse-facelift/constraints.txt" in command for command in config["setup_commands"])
    assert config["file_mounts"]["~/mouse-facelift"] == "."
    assert {"**/.env", "**/*.pem", "**/*.key"} <= set(config["rsync_exclude"])
    check_ray_up(config, "ray-up-aws.yaml")


def test_without_a_security_group_there_is_no_file(profiles: dict[str, Profile]) -> None:
    assert profiles["aws"].aws is not None
    with pytest.raises(InputError, match="port 22"):
        dataclasses.replace(profiles["aws"].aws, security_group_ids=())


def test_gcp_machines_with_public_addresses_and_attached_gpus_are_valid(profiles: dict[str, Profile]) -> None:
    cloud = profiles["gcp"].gcp
    assert cloud is not None
    changed = dataclasses.replace(cloud, internal_ips=False, accelerator="nvidia-tesla-t4")
    config = ray_up.gcp(profiles["gcp"], changed)
    check_ray_up(config, "ray-up-gcp.yaml")
    train = config["available_node_types"]["train"]["node_config"]
    assert train["guestAccelerators"][0]["acceleratorCount"] == profiles["gcp"].train.gpus
    assert train["networkInterfaces"][0]["accessConfigs"]
    with pytest.raises(InputError, match="subnetwork"):
        dataclasses.replace(cloud, subnetwork="")
