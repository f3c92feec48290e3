"""The denoiser: diffusers' stock UNet with multi-view attention, and more input channels than it was born with.

Input channels are, in this order, the noisy latents, the condition latents (the reference image, the same for every
view) and, with camera conditioning, six channels of rays. FaceLift's network is `UNetConfig()`; its state dict has the
names and shapes of Stable Diffusion 2.1-unCLIP except for `conv_in.weight`. Added channels start at zero, so that what
the weights computed before, they compute after.

A small model over pixels differs in two ways, which the stock UNet knows nothing of (`Adapter`): it sees blocks of
pixels as the channels of one cell, and what it says is added to a first guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float, Int
from torch import Tensor, nn

from mouse_facelift.cameras.poses import FACELIFT_SLOTS
from mouse_facelift.errors import InputError
from mouse_facelift.mvdiffusion.attention import install

RAY_CHANNELS = 6
"""Direction, and the ray's point nearest to the world origin: three numbers each."""

CameraConditioning = Literal["none", "rays"]

REFERENCE_AND_TARGET = ("reference", "target")
"""The slots of a model that tells views apart by their rays: any number of targets share one name."""


@dataclass(frozen=True)
class UNetConfig:
    """The denoiser's sizes; the defaults are FaceLift's.

    Raises:
        InputError: when two fields contradict each other.
    """

    sample_size: int = 64
    """Side of the square grid that is denoised: latent cells, or pixels without a VAE."""
    latent_channels: int = 4
    """Channels that are denoised: 4 for Stable Diffusion's VAE; over pixels 3, or 4 with the animal's mask."""
    block_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    """Width of each level; each is half as fine as the one before."""
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    """Which levels attend. The middle, at the last level's size, always does."""
    layers_per_block: int = 2
    """Residual blocks per level."""
    head_width: int = 64
    """Width of one attention head."""
    norm_groups: int = 32
    """Groups of the group norms."""
    token_width: int = 1024
    """Width of the tokens (prompt embeddings) that cross-attention sees."""
    class_width: int = 2048
    """Width of the image vector added to the time embedding; 0 for a model without an image encoder."""
    camera_conditioning: CameraConditioning = "none"
    """Whether the targets' rays enter as further input channels."""
    patch: int = 1
    """Side of the block of latent cells, or pixels, that is one cell to the UNet, its values as channels (exact: a
    rearrangement). Work falls with its square."""
    residual: bool = False
    """Whether the UNet says how the reference view differs from the reference image, and the others from an empty
    picture on grey; for a model that predicts the picture."""

    def __post_init__(self) -> None:
        if len(self.block_channels) != len(self.attention_levels):
            raise InputError(
                f"UNet: {len(self.block_channels)} block_channels and {len(self.attention_levels)} attention_levels; "
                "give one of each per level"
            )
        for width in self.block_channels:
            if width % self.norm_groups or width % self.head_width:
                raise InputError(
                    f"UNet: block_channels {width} is not a multiple of norm_groups {self.norm_groups} and head_width "
                    f"{self.head_width}; change one of them"
                )
        if self.patch < 1 or self.sample_size % (self.patch * 2 ** (len(self.block_channels) - 1)):
            raise InputError(
                f"UNet: sample_size {self.sample_size} in patches of {self.patch} cannot be halved "
                f"{len(self.block_channels) - 1} times; change it or use fewer levels"
            )

    @property
    def adapter(self) -> Adapter:
        """What stands between the latents and the UNet."""
        return Adapter(self.patch, self.residual)


