"""Files for `ray up`: Amazon EC2, Google Compute Engine, and machines that are already there.

Nothing listens to the world: the dashboard binds to the head's loopback (`ray dashboard` tunnels to it), machines are
reached by private addresses unless the profile says otherwise, and every connection needs the token that lies in
`~/.ray/auth_token` on the machine that runs `ray up` (mode 0600) and is copied to the same place on the cluster's.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from cluster.profile import NodeGroup, Profile, role_labels
from cluster.providers import AwsConfig, GcpConfig, OnPremiseConfig

METRICS_PORT = 8080
"""Every machine's metrics for Prometheus, as in KubeRay."""

_TOKEN_FILE = "~/.ray/auth_token"
_ENVIRONMENT_FILE = "~/.mouse-facelift.env"
_SOURCE_FOLDER = "~/mouse-facelift"
_VENV = "~/mouse-facelift-venv"


def aws(profile: Profile, cloud: AwsConfig) -> dict[str, Any]:
    """`ray up` for EC2."""

    def node(role: str) -> dict[str, Any]:
        config: dict[str, Any] = {
            "InstanceType": getattr(cloud.machines, role),
            "ImageId": cloud.ami,
            "SecurityGroupIds": list(cloud.security_group_ids),
            "IamInstanceProfile": {"Name": cloud.instance_profile},
            "BlockDeviceMappings": [
                {
                    "DeviceName": "/dev/sda1",
                    "Ebs": {"VolumeSize": cloud.disk_gib, "VolumeType": "gp3", "Encrypted": True},
                }
            ],
            # Two hops, so that a container gets the machine's credentials; tokens, so that a forged request does not.
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        }
        if cloud.subnet_ids:
            config["SubnetIds"] = list(cloud.subnet_ids)
        if role == "decode" and cloud.spot_decode:
            config["InstanceMarketOptions"] = {"MarketType": "spot"}
        return config

    provider = {
        "type": "aws",
        "region": cloud.region,
        "availability_zone": ",".join(cloud.zones),
        "use_internal_ips": cloud.internal_ips,
        "cache_stopped_nodes": False,
    }
    types = {role: node(role) for role in ("head", *profile.groups)}
    return _cloud(profile, provider, cloud.ssh_user, types)


def gcp(profile: Profile, cloud: GcpConfig) -> dict[str, Any]:
    """`ray up` for Compute Engine."""
    provider = {
        "type": "gcp",
        "region": cloud.region,
        "availability_zone": cloud.zone,
        "project_id": cloud.project,
        "use_internal_ips": cloud.internal_ips,
    }
    types = {role: _gcp_node(profile, cloud, role) for role in ("head", *profile.groups)}
    return _cloud(profile, provider, cloud.ssh_user, types)


def on_premise(profile: Profile, site: OnPremiseConfig) -> dict[str, Any]:
    """`ray up` over SSH. All workers get the same commands, so each finds its role by its own address."""
    workers = [*site.decode_ips, *site.train_ips]
    # Ray knows one kind of worker here; the GPU image also runs where there is no GPU.
    docker = _docker(profile)
    if profile.image.gpu:
        docker["worker_image"] = profile.image.gpu
    return {
        "cluster_name": profile.name,
        "provider": {"type": "local", "head_ip": site.head_ip, "worker_ips": workers},
        "max_workers": len(workers),
        "auth": {"ssh_user": site.ssh_user, "ssh_private_key": site.ssh_private_key},
        **_common(profile, docker),
        "head_start_ray_commands": ["ray stop", _start_head(profile, _labels_option("head"))],
        "worker_start_ray_commands": ["ray stop", _start_worker(profile, '--labels="$labels"', _find_role(site))],
    }


