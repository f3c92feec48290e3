"""Holds rendered files against the schemas of those who will read them, strictly: an unknown key is an error.

- `ray up`: Ray's own `ray-schema.json` after `prepare_config`, with the doors that it leaves open closed: `provider`
  takes declared keys only, EC2's `node_config` is checked against botocore's model of RunInstances, Compute Engine's
  against the fields named here.
- KubeRay: the `v1` OpenAPI schema of its custom resource definitions. Kubernetes drops unknown keys in silence, so
  every object that declares its properties is closed first.
- Every `ray start` anywhere: its options against Ray's own command line.
"""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mouse_facelift.errors import InputError
from mouse_facelift.plain import did_you_mean

CRD_FILES = {"RayCluster": "ray.io_rayclusters.yaml", "RayJob": "ray.io_rayjobs.yaml"}
"""Where KubeRay's repository keeps the definition of each kind (helm-chart/kuberay-operator/crds)."""

_SUBMISSION_MODES = ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode")
_TEXT = {"type": "string"}


def _closed(properties: dict[str, Any], required: Iterable[str] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": list(required),
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


# The fields of `instances.insert` (cloud.google.com/compute/docs/reference) that a profile can lead to.
# `scheduling` is a list because Ray's own files write it so.
_GCE_INSTANCE = _closed(
    {
        "machineType": _TEXT,
        "disks": _list(
            _closed(
                {
                    "boot": {"type": "boolean"},
                    "autoDelete": {"type": "boolean"},
                    "type": {"enum": ["PERSISTENT", "SCRATCH"]},
                    "initializeParams": _closed({"diskSizeGb": {"type": "integer"}, "sourceImage": _TEXT}),
                }
            )
        ),
        "serviceAccounts": _list(_closed({"email": _TEXT, "scopes": _list(_TEXT)}, ["email", "scopes"])),
        "metadata": _closed({"items": _list(_closed({"key": _TEXT, "value": _TEXT}, ["key", "value"]))}),
        "networkInterfaces": _list(
            _closed({"subnetwork": _TEXT, "accessConfigs": _list(_closed({"name": _TEXT, "type": _TEXT}))})
        ),
        "scheduling": _list(
            _closed(
                {"preemptible": {"type": "boolean"}, "onHostMaintenance": {"enum": ["TERMINATE", "MIGRATE"]}},
            )
        ),
        "guestAccelerators": _list(_closed({"acceleratorType": _TEXT, "acceleratorCount": {"type": "integer"}})),
    },
    ["machineType", "disks"],
)


def check_ray_up(config: dict[str, Any], source: str) -> None:
    """A file for `ray up`.

    Raises:
        InputError: names the file, the dotted key and what is wrong with it.
    """
    import jsonschema
    import ray.autoscaler
    from ray.autoscaler._private.util import prepare_config, validate_config

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
    schema["properties"]["provider"]["additionalProperties"] = False
    _check(config, schema, source)
    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except (jsonschema.ValidationError, ValueError, RuntimeError) as error:
        raise InputError(f"{source}: Ray refuses it: {str(error).splitlines()[0]}") from error
    provider = config["provider"]["type"]
    for role, node in config.get("available_node_types", {}).items():
        place = f"available_node_types.{role}.node_config"
        if provider == "aws":
            _check_ec2_instance(node["node_config"], source, place)
        elif provider == "gcp":
            _check(node["node_config"], _GCE_INSTANCE, source, place)
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        for index, command in enumerate(config[key]):
            check_ray_start(command, f"{source}: {key}[{index}]")


def check_kuberay(manifest: dict[str, Any], schemas: Path, source: str) -> None:
    """A RayCluster or RayJob, against the definitions in the folder `schemas`.

    Raises:
        InputError: names the file, the dotted key and what is wrong with it; or a definition is absent.
    """
    kind = manifest.get("kind")
    if kind not in CRD_FILES:
        raise InputError(f"{source}: kind {kind!r} is none of {', '.join(CRD_FILES)}")
    _check(manifest, _crd_schema(schemas / CRD_FILES[kind]), source)
    cluster = manifest["spec"] if kind == "RayCluster" else manifest["spec"]["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]:
        options = [f"--{name}={value}" for name, value in group["rayStartParams"].items()]
        check_ray_start(shlex.join(["ray", "start", *options]), f"{source}: rayStartParams")


def check_ray_start(command: str, source: str) -> None:
    """The options of a `ray start` inside a shell command, against Ray's own command line; other commands pass.

    Raises:
        InputError: an option that `ray start` does not know.
    """
    from ray.scripts.scripts import start

    known = {name for parameter in start.params for name in parameter.opts}
    _, found, rest = command.partition("ray start")
    for word in shlex.split(rest, comments=True) if found else []:
        option = word.split("=")[0]
        if option.startswith("--") and option not in known:
            raise InputError(f"{source}: ray start has no option {option}{did_you_mean(option, known)}")


def strict(schema: Any) -> Any:
    """An OpenAPI v3 schema as strict JSON Schema: declared objects are closed, `int-or-string` takes both."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    closed = {key: strict(item) for key, item in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        # Its `anyOf` says the same; a `pattern` beside it only concerns texts.
        closed["type"] = ["integer", "string"]
    if isinstance(schema.get("properties"), Mapping) and schema.get("type") == "object":
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed.setdefault("additionalProperties", False)
    return closed


@cache
def _crd_schema(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read; give the folder with KubeRay's crds/*.yaml") from error
    # The C parser reads these megabytes ten times as fast.
    definition = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    versions = {version["name"]: version for version in definition["spec"]["versions"]}
    schema = strict(versions["v1"]["schema"]["openAPIV3Schema"])
    # Kubernetes itself checks `metadata`; a CRD says no more than that it is an object.
    schema["properties"]["metadata"] = _closed(
        {name: _TEXT for name in ("name", "namespace")}
        | {name: {"type": "object", "additionalProperties": _TEXT} for name in ("labels", "annotations")},
        ["name"],
    )
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    schema["properties"]["apiVersion"] = {"const": "ray.io/v1"}
    spec = schema["properties"]["spec"]["properties"]
    if "submissionMode" in spec:
        # The definition takes any text; the operator does not.
        spec["submissionMode"]["enum"] = list(_SUBMISSION_MODES)
    return schema


def _check(document: Any, schema: dict[str, Any], source: str, place: str = "") -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    worst = best_match(Draft202012Validator(schema).iter_errors(document))
    if worst is not None:
        where = ".".join(filter(None, [place, *map(str, worst.absolute_path)]))
        raise InputError(f"{source}: {f'{where}: ' if where else ''}{worst.message[:300]}")


def _check_ec2_instance(node_config: dict[str, Any], source: str, place: str) -> None:
    try:
        from botocore.validate import ParamValidator
    except ImportError as error:
        raise InputError(f"{source}: checking a cluster on AWS needs boto3; install mouse-facelift[aws]") from error

    # Ray's own key: it picks one of them for each machine.
    parameters = {key: value for key, value in node_config.items() if key != "SubnetIds"}
    report = ParamValidator().validate({**parameters, "MinCount": 1, "MaxCount": 1}, _run_instances())
    if report.has_errors():
        raise InputError(f"{source}: {place}: {report.generate_report()}")


@cache
def _run_instances() -> Any:
    """What EC2's RunInstances takes, from the model that botocore ships; reading it takes most of a second."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    model = ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")
    return model.operation_model("RunInstances").input_shape
