from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mouse_facelift.errors import InputError
from mouse_facelift.gaussians.gaussians import Gaussians
from mouse_facelift.gaussians.ply import SH_CONSTANT, decode_ply, encode_ply, read_ply, write_ply


def test_round_trip_is_exact_to_rounding(scene: Callable, tmp_path: Path) -> None:
    gaussians = scene("translucent").gaussians
    edge = Gaussians(
        torch.zeros(2, 3),
        torch.tensor([[1e-30] * 3, [1e20] * 3]),
        torch.zeros(2, 4),
        torch.tensor([0.0, 1.0]),
        torch.zeros(2, 3),
    )
    gaussians = Gaussians.concatenate([gaussians, edge])
    write_ply(tmp_path / "new" / "splats.ply", gaussians)
    back = read_ply(tmp_path / "new" / "splats.ply")
    assert torch.equal(back.means, gaussians.means) and torch.equal(back.rotations, gaussians.rotations)
    torch.testing.assert_close(back.scales, gaussians.scales, rtol=5e-6, atol=0)
    torch.testing.assert_close(back.opacities, gaussians.opacities, rtol=2e-6, atol=1e-20)
    torch.testing.assert_close(back.colours, gaussians.colours, rtol=0, atol=2e-7)
    assert float(back.opacities[-1]) == 1.0
    # The second time nothing is left to round: a file survives being read and written.
    assert encode_ply(back)[:200] == encode_ply(gaussians)[:200]


def test_layout_is_the_one_viewers_expect() -> None:
    one = Gaussians(
        torch.tensor([[1.0, 2.0, 3.0]]),
        torch.tensor([[0.1, 0.2, 0.3]]),
        torch.tensor([[2.0, 0.0, 0.0, 1.0]]),
        torch.tensor([0.5]),
        torch.tensor([[0.25, 0.5, 7.0]]),
    )
    data = encode_ply(one)
    header, body = data.split(b"end_header\n")
    names = [line.split()[-1].decode() for line in header.splitlines() if line.startswith(b"property")]
    assert names[:9] == ["x", "y", "z", "red", "green", "blue", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:54] == [f"f_rest_{k}" for k in range(45)]
    assert names[54:] == ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    assert len(body) == 239 and list(body[12:15]) == [63, 127, 255]
    numbers = np.frombuffer(body[15:], "<f4")
    np.testing.assert_allclose(numbers[:3], (np.array([0.25, 0.5, 7.0]) - 0.5) / SH_CONSTANT, rtol=1e-6)
    assert not numbers[3:48].any() and numbers[48] == 0.0
    np.testing.assert_allclose(numbers[49:52], np.log([0.1, 0.2, 0.3]), rtol=1e-6)
    assert numbers[52:].tolist() == [2.0, 0.0, 0.0, 1.0]


def test_other_writers_files_are_read_whatever_their_order_and_extras() -> None:
    names = ["opacity", "rot_0", "rot_1", "rot_2", "rot_3", "nx", "x", "y", "z", "scale_2", "scale_1", "scale_0"]
    names += ["f_dc_2", "f_dc_1", "f_dc_0"]
    table = np.zeros(2, [(name, "<f8" if name == "x" else "<f4") for name in names])
    table["x"], table["rot_0"], table["scale_1"], table["f_dc_0"] = [1, 2], 1, np.log(0.5), [-9, 1]
    lines = ["ply", "comment made elsewhere", "format binary_little_endian 1.0", "element vertex 2"]
    lines += [f"property {'double' if name == 'x' else 'float'} {name}" for name in names]
    lines += ["element face 0", "property list uchar int vertex_indices", "end_header", ""]
    gaussians = decode_ply("\r\n".join(lines).encode() + table.tobytes())
    assert gaussians.means[:, 0].tolist() == [1.0, 2.0] and gaussians.opacities.tolist() == [0.5, 0.5]
    assert gaussians.scales[0].tolist() == [1.0, 0.5, 1.0]
    torch.testing.assert_close(gaussians.colours[:, 0], torch.tensor([0.0, 0.5 + SH_CONSTANT]))


def test_empty_set_round_trips() -> None:
    assert len(decode_ply(encode_ply(Gaussians.empty()))) == 0


def test_values_that_are_not_finite_are_refused_and_leave_the_old_file(scene: Callable, tmp_path: Path) -> None:
    path = tmp_path / "splats.ply"
    write_ply(path, Gaussians.empty())
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"splats.ply: 4 of 150 Gaussians are not finite"):
        write_ply(path, scene("mixed").gaussians)
    zero = scene("opaque").gaussians
    with pytest.raises(InputError, match="scales above 0"):
        write_ply(path, Gaussians(zero.means, zero.scales * 0, zero.rotations, zero.opacities, zero.colours))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    broken = bytearray(encode_ply(scene("opaque", n=3).gaussians))
    broken[-4:] = np.float32(np.nan).tobytes()
    with pytest.raises(InputError, match="1 of 3 Gaussians are not finite"):
        decode_ply(bytes(broken))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "ends before its 5 Gaussians"),
        (lambda data: data[4:], "not a .ply"),
        (lambda data: data.replace(b"binary_little_endian", b"ascii"), "not binary little-endian"),
        (lambda data: data.replace(b"float rot_3", b"float spin3"), "no property rot_3"),
        (lambda data: data.replace(b"float rot_3", b"half rot_3"), "not plain numbers"),
        (lambda data: data.replace(b"vertex 5", b"vertex -5"), "contradicts itself"),
        (lambda data: data.replace(b"element vertex", b"element face"), "must be `vertex`"),
    ],
)
def test_files_that_cannot_be_used_say_why(scene: Callable, change: Callable, message: str) -> None:
    data = encode_ply(scene("opaque", n=5).gaussians)
    with pytest.raises(InputError, match=f"mouse.ply: .*{message}"):
        decode_ply(change(data), "mouse.ply")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent.ply"):
        read_ply(tmp_path / "absent.ply")
