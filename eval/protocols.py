"""How a benchmark is scored: which frames, of which colours, rounded how, averaged how. One record each.

Published figures of one benchmark are comparable only where all of this is the same, so every row of a table names its
protocol and every table prints it as a sentence. Common to all: the peak is 255, and luma, where it is scored, is that
of `jaxdyn.metrics`, made of the rounded colours and not rounded itself.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Literal

from jaxdyn.data import datasets
from jaxdyn.data.sequences import DEGRADATIONS, SCALE, Degradation
from jaxdyn.errors import UserError
from jaxdyn.metrics import Channel, Window

Task = Literal["interpolate", "upscale"]

WINDOWS: dict[Window, str] = {
    "gaussian": "Gaussian 11x11 window",
    "uniform": "uniform 7x7 window",
    "volume": "11x11x11 window over rows, columns and colours",
}
DEGRADATION_NAMES: dict[Degradation, str] = {
    "bi": "reduced by MATLAB's bicubic (BI)",
    "bd": "blurred by a Gaussian of sigma 1.6 and sampled in the middle of 4x4 pixels (BD)",
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One benchmark.

    Attributes:
      name: as on the command line, and `Row.benchmark`.
      task: "interpolate", middle frames; "upscale", large frames.
      dataset, split: of `jaxdyn.data.datasets`.
      scores: in words, which frames are made from which.
      channel: "rgb" or "y".
      windows: of SSIM; the first is the one that papers print.
      border: pixels left out on each side.
      is_rounded: made frames are clamped and rounded to 8 bits first.
      average: "frames", the mean over all; "clips", the mean over a clip's frames, then over clips.
      unit: what the papers that report on it print as FLOPs: "flops", 2 for each multiply-add, or "multiply_adds".
      num_sample: triplets that are scored, or clips; None where it varies.
      lengths: clips by name with their numbers of frames, where they are few.
      num_frame: of each clip at most, from the first; None: all.
      degradation: upscale: how small frames are made.
      length: upscale: how many frames a network sees at once, which holds the longest clip where it is published; None:
        as many as `jaxdyn upscale` takes, in windows that overlap.
      drop: upscale: frames at each end of a clip that are made and not scored.
      only: upscale: the number, from 0, of the one frame that is scored; None: all.
      is_mirrored: upscale: a clip is followed by itself in reverse, and both large versions of a frame are averaged.
      partial: what is missing of a benchmark that is scored all the same, in words; "" where nothing is.
    """

    name: str
    task: Task
    dataset: str
    split: str
    scores: str
    channel: Channel = "rgb"
    windows: tuple[Window, ...] = ("gaussian", "volume")
    border: int = 0
    is_rounded: bool = True
    average: Literal["frames", "clips"] = "frames"
    unit: Literal["flops", "multiply_adds"] = "flops"
    num_sample: int | None = None
    lengths: Mapping[str, int] = dataclasses.field(default_factory=dict)
    num_frame: int | None = None
    degradation: Degradation | None = None
    length: int | None = None
    drop: int = 0
    only: int | None = None
    is_mirrored: bool = False
    partial: str = ""

    def is_scored(self, number: int, num_frame: int | None) -> bool:
        """Whether frame `number` of an enlarged clip counts; `num_frame` is needed only where frames are dropped."""
        if self.only is not None:
            return number == self.only
        return not self.drop or self.drop <= number < num_frame - self.drop

    def sentence(self) -> str:
        """All of it in one sentence, made from the fields."""
        first, *others = self.windows
        what = f"{self.scores}; {'RGB' if self.channel == 'rgb' else 'Y'} PSNR and SSIM ({WINDOWS[first]}"
        what += "".join(f", and {WINDOWS[window]}" for window in others)
        what += ") of frames rounded to 8 bits, " if self.is_rounded else ") of frames that are not rounded, "
        what += f"{self.border} px left out on each side" if self.border else "whole frames"
        if self.degradation is not None:
            what += f", x{SCALE} from frames {DEGRADATION_NAMES[self.degradation]}"
            what += ", each clip followed by its reverse and both results averaged" if self.is_mirrored else ""
            what += f", up to {self.length} frames at once" if self.length else ", in windows that overlap"
        what += f", first {self.num_frame} frames of each clip" if self.num_frame else ""
        what += ", mean over all frames" if self.average == "frames" else ", mean over a clip's frames, then over clips"
        what += "; papers count FLOPs" if self.unit == "flops" else "; papers count multiply-adds as FLOPs"
        return f"{self.name}: {what}." + (f" Incomplete: {self.partial}." if self.partial else "")


def _xiph(name: str, how: str) -> Protocol:
    scores = f"even frames 2 to 98 of eight Netflix clips {how}, each from its two neighbours"
    return Protocol(
        name, "interpolate", name.replace("-", "_"), "test", scores, windows=("uniform", "gaussian"), num_sample=392
    )


