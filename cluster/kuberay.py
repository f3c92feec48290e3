"""RayCluster and RayJob manifests for the KubeRay operator, v1.7 (`ray.io/v1`).

The head offers no CPUs, so work lands on the `decode` and `train` groups; both grow and shrink with the work. Every
port needs the token that the operator makes (`authOptions`), pods outside the cluster are kept out by a network
policy, pods run without privileges, and secrets come from Kubernetes Secrets by name.
"""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from cluster.profile import NodeGroup, Profile, role_labels
from cluster.providers import KubeRayConfig
from cluster.ray_up import METRICS_PORT

RAY_VERSION = "2.60.0"
"""Ray in `constraints.txt`, and so in the images; the operator asks for it before it turns tokens on."""

# Ray takes 30 % of a machine's memory for its object store, in /dev/shm; data loaders need some of it too.
_SHM_SHARE = 0.4
_SUCCEEDED_KEPT_S = 300


def ray_cluster(profile: Profile, kube: KubeRayConfig) -> dict[str, Any]:
    """A cluster that stays, for `ray job submit`."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": profile.name, "namespace": kube.namespace},
        "spec": _cluster_spec(profile, kube),
    }


def ray_job(profile: Profile, kube: KubeRayConfig) -> dict[str, Any]:
    """A cluster that runs the profile's command and goes away: at once on success, later on failure for its logs."""
    failed_s = kube.keep_failed_minutes * 60
    rules = [
        {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": _SUCCEEDED_KEPT_S}},
        {"policy": "DeleteCluster", "condition": {"jobStatus": "FAILED", "ttlSeconds": failed_s}},
        # A deadline that passed or a cluster that never came up leaves the job without a status of its own.
        {"policy": "DeleteCluster", "condition": {"jobDeploymentStatus": "Failed", "ttlSeconds": failed_s}},
    ]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": f"{profile.name}-job", "namespace": kube.namespace},
        "spec": {
            "entrypoint": shlex.join(profile.command),
            "submissionMode": "K8sJobMode",
            # The applications resume by themselves; a second attempt in a new cluster is the person's decision.
            "backoffLimit": 0,
            "activeDeadlineSeconds": kube.deadline_hours * 3600,
            "runtimeEnvYAML": yaml.safe_dump({"env_vars": {"PYTHONUNBUFFERED": "1"}}),
            "deletionStrategy": {"deletionRules": rules},
            "rayClusterSpec": _cluster_spec(profile, kube),
        },
    }


def _cluster_spec(profile: Profile, kube: KubeRayConfig) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "idleTimeoutSeconds": profile.idle_minutes * 60,
            "resources": _same({"cpu": "500m", "memory": "1Gi"}),
        },
        "networkPolicy": _network_policy(kube),
        "headGroupSpec": _head_group(profile, kube),
        "workerGroupSpecs": [_worker_group(profile, kube, role) for role in profile.groups],
    }
    if kube.redis_address:
        spec["gcsFaultToleranceOptions"] = {
            "redisAddress": kube.redis_address,
            "redisPassword": {"valueFrom": {"secretKeyRef": {"name": kube.redis_secret, "key": "password"}}},
        }
    return spec


def _head_group(profile: Profile, kube: KubeRayConfig) -> dict[str, Any]:
    size = {"cpu": str(profile.head.cpus), "memory": f"{profile.head.memory_gib}Gi"}
    ports = {"gcs": 6379, "dashboard": 8265, "client": 10001}
    return {
        "serviceType": "ClusterIP",
        "enableIngress": False,
        "labels": role_labels("head"),
        "rayStartParams": {
            "num-cpus": "0",
            "num-gpus": "0",
            # Inside the pod's network, where the operator and the submitter knock; the token guards it.
            "dashboard-host": "0.0.0.0",
            **_ray_start(profile),
        },
        "template": {"spec": _pod(profile, kube, "head", size, profile.head.memory_gib, ports, {})},
    }


