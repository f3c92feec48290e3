"""What KubeRay manifests must say, whatever the schema allows: the operator's own rules, and safety."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import kuberay
from cluster.kuberay import RAY_VERSION
from cluster.profile import ROLE_LABEL, Profile
from cluster.providers import KubeRayConfig
from cluster.schemas import check_kuberay

ROOT = Path(kuberay.__file__).parents[1]


@pytest.fixture(params=["raycluster.yaml", "rayjob.yaml"])
def cluster_spec(request: pytest.FixtureRequest, rendered: dict[str, Any]) -> dict[str, Any]:
    spec = rendered[request.param]["spec"]
    return spec.get("rayClusterSpec", spec)


def pods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_the_head_offers_nothing_and_groups_go_where_they_belong(cluster_spec: dict[str, Any]) -> None:
    assert cluster_spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    decode, train = cluster_spec["workerGroupSpecs"]
    assert decode["labels"] == {ROLE_LABEL: "decode"} and train["labels"] == {ROLE_LABEL: "train"}
    assert "nvidia.com/gpu" not in pods(cluster_spec)[1]["containers"][0]["resources"]["limits"]
    assert pods(cluster_spec)[2]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert pods(cluster_spec)[2]["tolerations"] and "tolerations" not in pods(cluster_spec)[1]


def test_what_the_operator_demands_beyond_the_schema(cluster_spec: dict[str, Any]) -> None:
    assert cluster_spec["authOptions"] == {"mode": "token"} and cluster_spec["rayVersion"] == RAY_VERSION
    # Autoscaler v2 refuses pods that restart; sizes may be given in one place only; labels have a field of their own.
    assert cluster_spec["autoscalerOptions"]["version"] == "v2"
    for group, pod in zip(
        [cluster_spec["headGroupSpec"], *cluster_spec["workerGroupSpecs"]], pods(cluster_spec), strict=True
    ):
        assert pod["restartPolicy"] == "Never"
        assert "resources" not in group and "labels" not in group["rayStartParams"]
        assert [v for v in pod["volumes"] if v.get("emptyDir", {}).get("medium") == "Memory"]
        assert "/dev/shm" in [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]


def test_pods_have_no_privileges_and_no_secret_in_plain_text(cluster_spec: dict[str, Any]) -> None:
    assert cluster_spec["networkPolicy"]["mode"] == "DenyAllIngress"
    assert cluster_spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    for pod in pods(cluster_spec):
        container = pod["containers"][0]
        assert pod["securityContext"]["runAsNonRoot"] and not container["securityContext"]["allowPrivilegeEscalation"]
        assert all("value" not in variable for variable in container["env"])
        assert container["resources"]["requests"] == container["resources"]["limits"]
    assert all(pod["automountServiceAccountToken"] is False for pod in pods(cluster_spec)[1:])
    assert "value" not in cluster_spec["gcsFaultToleranceOptions"]["redisPassword"]


def test_a_finished_job_leaves_no_cluster_behind(rendered: dict[str, Any]) -> None:
    spec = rendered["rayjob.yaml"]["spec"]
    # The operator takes either of them, not both.
    assert "shutdownAfterJobFinishes" not in spec and "ttlSecondsAfterFinished" not in spec
    rules = {
        rule["condition"].get("jobStatus", "deadline"): (rule["policy"], rule["condition"]["ttlSeconds"])
        for rule in spec["deletionStrategy"]["deletionRules"]
    }
    assert {policy for policy, _ in rules.values()} == {"DeleteCluster"}
    assert rules["SUCCEEDED"][1] < rules["FAILED"][1] == rules["deadline"][1]
    assert yaml.safe_load(spec["runtimeEnvYAML"]).keys() == {"env_vars"}


def test_ray_is_the_version_of_the_constraints() -> None:
    assert f"ray=={RAY_VERSION}" in (ROOT / "constraints.txt").read_text().splitlines()


def test_everything_optional_may_be_left_out(profiles: dict[str, Profile], schemas: Path) -> None:
    profile = dataclasses.replace(profiles["kuberay"], environment=())
    manifest = kuberay.ray_cluster(profile, KubeRayConfig(prometheus_namespace=""))
    check_kuberay(manifest, schemas, "raycluster.yaml")
    assert "gcsFaultToleranceOptions" not in manifest["spec"]
    assert manifest["spec"]["networkPolicy"] == {"mode": "DenyAllIngress"}