@dataclass(frozen=True)
class Adapter:
    """How latents enter the stock UNet and leave it; the default changes nothing."""

    patch: int = 1
    residual: bool = False

    def inwards(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """Each block of cells as one, its values as channels."""
        return maps if self.patch == 1 else nn.functional.pixel_unshuffle(maps, self.patch)

    def outwards(self, maps: Float[Tensor, "n d i j"]) -> Float[Tensor, "n c h w"]:
        """The inverse of `inwards`."""
        return maps if self.patch == 1 else nn.functional.pixel_shuffle(maps, self.patch)

    @staticmethod
    def first_guess(
        noisy: Float[Tensor, "b v c h w"], condition: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b v c h w"]:
        """Pictures that a residual is added to: the reference image, and for all other views nothing on grey."""
        guess = torch.zeros_like(noisy)
        guess[:, 0] = condition
        # Grey is zero; no alpha is -1.
        guess[:, 1:, 3:] = -1
        return guess

    def averaged(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c i j"]:
        """The mean of each block: what varies slowly, such as rays, needs no more."""
        return maps if self.patch == 1 else nn.functional.avg_pool2d(maps, self.patch)


def build_unet(config: UNetConfig) -> UNet2DConditionModel:
    """A new UNet on the default device, attention installed; torch's global seed decides its weights."""
    down = ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in config.attention_levels]
    up = ["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(config.attention_levels)]
    rays = RAY_CHANNELS if config.camera_conditioning == "rays" else 0
    channels = config.latent_channels * config.patch**2
    unet = UNet2DConditionModel(
        sample_size=config.sample_size // config.patch,
        in_channels=2 * channels + rays,
        out_channels=channels,
        down_block_types=cast(Any, tuple(down)),
        up_block_types=cast(Any, tuple(up)),
        block_out_channels=cast(Any, config.block_channels),
        layers_per_block=config.layers_per_block,
        # diffusers' historical name: this is the number of heads.
        attention_head_dim=cast(Any, tuple(width // config.head_width for width in config.block_channels)),
        norm_num_groups=config.norm_groups,
        cross_attention_dim=config.token_width,
        use_linear_projection=True,
        class_embed_type="projection" if config.class_width else None,
        projection_class_embeddings_input_dim=config.class_width or None,
    )
    if rays:
        with torch.no_grad():
            unet.conv_in.weight[:, -rays:] = 0
    if config.residual:
        # At the start the UNet adds nothing to the first guess.
        nn.init.zeros_(unet.conv_out.weight)
        nn.init.zeros_(cast(Tensor, unet.conv_out.bias))
    install(unet)
    return unet


def widened(unet: UNet2DConditionModel, in_channels: int) -> UNet2DConditionModel:
    """A copy with more input channels; the new ones, last, weigh nothing, so the output stays what it was.

    Raises:
        ValueError: fewer channels than there are.
    """
    extra = in_channels - unet.conv_in.in_channels
    if extra < 0:
        raise ValueError(f"a UNet of {unet.conv_in.in_channels} input channels cannot be given {in_channels}")
    with torch.device("meta"):
        config: Any = dict(unet.config) | {"in_channels": in_channels}
        wider = cast(UNet2DConditionModel, UNet2DConditionModel.from_config(config))
    weights = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    weights["conv_in.weight"] = nn.functional.pad(weights["conv_in.weight"], (0, 0, 0, 0, 0, extra))
    wider.load_state_dict(weights, assign=True)
    install(wider)
    return wider.train(unet.training)


def from_base(base: UNet2DConditionModel) -> UNet2DConditionModel:
    """FaceLift's network from a single-image one (Stable Diffusion 2.1-unCLIP): zero weight on condition latents."""
    return widened(base, 2 * base.conv_out.out_channels)


def with_ray_channels(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same network, taking ray maps it does not yet look at.

    Raises:
        InputError: it takes ray maps already.
    """
    if camera_conditioning(unet) == "rays":
        raise InputError("the model takes ray maps already; leave camera conditioning as it is")
    return widened(unet, unet.conv_in.in_channels + RAY_CHANNELS)


def adapted(unet: UNet2DConditionModel, cameras: CameraConditioning) -> UNet2DConditionModel:
    """The network as a multi-view one with this camera conditioning; what it lacks is added with zero weight.

    Raises:
        InputError: it takes ray maps and shall not, or its channels are those of no such model.
    """
    if unet.conv_in.in_channels == unet.conv_out.out_channels:
        unet = from_base(unet)
    if cameras == camera_conditioning(unet):
        return unet
    if cameras == "none":
        raise InputError("the model takes ray maps; give it cameras (camera conditioning 'rays')")
    return with_ray_channels(unet)


def camera_conditioning(unet: UNet2DConditionModel) -> CameraConditioning:
    """What a multi-view UNet's input channels say about its cameras.

    Raises:
        InputError: the channels are those of neither kind.
    """
    extra = unet.conv_in.in_channels - 2 * unet.conv_out.out_channels
    if extra not in (0, RAY_CHANNELS):
        latent = unet.conv_out.out_channels
        raise InputError(
            f"UNet: {unet.conv_in.in_channels} input channels; a multi-view model has {2 * latent}, or "
            f"{2 * latent + RAY_CHANNELS} with rays (a single-image model is given them by from_base)"
        )
    return "rays" if extra else "none"


class MultiViewUNet(nn.Module):
    """The denoiser over `[object, view]`, with the tokens that tell it which view is which.

    Attributes:
        unet: the stock UNet.
        tokens: [slots, n, width], one set of tokens per slot: prompt embeddings (a buffer, never trained) or learned.
        slots: names of the slots; slot 0 is the reference.
        cameras: "rays" where ray maps are expected.
        adapter: what stands between latents and UNet.
    """

    tokens: Float[Tensor, "s n d"]

    def __init__(
        self,
        unet: UNet2DConditionModel,
        tokens: Float[Tensor, "s n d"],
        slots: tuple[str, ...] = FACELIFT_SLOTS,
        *,
        learned: bool = False,
        adapter: Adapter | None = None,
    ) -> None:
        """Put a UNet and its tokens together.

        Raises:
            InputError: tokens of another width than the UNet's cross-attention, or not one set per slot.
        """
        super().__init__()
        check_tokens(unet, tokens, slots, "prompt embeddings")
        self.unet = unet
        self.slots = slots
        self.learned = learned
        self.cameras = camera_conditioning(unet)
        self.adapter = adapter or Adapter()
        if learned:
            self.tokens = nn.Parameter(tokens)
        else:
            self.register_buffer("tokens", tokens)

    @property
    def latent_channels(self) -> int:
        """Channels that are denoised."""
        return self.unet.conv_out.out_channels // self.adapter.patch**2

    def slot_indices(self, num_views: int) -> Int[Tensor, " v"]:
        """Which slot each view is: in order, or one reference and any number of targets.

        Raises:
            InputError: the model has no slots for so many views.
        """
        if self.slots == REFERENCE_AND_TARGET:
            return torch.arange(num_views).clamp_max(1)
        if num_views != len(self.slots):
            raise InputError(
                f"{num_views} views, but the model has the {len(self.slots)} slots {', '.join(self.slots)}; give one "
                "camera per slot, or use a model with camera conditioning and the slots reference, target"
            )
        return torch.arange(num_views)

    def forward(
        self,
        noisy: Float[Tensor, "b v c h w"],
        condition: Float[Tensor, "b c h w"],
        timesteps: Int[Tensor, "b v"],
        image_vectors: Float[Tensor, "b v e"] | None = None,
        rays: Float[Tensor, "b v 6 h w"] | None = None,
        tokens: Float[Tensor, "v n d"] | None = None,
    ) -> Float[Tensor, "b v c h w"]:
        """Predict the noise, the velocity or the picture, whichever the weights were trained for.

        Args:
            noisy: what is denoised.
            condition: latents of the reference image, seen by all views.
            timesteps: per view.
            image_vectors: noised image embedding and its noise level, for a model with an image encoder.
            rays: `conditioning.ray_maps`, for a model with camera conditioning.
            tokens: in place of the model's own; one set per view.

        Raises:
            InputError: a condition the model needs is absent, or one is given that it does not take.
        """
        objects, views = noisy.shape[:2]
        if (rays is not None) != (self.cameras == "rays"):
            need = "needs the views' cameras" if rays is None else "takes no cameras"
            raise InputError(f"the model's camera conditioning is '{self.cameras}': it {need}")
        if (image_vectors is not None) != (self.unet.class_embedding is not None):
            need = "needs image embeddings" if image_vectors is None else "takes no image embeddings"
            raise InputError(f"the model {need}; use the components it was trained with")
        if tokens is None:
            tokens = self.tokens[self.slot_indices(views).to(self.tokens.device)]
        adapter = self.adapter
        given = [adapter.inwards(noisy.flatten(0, 1)), adapter.inwards(condition).repeat_interleave(views, dim=0)]
        if rays is not None:
            given.append(adapter.averaged(rays.flatten(0, 1).to(noisy.dtype)))
        predicted = self.unet(
            torch.cat(given, dim=1),
            timesteps.flatten(),
            tokens.to(noisy.dtype).repeat(objects, 1, 1),
            class_labels=None if image_vectors is None else image_vectors.flatten(0, 1).to(noisy.dtype),
            cross_attention_kwargs={"num_views": views},
            return_dict=False,
        )[0]
        said = adapter.outwards(predicted).unflatten(0, (objects, views))
        return said + adapter.first_guess(noisy, condition) if adapter.residual else said


def check_tokens(
    unet: UNet2DConditionModel, tokens: Float[Tensor, "s n d"], slots: tuple[str, ...], source: str
) -> None:
    """Refuse tokens that a UNet cannot attend to, or that are not one set per slot.

    Raises:
        InputError: in one line, naming `source` and the cure.
    """
    width = cast(Any, unet.config).cross_attention_dim
    if tokens.ndim != 3 or tokens.shape[2] != width:
        raise InputError(
            f"{source}: shape {list(tokens.shape)}, but the model attends to tokens of width {width}; make them with "
            f"the text encoder the model was trained with (768-wide ones come from CLIP ViT-L, not from ViT-H)"
        )
    if tokens.shape[0] != len(slots):
        raise InputError(f"{source}: {tokens.shape[0]} sets of tokens for {len(slots)} slots ({', '.join(slots)})")
