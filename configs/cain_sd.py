"""CAIN-SD: the published network and its variants, the small one that ships, and tiny ones for tests.

    python -m train.main --config configs/cain_sd.py:small --workdir W --data ../shared/video/train

A variant is a base and suffixes, see `configs.variants`; any value can be changed as well, as in
`--config.stages.depth.lambda_d=5e-11` or `--config.stages.depth.trains='(("depth_net", 1.0), ("", 0.0))'`. The command
is the one above with the variant's name. Scores of the papers are PSNR in dB / TFLOPs.

small: 64 features, 5 groups of 2 blocks, 1.4 M parameters; motion-aligned, exit 0, DIS motion, no CARN-M. On two CPU
cores shared with other work: 12 minutes to cut crops, 55 for stage 1, 11 for the table of errors, 5 for the finders.
The weights in the package took 1000 steps of stage 1 with rate 1e-3 and a schedule for 3500 before these values, and
500 of the finders' 1500 steps, with motion that was not refined (`motion.dis`). Mean RGB PSNR on ../shared/video/val:
exit 0 31.41, exit 5 31.84, dynamic 31.82 dB at 20 % of the dense FLOPs; Middlebury 34.41, 34.84, 34.81 dB
(python -m eval.main --protocol clips or middlebury).

small-cain-sd, small-cain-s, small-cain-d: the paper's networks at that size, to test its claims (`eval.claims`): not
aligned, no exit 0, CARN-M for patches at reduced scales, finders that learn from a table of errors, DIS motion. They
differ in what the finders may choose. Less data and fewer steps than `small`: variants are compared with each other.

tiny, tiny-sd: every kind of stage in a minute or two on two CPU cores, for tests; no score.

published, the same as cain-sd; cain, cain-s, cain-d: Table 2, REDS-120fps. Not run. For one large GPU or many; the
paper took one Quadro RTX 6000, for a time that it does not tell. Section 4.1 trains the stages on different data, so
they take two commands, after which the weights file is written:

    python -m train.main --config configs/cain_sd.py:published --workdir W --data VIMEO \\
        --stages flow,upscale,interpolation
    python -m train.main --config configs/cain_sd.py:published --workdir W --data REDS120 --stages depth,scale
    python -m train.main --config configs/cain_sd.py:published --workdir W --export published.safetensors

    base              stages                                    published score
    cain              interpolation                             28.62 / 1.305
    cain-s            flow, upscale, interpolation, scale       28.58 / 1.507
    cain-d            interpolation, depth                      28.29 / 1.008
    published         flow, upscale, interpolation, depth, scale 28.32 / 0.882

Suffixes, one of each table; hardware and time as of their base, not run:

    Table 3, lambda_s and lambda_d (5e9 is 5e-9), Xiph-2K
    -lambda-5e9-5e10  33.94 / 2.154      -lambda-5e8-5e11   31.10 / 1.827
    -lambda-5e9-5e11  34.68 / 1.598      -lambda-5e10-5e11  34.71 / 1.699
    -lambda-5e9-5e12  35.33 / 3.804

    Table 4, patches at inference, Xiph-2K: train the base, then export with the suffix and the same --workdir
    -patch-full       33.24 / 1.530      -patch-256         34.68 / 1.598
    -patch-512        34.88 / 2.190      -patch-128         33.89 / 1.712

    Section 4.5, what the finders see (scores are in words only)
    -inputs-both      both see motion and difference: the same accuracy, slightly more FLOPs
    -inputs-still     ScaleNet sees the difference, not the motion: significantly worse
    -inputs-moving    DepthNet sees the motion, not the difference: significantly worse
    -inputs-frames    both see the frames as well: worse, and more FLOPs

    Section 1, motion by the difference of the frames in place of PWC-Net; no score
    -difference
"""

from collections.abc import Mapping
from typing import Any

import ml_collections

from configs import variants
from train import stages

SMALL = {"num_feat": 64, "num_block": 2, "is_aligned": True, "has_exit0": True, "motion": "dis"}

NARROW = {"num_feat": 16, "num_group": 1, "num_block": 1, "reduction": 4, "patch": 64, "stride": 56, "router_edge": 48}
NARROW |= {"chunks": (1, 1, 1)}  # compiles fastest
TINY = SMALL | NARROW

FLOW = (("flow", 1.0), ("", 0.0))
"""Which parameters train (regex, factor of the learning rate); the first line that fits counts."""
UPSCALE = (("carn_m", 1.0), ("", 0.0))
INTERPOLATION = (("cain", 1.0), ("", 0.0))
DEPTH = (("depth_net|cain", 1.0), ("", 0.0))
SCALE = (("scale_net|cain|carn_m", 1.0), ("", 0.0))
FINDERS = (("scale_net|depth_net", 1.0), ("", 0.0))

