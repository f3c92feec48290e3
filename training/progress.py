"""What a person watching a run sees, and what goes to Weights & Biases: both follow the run's metrics log.

The workers' own output reaches the driver line by line, late and interleaved, which tears a progress bar apart. So the
workers only write the log, and a thread of the driver turns its lines into one clean bar.
"""

from __future__ import annotations

import netrc
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mouse_facelift.config import to_plain
from training.metrics_log import METRICS_FILE, LogFollower
from training.settings import TrainingConfig

POLL_SECONDS = 0.25
QUIET_SECONDS = 15.0
"""Without a terminal, one line at most this often takes the place of the bar."""


@contextmanager
def shown(config: TrainingConfig, verdict: tuple[str, str]) -> Iterator[None]:
    """Show the run's progress, and send it to Weights & Biases if asked to, while the body runs."""
    tracker = start_wandb(config)
    view = _View(config, verdict)
    follower = LogFollower(config.out / METRICS_FILE)
    stop = threading.Event()

    def deliver() -> None:
        for entry in follower.news():
            view.show(entry)
            if tracker is not None:
                numbers = {k: v for k, v in entry.items() if isinstance(v, (int, float)) and k != "step"}
                tracker.log({f"{entry['event']}/{k}": v for k, v in numbers.items()}, step=entry["step"])

    def follow() -> None:
        while not stop.wait(POLL_SECONDS):
            deliver()

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        deliver()
        view.close()
        if tracker is not None:
            tracker.finish()


class _View:
    """A bar on a terminal, plain lines anywhere else."""

    def __init__(self, config: TrainingConfig, verdict: tuple[str, str]) -> None:
        self.steps = config.steps
        self.verdict = verdict
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(total=config.steps, desc="training", unit="step", disable=not self.terminal, dynamic_ncols=True)
        self.last_line = 0.0

    def show(self, entry: dict[str, Any]) -> None:
        event, step = entry["event"], entry["step"]
        if event == "start":
            facts = ", ".join(f"{name} {value}" for name, value in entry.items() if name not in ("event", "step"))
            self._line(facts)
        elif event == "train":
            self._train(step, entry)
        elif event == "evaluate":
            self._evaluate(step, entry)

    def close(self) -> None:
        self.bar.close()

    def _train(self, step: int, entry: dict[str, Any]) -> None:
        left = (self.steps - step) * entry["step_seconds"]
        loss = "undefined" if entry["loss"] is None else f"{entry['loss']:.4f}"
        self.bar.set_postfix_str(f"loss {loss}, waiting for data {entry['data_wait']:.0%}", refresh=False)
        self.bar.n = step
        self.bar.refresh()
        # The first step compiles; the second early line is the first that tells how long the rest will take.
        quiet = time.monotonic() - self.last_line < QUIET_SECONDS
        if step > 1 and not self.terminal and (not quiet or step == self.steps):
            self._line(
                f"step {step}/{self.steps}: loss {loss}, {entry['samples_per_second']:.1f} samples/s, "
                f"waiting for data {entry['data_wait']:.0%}, {_duration(left)} left"
            )
            self.last_line = time.monotonic()

    def _evaluate(self, step: int, entry: dict[str, Any]) -> None:
        score, baseline = (entry[name] for name in self.verdict)
        name = self.verdict[0].replace("_", " ")
        numbers = f"{name} {_number(score)} (baseline {_number(baseline)})"
        flag = "" if entry["beats_baseline"] else "  ** BELOW THE BASELINE **"
        self._line(f"step {step}/{self.steps}: held out ({entry['samples']} samples): {numbers}{flag}")

    def _line(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def start_wandb(config: TrainingConfig) -> Any | None:
    """A Weights & Biases run that continues when the training run does, or None. Never asks for anything."""
    mode = config.wandb
    if mode == "auto":
        mode = "online" if wandb_key_configured() else "disabled"
    if mode == "disabled":
        return None
    import wandb
    import wandb.errors

    folder = config.out / "wandb"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return wandb.init(
            project="mouse-facelift",
            name=config.out.name,
            id=_tracking_id(folder / "run_id.txt"),
            resume="allow",
            mode=mode,
            dir=str(folder),
            config=to_plain(config),
            settings=wandb.Settings(silent=True),
        )
    except wandb.errors.Error as error:
        # Training must not depend on a tracking service; metrics.jsonl holds the same numbers.
        print(f"Weights & Biases is not available ({error}); the run goes on without it", file=sys.stderr)
        return None


def wandb_key_configured() -> bool:
    """Whether this user can log in without being asked: an API key in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    file = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    if not file.is_file():
        return False
    try:
        return netrc.netrc(str(file)).authenticators("api.wandb.ai") is not None
    except netrc.NetrcParseError:
        return False


def _tracking_id(path: Path) -> str:
    if not path.exists():
        path.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
