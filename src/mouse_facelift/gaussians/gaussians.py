"""The set of 3-D Gaussians that the models predict, the renderers draw and the files hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Activated values, ready to draw, in the world frame of whatever cameras look at them.

    Gradients flow through every method. Raises ValueError when the five tensors do not describe the same Gaussians.
    """

    means: Float[Tensor, "n 3"]
    """Centres, world units."""
    scales: Float[Tensor, "n 3"]
    """Standard deviations along the Gaussian's own axes, world units, above 0."""
    rotations: Float[Tensor, "n 4"]
    """Quaternions w, x, y, z from the Gaussian's axes to the world; any length (renderers normalise)."""
    opacities: Float[Tensor, " n"]
    """In [0, 1]."""
    colours: Float[Tensor, "n 3"]
    """RGB, at least 0, not clamped above."""

    def __post_init__(self) -> None:
        n = self.means.shape[0]
        wanted = {"means": (n, 3), "scales": (n, 3), "rotations": (n, 4), "opacities": (n,), "colours": (n, 3)}
        for name, shape in wanted.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(f"Gaussians.{name} has shape {found}, expected {shape}")

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def device(self) -> torch.device:
        return self.means.device

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Means, scales, rotations, opacities, colours: the order of the fields."""
        return self.means, self.scales, self.rotations, self.opacities, self.colours

    def map(self, function: Callable[[Tensor], Tensor]) -> Gaussians:
        """Applies one function to each of the five tensors."""
        return Gaussians(*(function(tensor) for tensor in self.tensors()))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Gaussians:
        return self.map(lambda tensor: tensor.to(device=device, dtype=dtype))

    def detach(self) -> Gaussians:
        return self.map(torch.Tensor.detach)

    def finite(self) -> Bool[Tensor, " n"]:
        """True for Gaussians without a NaN or an infinity in any value."""
        columns = [tensor.detach().reshape(len(self), tensor.shape[1:].numel()) for tensor in self.tensors()]
        return torch.cat(columns, dim=-1).isfinite().all(-1)

    def select(self, which: Bool[Tensor, " n"] | Int[Tensor, " k"]) -> Gaussians:
        """The Gaussians a boolean mask or a list of indices names, in that order."""
        return self.map(lambda tensor: tensor[which])

    def transformed(self, scale: float, centre: Float[Tensor, " 3"]) -> Gaussians:
        """The same Gaussians after X' = scale * (X - centre): millimetres to the normalised world, say."""
        centre = torch.as_tensor(centre, dtype=self.means.dtype, device=self.device)
        return self._moved((self.means - centre) * scale, scale)

    def restored(self, scale: float, centre: Float[Tensor, " 3"]) -> Gaussians:
        """Undoes `transformed` with the same arguments: X = X' / scale + centre."""
        centre = torch.as_tensor(centre, dtype=self.means.dtype, device=self.device)
        return self._moved(self.means / scale + centre, 1.0 / scale)

    def _moved(self, means: Float[Tensor, "n 3"], factor: float) -> Gaussians:
        if not factor > 0:
            raise ValueError(f"a similarity's scale must be above 0, not {factor}")
        return Gaussians(means, self.scales * factor, self.rotations, self.opacities, self.colours)

    @staticmethod
    def concatenate(parts: Sequence[Gaussians]) -> Gaussians:
        """All Gaussians of all parts (at least one), in order."""
        return Gaussians(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Gaussians)))

    @staticmethod
    def empty(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Gaussians:
        """No Gaussians at all: draws the background."""
        shapes = ((0, 3), (0, 3), (0, 4), (0,), (0, 3))
        return Gaussians(*(torch.zeros(shape, device=device, dtype=dtype) for shape in shapes))


def rotation_matrices(quaternions: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of quaternions w, x, y, z of any length; a zero quaternion gives the identity."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
