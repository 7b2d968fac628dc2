"""`jaxdyn demo`: a moving scene of its own, drawn here, with sound, through the same path as any video.

Two shots of one second each at 12 frames a second, 640x360. Each has a textured ground that pans, three textured discs
that move across it at different speeds, and a banner that stands still: fast, slow and no motion in one picture:
patches differ in what they need. Between the shots is a cut, and one frame is repeated. The sound is a 440 Hz tone.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from jaxdyn.accounting import Progress, Report
from jaxdyn.errors import UserError
from jaxdyn.pipeline import Interpolator, interpolate_video
from jaxdyn.pipeline import check_paths as check_output

WIDTH, HEIGHT, RATE = 640, 360, 12
NUM_FRAMES = 24
REPEATED = 6  # this frame shows what the one before shows
SAMPLE_RATE, TONE = 48000, 440.0  # Hz


def run(
    target: str | Path,
    interpolator: Interpolator,
    overwrite: bool = False,
    settings: str = "",
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Writes the scene beside the target and interpolates it.

    Args:
      target: the video to write; the scene itself is `source_path(target)`.
      interpolator: makes middle frames.
      overwrite: replace files that exist.
      settings: see `pipeline.interpolate_video`.
      progress: see `pipeline.interpolate_video`.
    """
    check_paths(target, overwrite)
    source = source_path(target)
    write_scene(source)
    return interpolate_video(source, target, interpolator, overwrite=overwrite, settings=settings, progress=progress)


def source_path(target: str | Path) -> Path:
    """Where the scene goes: "out.mp4" has "out-source.mp4" beside it."""
    target = Path(target)
    return target.with_name(f"{target.stem}-source.mp4")


def check_paths(target: str | Path, overwrite: bool) -> None:
    """Refuses targets that cannot or must not be written."""
    source = source_path(target)
    if source.exists() and not overwrite:
        raise UserError(f"{source}: exists; add --overwrite to replace it, or choose another name.")
    check_output(Path(target).parent, Path(target), overwrite)


def write_scene(path: Path) -> None:
    """The scene as H.264 with AAC sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "16", "preset": "medium"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, RATE)
        audio = container.add_stream("aac", rate=SAMPLE_RATE)
        audio.codec_context.layout = "mono"
        for index, picture in enumerate(frames()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index
            container.mux(video.encode(frame))
        for frame in sound(Fraction(NUM_FRAMES, RATE)):
            container.mux(audio.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def frames() -> Iterator[np.ndarray]:
    """uint8 [360, 640, 3], one after the other."""
    shots = [Shot(seed) for seed in (1, 2)]
    for index in range(NUM_FRAMES):
        shot, place = divmod(index, NUM_FRAMES // len(shots))
        yield shots[shot].frame(place - (index == REPEATED))


class Shot:
    """Textures of one shot, drawn once from a seed."""

    def __init__(self, seed: int):
        random = np.random.default_rng(seed)
        self.ground = texture(random, HEIGHT + 64, WIDTH * 2)
        self.discs = [(texture(random, 2 * radius, 2 * radius), radius) for radius in (70, 44, 26)]
        self.places = random.uniform((80, 60), (WIDTH // 2, HEIGHT - 120), (3, 2))  # px (x, y) at the start
        self.speeds = np.array([[9.0, 2.0], [17.0, -4.0], [-12.0, 6.0]])  # px a frame
        self.banner = texture(random, 56, WIDTH) // 2
        cv2.putText(self.banner, "jaxdyn", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255, 255, 255), 2, cv2.LINE_AA)

    def frame(self, index: int) -> np.ndarray:
        """uint8 [360, 640, 3]."""
        shift = np.float32([[1, 0, -5.0 * index], [0, 1, -1.5 * index]])
        picture = cv2.warpAffine(
            self.ground, shift, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        for (disc, radius), place, speed in zip(self.discs, self.places, self.speeds, strict=True):
            x, y = place + speed * index
            move = np.float32([[1, 0, x - radius], [0, 1, y - radius]])
            mask = cv2.circle(
                np.zeros((2 * radius, 2 * radius), np.float32), (radius, radius), radius - 2, 1.0, -1, cv2.LINE_AA
            )
            mask = cv2.warpAffine(mask, move, (WIDTH, HEIGHT))[..., None]
            moved = cv2.warpAffine(disc, move, (WIDTH, HEIGHT))
            picture = np.rint(picture * (1 - mask) + moved * mask).astype(np.uint8)
        picture[-56:] = self.banner
        return picture


def texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise of all sizes, mostly of brightness, around a colour of its own: uint8 [height, width, 3], 6 octaves."""
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(6):
        size = (max(2, width * 2**octave // 120), max(2, height * 2**octave // 120))  # across, down
        coarse = random.random((size[1], size[0], 1)) + 0.4 * random.random((size[1], size[0], 3)) - 0.7
        total += cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    colour = random.uniform(0.3, 0.7, 3)
    return np.rint(np.clip(colour + 0.45 * total, 0, 1) * 255).astype(np.uint8)


def sound(seconds: Fraction) -> Iterator[av.AudioFrame]:
    """A quiet tone, in frames of 1024 samples."""
    num_samples = int(seconds * SAMPLE_RATE)
    wave = 0.2 * np.sin(2 * np.pi * TONE * np.arange(num_samples) / SAMPLE_RATE).astype(np.float32)
    for begin in range(0, num_samples, 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, begin : begin + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, begin
        frame.time_base = Fraction(1, SAMPLE_RATE)
        yield frame
