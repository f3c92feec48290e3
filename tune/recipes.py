"""The trainings that can be searched: where their settings come from, and how a task is made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mouse_facelift.config import read_yaml
from mouse_facelift.errors import InputError
from mouse_facelift.plain import did_you_mean, from_plain, to_plain
from training.dataset import Split
from training.launch import LaunchedTask
from training.settings import TrainingConfig

Prepared = tuple[LaunchedTask, Split | None]
"""A task, and where its training samples are when they are not the dataset's own rows."""


@dataclass(frozen=True)
class Recipe:
    """One kind of training."""

    verb: str
    config_type: type[TrainingConfig]
    presets: Mapping[str, Any]
    prepare: Callable[[Any], Prepared]

    def base(self, preset: str, file: Path | None, data: str, out: Path) -> TrainingConfig:
        """The settings a search starts from.

        Raises:
            InputError: no such preset, or a file that is none of this verb's.
        """
        if file is not None:
            plain = {**self._file(file), "data": data, "out": str(out), "resume": False}
            return from_plain(self.config_type, plain, source=str(file))
        if preset not in self.presets:
            raise InputError(f"--preset {preset}: {self.verb} has no such preset{did_you_mean(preset, self.presets)}")
        return dataclasses.replace(self.presets[preset], data=data, out=out)

    def _file(self, file: Path) -> dict[str, Any]:
        plain = read_yaml(file)
        if not isinstance(plain, dict):
            raise InputError(f"{file}: holds no keys and values; give a training run's config.yaml")
        # A checkpoint's copy says what kind of model it is.
        return {key: value for key, value in plain.items() if key != "kind"}


def recipe(kind: str) -> Recipe:
    """The training of that name: "gslrm" or "mvdiffusion"."""
    if kind == "gslrm":
        from training.gslrm_settings import PRESETS, GSLRMTrainingConfig

        return Recipe("train gslrm", GSLRMTrainingConfig, PRESETS, _gslrm)
    from training.mvdiffusion_settings import PRESETS, MVDiffusionTrainingConfig

    return Recipe("train mvdiffusion", MVDiffusionTrainingConfig, PRESETS, _mvdiffusion)


def _gslrm(config: Any) -> Prepared:
    from training.gslrm_memory import with_profile
    from training.gslrm_task import GSLRMTask

    return GSLRMTask(with_profile(config)), None


def _mvdiffusion(config: Any) -> Prepared:
    from training.mvdiffusion import prepare_training

    return prepare_training(config)


def replayable(config: TrainingConfig) -> dict[str, Any]:
    """A trial's settings as the file that `train --config FILE --out RUN` replays."""
    plain = to_plain(dataclasses.replace(config, resume=False))
    del plain["out"]
    return plain
