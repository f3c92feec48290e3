"""What FaceLift's GS-LRM loader does with a list file, written from the description of its rules."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def load_list(list_file: Path) -> list[dict[str, np.ndarray]]:
    """Every scene of a list: images [v, 4, s, s] in [0, 1] over white, c2w [v, 4, 4], fxfycxcy [v, 4].

    Lines are stripped, blank ones ignored, and opened relative to the working directory; images must be square.
    """
    lines = [line.strip() for line in list_file.read_text().split("\n")]
    return [_load_scene(Path(line)) for line in lines if line]


def _load_scene(folder: Path) -> dict[str, np.ndarray]:
    scene = json.loads((folder / "opencv_cameras.json").read_text())
    assert isinstance(scene["id"], str)
    images, c2ws, intrinsics = [], [], []
    for frame in scene["frames"]:
        image = Image.open(folder / frame["file_path"])
        assert image.format == "PNG" and image.mode == "RGBA" and image.size[0] == image.size[1]
        canvas = Image.new("RGB", image.size, (255, 255, 255))
        canvas.paste(image, mask=image.split()[3])
        pixels = np.dstack([np.asarray(canvas), np.asarray(image)[..., 3]])
        images.append(pixels.astype(np.float32).transpose(2, 0, 1) / 255)
        w2c = np.array(frame["w2c"], dtype=np.float64)
        assert w2c.shape == (4, 4)
        c2ws.append(np.linalg.inv(w2c).astype(np.float32))
        intrinsics.append([float(frame[key]) for key in ("fx", "fy", "cx", "cy")])
    return {"image": np.stack(images), "c2w": np.stack(c2ws), "fxfycxcy": np.array(intrinsics, np.float32)}
