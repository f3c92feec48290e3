"""What a person can say about how photos become views; light to import, as it is part of command lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mouse_facelift.errors import InputError


@dataclass(frozen=True)
class PhotoOptions:
    """How photos are cut out, framed and turned into views.

    Raises:
        InputError: a value out of range.
    """

    background: Literal["auto", "alpha", "colour", "rembg"] = "auto"
    """What tells the animal from its background: alpha (of the picture), colour (a plain background), rembg (the
    package of that name, installed with the extra `photos`); auto takes alpha where there is some, else colour."""
    rig: str | None = None
    """The cameras of the generated views, where the generator does not say: "facelift", a rig.json, or the dataset that
    the generator was trained on."""
    extent: float | None = None
    """How large the animal is made: root of the share of the picture that it covers. None for the generator's own."""
    prompt_embeddings: Path | None = None
    """For a pipeline folder without tokens of its own: prompt embeddings of its slots (FaceLift's clr_embeds.pt)."""
    steps: int | None = None
    """Denoising steps; None for the generator's own: 50 as FaceLift, 4 for one that predicts the picture."""
    guidance: float | None = None
    """Classifier-free guidance, 1 for none, which halves the work; None for the generator's own: 3 as FaceLift, 1 for
    one that predicts the picture."""

    def __post_init__(self) -> None:
        if self.extent is not None and not 0 < self.extent <= 1:
            raise InputError(f"--photo.extent {self.extent}: it is a share of the picture's side, above 0 and up to 1")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"--photo.steps {self.steps}: it must be at least 1")
