"""An exponential moving average of the trained weights, which evaluates better than the weights of the last step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from mouse_facelift.errors import InputError


def decay_at(applied: int, decay: float) -> float:
    """Decay after so many applied steps: min(decay, (1 + s) / (10 + s)).

    The rising start is that of TensorFlow's ExponentialMovingAverage: a young average forgets the initial weights fast.
    """
    return min(decay, (1 + applied) / (10 + applied))


class Average:
    """The averaged weights beside a model's own; only trained parameters are averaged, all else does not move."""

    def __init__(self, model: nn.Module) -> None:
        self._names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        self._values = [model.get_parameter(name).detach().clone() for name in self._names]

    @torch.no_grad()
    def update(self, model: nn.Module, applied: int, decay: float) -> None:
        """Take the weights in after an applied step; `applied` counts the steps before it."""
        current = [model.get_parameter(name).detach() for name in self._names]
        weight = 1.0 - decay_at(applied, decay)
        for value, now in zip(self._values, current, strict=True):
            value.lerp_(now, weight)

    @contextmanager
    def shown(self, model: nn.Module) -> Iterator[None]:
        """The model has the averaged weights inside; nothing is copied, and its own come back to the bit."""
        self._exchange(model)
        try:
            yield
        finally:
            self._exchange(model)

    def state(self) -> dict[str, Shaped[Tensor, "..."]]:
        """The averaged weights by parameter name."""
        return dict(zip(self._names, self._values, strict=True))

    def load(self, state: Mapping[str, Shaped[Tensor, "..."]]) -> None:
        """Bring back a `state`.

        Raises:
            InputError: it is of other parameters.
        """
        if set(state) != set(self._names):
            raise InputError("the checkpoint averages other weights than this run trains; resume with its settings")
        for name, value in zip(self._names, self._values, strict=True):
            value.copy_(state[name])

    def _exchange(self, model: nn.Module) -> None:
        for i, name in enumerate(self._names):
            parameter = model.get_parameter(name)
            parameter.data, self._values[i] = self._values[i], parameter.data
