"""SkipVSR on BasicVSR: the published network, the small one that ships, and a tiny one for tests.

    python -m train.main --config configs/skipvsr.py:small --workdir W --data ../shared/video/train

Each variant also exists with the other degradation, Gaussian blur instead of bicubic: `small-bd`.

small: 32 features, 10 blocks in each direction; whole-frame tiles of 24 px, DIS motion. The teacher, BasicVSR, trains
first, then the gates alone, then gates and student together with it as their teacher (Eq. 13). About an hour and a half
on two CPU cores shared with other work. Vid4's calendar and foliage, Y PSNR: 21.06 and 24.25 dB at threshold 0, 21.04
and 24.20 at 77 % of the dense FLOPs; bicubic 20.31 and 23.49 (python -m eval.main --weights skipvsr --vid4 FOLDER).
"""

import ml_collections

SMALL = {
    "num_feat": 32,
    "num_block": 10,
    "num_hr": 16,
    "motion": "dis",
    "tiling": "frame",
    "tile": 24,
    "stride": 24,
    "interval": 5,
    "alpha": 0.78,
}

TINY = SMALL | {"num_feat": 8, "num_block": 4, "num_hr": 8, "tile": 8, "stride": 8, "interval": 2}

TEACHER = (("gate", 0.0), ("", 1.0))
"""Which parameters train (regex, factor of the learning rate); the first line that fits counts."""
GATES = (("gate", 1.0), ("", 0.0))
STUDENT = (("", 1.0),)
FLOW = (("flow", 1.0), ("", 0.0))


def get_config(variant: str = "small") -> ml_collections.ConfigDict:
    """The configuration `published`, `small` or `tiny`, with bicubic degradation, or with "-bd" appended."""
    name, _, degradation = variant.partition("-")
    if name not in VARIANTS or degradation not in ("", "bi", "bd"):
        raise ValueError(
            f"variant (={variant!r}) must be one of {', '.join(VARIANTS)}, for the BD degradation with '-bd' appended, "
            "as in configs/skipvsr.py:small-bd"
        )
    config = ml_collections.ConfigDict()
    config.name = "skipvsr"
    config.seed = 0
    config.log_every, config.save_every = 25, 100
    config.sequences = {"degradation": degradation or "bi", "num_frame": 80, "gaps": (1, 2)}
    VARIANTS[name](config)
    return config


def small(config: ml_collections.ConfigDict) -> None:
    """What ships."""
    config.model = SMALL
    rate = {"learning_rate": 1e-3, "batch": 2, "size": 48, "num_frame": 6, "num_kept": 2}
    config.stages = [
        {**rate, "name": "teacher", "kind": "teacher", "trains": TEACHER, "num_step": 1400},
        {
            **rate,
            "name": "gates",
            "kind": "gates",
            "trains": GATES,
            "num_step": 100,
            "learning_rate": 3e-2,
            "dense": 1.0,
            "warm_up": 10,
            "ema": 0.9,
        },
        {
            **rate,
            "name": "student",
            "kind": "gates",
            "trains": STUDENT,
            "num_step": 200,
            "learning_rate": 3e-4,
            "alphas": (0.72, 0.9),
            "dense": 0.2,
            "warm_up": 20,
            "ema": 0.98,
        },
    ]


def published(config: ml_collections.ConfigDict) -> None:
    """The papers' network and curriculum; for many devices and REDS, whose frames are targets as they are.

    SpyNet's own stage takes the place of its published weights. BasicVSR's flow is frozen for 5000 steps, then learns
    at an eighth of the rate; in the students' stage it is frozen again.
    """
    config.model = {"tiling": "patches"}
    config.sequences.update({"num_frame": 100, "reduce": 1, "largest": 720, "gaps": (1,)})
    rate = {"learning_rate": 2e-4, "batch": 16, "size": 48, "num_frame": 15, "final": 5e-4, "clip": float("inf")}
    teacher = {**rate, "kind": "teacher", "beta2": 0.99}
    config.stages = [
        {
            **rate,
            "name": "flow",
            "kind": "spynet",
            "trains": FLOW,
            "num_step": 300_000,
            "learning_rate": 1e-4,
            "size": 64,
            "reach": 10.0,
        },
        {
            **teacher,
            "name": "teacher_start",
            "trains": (("gate|flow", 0.0), ("", 1.0)),
            "num_step": 5000,
            "final": 1.0,
        },
        {
            **teacher,
            "name": "teacher",
            "trains": (("gate", 0.0), ("flow", 0.125), ("", 1.0)),
            "num_step": 295_000,
        },
        {
            **rate,
            "name": "gates",
            "kind": "gates",
            "trains": (("flow", 0.0), ("", 1.0)),
            "num_step": 300_000,
            "beta2": 0.999,
        },
    ]


def tiny(config: ml_collections.ConfigDict) -> None:
    """Every stage in seconds, for tests."""
    config.model = TINY
    config.log_every, config.save_every = 1, 2
    config.sequences.update({"num_frame": 6, "gaps": (1,), "smallest": 16})
    short = {"num_step": 3, "learning_rate": 1e-3, "batch": 2, "size": 16, "num_frame": 3}
    config.stages = [
        {**short, "name": "teacher", "kind": "teacher", "trains": TEACHER},
        {**short, "name": "gates", "kind": "gates", "trains": STUDENT, "alphas": (0.3, 0.7)},
    ]


VARIANTS = {"published": published, "small": small, "tiny": tiny}
