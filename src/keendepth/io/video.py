"""Reading the frames of a clip upright and in sRGB, and writing an mp4 piece by piece; PyAV, loaded when needed, is the only one who knows codecs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from keendepth.core.types import Image
from keendepth.io.errors import FileError, check_file, check_size, most_pixels, reading

_log = logging.getLogger("keendepth")

TICKS = 90_000  # a second, in the times of frames: MPEG's own clock, which all usual frame rates divide
RATE = Fraction(25)  # frames a second where a clip does not say
# Lists of other files or addresses, not clips: they could make a server read what it must not.
LISTS = ("hls", "concat", "dash", "lavfi", "sdp", "imf")
HD_LINES = 720  # from here on a clip that does not name its colour matrix means BT.709, below it BT.601 (the usual rule of players)
BT709 = 1  # ITU-T H.273, matrix coefficients
UNNAMED = (2, 3)  # H.273: unspecified, reserved
CONVERTING = 1  # threads for changing colours: see `_planes` for what else makes bytes differ
ENCODERS = ("libx264", "libopenh264")
QUALITY = {"crf": "20", "preset": "veryfast", "bf": "0"}  # no B-frames, so that pieces join without a gap


@dataclass(frozen=True)
class Clip:
    """What is known of a clip before it is decoded."""

    path: Path
    frames: int  # packets of pictures in the file; a damaged clip decodes to fewer
    rate: Fraction  # frames a second, on average
    size: tuple[int, int] | None = None  # (height, width) as stored, where the file says it before it is decoded


@dataclass(frozen=True, eq=False)
class ClipFrame:
    """One frame: upright, square pixels, sRGB, of the first frame's size."""

    number: int  # from 0
    ticks: int  # time since the first frame, in 1 / `TICKS` seconds; grows from frame to frame
    image: Image


