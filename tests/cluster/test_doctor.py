"""What the doctor says: of healthy machines nothing, of each fault what fails and the cure; and on a real Ray."""

from __future__ import annotations

import dataclasses
import os
import socket
from pathlib import Path

import pytest

from cluster import doctor
from cluster.checks import Check, check_nodes, training_room
from cluster.doctor import DoctorConfig, check_door, judge
from cluster.node_facts import PACKAGES, NodeFacts, look_here, try_storage, versions
from cluster.ports import Port, answer_without_token, listening
from cluster.probe import ProbeConfig, from_output, probe, to_line
from tests.live_ray import LiveRay

GIB = 1 << 30
HEALTHY = NodeFacts(
    name="10.0.0.2",
    role="decode",
    resources={"CPU": 8.0, "memory": 20.0 * GIB, "object_store_memory": 4.0 * GIB},
    python="3.11.7",
    versions=dict.fromkeys(PACKAGES, "1.0"),
    auth="token",
    memory=32 * GIB,
    shared_memory=8 * GIB,
    disk=100 * GIB,
    disk_free=50 * GIB,
    refusing_ports=2,
)
HEAD = dataclasses.replace(
    HEALTHY, name="10.0.0.1", role="head", head=True, resources={"object_store_memory": 2.0 * GIB}
)


def findings(*nodes: NodeFacts, storage: str = "s3://b/x") -> dict[str, Check]:
    """What is not well, by what was looked at."""
    return {check.what: check for check in check_nodes(nodes, storage=storage) if check.verdict != "ok"}


def test_a_healthy_cluster_has_no_findings() -> None:
    checks = check_nodes([HEAD, HEALTHY], storage="s3://b/x")
    assert {check.verdict for check in checks} == {"ok"}
    text = "\n".join(check.line() for check in checks)
    for said in ("3.11.7", "1 x: 8 CPU", "leaves 7 for Ray Data", "2.0 GiB to 4.0 GiB", "50.0 GiB free", "s3://b/x"):
        assert said in text


@pytest.mark.parametrize(
    ("change", "what", "verdict", "found"),
    [
        ({"error": "GetTimeoutError: too late"}, "machines", "FAIL", "1 of 3 do not answer: 10.0.0.9: GetTimeoutError"),
        ({"python": "3.11.9"}, "python", "FAIL", "3.11.7, but 3.11.9 on 10.0.0.9"),
        ({"versions": HEALTHY.versions | {"ray": "2.59"}}, "ray", "FAIL", "1.0, but 2.59 on 10.0.0.9"),
        ({"versions": HEALTHY.versions | {"torch": "1.1"}}, "torch", "warn", "1.0, but 1.1 on 10.0.0.9"),
        ({"versions": {"ray": "1.0", "torch": "1.0"}}, "packages", "FAIL", "numpy, pyarrow"),
        ({"shared_memory": GIB}, "object store", "FAIL", "larger than /dev/shm on 10.0.0.9: 1.0 GiB"),
        ({"resources": {"CPU": 1.0, "object_store_memory": 1e8}}, "object store", "warn", "below 1 GiB on 10.0.0.9"),
        ({"disk_free": 10 * GIB}, "disk", "warn", "90% full"),
        ({"disk_free": 2 * GIB}, "disk", "FAIL", "2.0 GiB free for spilling on 10.0.0.9"),
        ({"skew_s": -5.0, "skew_error_s": 0.1}, "clocks", "warn", "-5.000 s at most (10.0.0.9"),
        ({"skew_s": 400.0, "skew_error_s": 0.1}, "clocks", "FAIL", "+400.000 s"),
        ({"storage": "s3://b/x: denied"}, "storage", "FAIL", "10.0.0.9: s3://b/x: denied"),
        ({"auth": "disabled"}, "token inside", "FAIL", "not asked for on 10.0.0.9"),
        ({"open_ports": ("0.0.0.0:8080 (agent)",)}, "ports", "warn", "10.0.0.9: 0.0.0.0:8080 (agent)"),
        ({"gpus": ("H100",)}, "GPUs", "warn", "not offered to Ray: 10.0.0.9: H100"),
    ],
)
def test_each_fault_is_found_alone_and_comes_with_a_cure(
    change: dict[str, object], what: str, verdict: str, found: str
) -> None:
    broken = dataclasses.replace(HEALTHY, name="10.0.0.9", **change)
    (said,) = findings(HEAD, HEALTHY, broken).values()
    assert (said.what, said.verdict) == (what, verdict)
    assert found in said.found and len(said.cure) > 20
    assert said.cure in said.line()


def test_a_clock_is_only_doubted_beyond_what_the_answer_took() -> None:
    assert findings(HEAD, dataclasses.replace(HEALTHY, skew_s=5.0, skew_error_s=4.0)) == {}