def _snu_film(mode: str) -> Protocol:
    scores = f"the middle frames of SNU-FILM's list {mode}"
    return Protocol(f"snu-film-{mode}", "interpolate", "snu_film", mode, scores, num_sample=310)


def _upscale(name: str, dataset: str, split: str, scores: str, **fields) -> Protocol:
    common = {"windows": ("gaussian",), "average": "clips", "unit": "multiply_adds", "degradation": "bi"}
    return Protocol(name, "upscale", dataset, split, scores, **common | fields)


_VID4 = {"calendar": 41, "city": 34, "foliage": 49, "walk": 47}

_ALL = (
    # Softmax splatting's benchmark; the paper of CAIN-SD follows it (Section 4.1). SSIM there is scikit-image's.
    _xiph("xiph-2k", "reduced to 2048x1080"),
    _xiph("xiph-4k", "cropped to their middle 2048x1080 pixels"),
    Protocol(
        "reds120-val",
        "interpolate",
        "reds120",
        "val",
        "frames i + 2 from i and i + 4 of the first 50 frames of each validation clip at 120 fps, i = 0, 4, 8 to 44 "
        "(30 to 60 fps)",
        num_sample=360,
    ),
    Protocol(
        "vimeo-triplet",
        "interpolate",
        "vimeo90k_triplet",
        "test",
        "the middle frames of the archive's test list",
        num_sample=3782,
    ),
    Protocol(
        "middlebury",
        "interpolate",
        "middlebury",
        "other",
        "frame10i11 of the OTHER set from frame10 and frame11",
        num_sample=12,
    ),
    *map(_snu_film, ("easy", "medium", "hard", "extreme")),
    Protocol(
        "ucf101",
        "interpolate",
        "ucf101",
        "test",
        "the middle frames of the triplets published with Deep Voxel Flow",
        num_sample=379,
    ),
    Protocol(
        "clips",
        "interpolate",
        "folder",
        "train",
        "odd frames of the clips of a folder from their even neighbours, counted from 0",
        average="clips",
        num_frame=41,
    ),
    _upscale(
        "reds4",
        "reds",
        "reds4",
        "all frames of the training clips 000, 011, 015, 020",
        channel="rgb",
        num_sample=4,
        length=100,
    ),
    _upscale(
        "redsval4",
        "reds",
        "redsval4",
        "all frames of clips 240, 241, 246, 257, which are the validation clips 000, 001, 006, 017",
        channel="rgb",
        num_sample=4,
        length=100,
    ),
    # Clips are mirrored, and frame 4 of 7 is scored on its luma (said by an author in BasicVSR-IconVSR#12).
    _upscale(
        "vimeo-septuplet-y",
        "vimeo90k_septuplet",
        "test",
        "frame 4 of each 7 of the archive's test list",
        channel="y",
        num_sample=7824,
        length=14,
        only=3,
        is_mirrored=True,
    ),
    _upscale("vid4-y", "vid4", "test", "all frames of the clips", channel="y", num_sample=4, lengths=_VID4, length=49),
    _upscale(
        "udm10-y", "udm10", "test", "all frames of the clips", channel="y", num_sample=10, length=32, degradation="bd"
    ),
    # VSR-DUF's, and PFNL's and RLSP's after it; their own BD is shifted by 1.5 px, and is not the one here.
    _upscale(
        "vid4-y-crop8",
        "vid4",
        "test",
        "all frames but the first and the last two of each clip",
        channel="y",
        num_sample=4,
        lengths=_VID4,
        length=49,
        drop=2,
        border=8,
    ),
    _upscale("clips-x4", "folder", "train", "all frames of the clips of a folder", channel="y"),
)

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}
"""By name. With another degradation than its own, "vid4-y" is "vid4-y-bd" and "udm10-y" is "udm10-y-bi" (`named`)."""


def named(name: str) -> Protocol:
    """A protocol by name, or with the suffix "-bi" or "-bd" one of super-resolution with that degradation.

    Raises:
      UserError: no such protocol; names the nearest ones.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    base, _, degradation = name.rpartition("-")
    if degradation in DEGRADATIONS and base in PROTOCOLS and PROTOCOLS[base].degradation is not None:
        protocol = PROTOCOLS[base]
        is_own = degradation == protocol.degradation
        return protocol if is_own else dataclasses.replace(protocol, name=name, degradation=degradation)
    nearest = difflib.get_close_matches(name, PROTOCOLS, 3, 0.5)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"there are {', '.join(PROTOCOLS)}."
    raise UserError(f"protocol (={name!r}) is not known; {hint}")


def origin(protocol: Protocol) -> str:
    """What to get for a protocol, and where it is published."""
    return datasets.named(protocol.dataset).origin
