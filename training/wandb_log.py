"""Weights & Biases, for those who are logged in: never a prompt, never the end of a run.

The run's id is made once, from its folder and the time it was started, and kept in RUN/run.json, so that a resumed
run continues the same page also when its folder was moved.
"""

from __future__ import annotations

import hashlib
import json
import netrc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mouse_facelift.config import RUN_FILE, to_plain
from training.settings import TrainingConfig

ID_KEY = "wandb_id"


class Tracker:
    """A Weights & Biases run. When the service fails, it says so once and is quiet from then on."""

    def __init__(self, run: Any, folder: Path) -> None:
        self.run = run
        self.folder = folder

    def send(self, entry: Mapping[str, Any]) -> None:
        """One line of the metrics log: its numbers, and its pictures."""
        if self.run is None:
            return
        event, step = entry["event"], entry["step"]
        values: dict[str, Any] = {
            f"{event}/{name}": value
            for name, value in entry.items()
            if isinstance(value, (int, float)) and name != "step"
        }
        try:
            if event == "panels":
                values |= self._pictures(entry["files"])
            self.run.log(values, step=step)
        except Exception as error:  # noqa: BLE001 - whatever a tracking service does must not end a training run
            _say(f"stopped taking news ({error})")
            self.run = None

    def finish(self) -> None:
        if self.run is not None:
            self.run.finish()

    def _pictures(self, files: list[str]) -> dict[str, Any]:
        import wandb

        return {f"panels/{Path(file).stem.partition('_')[2]}": wandb.Image(str(self.folder / file)) for file in files}


def start_tracker(config: TrainingConfig, group: str | None = None) -> Tracker | None:
    """A Weights & Biases run that continues when the training run does, or None. Never asks for anything.

    Args:
        config: the training run's.
        group: what it belongs to, such as a search.
    """
    mode = config.wandb
    if mode == "auto":
        mode = "online" if key_configured() else "disabled"
    if mode == "online" and not key_configured():
        # wandb would ask for a key and wait.
        _say("no API key is configured (WANDB_API_KEY or ~/.netrc); the run is recorded offline")
        mode = "offline"
    if mode == "disabled":
        return None
    import wandb
    import wandb.errors

    config.out.mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(
            project="mouse-facelift",
            name=config.out.name,
            group=group,
            id=tracking_id(config.out),
            resume="allow",
            mode=mode,
            # wandb makes its folder `wandb` in it; a relative one would follow the process around.
            dir=str(config.out.absolute()),
            config=to_plain(config),
            settings=wandb.Settings(silent=True),
        )
    except (wandb.errors.Error, OSError) as error:
        # metrics.jsonl holds the same numbers.
        _say(f"is not available ({error}); the run goes on without it")
        return None
    return Tracker(run, config.out)


def key_configured() -> bool:
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


def tracking_id(folder: Path) -> str:
    """The run's id, made and stored in its record when it is first asked for."""
    file = folder / RUN_FILE
    record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if ID_KEY not in record:
        named = f"{folder.absolute()} {record.get('written_at', '')}"
        record[ID_KEY] = hashlib.sha256(named.encode()).hexdigest()[:12]
        part = file.with_name(f".{file.name}.tmp")
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        os.replace(part, file)
    return record[ID_KEY]


def _say(text: str) -> None:
    print(f"Weights & Biases {text}", file=sys.stderr)
