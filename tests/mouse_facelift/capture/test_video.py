"""Frame-exact reading, whatever decodes, and writing that never leaves half a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from mouse_facelift.capture import decoders
from mouse_facelift.capture.container import Index
from mouse_facelift.capture.video import Decoder, EncodeOptions, VideoInfo, VideoWriter, probe, read_frames
from mouse_facelift.errors import InputError

DECODERS: tuple[Decoder, ...] = ("decord", "opencv", "pyav")
WIDTH, HEIGHT, COUNT = 96, 64, 75


def _frame(number: int) -> np.ndarray:
    """A picture that says its own number: a square per binary digit, over noise that makes packets large."""
    noise = np.random.default_rng(number).integers(0, 60, (HEIGHT, WIDTH, 1))
    image = np.repeat(noise, 3, axis=2).astype(np.uint8)
    for digit in range(8):
        if number >> digit & 1:
            image[40:56, 4 + 11 * digit : 12 + 11 * digit] = 230
    return image


def _number(image: np.ndarray) -> int:
    return sum(1 << digit for digit in range(8) if image[44:52, 6 + 11 * digit : 10 + 11 * digit].mean() > 128)


def _write(path: Path, numbers: Sequence[int] = range(COUNT), interval: int = 20) -> Path:
    with VideoWriter(path, WIDTH, HEIGHT, 25, EncodeOptions(keyframe_interval=interval)) as writer:
        for number in numbers:
            writer.write(_frame(number))
    return path


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("video") / "numbered.mp4")


def test_what_is_written_is_what_is_probed_and_read(numbered: Path) -> None:
    assert probe(numbered) == VideoInfo(WIDTH, HEIGHT, 25.0, COUNT)
    for number, image in read_frames(numbered, range(COUNT)):
        assert _number(image) == number and image.dtype == np.uint8
        assert np.abs(image.astype(int) - _frame(number)).mean() < 6
    assert [file.name for file in numbered.parent.iterdir()] == ["numbered.mp4"]


def test_colours_are_rgb_and_the_file_is_reproducible(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(tmp_path / name, 32, 32, 30000 / 1001, EncodeOptions(crf=1)) as writer:
            writer.write(np.full((32, 32, 3), (200, 60, 20), np.uint8))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert probe(tmp_path / "a.mp4").fps == pytest.approx(30000 / 1001)
    for decoder in DECODERS:
        _, image = next(read_frames(tmp_path / "a.mp4", [0], decoder))
        np.testing.assert_allclose(image.mean((0, 1)), (200, 60, 20), atol=4)


@pytest.mark.parametrize("decoder", DECODERS)
def test_any_increasing_frames_come_back_under_their_own_number(numbered: Path, decoder: Decoder) -> None:
    rng = np.random.default_rng(1)
    for count in (1, 1, 2, 5, 20):
        wanted = sorted(rng.choice(COUNT, count, replace=False).tolist())
        assert [(n, _number(image)) for n, image in read_frames(numbered, wanted, decoder)] == [(n, n) for n in wanted]
    for wanted in ([0], [COUNT - 1], [19, 20, 21], [0, COUNT - 1]):
        assert [_number(image) for _, image in read_frames(numbered, wanted, decoder)] == wanted


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["capture_a/videos_undist/3.mp4", "mouse5/L.mp4"])
def test_seeking_in_a_recording_is_exact(shared_data: Path, name: str, decoder: Decoder) -> None:
    """Groups of pictures of 16-50 and of 250 frames, against decoding everything from the start."""
    wanted = [3, 88, 89, 130, 159] if "capture_a" in name else [249, 250, 251, 262, 280]
    last = wanted[-1]
    everything = {n: image[::4, ::4].copy() for n, image in read_frames(shared_data / name, range(last + 1), "opencv")}
    for start in range(len(wanted)):
        for number, image in read_frames(shared_data / name, wanted[start:], decoder):
            np.testing.assert_array_equal(image[::4, ::4], everything[number])


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("decoder", ["auto", *DECODERS])
def test_frames_shown_before_the_keyframe_they_need(tmp_path: Path, suffix: str, decoder: Decoder) -> None:
    """Open groups of pictures, in which decord's own seek is wrong, and a container that stores no times."""
    path = tmp_path / f"open.{suffix}"
    options = {"x264-params": "open-gop=1:keyint=20:min-keyint=20:bframes=5:b-pyramid=normal:scenecut=0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(COUNT):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_frame(number), format="rgb24")))
        container.mux(stream.encode(None))
    if suffix == "avi" and decoder == "pyav":
        with pytest.raises(InputError, match="PyAV cannot tell frames without time stamps apart"):
            next(read_frames(path, [0], decoder))
        return
    for start in range(COUNT):
        wanted = [n for n in (start, start + 1, start + 9) if n < COUNT]
        assert [_number(image) for _, image in read_frames(path, wanted, decoder)] == wanted


def test_bad_frame_numbers(numbered: Path) -> None:
    with pytest.raises(InputError, match=rf"numbered.mp4: there is no frame {COUNT}; the video has frames 0 to 74"):
        read_frames(numbered, [3, COUNT])
    with pytest.raises(InputError, match="no frame -1"):
        read_frames(numbered, [-1])
    with pytest.raises(ValueError, match="increase strictly"):
        read_frames(numbered, [3, 3])
    assert list(read_frames(numbered, [])) == []


@pytest.mark.parametrize(("share", "message"), [(0, "is empty"), (0.6, "cut short.*promises 75"), (0.01, "readable")])
def test_a_file_cut_short_is_named(numbered: Path, tmp_path: Path, share: float, message: str) -> None:
    data = numbered.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=f"cut.mp4: .*{message}.*copy it again"):
        probe(path)
    with pytest.raises(InputError, match="cut.mp4"):
        read_frames(path, [0])


