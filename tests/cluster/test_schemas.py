"""Every rendered file is right, and no key of it can be misspelt without being noticed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.render import check, to_text
from cluster.schemas import check_kuberay, check_ray_start, check_ray_up, strict
from mouse_facelift.errors import InputError

RAY_UP = ["ray-up-aws.yaml", "ray-up-gcp.yaml", "ray-up-on-premise.yaml"]
KUBERAY = ["raycluster.yaml", "rayjob.yaml"]

# The keys below these are names that a person chooses, so that any is right.
CHOSEN = {"labels", "resources", "file_mounts", "available_node_types", "nodeSelector", "matchLabels", "limits"}
CHOSEN |= {"requests"}


def key_paths(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key whose name a schema decides."""
    if isinstance(document, dict):
        for key, item in document.items():
            # `resources` of a container holds requests and limits, which a schema does decide.
            if not path or path[-1] not in CHOSEN or key in ("requests", "limits"):
                yield (*path, key)
            yield from key_paths(item, (*path, key))
    elif isinstance(document, list):
        for index, item in enumerate(document):
            yield from key_paths(item, (*path, index))


def misspelt(document: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """A copy in which the key at `path` has one letter too many."""
    changed = copy.deepcopy(document)
    parent: Any = changed
    for step in path[:-1]:
        parent = parent[step]
    parent[f"{path[-1]}x"] = parent.pop(path[-1])
    return changed


@pytest.mark.parametrize("name", [*RAY_UP, *KUBERAY, "slurm.sbatch"])
def test_every_file_is_valid_also_as_it_is_written(name: str, rendered: dict[str, Any], schemas: Path) -> None:
    content = rendered[name]
    text = to_text(content, "profile.yaml")
    read_back = text if isinstance(content, str) else yaml.safe_load(text)
    assert read_back == content
    assert check(name, read_back, schemas)


@pytest.mark.parametrize("name", RAY_UP)
def test_a_misspelt_key_of_ray_up_is_noticed_at_any_depth(name: str, rendered: dict[str, Any]) -> None:
    paths = list(key_paths(rendered[name]))
    assert max(map(len, paths)) >= (2 if name == "ray-up-on-premise.yaml" else 5)
    for path in paths:
        with pytest.raises(InputError):
            check_ray_up(misspelt(rendered[name], path), name)


@pytest.mark.parametrize("name", KUBERAY)
def test_a_misspelt_key_of_kuberay_is_noticed_at_any_depth(name: str, rendered: dict[str, Any], schemas: Path) -> None:
    paths = list(key_paths(rendered[name]))
    assert len(paths) > 150 and max(map(len, paths)) >= 10
    for path in paths:
        with pytest.raises(InputError) as raised:
            check_kuberay(misspelt(rendered[name], path), schemas, name)
        assert f"{path[-1]}" in str(raised.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("spec", "submissionMode"), "K8sJob"),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "on"),
        (("spec", "rayClusterSpec", "networkPolicy", "mode"), "denyAllIngress"),
        (("spec", "deletionStrategy", "deletionRules", 0, "policy"), "Delete"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplicas"), "16"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("apiVersion",), "ray.io/v1alpha1"),
    ],
)
def test_a_wrong_value_in_a_rayjob_is_noticed(
    place: tuple[Any, ...], value: Any, rendered: dict[str, Any], schemas: Path
) -> None:
    job = copy.deepcopy(rendered["rayjob.yaml"])
    parent: Any = job
    for step in place[:-1]:
        parent = parent[step]
    assert parent[place[-1]] != value
    parent[place[-1]] = value
    with pytest.raises(InputError, match=str(place[-1])):
        check_kuberay(job, schemas, "rayjob.yaml")


def test_a_wrong_value_for_ec2_or_compute_engine_is_noticed(rendered: dict[str, Any]) -> None:
    aws = copy.deepcopy(rendered["ray-up-aws.yaml"])
    aws["available_node_types"]["train"]["node_config"]["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] = "big"
    with pytest.raises(InputError, match="VolumeSize"):
        check_ray_up(aws, "aws")
    gcp = copy.deepcopy(rendered["ray-up-gcp.yaml"])
    gcp["available_node_types"]["train"]["node_config"]["scheduling"] = [{"onHostMaintenance": "STOP"}]
    with pytest.raises(InputError, match="onHostMaintenance"):
        check_ray_up(gcp, "gcp")


def test_ray_refuses_more_machines_than_the_whole_may_have(rendered: dict[str, Any]) -> None:
    aws = copy.deepcopy(rendered["ray-up-aws.yaml"])
    aws["available_node_types"]["decode"]["min_workers"] = 99
    with pytest.raises(InputError, match="max_workers"):
        check_ray_up(aws, "aws")


def test_options_of_ray_start_are_checked_inside_shell_commands() -> None:
    check_ray_start("ulimit -n 65536; ray start --head --num-cpus=0 --labels='a=b'", "x")
    check_ray_start("ray stop", "x")
    with pytest.raises(InputError, match="did you mean '--dashboard-host'"):
        check_ray_start("export A=1 && ray start --dashbord-host=127.0.0.1", "x")


def test_strictness_closes_objects_and_keeps_the_doors_that_are_meant() -> None:
    schema = strict(
        {
            "type": "object",
            "properties": {
                "port": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {}},
                "names": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        }
    )
    check = jsonschema.Draft202012Validator(schema).is_valid
    assert check({"port": 1}) and check({"port": "http"}) and not check({"port": 1.5})
    assert check({"free": {"anything": 1}}) and not check({"unknown": 1})
    assert check({"names": {"any": "text"}}) and not check({"names": {"any": 1}})


def test_absent_definitions_are_said(rendered: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ray\.io_rayjobs\.yaml"):
        check_kuberay(rendered["rayjob.yaml"], tmp_path, "rayjob.yaml")