WHOLE = {"patch": 2**14, "stride": 2**14}
"""Patches larger than any frame: a frame is one patch."""


def get_config(variant: str = "small") -> ml_collections.ConfigDict:
    """The configuration of a variant, see above.

    Raises:
      ValueError: an unknown variant, with the nearest name; a suffix that changes nothing there.
    """
    config = {
        "name": "cain_sd",
        "crops": {"num_triplet": (60, 16), "gaps": (1, 2), "num_crop": 5, "edge": 384, "size": 144},
        "triplets": {"num_triplet": (60, 16), "gaps": (1, 2)},
        "table": {"num_triplet": (8, 2), "gaps": (1, 2), "edge": 384},
    }
    for change in variants.parse(variant, BASES, SUFFIXES, "configs/cain_sd.py:published-patch-128"):
        change(config)
    return stages.filled(config)


def small(config: dict[str, Any]) -> None:
    """What ships. Hours of two CPU cores, not days: the finders learn from a table of errors."""
    config["model"] = SMALL
    config["stages"] = {
        "interpolation": {
            "kind": "exits",
            "trains": INTERPOLATION,
            "num_step": 2500,
            "learning_rate": 6e-4,
            "batch": 16,
            "scales": (1, 1, 2, 1, 1, 1, 1, 4, 1),
        },
        "finders": {
            "kind": "finders",
            "trains": FINDERS,
            "num_step": 1500,
            "learning_rate": 1e-3,
            "batch": 8,
            "lambda_s": 1e-8,
            "lambda_d": 1e-8,
            "entropy": 1e-4,
        },
    }


def small_sd(config: dict[str, Any]) -> None:
    """The paper's networks, as small as what ships."""
    small(config)
    config["crops"]["num_triplet"] = (24, 6)
    config["table"]["num_triplet"] = (3, 1)
    config["model"] = {"num_feat": SMALL["num_feat"], "num_block": SMALL["num_block"], "motion": "dis"}
    upscale = {"kind": "upscale", "trains": UPSCALE, "num_step": 300, "learning_rate": 6e-4, "batch": 16, "size": 96}
    config["stages"] = {"upscale": {**upscale, "scales": (2, 4)}, **config["stages"]}
    config["stages"]["interpolation"].update({"num_step": 4000, "batch": 8})
    config["stages"]["finders"]["num_step"] = 500


def small_s(config: dict[str, Any]) -> None:
    """ScaleNet alone; the interpolation network is that of `small_sd`."""
    small_sd(config)
    config["model"]["fixed_depth"] = 5


def small_d(config: dict[str, Any]) -> None:
    """DepthNet alone; likewise."""
    small_sd(config)
    config["model"]["fixed_scale"] = 0


def published(config: dict[str, Any]) -> None:
    """The paper's network and curriculum (Section 3.4), with CAIN's rate.

    `Differs:` PWC-Net and CARN-M learn in stages of their own where the paper takes published weights; rates fall along
    a cosine, not in steps; in stage 2 CARN-M, there the identity, is frozen.
    """
    config["model"] = {}
    config["crops"]["size"] = 272
    rate = {"num_step": 600_000, "learning_rate": 2e-4, "batch": 16, "size": 256, "clip": 0.1, "beta2": 0.99}
    rate["error"] = "l1"
    routed = {**rate, "learning_rate": 2e-5, "batch": 1, "lambda_s": 5e-9, "lambda_d": 5e-11}
    config["stages"] = {
        "flow": {**rate, "kind": "flow", "trains": FLOW, "learning_rate": 1e-4, "batch": 8},
        "upscale": {  # as CARN was published, but for larger pictures at x2 and x3
            **rate,
            "kind": "upscale",
            "trains": UPSCALE,
            "learning_rate": 1e-4,
            "batch": 64,
            "scales": (2, 3, 4),
            "clip": 10.0,
            "beta2": 0.999,
        },
        "interpolation": {**rate, "kind": "exits", "trains": INTERPOLATION},
        "depth": {**routed, "kind": "depth", "trains": DEPTH},
        "scale": {**routed, "kind": "scale", "trains": SCALE},
    }


def static(config: dict[str, Any]) -> None:
    """CAIN: the whole frame at full scale to the last exit, without finders; stage 1 alone."""
    published(config)
    config["model"] = {"motion": "difference", "fixed_scale": 0, "fixed_depth": 5, **WHOLE}
    config["stages"] = _only(config["stages"], "interpolation")
    config["stages"]["interpolation"]["exit_weight"] = 0.0


def scale_only(config: dict[str, Any]) -> None:
    """CAIN-S: without stage 2, without exits before the last (Section 4.3)."""
    published(config)
    config["model"] = {"fixed_depth": 5}
    config["stages"] = _only(config["stages"], "flow", "upscale", "interpolation", "scale")
    config["stages"]["interpolation"]["exit_weight"] = 0.0


