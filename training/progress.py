"""What a person watching a run sees, what goes to Weights & Biases, and the run's page: all follow its metrics log.

The workers' own output reaches the driver line by line, late and interleaved, which tears a progress bar apart. So the
workers only write the log, and a thread of the driver turns its lines into one clean bar.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tqdm import tqdm

from mouse_facelift.evaluation.metrics import below_baseline
from pipelines.telemetry import training_event
from training.metrics_log import METRICS_FILE, LogFollower
from training.report import write_training_report
from training.settings import TrainingConfig
from training.wandb_log import start_tracker

POLL_SECONDS = 0.25
QUIET_SECONDS = 15.0
"""Without a terminal, one line at most this often takes the place of the bar."""


@contextmanager
def shown(config: TrainingConfig, verdict: tuple[str, str]) -> Iterator[None]:
    """Show the run's progress while the body runs, send it to Weights & Biases if asked to, and keep its page up."""
    tracker = start_tracker(config)
    view = _View(config, verdict)
    follower = LogFollower(config.out / METRICS_FILE)
    stop = threading.Event()

    def deliver() -> None:
        entries = list(follower.news())
        for entry in entries:
            view.show(entry)
            training_event(config.out.name, entry)
            if tracker is not None:
                tracker.send(entry)
        if any(entry["event"] in ("evaluate", "panels") for entry in entries):
            _write_report(config, verdict)

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
        _write_report(config, verdict)
        if tracker is not None:
            tracker.finish()


def _write_report(config: TrainingConfig, verdict: tuple[str, str]) -> None:
    try:
        write_training_report(config, verdict)
    except OSError as error:
        # The page can be made again; the training it shows cannot, and a full disk has its own line.
        print(f"{config.out}: the report could not be written ({error.strerror})", file=sys.stderr)


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
            facts = {name: value for name, value in entry.items() if name not in ("event", "step")}
            self._line(", ".join(f"{name.replace('_', ' ')} {_fact(value)}" for name, value in facts.items()))
        elif event == "train":
            self._train(step, entry)
        elif event == "evaluate":
            self._evaluate(step, entry)

    def close(self) -> None:
        self.bar.close()

    def _train(self, step: int, entry: dict[str, Any]) -> None:
        left = (self.steps - step) * entry["step_seconds"]
        loss = "undefined" if entry["loss"] is None else f"{entry['loss']:.4f}"
        loss += f", {entry['refused_steps']} steps refused" if entry["refused_steps"] else ""
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
        for line in below_baseline({k: v for k, v in entry.items() if v is None or isinstance(v, (int, float))}):
            self._line(f"  {line}")

    def _line(self, text: str) -> None:
        # Where nobody reads any more (`2>&1 | head`), the run is worth finishing all the same.
        with suppress(BrokenPipeError):
            tqdm.write(text, file=sys.stderr)


def _fact(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
