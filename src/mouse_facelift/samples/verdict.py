"""The verdict on a dataset as a whole: pass, warn or fail, and why.

The gate judges one sample; what is wrong with a camera or a recording shows only over many. *Fail* means that a model
should not be trained on it (hardly any frame was kept, or the silhouettes do not fit the cameras); *warn* names what a
person should look at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from mouse_facelift.errors import InputError
from mouse_facelift.samples.schema import AGREEMENT_COLUMNS

Status = Literal["pass", "warn", "fail"]

VERDICT_COLUMNS = ("capture", "camera", *AGREEMENT_COLUMNS, "fxfycxcy", "w2c", "scale")
"""The columns of kept rows that a verdict needs."""
_PER_VIEW = ("truncation", "mask_fraction", "view_hull_iou", "sharpness", "gain", "bias")


@dataclass(frozen=True)
class VerdictConfig:
    """Thresholds of the verdict; they change what is said about a dataset, never what is in it."""

    warn_rejected: float = 0.05
    """Share of rejected frames beyond which to warn."""
    fail_rejected: float = 0.5
    """Share of rejected frames beyond which to fail."""
    warn_hull_iou: float = 0.93
    """Median agreement of the silhouettes below which to warn: masks with holes or reflections reach about 0.9."""
    fail_hull_iou: float = 0.85
    """Median agreement of the silhouettes below which to fail: cameras and masks do not belong together."""
    truncation: float = 0.1
    """Truncation beyond which a view counts as cut by the frame."""
    warn_truncated: float = 0.1
    """Share of samples in which one view may be cut by the frame before it is named."""
    max_gain: float = 2.0
    """Largest factor between a view's median contrast and the other views', either way."""
    max_bias: float = 0.05
    """How much brighter than the other views' a view's blacks may be, in the median, as a share of white (haze)."""
    min_sharpness: float = 1 / 3
    """Least median sharpness of a view relative to the median over its recording's views."""
    min_animal_mm: float = 5.0
    """Least plausible radius of the animal: of a disc of its silhouette's area. A mouse's is 20 to 30 mm."""
    max_animal_mm: float = 300.0
    """Largest plausible radius. Beyond either the calibration is hardly in millimetres."""

    def __post_init__(self) -> None:
        if any(math.isnan(value) for value in asdict(self).values()):
            raise InputError("verdict: a threshold is not a number (nan); leave it out for the default")
        if self.warn_rejected > self.fail_rejected or self.warn_hull_iou < self.fail_hull_iou or self.max_gain < 1:
            raise InputError(
                "verdict: a warning must come before a failure (warn-rejected <= fail-rejected, "
                "warn-hull-iou >= fail-hull-iou), and max-gain must be at least 1"
            )


