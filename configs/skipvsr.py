"""SkipVSR on BasicVSR: the published network and its ablations, the small one that ships, and a tiny one for tests.

    python -m train.main --config configs/skipvsr.py:small --workdir W --data ../shared/video/train

A variant is a base and suffixes, see `configs.variants`; any value can be changed as well, as in
`--config.stages.gates.lambda_2=0.2`. The command is the one above with the variant's name. With -bd small frames are
made by Gaussian blur instead of bicubic: `small-bd`.

small: 32 features, 10 blocks in each direction; whole-frame tiles of 24 px, DIS motion; a block on 70 % of the tiles
and over runs on the whole frame. The teacher, BasicVSR, trains first, then the gates alone, then gates and student
together with it as their teacher (Eq. 13). About an hour and a half on two CPU cores shared with other work.

small-further: what the weights in the package were made by, going on from those that `small` made, in fifty minutes: a
larger batch, and students that saw the thresholds between which the better teacher's gates score. Then its student went
on, for 25 minutes, and for 80 as `small-sparse`, with thresholds that skip half of the blocks. Those last weights alone
draw lines at borders of tiles, so what ships is their mean with the weights before (`train.main --export FILE --mean
skipvsr`). `eval.claims` compares variants of its last two stages, `small-sparse-align-none` and so on.

    python -m train.main --config configs/skipvsr.py:small-further --workdir W2 --data FOLDER --weights skipvsr
    python -m train.main --config configs/skipvsr.py:small-further --workdir W3 --data FOLDER --weights skipvsr \\
        --stages student --config.seed=11 --config.stages.student.num_step=1600 --config.model.alpha=0.93
    python -m train.main --config configs/skipvsr.py:small-sparse --workdir W4 --data FOLDER --weights skipvsr \\
        --stages student --config.seed=13 --config.stages.student.num_step=2400

Vid4's calendar and foliage, Y PSNR at threshold 0: 21.06 and 24.25 dB, after the first command 21.41 and 24.39, after
the second 21.52 and 24.43, the mean 21.55 and 24.44, and 21.31 and 24.29 at 69 % of the dense FLOPs; bicubic 20.31 and
23.49 (python -m eval.main --protocol vid4-y --data FOLDER --partial --rows bicubic,alpha0,alpha0.937 --details).

tiny: every stage in seconds on two CPU cores, for tests; no score. tiny-spynet: likewise the published curriculum, with
SpyNet's stage.

published: not run; for several GPUs and REDS. The paper took V100s, for a time that it does not tell. REDS4, RGB PSNR:
BasicVSR 30.65, SkipVSR 30.60 dB at threshold 0, 29.76 at 0.94, 29.38 at 0.95 (Table 2).

Suffixes, one of each table; hardware and time as of their base, not run; REDS4 as published, RGB PSNR in dB:

    Tables 3 and 4, which blocks run while the student trains
    -skip-uniform 25.30   -skip-shallow 12.01   -skip-deep 28.87   -skip-none 30.60 (VSR_3)
    (of a trained network, Table 4 is `python -m eval.main --protocol reds4 --rows uniform,shallow,deep`)

    Table 5, what the gates learn to predict
    -confidence-psnr 25.67      -confidence-psnr-interval 30.62
    -confidence-feature 21.01   -confidence-feature-interval 30.60

    Tables 3 and 6, every how many blocks the student is held to its teacher (Eq. 7 and 11)
    -align-15 does not converge   -align-10 25.52   -align-6 30.60   -align-none 29.89 (VSR_2: Eq. 11 left out)
"""

from typing import Any

import ml_collections

from configs import variants
from train import stages

SMALL = {
    "num_feat": 32,
    "num_block": 10,
    "num_hr": 16,
    "motion": "dis",
    "tiling": "frame",
    "tile": 24,
    "stride": 24,
    "whole": 0.7,
    "interval": 5,
    "alpha": 0.78,
}

TINY = SMALL | {"num_feat": 8, "num_block": 4, "num_hr": 8, "tile": 8, "stride": 8, "interval": 2, "parallel": 2}

TEACHER = (("gate", 0.0), ("", 1.0))
"""Which parameters train (regex, factor of the learning rate); the first line that fits counts."""
GATES = (("gate", 1.0), ("", 0.0))
STUDENT = (("", 1.0),)
FLOW = (("flow", 1.0), ("", 0.0))


def get_config(variant: str = "small") -> ml_collections.ConfigDict:
    """The configuration of a variant, see above.

    Raises:
      ValueError: an unknown variant, with the nearest name.
    """
    config = {"name": "skipvsr", "log_every": 25, "save_every": 100, "sequences": {"num_frame": 80, "gaps": (1, 2)}}
    for change in variants.parse(variant, BASES, SUFFIXES, "configs/skipvsr.py:small-bd"):
        change(config)
    return stages.filled(config)


def small(config: dict[str, Any]) -> None:
    """What ships."""
    config["model"] = SMALL
    rate = {"learning_rate": 1e-3, "error": "charbonnier", "batch": 2, "size": 48, "num_frame": 6, "num_kept": 2}
    config["stages"] = {
        "teacher": {**rate, "kind": "teacher", "trains": TEACHER, "num_step": 1400},
        "gates": {
            **rate,
            "kind": "gates",
            "trains": GATES,
            "num_step": 100,
            "learning_rate": 3e-2,
            "dense": 1.0,
            "warm_up": 10,
            "ema": 0.9,
        },
        "student": {
            **rate,
            "kind": "gates",
            "trains": STUDENT,
            "num_step": 200,
            "learning_rate": 3e-4,
            "alphas": (0.72, 0.9),
            "dense": 0.2,
            "warm_up": 20,
            "ema": 0.98,
        },
    }


