"""What recordings and training cost on a cluster, on paper: from measured costs of the parts and named assumptions.

    python -m tests.benchmarks.scaling [--hours 10 100 1000] [--gpus 8 64] [--measured.survey-ms 2.8 ...]

Nothing is measured here. `Measured` are figures of this project's own benchmarks, each with the benchmark that gives
it; `Machines` are data sheets and assumptions. Give your own to either. For every length of recording follow nodes,
hours, object-store memory and storage; for every number of GPUs the step's time, the bytes that gradients move and the
feeding. Each resource's time is worked out by itself, and the longest is what one meets first; from `useful` nodes on
it is another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import tyro

from pipelines.units_of_work import MOST_TASKS
from training.gslrm_memory import parameter_count
from training.gslrm_settings import PRESETS, GSLRMTrainingConfig

GB, TERA = 1e9, 1e12


@dataclass(frozen=True)
class Measured:
    """Costs of the parts, as measured on one core of the machine that the benchmarks ran on (two cores, no GPU)."""

    survey_ms: float = 2.8
    """Processor time per view-frame of the survey (`unit_costs`: 2.5-3.1)."""
    write_ms: float = 4.6
    """Processor time per view-frame of aiming, judging and writing at 512 px (`unit_costs`: 3.8-5.3)."""
    view_kb: float = 22.0
    """kB written per view-frame at 512 px (`unit_costs`)."""
    source_kb: float = 3.8
    """kB per view-frame of colour and mask video (the rendered six-camera recording: 3.7 MB for 960 view-frames)."""
    tasks_per_s: float = 50.0
    """Tasks that one driver hands out per second (`cluster_scale`: 49-60)."""
    driver_us: float = 775.0
    """Serial time of the driver per unit: planned, laid out, surveys read, smoothed (`driver_scale`, a million units:
    30 s, 325 s, 420 s)."""
    driver_bytes: float = 614.0
    """Resident memory of the driver per unit planned (`driver_scale`: 614 MB for a million, imports and all)."""
    task_mb: float = 620.0
    """Peak memory of a process that does a unit (`unit_costs`)."""
    answer_kb: float = 1.0
    """A unit's part of its task's blocks in the object store: numbers in, counts out, no picture (rounded up)."""
    feed_ms: float = 6.7
    """Processor time per training sample of six 512 px views, streamed (`loader`)."""


@dataclass(frozen=True)
class Machines:
    """What is assumed of the cluster; nothing here was measured by this project."""

    node_cpus: int = 16
    """CPUs of a decoding node."""
    max_nodes: int = 64
    """Decoding nodes that may be had at once."""
    node_gbps: float = 12.5
    """Network of a decoding node (Gb/s)."""
    store_gb_s: float = 10.0
    """What the storage takes and gives, all nodes together (GB/s)."""
    core_speed: float = 1.0
    """Speed of a core beside the one measured on."""
    busy: float = 0.85
    """Share of a node's time that goes into units: the rest is Ray, starts and the last units."""
    gpu_tflops: float = 989.0
    """Dense bf16 of an H100 SXM (NVIDIA's data sheet)."""
    utilisation: float = 0.35
    """Share of it that training reaches. An assumption: published figures for transformers of this size are 0.3-0.5."""
    render_ms: float = 40.0
    """Rendering and losses per sample, forwards and backwards. An assumption: no GPU was available."""
    gpus_per_node: int = 8
    node_fabric_gb_s: float = 450.0
    """NVLink of a GPU, each direction (GB/s; data sheet)."""
    network_gb_s: float = 50.0
    """Network of a GPU node, each direction (GB/s): 400 Gb/s."""
    overlap: float = 0.7
    """Share of the exchange hidden behind the backward pass (DDP sends buckets as they are ready)."""
    train_cpus: int = 16
    """CPUs of a GPU node that decode samples, or of the decoding nodes that feed it."""