def test_what_is_not_a_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    with pytest.raises(InputError, match="text.mp4: is not a readable video"):
        probe(tmp_path / "text.mp4")
    with pytest.raises(InputError, match="none.mp4: cannot be read"):
        probe(tmp_path / "none.mp4")


@pytest.mark.parametrize("decoder", ["auto", *DECODERS])
def test_a_damaged_frame_is_an_error_and_never_a_neighbour(numbered: Path, tmp_path: Path, decoder: Decoder) -> None:
    data = bytearray(numbered.read_bytes())
    data[len(data) // 2 : len(data) * 6 // 10] = bytes(len(data) * 6 // 10 - len(data) // 2)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    read = []
    with pytest.raises(InputError, match=r"damaged.mp4: frame (\d+) cannot be decoded.*leave the frame out") as caught:
        for number, image in read_frames(path, range(COUNT), decoder):
            assert _number(image) == number
            read.append(number)
    # decord decodes ahead and may give up some frames early; "auto" goes as far as any does.
    assert (0 if decoder == "decord" else 20) < len(read) < 60
    assert f"frame {len(read)} " in str(caught.value)


def test_another_decoder_goes_on_where_one_fails(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, positions = decoders.read_pyav, []

    def fails_at_ten(path: Path, index: Index, wanted: Sequence[int]):
        for number, image in zip(wanted, real(path, index, wanted), strict=True):
            if number == 10:
                raise decoders.DecodeError("PyAV stops at it")
            positions.append(number)
            yield image

    monkeypatch.setattr(decoders, "read_pyav", fails_at_ten)
    assert [_number(image) for _, image in read_frames(numbered, range(0, 40, 2))] == list(range(0, 40, 2))
    assert positions == [0, 2, 4, 6, 8]


def test_others_serve_where_decord_is_not_installed(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    assert [_number(image) for _, image in read_frames(numbered, [5, 50])] == [5, 50]


def test_a_changed_file_is_indexed_again(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4", range(5))
    assert probe(path).frame_count == 5
    _write(path, range(9))
    assert probe(path).frame_count == 9


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4", range(5))
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="stop"), VideoWriter(path, WIDTH, HEIGHT, 25) as writer:
        writer.write(_frame(0))
        raise RuntimeError("stop")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="even sides, not 33x32"):
        VideoWriter(tmp_path / "a.mp4", 33, 32, 25)
    with pytest.raises(InputError, match="at least one frame"), VideoWriter(tmp_path / "a.mp4", 32, 32, 25):
        pass
    with pytest.raises(ValueError, match="expected uint8"), VideoWriter(tmp_path / "a.mp4", 32, 32, 25) as writer:
        writer.write(np.zeros((32, 34, 3), np.uint8))
    assert not list(tmp_path.iterdir())