def depth_only(config: dict[str, Any]) -> None:
    """CAIN-D: without stage 3. Nothing looks at motion or is enlarged, so that nothing learns to."""
    published(config)
    config["model"] = {"motion": "difference", "fixed_scale": 0}
    config["stages"] = _only(config["stages"], "interpolation", "depth")


def tiny(config: dict[str, Any]) -> None:
    """What ships, and stages 2 and 3 beside the table of errors: in seconds, for tests."""
    _shorten(config)
    config["model"] = TINY
    short = {"num_step": 3, "learning_rate": 1e-3, "batch": 2, "size": 64}
    routed = {**short, "learning_rate": 1e-4, "batch": 1, "lambda_s": 5e-8, "lambda_d": 5e-8}
    config["stages"] = {
        "interpolation": {**short, "kind": "exits", "trains": INTERPOLATION},
        "depth": {**routed, "kind": "depth", "trains": DEPTH},
        "scale": {**routed, "kind": "scale", "trains": SCALE},
        "finders": {**short, "kind": "finders", "trains": FINDERS, "entropy": 5e-3},
    }


def tiny_sd(config: dict[str, Any]) -> None:
    """The published curriculum with a narrow CAIN: PWC-Net and CARN-M have one size only, so it takes longer."""
    published(config)
    _shorten(config)
    config["model"] = NARROW | {"num_group": 2}
    for row in config["stages"].values():
        row.update({"num_step": 3, "size": 64, "batch": min(row["batch"], 2)})


def _shorten(config: dict[str, Any]) -> None:
    """A few triplets of small frames, a line of the log for each step."""
    config |= {"log_every": 1, "save_every": 2}
    config["crops"] = {"num_triplet": (4,), "gaps": (1,), "num_crop": 2, "edge": 48, "size": 72}
    config["triplets"] = {"num_triplet": (4,), "gaps": (1,), "largest": 144}
    config["table"] = {"num_triplet": (3,), "gaps": (1,), "edge": 48}


def _only(rows: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: rows[name] for name in names}


def _lambdas(scale: float, depth: float) -> variants.Change:
    """A row of Table 3."""

    def change(config):
        for row in variants.rows_of(config, ROUTED, "a suffix of Table 3"):
            row.update({"lambda_s": scale, "lambda_d": depth})

    return change


def _patch(fields: Mapping[str, int]) -> variants.Change:
    """A row of Table 4."""
    return lambda config: config.update(model={**config["model"], **fields})


def _inputs(scale: str, depth: str) -> variants.Change:
    """What ScaleNet and DepthNet see, Section 4.5."""

    def change(config):
        variants.rows_of(config, ROUTED, "a suffix of Section 4.5")
        config["model"] = {**config["model"], "sees": (scale, depth)}

    return change


def _difference(config: dict[str, Any]) -> None:
    """Without PWC-Net, and so without its stage."""
    variants.rows_of(config, ("flow",), "the suffix 'difference'")
    config["model"] = {**config["model"], "motion": "difference"}
    config["stages"] = {name: row for name, row in config["stages"].items() if row["kind"] != "flow"}


ROUTED = ("depth", "scale", "finders")
"""Kinds of stages that train finders."""

BASES = {
    "published": published,
    "cain-sd": published,
    "cain-s": scale_only,
    "cain-d": depth_only,
    "cain": static,
    "small": small,
    "small-cain-sd": small_sd,
    "small-cain-s": small_s,
    "small-cain-d": small_d,
    "tiny": tiny,
    "tiny-sd": tiny_sd,
}

LAMBDAS = {
    "lambda-5e9-5e10": _lambdas(5e-9, 5e-10),
    "lambda-5e9-5e11": _lambdas(5e-9, 5e-11),
    "lambda-5e9-5e12": _lambdas(5e-9, 5e-12),
    "lambda-5e8-5e11": _lambdas(5e-8, 5e-11),
    "lambda-5e10-5e11": _lambdas(5e-10, 5e-11),
}

PATCHES = {
    "patch-full": _patch(WHOLE),
    # An overlap of a sixteenth, as of 256: the paper says that larger patches overlap more.
    **{f"patch-{side}": _patch({"patch": side, "stride": side * 15 // 16}) for side in (512, 256, 128)},
}

INPUTS = {
    "inputs-both": _inputs("motion+difference", "motion+difference"),
    "inputs-still": _inputs("difference", "difference"),
    "inputs-moving": _inputs("motion", "motion"),
    "inputs-frames": _inputs("motion+frames", "difference+frames"),
}

SUFFIXES = (LAMBDAS, PATCHES, INPUTS, {"difference": _difference})