@dataclass(frozen=True)
class Config:
    """For which sizes."""

    hours: tuple[float, ...] = (10, 100, 1000)
    gpus: tuple[int, ...] = (8, 64)
    views: int = 6
    fps: float = 100.0
    unit_frames: int = 256
    """Frames per unit in long recordings (`preprocess` chooses 32 to 256)."""
    deadline_hours: float = 8.0
    """By when a recording should be done: decides how many nodes."""
    preset: str = "mouse-512"
    """What is trained."""
    samples_per_gpu: int = 2
    """Samples of a step that one GPU takes."""
    measured: Measured = field(default_factory=Measured)
    machines: Machines = field(default_factory=Machines)


@dataclass(frozen=True)
class Recording:
    """A length of recording on paper. Times in hours."""

    nodes: int
    times: dict[str, float]
    store_gb: float
    """Object store of one node: blocks of the tasks that run and of as many that wait there."""
    task_gb: float
    """Memory of the tasks of one node."""
    driver_gb: float
    written_tb: float
    units: float

    @property
    def first(self) -> str:
        """What is met first."""
        return max(self.times, key=lambda name: self.times[name])

    @property
    def useful_nodes(self) -> int:
        """With more nodes than this, storage or the driver takes longer than their CPUs."""
        return int(self.nodes * self.times["CPUs of the nodes"] / max(self.times["storage"], self.times["driver"]))


@dataclass(frozen=True)
class Training:
    """A number of GPUs on paper. Times in seconds per step."""

    times: dict[str, float]
    step: float
    sent_gb: float
    """Bytes that one GPU sends per step."""
    samples_per_s: float
    loader_mb_s: float
    """Encoded bytes that feed all GPUs."""
    loader_cpus: float
    store_gb: float
    """Object store of one node: streamed rows that are shuffled among, and batches ahead, of each of its GPUs."""

    @property
    def first(self) -> str:
        return max(self.times, key=lambda name: self.times[name])


