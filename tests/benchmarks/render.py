"""How fast the CPU renderer draws and differentiates, beside the plain PyTorch reference in the same run.

    python -m tests.benchmarks.render [--repeats 5] [--sizes 2048x64 24576x64 98304x128 1572864x512]

A size is Gaussians x pixels. `early` is an untrained GS-LRM's cloud (wide, translucent, many layers), `trained` thin,
mostly opaque splats on a surface. Times are the best of the repeats, in milliseconds, after one warm-up call that
compiles or loads machine code. The reference is left out where its pixel-Gaussian pairs would take minutes or more
memory than a laptop has.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.rendering import Backend, render

_REFERENCE_FORWARD_PAIRS, _REFERENCE_BACKWARD_PAIRS = 1 << 27, 1 << 24
_FOCAL_AT_512, _DISTANCE = 548.99, 2.7  # the normalised camera of the samples
_COLUMNS = "{:>9} {:>5} {:>8} | {:>10} {:>10} {:>8} | {:>10} {:>10} {:>8} | {:>8}"


@dataclass(frozen=True)
class Config:
    """Which scenes to time."""

    sizes: tuple[str, ...] = ("2048x64", "24576x64", "98304x128", "1572864x512")
    repeats: int = 5
    """Calls of which the fastest counts; two for more than a million Gaussians."""


def cloud(kind: str, n: int) -> Gaussians:
    """A scene of n Gaussians within 0.8 of the origin."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Float[Tensor, " *shape"]:
        return torch.randn(*shape, generator=generator)

    directions = torch.nn.functional.normalize(noise(n, 3), dim=-1)
    if kind == "early":
        means = directions * 0.8 * torch.rand(n, 1, generator=generator) ** (1 / 3)
        scales, opacities = torch.exp(noise(n, 3) * 0.3 - 2.3), torch.sigmoid(noise(n) * 0.3 - 2.0)
    else:
        means = directions * 0.6 * (1 + 0.02 * noise(n, 1))
        scales, opacities = torch.exp(noise(n, 3) * 0.4) * _DISTANCE / n**0.5, torch.sigmoid(noise(n) * 1.5 + 1.0)
    return Gaussians(means, scales, noise(n, 4), opacities, torch.rand(n, 3, generator=generator))


def best_ms(repeats: int, prepare: Callable[[], Callable[[], object]]) -> float:
    """Fastest time of what `prepare` returns; one more call goes first and is not counted."""
    times = []
    for _ in range(repeats + 1):
        timed = prepare()
        start = time.perf_counter()
        timed()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[1:])


def timings(gaussians: Gaussians, size: int, backend: Backend, repeats: int, backward: bool) -> tuple[float, float]:
    """Forward and backward milliseconds of one view (NaN when not asked for)."""
    w2c = torch.eye(4)[None].clone()
    w2c[0, 2, 3] = _DISTANCE
    focal = _FOCAL_AT_512 * size / 512
    lens = torch.tensor([[focal, focal, size / 2, size / 2]])
    gaussians = gaussians.map(lambda tensor: tensor.requires_grad_())
    upstream = torch.randn(1, size, size, 3)

    def draw() -> Tensor:
        return render(gaussians, w2c, lens, size, size, backend=backend).rgb

    def draw_without_graph() -> Tensor:
        with torch.no_grad():
            return draw()

    def prepare_backward() -> Callable[[], object]:
        loss = (draw() * upstream).sum()
        return loss.backward

    forward_ms = best_ms(repeats, lambda: draw_without_graph)
    return forward_ms, best_ms(repeats, prepare_backward) if backward else float("nan")


def main(config: Config) -> None:
    print(f"one view, {torch.get_num_threads()} thread(s), milliseconds, best of {config.repeats}")
    names = ("Gaussians", "px", "scene", "tiled fwd", "ref. fwd", "ratio", "tiled bwd", "ref. bwd", "ratio", "bwd/fwd")
    print(_COLUMNS.format(*names))
    for text in config.sizes:
        n, size = (int(number) for number in text.split("x"))
        repeats = config.repeats if n < 1_000_000 else min(2, config.repeats)
        for kind in ("early", "trained") if n < 1_000_000 else ("trained",):
            gaussians = cloud(kind, n)
            forward, backward = timings(gaussians, size, "tiled", repeats, backward=True)
            pairs, other = n * size * size, (float("nan"), float("nan"))
            if pairs <= _REFERENCE_FORWARD_PAIRS:
                other = timings(gaussians, size, "reference", 1, backward=pairs <= _REFERENCE_BACKWARD_PAIRS)
            values = (
                forward,
                other[0],
                other[0] / forward,
                backward,
                other[1],
                other[1] / backward,
                backward / forward,
            )
            shown = [f"{value:.1f}" if value == value else "-" for value in values]
            print(_COLUMNS.format(n, size, kind, *shown), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
