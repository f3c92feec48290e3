"""The named spaces.

`gslrm` is everything that was once tried by hand on this kind of data and what was proposed instead; `loss-weights` and
`views` are the two questions worth a search of their own. How samples are cut from recordings (zoom, stride, centre) is
decided by `preprocess`, before training, and so is not among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mouse_facelift.evaluation.trials import Value
from tune.spaces import Axis, Space

_VGG, _LPIPS = ("losses.perceptual_weights",), ("losses.lpips_weights",)
# Nobody fine-tunes what was never trained.
_WEIGHTS, _PIPELINE = ("init_from",), ("model.folder",)
_LORA: dict[str, tuple[Value, ...]] = {"finetune.mode": ("lora",)}
_FULL: dict[str, tuple[Value, ...]] = {"finetune.mode": ("full",)}
_RAMPS = ("[0, 0]", "[0, 500]", "[0, 2000]")

SPACES: Mapping[str, Space] = MappingProxyType(
    {
        # How much of each term: the squared colour error stays 1, as only ratios matter.
        "loss-weights": Space(
            kind="gslrm",
            trials=20,
            axes={
                "losses.alpha": Axis(0.05, 5.0, "log"),
                "losses.foreground_weight": Axis(1.0, 20.0, "log"),
                "losses.ssim": Axis(options=(0.0, 0.1, 0.2, 0.5)),
                "losses.opacity": Axis(options=(0.0, 1e-3, 1e-2)),
                "losses.perceptual": Axis(options=(0.0, 0.1, 0.25, 0.5), needs=_VGG),
                "losses.lpips": Axis(options=(0.0, 0.05, 0.1, 0.25, 0.5), needs=_LPIPS),
            },
        ),
        # What a model that was trained with n views does with 1, 2, ... of them.
        "views": Space(
            kind="gslrm",
            search="grid",
            scheduler="none",
            share=0.75,
            by_views=True,
            axes={
                "views.num_inputs": Axis(options=(1, 2, 3, 4, 5)),
                # 1: every step draws its number of inputs from 1 to num_inputs.
                "views.min_inputs": Axis(options=(0, 1), when={"views.num_inputs": (3, 5)}),
            },
        ),
        "gslrm": Space(
            kind="gslrm",
            trials=48,
            axes={
                "optimiser.lr": Axis(1e-6, 3e-3, "log"),
                "optimiser.warmup_steps": Axis(options=(10, 100, 300, 1000)),
                "optimiser.weight_decay": Axis(options=(0.01, 0.05)),
                "optimiser.clip_norm": Axis(options=(0.5, 1.0, 5.0)),
                "ema_decay": Axis(options=(0.0, 0.99, 0.999)),
                "finetune.mode": Axis(options=("full", "lora", "heads"), needs=_WEIGHTS),
                "finetune.lora_rank": Axis(options=(8, 16, 32), when=_LORA, needs=_WEIGHTS),
                "finetune.lora_targets": Axis(options=("attention", "mlp", "both"), when=_LORA, needs=_WEIGHTS),
                "finetune.freeze_layers": Axis(options=(0, 12, 20, 22), when=_FULL, needs=_WEIGHTS),
                "finetune.layer_lr_decay": Axis(options=(1.0, 0.9, 0.75), when=_FULL, needs=_WEIGHTS),
                "losses.alpha": Axis(options=(0.1, 0.5, 1.0, 2.0)),
                "losses.foreground_weight": Axis(options=(1.0, 5.0, 20.0)),
                "losses.ssim": Axis(options=(0.0, 0.1, 0.2, 0.5)),
                "losses.ramps.ssim": Axis(options=_RAMPS, when={"losses.ssim": (0.1, 0.2, 0.5)}),
                "losses.ssim_masked": Axis(options=(False, True), when={"losses.ssim": (0.1, 0.2, 0.5)}),
                "losses.perceptual": Axis(options=(0.0, 0.1, 0.25, 0.5), needs=_VGG),
                "losses.ramps.perceptual": Axis(
                    options=_RAMPS, when={"losses.perceptual": (0.1, 0.25, 0.5)}, needs=_VGG
                ),
                "losses.lpips": Axis(options=(0.0, 0.05, 0.1, 0.25, 0.5), needs=_LPIPS),
                "losses.ramps.lpips": Axis(options=_RAMPS, when={"losses.lpips": (0.05, 0.1, 0.25, 0.5)}, needs=_LPIPS),
                "losses.opacity": Axis(options=(0.0, 1e-3, 1e-2)),
                "losses.photometric": Axis(options=("none", "affine")),
                "views.num_inputs": Axis(options=(2, 3, 4, 5)),
                "views.min_inputs": Axis(options=(0, 1), when={"views.num_inputs": (3, 4, 5)}),
                "views.background": Axis(options=("white", "random")),
                "views.mirror": Axis(options=(False, True)),
                "views.turn": Axis(options=(False, True)),
                "model.clip_xyz": Axis(options=(False, True)),
                "model.hard_pixelalign": Axis(options=(True, False)),
            },
        ),
        "mvdiffusion": Space(
            kind="mvdiffusion",
            trials=16,
            axes={
                "optimiser.lr": Axis(5e-6, 3e-3, "log"),
                "optimiser.warmup_steps": Axis(options=(0, 50, 100, 500)),
                "losses.condition_drop_rate": Axis(options=(0.05, 0.1)),
                "losses.min_snr_gamma": Axis(options=(0.0, 5.0)),
                "losses.timesteps": Axis(options=("object", "view")),
                "finetune.mode": Axis(options=("full", "lora"), needs=_PIPELINE),
                "finetune.lora_rank": Axis(options=(8, 16, 32), when=_LORA, needs=_PIPELINE),
                "ema_decay": Axis(options=(0.0, 0.99, 0.999)),
            },
        ),
    }
)