def recording(config: Config, hours: float) -> Recording:
    """Survey and writing of so many hours."""
    cost, cluster = config.measured, config.machines
    frames = hours * 3600 * config.fps
    view_frames, units = frames * config.views, frames / config.unit_frames
    core_hours = view_frames * (cost.survey_ms + cost.write_ms) / 1e3 / 3600 / cluster.core_speed
    wanted = core_hours / (cluster.node_cpus * cluster.busy * config.deadline_hours)
    nodes = int(min(cluster.max_nodes, max(1, -(-wanted // 1))))
    # Videos are read by both passes.
    moved = view_frames * (cost.view_kb + 2 * cost.source_kb) * 1e3
    tasks = 2 * min(units, MOST_TASKS)
    times = {
        "CPUs of the nodes": core_hours / (nodes * cluster.node_cpus * cluster.busy),
        "network of the nodes": moved * 8 / (nodes * cluster.node_gbps * 1e9) / 3600,
        "storage": moved / (cluster.store_gb_s * GB) / 3600,
        "driver": (units * cost.driver_us / 1e6 + tasks / cost.tasks_per_s) / 3600,
    }
    per_task = max(1.0, units / MOST_TASKS)
    store = 2 * cluster.node_cpus * per_task * cost.answer_kb * 1e3
    return Recording(
        nodes,
        times,
        store / GB,
        cluster.node_cpus * cost.task_mb / 1e3,
        (units * cost.driver_bytes) / GB,
        view_frames * cost.view_kb * 1e3 / TERA,
        units,
    )


def flops_per_sample(settings: GSLRMTrainingConfig) -> float:
    """Of the transformer, forwards and backwards.

    2 per weight and token forwards, twice that backwards, and once more where blocks are computed again; attention
    adds 4 per pair of tokens and unit of width in each block (scores, and what they weigh), times the same three or
    four.
    """
    model = settings.model
    tokens = settings.views.num_inputs * (model.image_size // model.patch_size) ** 2 + model.free_gaussians
    passes = 4 if model.checkpoint_every else 3
    return passes * (2 * parameter_count(model) * tokens + 4 * model.layers * tokens**2 * model.width)


def training(config: Config, gpus: int) -> Training:
    """A step of DDP on so many GPUs."""
    cost, cluster, settings = config.measured, config.machines, PRESETS[config.preset]
    compute = flops_per_sample(settings) / (cluster.gpu_tflops * TERA * cluster.utilisation) + cluster.render_ms / 1e3
    # A ring sends every fp32 gradient twice, but for the own share.
    sent = 4 * parameter_count(settings.model) * 2 * (gpus - 1) / gpus
    nodes = -(-gpus // cluster.gpus_per_node)
    slowest = cluster.node_fabric_gb_s if nodes == 1 else cluster.network_gb_s
    batch = gpus * config.samples_per_gpu
    sample_bytes = config.views * cost.view_kb * 1e3
    cpus = nodes * cluster.train_cpus
    times = {
        "compute": config.samples_per_gpu * compute,
        "exchange": (1 - cluster.overlap) * sent / (slowest * GB),
        "feed": batch * cost.feed_ms / 1e3 / cluster.core_speed / cpus,
    }
    # The exchange is what is not hidden behind the backward pass; feeding goes on beside everything.
    step = max(times["compute"] + times["exchange"], times["feed"])
    rate = batch / step
    ahead = settings.feed.shuffle_rows + (settings.feed.prefetch + 1) * config.samples_per_gpu
    return Training(
        times,
        step,
        sent / GB,
        rate,
        rate * sample_bytes / 1e6,
        rate * cost.feed_ms / 1e3 / cluster.core_speed,
        min(gpus, cluster.gpus_per_node) * ahead * sample_bytes / GB,
    )


def print_assumptions(config: Config) -> None:
    for title, part in (("measured", config.measured), ("assumed", config.machines)):
        print(f"{title}: " + ", ".join(f"{name} {value:g}" for name, value in vars(part).items()))


def main(config: Config) -> None:
    print_assumptions(config)
    wish = f"done within {config.deadline_hours:g} h if {config.machines.max_nodes} nodes can do it"
    print(f"\npreprocess: {config.views} views at {config.fps:g} fps, {wish}; times in hours")
    print(
        f"{'hours':>6} {'nodes':>5} {'units':>9} {'takes':>8} {'CPUs':>7} {'network':>7} {'storage':>7} {'driver':>7} "
        f"{'store GB':>8} {'tasks GB':>8} {'driver GB':>9} {'written TB':>10} {'useful':>6}  met first"
    )
    for hours in config.hours:
        made = recording(config, hours)
        parallel = [made.times[name] for name in ("CPUs of the nodes", "network of the nodes", "storage")]
        takes = max(parallel) + made.times["driver"]
        times = " ".join(f"{value:7.2f}" for value in made.times.values())
        print(
            f"{hours:6g} {made.nodes:5} {made.units:9.3g} {takes:8.2f} {times} {made.store_gb:8.3f} "
            f"{made.task_gb:8.1f} {made.driver_gb:9.3f} {made.written_tb:10.2f} {made.useful_nodes:6}  {made.first}"
        )
    settings = PRESETS[config.preset]
    print(
        f"\ntraining {config.preset}: {parameter_count(settings.model) / 1e6:.0f} M parameters, "
        f"{settings.views.num_inputs} views, {flops_per_sample(settings) / TERA:.0f} TFLOP per sample, "
        f"{config.samples_per_gpu} samples per GPU"
    )
    print(
        f"{'GPUs':>6} {'step s':>7} {'compute':>8} {'exchange':>8} {'feed':>7} {'sent GB/GPU':>11} {'samples/s':>9} "
        f"{'loader MB/s':>11} {'CPUs that feed':>14} {'store GB':>8}  met first"
    )
    for gpus in config.gpus:
        step = training(config, gpus)
        compute, exchange, feed = step.times.values()
        print(
            f"{gpus:6} {step.step:7.3f} {compute:8.3f} {exchange:8.3f} {feed:7.3f} {step.sent_gb:11.2f} "
            f"{step.samples_per_s:9.1f} {step.loader_mb_s:11.1f} {step.loader_cpus:14.1f} {step.store_gb:8.2f}  "
            + step.first
        )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
