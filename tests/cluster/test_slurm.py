"""The batch script, run with stand-ins for Slurm and Ray that write down what they are asked to do."""

from __future__ import annotations

import dataclasses
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.profile import Profile
from cluster.providers import SlurmConfig
from cluster.schemas import check_ray_start
from cluster.slurm import sbatch_script
from cluster.text_checks import check_sbatch
from mouse_facelift.errors import InputError

SRUN = """#!/bin/bash
echo "srun $*" >> "$LOG"
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
RAY = """#!/bin/bash
echo "ray $*" >> "$LOG"
case $1 in
start)
    [[ -z ${HEAD_FAILS:-} ]] || exit 1
    trap 'echo "ray ended" >> "$LOG"; exit 0' TERM
    mkdir -p /tmp/ray-$SLURM_JOB_ID/session_latest/logs
    stat -c "token %a" "$RAY_AUTH_TOKEN_PATH" >> "$LOG"
    echo up > "$LOG.head"
    while :; do sleep 0.05; done ;;
status) test -e "$LOG.head" ;;
esac
"""
# Stands in for `python -m cluster.await_nodes`.
PYTHON = """#!/bin/bash
echo "python $*" >> "$LOG"
until [[ $(grep -c ^token "$LOG") == "${STEPS:-3}" ]]; do sleep 0.05; done
"""
HOSTNAME = """#!/bin/bash
echo 10.1.2.3 192.168.0.3
"""


@dataclasses.dataclass
class Site:
    """A folder that plays a Slurm site."""

    folder: Path
    environment: dict[str, str]

    def write(self, profile: Profile) -> Path:
        assert profile.slurm is not None
        path = self.folder / "slurm.sbatch"
        path.write_text(sbatch_script(profile, profile.slurm))
        return path

    def run(self, profile: Profile, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        words = ["bash", str(self.write(profile)), *command]
        return subprocess.run(
            words, env=self.environment | environment, text=True, capture_output=True, timeout=60, check=False
        )

    @property
    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def state(self) -> Path:
        return self.folder / ".mouse-facelift" / f"slurm-{self.environment['SLURM_JOB_ID']}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in {"srun": SRUN, "ray": RAY, "python": PYTHON, "hostname": HOSTNAME}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LOG": str(tmp_path / "log"),
        "SLURM_JOB_ID": str(70_000_000 + os.getpid()),
        "SLURMD_NODENAME": "node-1",
        "SLURM_SUBMIT_DIR": str(tmp_path),
    }
    yield Site(tmp_path, environment)


@pytest.fixture
def profile(profiles: dict[str, Profile], tmp_path: Path) -> Profile:
    """Four nodes without GPUs and two with four each, ready at once."""
    slurm = SlurmConfig(wait_s=20)
    return dataclasses.replace(
        profiles["slurm"], slurm=slurm, spill_folder=str(tmp_path), job=("bash", "-c", "echo the job")
    )


@pytest.mark.parametrize("status", [0, 7])
def test_the_commands_status_is_the_jobs_and_nothing_stays_behind(site: Site, profile: Profile, status: int) -> None:
    done = site.run(profile, "bash", "-c", f"echo it ran at $RAY_ADDRESS with $RAY_AUTH_MODE; exit {status}")
    assert done.returncode == status, done.stderr
    base = 20000 + int(site.environment["SLURM_JOB_ID"]) % 120 * 100
    assert f"it ran at 10.1.2.3:{base} with token" in done.stdout
    starts = [line for line in site.log if line.startswith("ray start")]
    assert len(starts) == 3
    for start in starts:
        check_ray_start(start, "slurm.sbatch")
    assert site.log.count("ray ended") == 3
    assert not any("ray stop" in line for line in site.log)
    assert site.log.count("token 600") == 3
    assert not (site.state / "auth_token").exists()
    assert not Path(f"/tmp/ray-{site.environment['SLURM_JOB_ID']}").exists()
    assert not list(site.folder.glob("ray-spill-*"))
    # Logs are kept for whoever has to find out why.
    assert (site.state / "logs").exists() == (status != 0)
    assert stat.S_IMODE(site.state.stat().st_mode) == 0o700


def test_every_node_has_its_role_and_the_head_keeps_two_cpus(site: Site, profile: Profile) -> None:
    assert site.run(profile).returncode == 0
    steps = [line for line in site.log if line.startswith("srun") and "ray start" in line]
    head = next(line for line in steps if "--head" in line)
    assert "--nodelist=node-1" in head and "--num-cpus=60" in head and "role=decode" in head
    # A step has the whole node, whatever the head then offers to Ray.
    assert all("--cpus-per-task=62" in line for line in steps)
    assert "--het-group=0" in head and "--dashboard-host=127.0.0.1" in head
    decode, train = sorted((line for line in steps if line is not head), key=lambda line: "--het-group=1" in line)
    assert "--nodes=3" in decode and "--exclude=node-1" in decode and "--num-cpus=62 --num-gpus=0" in decode
    assert "--nodes=2" in train and "--exclude" not in train and "--num-gpus=4" in train and "role=train" in train
    assert any("cluster.await_nodes --nodes 6" in line for line in site.log)
    # The head is asked whether it is up before anybody joins it (perhaps before it has said that it starts).
    asked = next(index for index, line in enumerate(site.log) if line.startswith("ray status"))
    assert asked < min(site.log.index(decode), site.log.index(train))


def test_without_arguments_the_profiles_job_runs_and_with_one_kind_of_node_there_is_no_hetjob(
    site: Site, profile: Profile
) -> None:
    alone = dataclasses.replace(profile, train=dataclasses.replace(profile.train, min_nodes=0, max_nodes=0))
    done = site.run(alone, STEPS="2")
    assert done.returncode == 0 and "the job" in done.stdout
    assert "hetjob" not in site.write(alone).read_text()
    assert not any("--het-group" in line for line in site.log)


def test_a_warning_from_slurm_ends_the_command_and_ray(site: Site, profile: Profile) -> None:
    words = ["bash", str(site.write(profile)), "bash", "-c", 'echo $$ > "$LOG.driver"; exec sleep 60']
    with subprocess.Popen(words, env=site.environment, stderr=subprocess.PIPE, text=True) as job:
        driver = site.folder / "log.driver"
        deadline = time.monotonic() + 30
        while not (driver.exists() and driver.read_text().strip()):
            assert time.monotonic() < deadline and job.poll() is None
            time.sleep(0.05)
        job.send_signal(signal.SIGTERM)
        _, complaint = job.communicate(timeout=30)
    assert job.returncode == 143
    assert "time limit" in complaint
    assert site.log.count("ray ended") == 3
    assert not Path(f"/proc/{driver.read_text().strip()}").exists()


def test_a_head_that_cannot_start_is_said(site: Site, profile: Profile) -> None:
    done = site.run(profile, HEAD_FAILS="1")
    assert done.returncode == 1
    assert "head ended before it was up" in done.stderr
    assert "the job" not in done.stdout


def test_a_missing_secret_is_said_before_anything_starts(site: Site, profile: Profile) -> None:
    needy = dataclasses.replace(profile, environment=("WANDB_API_KEY",))
    done = site.run(needy)
    assert done.returncode == 1 and "WANDB_API_KEY is not set" in done.stderr
    assert site.log == []
    assert site.run(needy, WANDB_API_KEY="x").returncode == 0


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("#SBATCH --exclusive", "#SBATCH --exlusive", "did you mean '--exclusive'"),
        ("#SBATCH --nodes=2", "#SBATCH --node=2", "no option --node"),
        ("#SBATCH hetjob", "#SBATCH het-job", "het-job"),
        ("#SBATCH --time", "#BATCH --time", "ignores"),
        ("    sleep 1\ndone", "    sleep 1\ndoen", "bash cannot read"),
        ("trap finish EXIT", "trap 'finish EXIT", "bash cannot read"),
    ],
)
def test_a_slip_in_the_script_is_noticed(profile: Profile, right: str, wrong: str, words: str) -> None:
    assert profile.slurm is not None
    script = sbatch_script(profile, profile.slurm)
    check_sbatch(script, "slurm.sbatch")
    assert right in script
    with pytest.raises(InputError) as raised:
        check_sbatch(script.replace(right, wrong), "slurm.sbatch")
    assert words in str(raised.value)