def test_a_cpu_build_on_a_gpu_machine() -> None:
    node = dataclasses.replace(
        HEALTHY,
        role="train",
        resources=HEALTHY.resources | {"GPU": 2.0},
        versions=HEALTHY.versions | {"torch": "1.0+cpu"},
        gpus=("H100", "H100"),
    )
    assert findings(HEAD, HEALTHY, node)["GPUs"].verdict == "FAIL"
    # The builds differ, as they should; that alone is no finding.
    fit = dataclasses.replace(node, versions=HEALTHY.versions | {"torch": "1.0+cu130"})
    checks = check_nodes([HEAD, HEALTHY, fit], storage="s3://b/x")
    assert {check.verdict for check in checks} == {"ok"}
    assert "2 x H100" in "\n".join(check.found for check in checks)


@pytest.mark.parametrize(
    ("cpus", "gpus", "verdict", "said"),
    [
        (16.0, 4.0, "ok", "takes 4 of 16 CPU, leaves 12"),
        (2.0, 0.0, "ok", "takes 1 of 2 CPU, leaves 1"),
        (1.0, 0.0, "warn", "leaves 0 for Ray Data, which needs 1"),
        (8.0, 8.0, "warn", "leaves 0"),
        (0.0, 0.0, "warn", "no machine offers a CPU"),
    ],
)
def test_room_for_ray_data(cpus: float, gpus: float, verdict: str, said: str) -> None:
    check = training_room([dataclasses.replace(HEALTHY, resources={"CPU": cpus, "GPU": gpus})])
    assert check.verdict == verdict and said in check.found


def test_storage_is_tried_and_left_as_it_was(tmp_path: Path, s3_server: str) -> None:
    assert try_storage(str(tmp_path / "store"), "a") == ""
    assert list(tmp_path.rglob("*")) == [tmp_path / "store"]
    assert try_storage(f"s3://lab/doctor{s3_server}", "a") == ""
    assert "s3://absent" in try_storage(f"s3://absent/doctor{s3_server}", "a")
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in try_storage(str(tmp_path / "file"), "a")


def test_facts_survive_the_journey() -> None:
    facts = [HEAD, dataclasses.replace(HEALTHY, gpus=("H100",), error='it\'s "odd"\n')]
    assert from_output(f"Ray says something\n{to_line(facts)}\nand goes on\n") == facts
    assert from_output("Traceback\n") is None


def test_a_probe_that_failed_shows_its_last_words() -> None:
    (check,) = judge("Traceback\nModuleNotFoundError: no pyarrow\n", 1, "doctor-1", "")
    assert check.verdict == "FAIL" and "ended with 1: ModuleNotFoundError: no pyarrow" in check.found
    assert "doctor-1" in check.cure


def test_a_port_is_found_with_the_address_it_is_bound_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as near, socket.create_server(("0.0.0.0", 0)) as wide:
        found = {port.port: port for port in listening([os.getpid()])}
        assert found[near.getsockname()[1]].host == "127.0.0.1" and not found[near.getsockname()[1]].reachable
        assert found[wide.getsockname()[1]].reachable
        closed = wide.getsockname()[1]
    assert answer_without_token(Port("0.0.0.0", closed, "x")) == "no HTTP"
    assert Port("::", 1, "x").near == Port("::ffff:0.0.0.0", 1, "x").near == "127.0.0.1"


def test_this_machine_is_asked_through_ray(ray_session: None, tmp_path: Path) -> None:
    (node,) = probe(ProbeConfig(storage=str(tmp_path), timeout_s=60))
    assert node.error == "" and node.head
    assert node.versions == versions() and node.resources["CPU"] == 4
    assert abs(node.skew_s) <= node.skew_error_s + 0.05
    assert node.memory > 0 and 0 < node.disk_free <= node.disk and node.storage == ""
    assert list(tmp_path.iterdir()) == []


def test_the_verb_fails_where_something_would(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert doctor.main(["--storage", str(tmp_path / "file")]) == 1
    said = capsys.readouterr().out
    assert "\nFAIL storage" in said and said.splitlines()[-1].endswith("to look at")
    assert "1 would fail" in said.splitlines()[-1]


@pytest.mark.slow
def test_a_cluster_is_asked_through_its_dashboard(
    live_ray: LiveRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in live_ray.environment().items():
        monkeypatch.setenv(name, value)
    checks = {check.what: check for check in doctor.examine_cluster(_config(live_ray, tmp_path))}
    assert checks["token"] == check_door(live_ray.address)
    assert "refuses (401)" in checks["token"].found and checks["token inside"].verdict == "ok"
    for what in ("jobs", "machines", "python", "ray", "packages", "client", "storage", "clocks"):
        assert checks[what].verdict == "ok", checks[what].line()
    # One CPU cannot both train and read a stream.
    assert "leaves 0 for Ray Data" in checks["room for data"].found
    # Prometheus's pages are the only ones that anybody may read.
    assert checks["ports"].verdict == "warn"
    said = capfd.readouterr()
    assert live_ray.token_file.read_text() not in said.out + said.err


def _config(live_ray: LiveRay, storage: Path) -> DoctorConfig:
    root = Path(__file__).parents[2]
    return DoctorConfig(address=live_ray.address, storage=str(storage), working_dir=root)


def test_looking_needs_no_ray(tmp_path: Path) -> None:
    """What a machine says of itself is plain: it travels as JSON."""
    facts = look_here(str(tmp_path), "", "token")
    assert NodeFacts(name="here", **facts).refusing_ports == 0  # pyright: ignore[reportArgumentType]