@dataclass(frozen=True)
class ViewSummary:
    """One camera of one recording over all kept samples: medians, and the share in which it is cut; nan: unknown."""

    capture: str
    camera: str
    samples: int
    truncated: float
    mask_fraction: float
    view_hull_iou: float
    sharpness: float
    gain: float
    bias: float

    def plain(self) -> dict[str, Any]:
        """Rounded, with None for nan, as JSON wants it."""
        return {k: _plain(v) if isinstance(v, float) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Verdict:
    """``findings`` are (status, reason); the worst decides."""

    findings: tuple[tuple[Status, str], ...]

    @property
    def status(self) -> Status:
        """ "pass" when there is no finding."""
        said = {status for status, _ in self.findings}
        return "fail" if "fail" in said else "warn" if "warn" in said else "pass"

    def plain(self) -> dict[str, Any]:
        """As ``dataset.json`` holds it."""
        reasons = [{"status": status, "reason": reason} for status, reason in self.findings]
        return {"status": self.status, "reasons": reasons}


def describe_verdict(verdict: dict[str, Any]) -> list[str]:
    """What to print of ``dataset.json["verdict"]``."""
    return [f"verdict: {verdict['status']}", *(f"  {r['status']}: {r['reason']}" for r in verdict["reasons"])]


def summarise_views(rows: pa.Table, config: VerdictConfig) -> list[ViewSummary]:
    """Per recording and camera, in order of appearance; ``rows`` has :data:`VERDICT_COLUMNS`."""
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    columns = [rows[name].to_pylist() for name in _PER_VIEW]
    for row, (capture, cameras) in enumerate(zip(rows["capture"].to_pylist(), rows["camera"].to_pylist(), strict=True)):
        numbers = [column[row] or [np.nan] * len(cameras) for column in columns]
        for camera, values in zip(cameras, zip(*numbers, strict=True), strict=True):
            found.setdefault((capture, camera), []).append(values)
    summaries = []
    for (capture, camera), values in found.items():
        table = dict(zip(_PER_VIEW, np.array(values, float).T, strict=True))
        cut = table.pop("truncation")
        cut = cut[~np.isnan(cut)]
        truncated = float((cut > config.truncation).mean()) if len(cut) else float("nan")
        medians = {name: _median(column) for name, column in table.items()}
        summaries.append(ViewSummary(capture, camera, len(values), truncated, **medians))
    return summaries


def judge(
    kept: int,
    rejected: int,
    hull_iou: float,
    views: Sequence[ViewSummary],
    config: VerdictConfig | None = None,
    animal_mm: float = math.nan,
) -> Verdict:
    """The verdict on a dataset.

    Args:
        kept, rejected: Numbers of samples and of rejected frames.
        hull_iou: Median over the kept samples; nan where there are no masks to measure.
        views: From :func:`summarise_views`.
        config: Thresholds.
        animal_mm: From :func:`animal_radius_mm`; nan where lengths are in no known unit.
    """
    config = config or VerdictConfig()
    if not kept:
        return Verdict((("fail", "no sample was kept"),))
    findings: list[tuple[Status, str]] = []
    share = rejected / (kept + rejected)
    if share > config.warn_rejected:
        findings.append((_level(share > config.fail_rejected), f"{share:.1%} of the frames were rejected"))
    if np.isnan(hull_iou):
        findings.append(("warn", "nothing says whether cameras and images agree: the images have no masks"))
    elif hull_iou < config.warn_hull_iou:
        level = _level(hull_iou < config.fail_hull_iou)
        findings.append((level, f"the silhouettes agree poorly (median hull IoU {hull_iou:.3f})"))
    if animal_mm < config.min_animal_mm or animal_mm > config.max_animal_mm:
        findings.append(
            ("warn", f"the animal would be {2 * animal_mm:.2g} mm across: is the calibration in millimetres?")
        )
    for view in views:
        peers = _median(np.array([v.sharpness for v in views if v.capture == view.capture]))
        for oddity in _oddities(view, peers, config):
            findings.append(("warn", f"{view.capture} view {view.camera}: {oddity}"))
    return Verdict(tuple(findings))


def judge_rows(
    rows: pa.Table, rejected: int, config: VerdictConfig, *, metric: bool = False
) -> tuple[Verdict, list[ViewSummary]]:
    """:func:`judge` on the kept rows' :data:`VERDICT_COLUMNS`, with the summaries it used.

    Args:
        rows, rejected, config: As for :func:`judge` and :func:`summarise_views`.
        metric: Whether the rows' lengths before normalisation are millimetres, and may be judged as such.
    """
    views = summarise_views(rows, config)
    hull_iou = _median(rows["hull_iou"].to_numpy().astype(float))
    size = animal_radius_mm(rows) if metric else math.nan
    return judge(rows.num_rows, rejected, hull_iou, views, config, size), views


def animal_radius_mm(rows: pa.Table) -> float:
    """Radius of a disc of the silhouettes' area at the animal's distance, median over views and rows; nan if unknown.

    A share f of a picture of S x S pixels (S is twice the principal point, by normalisation) is a disc of radius
    S sqrt(f / pi) pixels; at distance |t| and focal length fx it is fx / |t| times smaller in the normalised world.
    """
    columns = ("mask_fraction", "fxfycxcy", "w2c", "scale")
    radii = []
    for shares, intrinsics, poses, scale in zip(*(rows[name].to_pylist() for name in columns), strict=True):
        fx, _, cx, _ = np.array(intrinsics, float).T
        distance = np.linalg.norm(np.array(poses, float).reshape(-1, 4, 4)[:, :3, 3], axis=-1)
        radii.append(2 * cx * np.sqrt(np.array(shares, float) / np.pi) * distance / fx / scale)
    return _median(np.concatenate([np.zeros(0), *radii]))


def _oddities(view: ViewSummary, sharpness: float, config: VerdictConfig) -> Iterator[str]:
    """What sets a view apart; comparisons with nan are false. ``sharpness`` is the recording's."""
    if view.truncated > config.warn_truncated:
        yield f"often cut by the frame ({view.truncated:.0%} of the samples)"
    if view.gain > config.max_gain or view.gain < 1 / config.max_gain:
        yield f"contrast unlike the other views' (gain {view.gain:.2f}): check its exposure"
    if view.bias > config.max_bias:
        yield f"hazy: its blacks are brighter than the other views' (bias {view.bias:+.3f})"
    if view.sharpness < config.min_sharpness * sharpness:
        yield f"blurred (sharpness {view.sharpness:.4f}, median of the views {sharpness:.4f}): check its focus"


def _level(failed: bool) -> Status:
    return "fail" if failed else "warn"


def _median(values: Float[np.ndarray, " n"]) -> float:
    """The median of what is known; nan when nothing is."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 5)
