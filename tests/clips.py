"""Tiny clips for tests, made on the fly, and what the tests read back from files."""

import dataclasses
import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np

from jaxdyn.ops import patches
from jaxdyn.types import Cost, Route, Stage


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [height, width, 3], smooth noise in a palette of its own."""
    random = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(random.random((height, width, 3)).astype(np.float32), (0, 0), 3)
    noise = (noise - noise.min()) / max(float(noise.max() - noise.min()), 1e-6)
    colour = random.permutation([0.1, 0.5, 0.9])
    return np.rint(np.clip(0.5 * noise + 0.5 * colour, 0, 1) * 255).astype(np.uint8)


def pan(num_frames: int, height: int = 48, width: int = 64, seed: int = 0, step: int = 2) -> list[np.ndarray]:
    """A texture that moves `step` px a frame: one scene, no repeats."""
    large = texture(height, width + step * num_frames, seed)
    return [large[:, step * index : step * index + width].copy() for index in range(num_frames)]


def write_clip(
    path: Path,
    frames: Sequence[np.ndarray],
    rate: Fraction | int = 25,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    has_sound: bool = False,
    tags: tuple[int, int, int, int] | None = None,
    rotation: int | None = None,
    options: dict[str, str] | None = None,
    sound_codec: str = "aac",
    subtitles: str | None = None,
    container_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Encodes uint8 or uint16 [H, W, 3] frames; `ticks` are their times in `time_base`."""
    rate = Fraction(rate)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        container.metadata.update(metadata or {})
        default = {"crf": "10", "preset": "veryfast"} if codec == "libx264" else {}
        video = container.add_stream(codec, rate=rate, options=default if options is None else options)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = pixel_format
        video.codec_context.time_base = time_base or 1 / rate
        if tags:
            context = video.codec_context
            context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        if rotation is not None:
            video.set_display_rotation(rotation)
        sound = container.add_stream(sound_codec, rate=48000) if has_sound else None
        if sound is not None:
            sound.codec_context.layout = "stereo"
        text, lines = None, None
        if subtitles is not None:
            script = path.with_suffix(".srt")
            script.write_text(subtitles)
            lines = av.open(str(script))
            text = container.add_stream_from_template(lines.streams.subtitles[0], opaque=True)
        for index, pixels in enumerate(frames):
            name = "rgb24" if pixels.dtype == np.uint8 else "rgb48le"
            frame = av.VideoFrame.from_ndarray(pixels, format=name).reformat(format=pixel_format)
            frame.pts, frame.time_base = (index if ticks is None else ticks[index]), time_base or 1 / rate
            frame.pict_type = 0
            container.mux(video.encode(frame))
        if sound is not None:
            seconds = len(frames) / rate if ticks is None else (ticks[-1] + 1) * (time_base or 1 / rate)
            wave = np.sin(np.arange(int(seconds * 48000)) / 20).astype(np.float32) * 0.3
            for begin in range(0, len(wave), 1024):
                block = np.stack([wave[begin : begin + 1024]] * 2)
                audio = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
                audio.sample_rate, audio.pts, audio.time_base = 48000, begin, Fraction(1, 48000)
                container.mux(sound.encode(audio))
            container.mux(sound.encode(None))
        container.mux(video.encode(None))
        if text is not None:
            for packet in lines.demux(lines.streams.subtitles[0]):
                if packet.size:
                    packet.stream = text
                    container.mux(packet)
            lines.close()
    return path


@dataclasses.dataclass
class Shown:
    """One decoded frame of a file."""

    time: Fraction
    planes: list[np.ndarray]
    rgb: np.ndarray  # float32 [H, W, 3]


def read_clip(path: Path) -> SimpleNamespace:
    """Everything that tests compare: frames with times, properties, packets of other streams."""
    from jaxdyn import colour

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        frames = []
        for frame in container.decode(stream):
            depth = colour.bit_depth(frame.format.name)
            planes = [colour._samples(plane, depth).copy() for plane in frame.planes]
            frames.append(Shown(frame.pts * base, planes, colour.to_rgb(frame)))
            last = frame
        return SimpleNamespace(
            frames=frames,
            times=[frame.time for frame in frames],
            pixel_format=last.format.name,
            size=(last.width, last.height),
            tags=(int(last.color_primaries), int(last.color_trc), int(last.colorspace), int(last.color_range)),
            rotation=last.rotation,
            duration=None if stream.duration is None else stream.duration * base,
            codec=stream.codec_context.name,
            metadata=dict(container.metadata),
            types=[stream.type for stream in container.streams],
        )


