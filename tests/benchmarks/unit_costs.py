"""What a unit of `preprocess` costs: processor time per stage, memory by length of the recording, the driver's share.

    python -m tests.benchmarks.unit_costs --capture RECORDING [--image-size 512] [--unit-frames 64] [--nodes 8]

* Processor time per view-frame of both stages, one process, a unit in the middle of the recording.
* Peak memory of a process that does both stages for the last unit of a recording, for recordings of growing length.
* Driver: tasks that do nothing, on a simulated cluster; the time per task bounds how many a driver can hand out. What
  it does per unit, at the scale of millions, is for `tests.benchmarks.driver_scale`.

From these follow the core-hours and the elapsed time of `--hours` of recording on `--cluster-cpus` CPUs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import tyro

from mouse_facelift.capture.capture import Capture, open_capture
from mouse_facelift.capture.masks import MaskConfig
from mouse_facelift.samples.centres import CentreConfig
from mouse_facelift.samples.gate import GateConfig
from mouse_facelift.samples.shards import ViewFormat, make_unit
from mouse_facelift.samples.survey import survey_frames
from mouse_facelift.samples.units import Unit
from pipelines.units_of_work import MOST_TASKS
from tests.worlds import write_ball_recording

# The mean camera distance of the six-camera rig is about 330 mm; the normalised one is 2.7.
_SCALE = 2.7 / 330


@dataclass(frozen=True)
class Config:
    """What is measured, and what for."""

    capture: Path
    """A recording with mask videos."""
    image_size: int = 512
    unit_frames: int = 64
    lengths: tuple[int, ...] = (100, 400, 1600, 6400)
    """Frames of the recordings whose peak memory is compared."""
    nodes: int = 8
    """Nodes of the simulated cluster."""
    units: int = 400
    """Units that do nothing, for the driver's share."""
    hours: float = 1000.0
    """Length of the recordings on paper."""
    fps: float = 100.0
    cluster_cpus: int = 64 * 16


def unit_cpu_s(capture: Capture, start: int, count: int, size: int) -> tuple[float, float, int]:
    """Processor seconds of survey and writing of one unit, and the bytes written."""
    unit = Unit(0, 0, "train", tuple(range(start, start + count)), "unit")
    begun = time.process_time()
    survey = survey_frames(capture, unit.frames, {}, MaskConfig(), CentreConfig(), "auto")
    middle = time.process_time()
    centres = {found.frame: found.centre for found in survey if found.centre is not None}
    made = make_unit(capture, unit, survey, centres, ViewFormat(size, _SCALE, 1.0), GateConfig(), "real", "auto")
    return middle - begun, time.process_time() - middle, made.samples.nbytes


def peak_megabytes(recording: Path, start: int, count: int, size: int) -> float:
    """Peak resident memory of a new process that does one unit; linked libraries are in it."""
    call = f"report_peak({str(recording)!r}, {start}, {count}, {size})"
    code = f"from tests.benchmarks.unit_costs import report_peak; {call}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def report_peak(recording: str, start: int, count: int, size: int) -> None:
    """Do one unit and print this process's peak memory in MB."""
    unit_cpu_s(open_capture(recording), start, count, size)
    # Not getrusage: its maximum begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def driver_costs(nodes: int, units: int) -> tuple[float, float]:
    """(processor, elapsed) seconds per unit of a driver whose units do nothing."""
    import ray
    from ray.cluster_utils import Cluster

    from pipelines.session import connect
    from pipelines.units_of_work import map_with_progress

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1)
        os.environ["RAY_ADDRESS"] = str(cluster.address)
        connect()
        map_with_progress("start workers", 2 * nodes, lambda row: {"count": 1}, 2 * nodes)
        processor, elapsed = time.process_time(), time.perf_counter()
        map_with_progress("units that do nothing", units, lambda row: {"count": 1}, units)
        return (time.process_time() - processor) / units, (time.perf_counter() - elapsed) / units
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        ray.shutdown()
        cluster.shutdown()


def main(config: Config) -> None:
    cv2.setNumThreads(1)
    capture = open_capture(config.capture)
    start, count = (capture.frame_count - config.unit_frames) // 2, config.unit_frames
    unit_cpu_s(capture, start, 2, config.image_size)  # Loads compiled code.
    survey, write, size = unit_cpu_s(capture, start, count, config.image_size)
    view_frames = count * len(capture.views)
    print(f"a unit of {count} frames x {len(capture.views)} views at {config.image_size} px, one process")
    print(f"  survey {1e3 * survey / view_frames:6.2f} ms of processor time per view-frame")
    print(f"  write  {1e3 * write / view_frames:6.2f} ms, {size / view_frames / 1e3:.1f} kB written per view-frame")
    print("peak memory of a process that does the last unit")
    print(f"  {config.capture.name}: {peak_megabytes(config.capture, start, count, config.image_size):.0f} MB")
    with tempfile.TemporaryDirectory() as scratch:
        for frames in config.lengths:
            recording = write_ball_recording(Path(scratch) / f"ball_{frames}", frames, views=3)
            peak = peak_megabytes(recording, frames - count, count, 128)
            print(f"  rendered, 3 small views, {frames:6} frames: {peak:.0f} MB", flush=True)
    processor, elapsed = driver_costs(config.nodes, config.units)
    print(f"driver, {config.nodes} nodes, per task and stage: {1e3 * processor:.1f} ms of processor time, ", end="")
    print(f"{1e3 * elapsed:.1f} ms elapsed")
    frames = config.hours * 3600 * config.fps
    tasks = min(frames / count, MOST_TASKS)
    hours, driver = frames / count * (survey + write) / 3600, 2 * tasks * elapsed / 3600
    written = frames / count * size / 1e12
    print(
        f"{config.hours:.0f} h of {len(capture.views)} views at {config.fps:.0f} fps: {frames / count:.3g} units, ",
        end="",
    )
    print(f"{hours:.3g} core-hours, {hours / config.cluster_cpus:.2f} h on {config.cluster_cpus} CPUs, ", end="")
    print(f"{written:.2f} TB written; one driver hands out {tasks:.3g} tasks per stage in {driver:.2f} h")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