def _worker_group(profile: Profile, kube: KubeRayConfig, role: str) -> dict[str, Any]:
    group: NodeGroup = profile.groups[role]
    size = {"cpu": str(group.cpus), "memory": f"{group.memory_gib}Gi"}
    if group.gpus:
        size["nvidia.com/gpu"] = str(group.gpus)
    selector = kube.train_selector if role == "train" else kube.decode_selector
    pod = _pod(profile, kube, role, size, group.memory_gib, {}, selector)
    # The head's account scales the cluster; a worker has no business with Kubernetes' API.
    pod["automountServiceAccountToken"] = False
    if group.gpus:
        pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    return {
        "groupName": role,
        "replicas": group.min_nodes,
        "minReplicas": group.min_nodes,
        "maxReplicas": group.max_nodes,
        "idleTimeoutSeconds": profile.idle_minutes * 60,
        "labels": role_labels(role),
        "rayStartParams": _ray_start(profile),
        "template": {"spec": pod},
    }


def _ray_start(profile: Profile) -> dict[str, str]:
    return {"metrics-export-port": str(METRICS_PORT), "object-spilling-directory": profile.spill_folder}


def _pod(
    profile: Profile,
    kube: KubeRayConfig,
    role: str,
    size: dict[str, str],
    memory_gib: int,
    ports: dict[str, int],
    selector: dict[str, str],
) -> dict[str, Any]:
    shm = max(1, int(memory_gib * _SHM_SHARE))
    volumes: dict[str, tuple[str, dict[str, Any]]] = {
        "shm": ("/dev/shm", {"emptyDir": {"medium": "Memory", "sizeLimit": f"{shm}Gi"}}),
        "spill": (profile.spill_folder, {"emptyDir": {}}),
        # The operator's name for it: its autoscaler then writes its log where the dashboard looks.
        "ray-logs": ("/tmp/ray", {"emptyDir": {}}),
    }
    if kube.shared_claim:
        claim = {"persistentVolumeClaim": {"claimName": kube.shared_claim}}
        volumes["shared"] = (profile.shared_folder, claim)
    container = {
        "name": f"ray-{role}",
        "image": profile.image_of(role),
        "ports": [{"name": name, "containerPort": port} for name, port in {**ports, "metrics": METRICS_PORT}.items()],
        "env": [_secret_variable(kube, name) for name in profile.environment],
        "resources": _same(size),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": name, "mountPath": path} for name, (path, _) in volumes.items()],
    }
    pod: dict[str, Any] = {
        # The autoscaler replaces pods; a restarted one would come back as a machine nobody counts.
        "restartPolicy": "Never",
        # The image's user; its group, so that it may write to the volumes.
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": name, **source} for name, (_, source) in volumes.items()],
    }
    if selector:
        pod["nodeSelector"] = dict(selector)
    if kube.service_account:
        pod["serviceAccountName"] = kube.service_account
    return pod


def _secret_variable(kube: KubeRayConfig, name: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": kube.environment_secret, "key": name}}}


def _same(size: dict[str, str]) -> dict[str, dict[str, str]]:
    """Requests equal to limits: Ray counts with the limits, and pods that keep to them are evicted last."""
    return {"requests": dict(size), "limits": dict(size)}


def _network_policy(kube: KubeRayConfig) -> dict[str, Any]:
    """In: the cluster's own pods, the operator, the job's submitter, and Prometheus. Out: anything."""
    policy: dict[str, Any] = {"mode": "DenyAllIngress"}
    if kube.prometheus_namespace:
        namespace = {"matchLabels": {"kubernetes.io/metadata.name": kube.prometheus_namespace}}
        rule = {
            "from": [{"namespaceSelector": namespace}],
            "ports": [{"port": METRICS_PORT, "protocol": "TCP"}],
        }
        policy |= {side: {"ingressRules": [rule]} for side in ("head", "worker")}
    return policy
