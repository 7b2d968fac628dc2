"""The papers' tables and figures, one declaration each: what they compare, on which benchmarks, and who trains it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from configs import cain_sd

Runs = Literal["", "dense", "published", "all", "half", "cheapest", "dearest"]

SIZES = {"xiph-2k": (2048, 1080), "xiph-4k": (2048, 1080), "reds120-val": (1280, 720)}
"""(W, H) that the papers count at, in pixels; of super-resolution `SMALL`, whatever the benchmark."""
SMALL = (320, 180)

THRESHOLDS = ("0", "0.9", "0.92", "0.93", "0.94", "0.95")
"""Alpha of Table 2, SkipVSR."""


@dataclasses.dataclass(frozen=True)
class Line:
    """One method at one point, and how this project fills its row.

    Attributes:
      method, point: as in `Row`, and as the published rows have them.
      variant: of the configuration that trains it; "" where nothing is trained.
      fields: of the network that differ from the variant's when it is used.
      runs: what is counted and timed where no data is: "dense"; "published", what comes nearest to the published cost;
        "all" blocks, or "half" of them by the policy of the way's name; "cheapest" and "dearest" of what the finders
        could choose; "" nothing.
      way: the row of `eval.points` that measures it; `point` unless told.
    """

    method: str
    point: str = ""
    variant: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    runs: Runs = ""
    way: str = ""


@dataclasses.dataclass(frozen=True)
class PaperTable:
    """One table or figure of a paper.

    Attributes:
      title: what it compares, in this project's words.
      config: the configuration file that trains its networks, "cain_sd" or "skipvsr".
      citations: tables whose published rows belong here.
      benchmarks: protocols that it is measured by.
      lines: what it compares.
      published: methods whose published rows are shown; none: all.
      costs: the table whose published costs its lines are counted by, by point or way; "" its own.
      is_across: benchmarks stand side by side, as their costs are the same.
      has_blocks: how often each residual block ran is shown as well.
    """

    title: str
    config: Literal["cain_sd", "skipvsr"]
    citations: tuple[str, ...]
    benchmarks: tuple[str, ...]
    lines: tuple[Line, ...]
    published: tuple[str, ...] = ()
    costs: str = ""
    is_across: bool = False
    has_blocks: bool = False


# CAIN-SD

_CAIN = Line("CAIN", "dense", "cain", runs="dense")
_CAIN_SD = Line("CAIN-SD", "finders", "published", runs="published")


def _lambdas(suffix: str) -> Line:
    """A row of Table 3: "lambda-5e9-5e10" is lambda_s 5e-9 and lambda_d 5e-10."""
    scale, depth = (part.replace("5e", "5e-") for part in suffix.split("-")[1:])
    is_final = (scale, depth) == ("5e-9", "5e-11")
    variant = "published" if is_final else f"published-{suffix}"
    return Line("CAIN-SD", f"lambda_s {scale}, lambda_d {depth}", variant, runs="published", way="finders")


def _patch(suffix: str) -> Line:
    """A row of Table 4: the patch is changed when the network is used."""
    config: dict[str, Any] = {"model": {}}
    cain_sd.PATCHES[suffix](config)
    point = "full frame" if suffix == "patch-full" else suffix.replace("-", " ")
    return Line("CAIN-SD", point, "published", config["model"], runs="published", way="finders")


def _inputs(suffix: str, point: str) -> Line:
    return Line("CAIN-SD", point, f"published-{suffix}", runs="published", way="finders")


_BOUNDS = (
    Line("CAIN-SD", "cheapest Route", runs="cheapest"),
    Line("CAIN-SD", "dearest Route", runs="dearest"),
)

# SkipVSR

_ALL_UPSCALING = ("reds4", "vimeo-septuplet-y", "vid4-y", "udm10-y", "vimeo-septuplet-y-bd", "vid4-y-bd")

_BICUBIC = Line("bicubic")
_BASICVSR = Line("BasicVSR", "dense", "published", runs="dense")


def _alpha(value: str, variant: str = "published", point: str = "") -> Line:
    """SkipVSR at a threshold; with `point`, another network than the final one."""
    runs = "all" if value == "0" else "published"
    return Line("SkipVSR", point or f"alpha {value}", variant, runs=runs, way=f"alpha{value}")


def _policy(name: str, variant: str, point: str) -> Line:
    return Line("SkipVSR", point, variant, runs="half", way=name)


TABLES: dict[str, PaperTable] = {
    "cain_sd-1": PaperTable(
        "CAIN-SD against CAIN and other networks on Xiph",
        "cain_sd",
        ("CAIN-SD, Table 1",),
        ("xiph-2k", "xiph-4k"),
        (_CAIN, _CAIN_SD),
    ),
    "cain_sd-2": PaperTable(
        "scale alone, depth alone, and both, on REDS-120fps",
        "cain_sd",
        ("CAIN-SD, Table 2",),
        ("reds120-val",),
        (
            _CAIN,
            Line("CAIN-S", "finders", "cain-s", runs="published"),
            Line("CAIN-D", "finders", "cain-d", runs="published"),
            _CAIN_SD,
        ),
    ),
    "cain_sd-3": PaperTable(
        "weights of the costs of scale and depth",
        "cain_sd",
        ("CAIN-SD, Table 3",),
        ("xiph-2k",),
        (*map(_lambdas, cain_sd.LAMBDAS), *_BOUNDS),
    ),
    "cain_sd-4": PaperTable(
        "size of patches when the network is used",
        "cain_sd",
        ("CAIN-SD, Table 4",),
        ("xiph-2k",),
        tuple(map(_patch, cain_sd.PATCHES)),
    ),
    "cain_sd-inputs": PaperTable(
        "what the finders see (Section 4.5)",
        "cain_sd",
        (),
        ("xiph-2k",),
        (
            dataclasses.replace(_CAIN_SD, point="ScaleNet sees motion, DepthNet the difference", way="finders"),
            _inputs("inputs-both", "both finders see motion and difference"),
            _inputs("inputs-still", "ScaleNet sees the difference, not the motion"),
            _inputs("inputs-moving", "DepthNet sees the motion, not the difference"),
            _inputs("inputs-frames", "both see the frames as well"),
        ),
        costs="CAIN-SD, Table 1",
    ),
    "skipvsr-1": PaperTable(
        "SkipVSR with every block against other networks",
        "skipvsr",
        ("SkipVSR, Table 1",),
        _ALL_UPSCALING,
        (_BICUBIC, _BASICVSR, _alpha("0")),
        is_across=True,
    ),
    "skipvsr-2": PaperTable(
        "SkipVSR at different thresholds",
        "skipvsr",
        ("SkipVSR, Table 2",),
        _ALL_UPSCALING,
        (_BASICVSR, *map(_alpha, THRESHOLDS)),
        is_across=True,
    ),
    "skipvsr-3": PaperTable(
        "with and without gates and temporal alignment",
        "skipvsr",
        ("SkipVSR, Table 3",),
        ("reds4",),
        (
            _policy("uniform", "published-skip-uniform", "VSR_1: uniform skip, alignment"),
            _alpha("0", "published-align-none", "VSR_2: gates"),
            _alpha("0", "published-skip-none", "VSR_3: alignment"),
            _alpha("0", "published", "VSR_4: gates, alignment"),
        ),
    ),
    "skipvsr-4": PaperTable(
        "gates against fixed halves of the blocks",
        "skipvsr",
        ("SkipVSR, Table 4",),
        ("reds4",),
        (
            *(_policy(name, "published", f"{name} skip") for name in ("uniform", "shallow", "deep")),
            *map(_alpha, THRESHOLDS[-2:]),
        ),
        costs="SkipVSR, Table 2",
    ),
    "skipvsr-5": PaperTable(
        "what the gates learn to predict",
        "skipvsr",
        ("SkipVSR, Table 5",),
        ("reds4",),
        tuple(
            _alpha("0", variant, f"confidence: {point}")
            for variant, point in (
                ("published-confidence-psnr", "PSNR"),
                ("published-confidence-psnr-interval", "PSNR, interval"),
                ("published-confidence-feature", "feature"),
                ("published", "feature, interval"),
            )
        ),
    ),
    "skipvsr-6": PaperTable(
        "every how many blocks features are aligned",
        "skipvsr",
        ("SkipVSR, Table 6",),
        ("reds4",),
        tuple(
            _alpha("0", variant, f"alignment every {blocks} blocks")
            for variant, blocks in (("published-align-15", 15), ("published-align-10", 10), ("published", 6))
        ),
    ),
    "skipvsr-fig4": PaperTable(
        "accuracy against compute on REDS4",
        "skipvsr",
        ("SkipVSR, Table 1", "SkipVSR, Table 2"),
        ("reds4",),
        (_BASICVSR, *map(_alpha, THRESHOLDS)),
        published=("EDVR-M", "BasicVSR", "SkipVSR"),
    ),
    "skipvsr-fig5": PaperTable(
        "how many patches each block runs on",
        "skipvsr",
        (),
        ("reds4",),
        tuple(map(_alpha, THRESHOLDS[1:])),
        costs="SkipVSR, Table 2",
        has_blocks=True,
    ),
}
"""By the name that `python -m eval.paper` takes."""