def _cloud(profile: Profile, provider: dict[str, Any], user: str, types: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What EC2 and Compute Engine have in common; `types` holds the provider's own settings by role."""
    node_types: dict[str, dict[str, Any]] = {}
    for role, config in types.items():
        group = profile.groups.get(role)
        node_types[role] = {
            "resources": _resources(group) if group else {"CPU": 0},
            "labels": role_labels(role),
            "min_workers": group.min_nodes if group else 0,
            "max_workers": group.max_nodes if group else 0,
            "node_config": config,
        }
        if group and profile.image_of(role):
            node_types[role]["docker"] = {"worker_image": profile.image_of(role)}
    return {
        "cluster_name": profile.name,
        "provider": provider,
        "max_workers": sum(group.max_nodes for group in profile.groups.values()),
        "idle_timeout_minutes": profile.idle_minutes,
        "auth": {"ssh_user": user},
        "head_node_type": "head",
        "available_node_types": node_types,
        **_common(profile, _docker(profile)),
        "head_start_ray_commands": ["ray stop", _start_head(profile, "")],
        "worker_start_ray_commands": ["ray stop", _start_worker(profile, "")],
    }


def _resources(group: NodeGroup) -> dict[str, int]:
    return {"CPU": group.cpus, "GPU": group.gpus} if group.gpus else {"CPU": group.cpus}


def _gcp_node(profile: Profile, cloud: GcpConfig, role: str) -> dict[str, Any]:
    gpus = profile.train.gpus if role == "train" else 0
    config: dict[str, Any] = {
        "machineType": getattr(cloud.machines, role),
        "disks": [
            {
                "boot": True,
                "autoDelete": True,
                "type": "PERSISTENT",
                "initializeParams": {"diskSizeGb": cloud.disk_gib, "sourceImage": cloud.source_image},
            }
        ],
        "serviceAccounts": [
            {"email": cloud.service_account, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
        ],
        "metadata": {"items": [{"key": "install-nvidia-driver", "value": "True"}]} if gpus else {},
    }
    if cloud.subnetwork:
        interface: dict[str, Any] = {"subnetwork": cloud.subnetwork}
        if not cloud.internal_ips:
            interface["accessConfigs"] = [{"name": "External NAT", "type": "ONE_TO_ONE_NAT"}]
        config["networkInterfaces"] = [interface]
    scheduling: dict[str, Any] = {}
    if role == "decode" and cloud.spot_decode:
        scheduling["preemptible"] = True
    if gpus:
        # Machines with GPUs cannot be moved while they run.
        scheduling["onHostMaintenance"] = "TERMINATE"
        if cloud.accelerator:
            kind = f"zones/{cloud.zone}/acceleratorTypes/{cloud.accelerator}"
            config["guestAccelerators"] = [{"acceleratorType": kind, "acceleratorCount": gpus}]
    if scheduling:
        config["scheduling"] = [scheduling]
    return {key: value for key, value in config.items() if value != {}}


def _common(profile: Profile, docker: dict[str, Any]) -> dict[str, Any]:
    """Docker or packages, the files that travel, and the commands that prepare a machine."""
    mounts = {_TOKEN_FILE: _TOKEN_FILE}
    if profile.environment:
        mounts[_ENVIRONMENT_FILE] = _ENVIRONMENT_FILE
    setup = [f"chmod 600 {' '.join(mounts)}"]
    if not docker:
        mounts[_SOURCE_FOLDER] = "."
        pip = f"{_VENV}/bin/pip install -c {_SOURCE_FOLDER}/constraints.txt"
        setup += [
            f"test -x {_VENV}/bin/python || python3.11 -m venv {_VENV}",
            f"{pip} torch==2.13.0 boto3 google-auth -e {_SOURCE_FOLDER}",
            f"grep -q {_VENV}/bin ~/.profile || echo 'export PATH={_VENV}/bin:$PATH' >> ~/.profile",
        ]
    return {
        **({"docker": docker} if docker else {}),
        "file_mounts": mounts,
        "rsync_exclude": ["**/.git", "**/.venv", "**/runs", "**/.env", "**/*.pem", "**/*.key"],
        "rsync_filter": [".gitignore"],
        "initialization_commands": list(profile.mount_commands),
        "setup_commands": setup,
    }


def _docker(profile: Profile) -> dict[str, Any]:
    if not profile.image.cpu:
        return {}
    folder = shlex.quote(f"{profile.shared_folder}:{profile.shared_folder}")
    return {
        "image": profile.image.cpu,
        "container_name": "mouse-facelift",
        "pull_before_run": True,
        "run_options": ["--ulimit nofile=65536:65536", f"-v {folder}"],
    }


def _start_head(profile: Profile, labels: str) -> str:
    words = [
        "ray start --head --port=6379 --num-cpus=0 --num-gpus=0 --dashboard-host=127.0.0.1",
        "--autoscaling-config=~/ray_bootstrap_config.yaml",
    ]
    return _chain([*_prepare(profile), " ".join([*words, *_everywhere(profile), *filter(None, [labels])])])


def _start_worker(profile: Profile, labels: str, *before: str) -> str:
    words = ["ray start --address=$RAY_HEAD_IP:6379", *_everywhere(profile), *filter(None, [labels])]
    return _chain([*_prepare(profile), *before, " ".join(words)])


def _chain(commands: list[str]) -> str:
    # Where the limit cannot be raised Ray still starts; where anything else fails it must not.
    return "ulimit -n 65536; " + " && ".join(commands)


def _everywhere(profile: Profile) -> list[str]:
    return [
        f"--object-manager-port=8076 --metrics-export-port={METRICS_PORT}",
        f"--object-spilling-directory={shlex.quote(profile.spill_folder)}",
    ]


def _prepare(profile: Profile) -> list[str]:
    """Shell words that precede `ray start`: the token, a folder, and the secrets from their owner's file."""
    secrets = []
    if profile.environment:
        missing = f"is missing in {_ENVIRONMENT_FILE}"
        checks = [f'{{ test "${name}" || {{ echo {name} {missing} >&2; exit 1; }}; }}' for name in profile.environment]
        secrets = ["set -a", f". {_ENVIRONMENT_FILE}", "set +a", *checks]
    return [
        "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.ray/auth_token",
        f"mkdir -p {shlex.quote(profile.spill_folder)}",
        *secrets,
    ]


def _labels_option(role: str) -> str:
    return "--labels=" + shlex.quote(",".join(f"{key}={value}" for key, value in role_labels(role).items()))


def _find_role(site: OnPremiseConfig) -> str:
    """Shell words that set `labels`: the role that the profile gives to one of this machine's addresses."""
    (label, decode), (_, train) = (*role_labels("decode").items(), *role_labels("train").items())
    addresses = " ".join(site.train_ips)
    match = f'case {json.dumps(f" {addresses} ")} in *" $ip "*) labels={label}={train};; esac'
    return f"labels={label}={decode} && for ip in $(hostname -I); do {match}; done"