def open_clip(path: str | Path) -> Clip:
    """Count the frames of a clip without decoding them. FileError where it is missing, damaged, or has no moving picture, or where PyAV is missing."""
    path = Path(path)
    with _opened(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate or RATE
        size = (stream.height, stream.width) if stream.height and stream.width else None
        if size:
            check_size(path, *size)
        count = sum(1 for packet in _packets(container, stream) if packet.size)
    return Clip(path, count, Fraction(rate) if 0 < rate < 1000 else RATE, size)


def frames(clip: Clip, wanted: Iterable[int] | None = None, start: int = 0) -> Iterator[ClipFrame]:
    """The clip's frames from number `start` on, or only the `wanted` ones, in order; one at a time, so memory stays level.

    Rotation in the file is applied, pixels that are not square are made so by width, transparency is laid over white, grey becomes RGB,
    and a frame of another size than the first is resized to it. Damaged packets are left out and a file that breaks off ends
    there; when all are asked for, that is logged. Frames that are not asked for are decoded but not converted.
    """
    chosen = None if wanted is None else set(wanted)
    size: tuple[int, int] | None = None
    clock = _Clock(clip.rate)
    with _opened(clip.path) as (container, stream):
        name, number = clip.path.stem, -1
        for number, frame in enumerate(_decoded(container, stream)):
            ticks = clock.at(frame.time)
            if number and (number < start if chosen is None else number not in chosen):
                continue
            image = Image(_upright(clip.path, frame, stream), None, name)
            size = size or image.size
            if number < start or (chosen is not None and number not in chosen):
                continue  # the first one, looked at for its size
            yield ClipFrame(number, ticks, image.resized(*size))
    if number < 0:
        raise FileError(clip.path, "no frame of it can be decoded: it is empty or damaged")
    if chosen is None and number + 1 < clip.frames:
        _log.warning(
            "%s: %d of its %d frames can be decoded; it is damaged or breaks off", clip.path, number + 1, clip.frames
        )


class _Clock:
    """Times from what a file says: since the first frame, growing by a tick at least, and by the clip's rate where nothing is said."""

    def __init__(self, rate: Fraction) -> None:
        self.first: float | None = None
        self.last = -1
        self.usual = max(1, round(TICKS / rate))

    def at(self, seconds: float | None) -> int:
        """The ticks of the next frame."""
        if self.first is None:
            self.first = seconds or 0.0
            ticks = 0
        else:
            ticks = self.last + self.usual if seconds is None else round((seconds - self.first) * TICKS)
        self.last = max(ticks, self.last + 1)
        return self.last


def _av(path: Path) -> Any:
    try:
        import av  # an extra, and 0.1 s
    except ImportError as error:
        raise FileError(path, "reading and writing video needs PyAV: pip install 'keendepth[video]'") from error
    return av


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """(container, video stream) of a file; every failure inside is a FileError."""
    check_file(path)
    av = _av(path)
    # "file:" and the white list: a name such as "http:x" or a playlist must not open anything else
    options = {"protocol_whitelist": "file"}
    with (
        reading(path, "a video"),
        av.open(f"file:{path.resolve()}", options=options, metadata_errors="replace") as container,
    ):
        if any(name in LISTS for name in container.format.name.split(",")):
            raise FileError(path, "expected a video, found a list of other files: give the video itself")
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise FileError(path, f"expected a video, found no moving picture in it (it has {kinds})")
        streams[0].thread_type = "AUTO"
        # nothing larger is decoded, whatever the header says; a quarter more, as codecs count in whole blocks
        streams[0].codec_context.options = {"max_pixels": str(most_pixels() * 5 // 4)}
        yield container, streams[0]


def _is_cover(stream: Any) -> bool:
    """Whether it is the cover of a song."""
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets up to the end, or to where the file breaks off; the last one is empty and makes the decoder give what it holds back."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except StopIteration:
            return
        except av.FFmpegError:
            return


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    import av

    for packet in _packets(container, stream):
        try:
            found = packet.decode()
        except av.FFmpegError:  # damaged; the next ones may be good
            continue
        yield from found


def _upright(path: Path, frame: Any, stream: Any) -> UInt8[np.ndarray, "h w 3"]:
    shape = stream.sample_aspect_ratio or Fraction(1)
    width = max(1, round(frame.width * shape)) if Fraction(1, 8) < shape < 8 else frame.width
    check_size(path, frame.height, max(width, frame.width))
    options: dict[str, Any] = {"width": width, "threads": CONVERTING}
    if frame.colorspace in UNNAMED and frame.height >= HD_LINES:
        options["src_colorspace"] = BT709
    if any(component.is_alpha for component in frame.format.components):
        rgba = frame.to_ndarray(format="rgba", **options)
        alpha = rgba[..., 3:].astype(np.uint16)
        rgb = ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    else:
        rgb = frame.to_ndarray(format="rgb24", **options)
    turns = round((frame.rotation or 0) / 90) % 4  # quarter turns to the left, as PyAV and np.rot90 count
    return np.ascontiguousarray(np.rot90(rgb, turns))


def encode(path: Path, pictures: Iterable[tuple[int, UInt8[np.ndarray, "h w 3"]]], rate: Fraction) -> None:
    """Write pictures with their ticks as one piece of H.264 that plays by itself; sides must be even. The same pictures give the same bytes."""
    av = _av(path)
    name = next((name for name in ENCODERS if name in av.codecs_available), None)
    if name is None:
        raise FileError(path, "this PyAV has no encoder for H.264: save png16, exr or npz instead of mp4")
    with (
        reading(path, "room for a piece of video"),
        av.open(str(path), "w", format="nut", options={"fflags": "+bitexact"}) as container,
    ):
        stream = None
        for ticks, rgb in pictures:
            if stream is None:
                stream = container.add_stream(name, rate=rate, options=QUALITY if name == "libx264" else {})
                stream.height, stream.width, stream.pix_fmt = rgb.shape[0], rgb.shape[1], "yuv420p"
                stream.codec_context.time_base = Fraction(1, TICKS)
                stream.codec_context.thread_count = 1  # more threads, other bytes
            frame = av.VideoFrame.from_ndarray(_planes(av, rgb), format="yuv420p")
            frame.pts, frame.time_base = ticks, Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))


def _planes(av: Any, rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w"]:
    """The picture in yuv420p, planes below each other, converted at sides that are multiples of 16 and cropped.

    At 136 pixels FFmpeg's conversion gave other bytes in 2 pieces of 240 (8 processes), at 144 in none: it reads beyond the row.
    """
    height, width = rgb.shape[:2]
    wide = np.pad(rgb, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
    rows, columns = wide.shape[:2]
    frame = av.VideoFrame.from_ndarray(wide, format="rgb24").reformat(format="yuv420p", threads=CONVERTING)
    flat = frame.to_ndarray().ravel()
    light, colour = np.split(flat, [rows * columns])
    chroma = colour.reshape(2, rows // 2, columns // 2)[:, : height // 2, : width // 2]
    own = np.concatenate([light.reshape(rows, columns)[:height, :width].ravel(), chroma.ravel()])
    return own.reshape(height * 3 // 2, width)


def join(path: Path, pieces: Iterable[Path]) -> None:
    """Put pieces of `encode` into one mp4 without encoding again."""
    av = _av(path)
    with (
        reading(path, "room for a video"),
        av.open(str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as whole,
    ):
        target = None
        for piece in pieces:
            with av.open(str(piece), format="nut") as container:
                source = container.streams.video[0]
                if target is None:
                    target = whole.add_stream_from_template(source)
                    target.time_base = Fraction(1, TICKS)
                for packet in container.demux(source):
                    if packet.size:
                        packet.stream = target
                        whole.mux(packet)