def packets(path: Path, kind: str) -> list[tuple[str, Fraction]]:
    """(hash, time) of every packet of the first stream of a kind: "audio" or "subtitle"."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        return [
            (hashlib.md5(bytes(packet)).hexdigest(), packet.pts * base)
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None
        ]


class Average:
    """An interpolator that averages: quick, and its answer is known."""

    def __init__(self, has_route: bool = False):
        self.calls, self.has_route = 0, has_route
        self.budgets: list[tuple[float, int]] = []  # (budget, number of pairs) of every call of `meet`

    def middle(self, frame0: np.ndarray, frame1: np.ndarray) -> SimpleNamespace:
        assert frame0.dtype == frame1.dtype == np.float32
        assert frame0.shape == frame1.shape
        assert min(frame0.min(), frame1.min()) >= 0
        assert max(frame0.max(), frame1.max()) <= 1
        self.calls += 1
        one = np.ones((1, 1, 1), np.int32)
        route = Route(scale=one, depth=2 * one) if self.has_route else None
        return SimpleNamespace(frame=(frame0 + frame1) / 2, route=route, cost=Cost((Stage("sum", 25.0, 0.0),)))

    def dense_cost(self, height: int, width: int) -> Cost:
        return Cost((Stage("dense", 100.0, 0.0),))

    def densely(self) -> "Average | None":
        return Average() if self.has_route else None

    def meet(self, budget: float, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
        self.budgets.append((budget, len(pairs)))
        return -1.5


class Nearest:
    """An upscaler that repeats pixels: quick, and its answer is known. It notes what it was asked.

    Attributes:
      asked: (frames, starts, keep) of every window.
      budgets: (budget, number of frames of each window) of every call of `meet`.
    """

    def __init__(self, scale: int = 4, length: int = 5, overlap: int = 2, has_blocks: bool = False):
        self.scale, self.length, self.overlap, self.has_blocks = scale, length, overlap, has_blocks
        self.asked: list[tuple[np.ndarray, list[bool], tuple[int, int]]] = []
        self.budgets: list[tuple[float, list[int]]] = []
        self.model = SimpleNamespace(grid=lambda height, width: patches.grid(height, width, 48, 46))

    def window_length(self, height: int, width: int) -> int:
        return self.length

    def window(self, frames: np.ndarray, starts: np.ndarray, keep: tuple[int, int]) -> list[SimpleNamespace]:
        assert frames.dtype == np.float32
        assert frames.shape[-1] == 3
        assert 0 <= frames.min() <= frames.max() <= 1
        assert starts.dtype == bool
        assert starts.shape == frames.shape[:1]
        assert len(frames) <= self.length + 2 * self.overlap
        assert 0 <= keep[0] < keep[1] <= len(frames)
        assert keep[1] - keep[0] <= self.length
        self.asked.append((frames.copy(), starts.tolist(), keep))
        return [self.large(frame) for frame in frames[slice(*keep)]]

    def large(self, frame: np.ndarray) -> SimpleNamespace:
        large = frame.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        blocks = np.arange(2 * 3 * 1 * 2).reshape(2, 3, 1, 2) % 4 == 0 if self.has_blocks else None
        return SimpleNamespace(frame=large, blocks=blocks, cost=Cost((Stage("repeat", 30.0, 0.0),)))

    def dense_cost(self, height: int, width: int) -> Cost:
        return Cost((Stage("dense", 100.0, 0.0),))

    def meet(self, budget: float, windows: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
        for frames, starts in windows:
            assert frames.dtype == np.float32
            assert starts.shape == frames.shape[:1]
            assert starts[0]
        self.budgets.append((budget, [len(frames) for frames, _ in windows]))
        return 0.43