def small_further(config: dict[str, Any]) -> None:
    """What ships, from its earlier weights on."""
    small(config)
    config["seed"] = 7
    config["model"] = SMALL | {"alpha": 0.91}
    config["stages"]["teacher"].update({"num_step": 1700, "batch": 4})
    config["stages"]["student"].update({"num_step": 250, "alphas": (0.87, 0.96)})


def small_sparse(config: dict[str, Any]) -> None:
    """What ships, its last steps: on crops of the training clips the thresholds before skip next to nothing."""
    small_further(config)
    config["model"] = SMALL | {"alpha": 0.93}
    config["stages"]["student"]["alphas"] = (0.94, 0.99)


def published(config: dict[str, Any]) -> None:
    """The papers' network and curriculum; for many devices and REDS, whose frames are targets as they are.

    SpyNet's own stage takes the place of its published weights. BasicVSR's flow is frozen for 5000 steps, then learns
    at an eighth of the rate; in the students' stage it is frozen again.
    """
    config["model"] = {"tiling": "patches"}
    config["sequences"].update({"num_frame": 100, "reduce": 1, "largest": 720, "gaps": (1,)})
    rate = {"learning_rate": 2e-4, "batch": 16, "size": 48, "num_frame": 15, "final": 5e-4, "clip": float("inf")}
    rate["error"] = "charbonnier"
    teacher = {**rate, "kind": "teacher", "beta2": 0.99}
    config["stages"] = {
        "flow": {
            **rate,
            "kind": "spynet",
            "trains": FLOW,
            "num_step": 300_000,
            "learning_rate": 1e-4,
            "size": 64,
            "reach": 10.0,
        },
        "teacher_start": {
            **teacher,
            "trains": (("gate|flow", 0.0), ("", 1.0)),
            "num_step": 5000,
            "final": 1.0,
        },
        "teacher": {
            **teacher,
            "trains": (("gate", 0.0), ("flow", 0.125), ("", 1.0)),
            "num_step": 295_000,
        },
        "gates": {
            **rate,
            "kind": "gates",
            "trains": (("flow", 0.0), ("", 1.0)),
            "num_step": 300_000,
            "beta2": 0.999,
        },
    }


def tiny(config: dict[str, Any]) -> None:
    """Every stage in seconds, for tests."""
    config["model"] = TINY
    config |= {"log_every": 1, "save_every": 2}
    config["sequences"].update({"num_frame": 6, "gaps": (1,), "smallest": 16})
    short = {"num_step": 3, "learning_rate": 1e-3, "error": "charbonnier", "batch": 2, "size": 16, "num_frame": 3}
    config["stages"] = {
        "teacher": {**short, "kind": "teacher", "trains": TEACHER},
        "gates": {**short, "kind": "gates", "trains": STUDENT, "alphas": (0.3, 0.7)},
    }


def tiny_spynet(config: dict[str, Any]) -> None:
    """The published curriculum with a narrow BasicVSR in three steps a stage: SpyNet has one size only."""
    published(config)
    config |= {"log_every": 1, "save_every": 2}
    config["model"] = {"num_feat": 8, "num_block": 4, "num_hr": 8, "interval": 2, "tiling": "patches"}
    config["sequences"].update({"num_frame": 6, "smallest": 16})
    for row in config["stages"].values():
        row.update({"num_step": 3, "batch": 2, "size": 32, "num_frame": 3})


def _sequences(**values: Any) -> variants.Change:
    return lambda config: config["sequences"].update(values)


def _gates(**values: Any) -> variants.Change:
    """Of every stage that trains gates."""

    def change(config):
        for row in variants.rows_of(config, ("gates",), "a suffix of the gates"):
            row.update(values)

    return change


def _interval(blocks: int) -> variants.Change:
    """A row of Table 6."""
    return lambda config: config.update(model={**config["model"], "interval": blocks})


BASES = {
    "published": published,
    "small": small,
    "small-further": small_further,
    "small-sparse": small_sparse,
    "tiny": tiny,
    "tiny-spynet": tiny_spynet,
}

DEGRADATIONS = {"bi": _sequences(degradation="bi"), "bd": _sequences(degradation="bd")}

SKIPS = {
    "skip-none": _gates(dense=1.0),
    **{f"skip-{policy}": _gates(policy=policy) for policy in ("uniform", "shallow", "deep")},
}

CONFIDENCES = {
    "confidence-feature": _gates(confidence="feature"),
    "confidence-feature-interval": _gates(confidence="feature interval"),
    "confidence-psnr": _gates(confidence="psnr"),
    "confidence-psnr-interval": _gates(confidence="psnr interval"),
}

ALIGNMENTS = {
    "align-none": _gates(lambda_2=0.0),
    **{f"align-{blocks}": _interval(blocks) for blocks in (15, 10, 6)},
}

SUFFIXES = (DEGRADATIONS, SKIPS, CONFIDENCES, ALIGNMENTS)
