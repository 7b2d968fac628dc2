"""CAIN-SD: the published network, the small one that ships, and a tiny one for tests.

    python -m train.main --config configs/cain_sd.py:small --workdir W --data ../shared/video/train

small: 64 features, 5 groups of 2 blocks, 1.4 M parameters; motion-aligned, exit 0, DIS motion, no CARN-M. On two CPU
cores shared with other work: 12 minutes to cut crops, 55 for stage 1, 11 for the table of errors, 5 for the finders.
The weights in the package took 1000 steps of stage 1 with rate 1e-3 and a schedule for 3500 before these values, and
500 of the finders' 1500 steps. Mean RGB PSNR on ../shared/video/val: exit 0 31.28, exit 5 31.67, dynamic 31.65 dB at
21 % of the dense FLOPs; Middlebury 34.24, 34.59, 34.56 dB (python -m eval.main).
"""

import ml_collections

SMALL = {"num_feat": 64, "num_block": 2, "is_aligned": True, "has_exit0": True, "motion": "dis"}

TINY = SMALL | {"num_feat": 16, "num_group": 1, "num_block": 1, "reduction": 4}
TINY |= {"patch": 64, "stride": 56, "router_edge": 48}

INTERPOLATION = (("cain", 1.0), ("", 0.0))
"""Which parameters train (regex, factor of the learning rate); the first line that fits counts."""
DEPTH = (("depth_net|cain|carn_m", 1.0), ("", 0.0))
SCALE = (("scale_net|cain|carn_m", 1.0), ("", 0.0))
FINDERS = (("scale_net|depth_net", 1.0), ("", 0.0))


def get_config(variant: str = "small") -> ml_collections.ConfigDict:
    """The configuration `published`, `small` or `tiny`."""
    if variant not in VARIANTS:
        raise ValueError(f"variant (={variant!r}) must be one of {', '.join(VARIANTS)}, as in configs/cain_sd.py:small")
    config = ml_collections.ConfigDict()
    config.name = "cain_sd"
    config.seed = 0
    config.log_every, config.save_every = 50, 500
    config.crops = {"num_triplet": (60, 16), "gaps": (1, 2), "num_crop": 5, "edge": 384, "size": 144}
    config.table = {"num_triplet": (8, 2), "gaps": (1, 2), "edge": 384}
    VARIANTS[variant](config)
    return config


def small(config: ml_collections.ConfigDict) -> None:
    """What ships. Hours of two CPU cores, not days: the finders learn from a table of errors."""
    config.model = SMALL
    config.stages = [
        {
            "name": "stage1",
            "kind": "exits",
            "trains": INTERPOLATION,
            "num_step": 2500,
            "learning_rate": 6e-4,
            "batch": 16,
            "scales": (1, 1, 2, 1, 1, 1, 1, 4, 1),
        },
        {
            "name": "finders",
            "kind": "finders",
            "trains": FINDERS,
            "num_step": 1500,
            "learning_rate": 1e-3,
            "batch": 8,
            "lambda_s": 1e-8,
            "lambda_d": 1e-8,
            "entropy": 1e-4,
        },
    ]


def published(config: ml_collections.ConfigDict) -> None:
    """The paper's network and curriculum, with CAIN's rate; for many devices and Vimeo-90K or REDS."""
    config.model = {}
    config.crops.update({"size": 272})
    rate = {"num_step": 600_000, "learning_rate": 2e-4, "batch": 16, "size": 256, "clip": 0.1, "beta2": 0.99}
    routed = {**rate, "learning_rate": 2e-5, "batch": 1, "lambda_s": 5e-9, "lambda_d": 5e-11}
    config.stages = [
        {
            **rate,
            "name": "flow",
            "kind": "flow",
            "trains": (("flow", 1.0), ("", 0.0)),
            "learning_rate": 1e-4,
            "batch": 8,
        },
        {**rate, "name": "upscale", "kind": "upscale", "trains": (("carn_m", 1.0), ("", 0.0)), "scales": (2, 4)},
        {**rate, "name": "stage1", "kind": "exits", "trains": INTERPOLATION},
        {**routed, "name": "stage2", "kind": "depth", "trains": DEPTH},
        {**routed, "name": "stage3", "kind": "scale", "trains": SCALE},
    ]


def tiny(config: ml_collections.ConfigDict) -> None:
    """Every stage in seconds, for tests."""
    config.model = TINY
    config.log_every, config.save_every = 1, 2
    config.crops = {"num_triplet": (4,), "gaps": (1,), "num_crop": 2, "edge": 48, "size": 72}
    config.table = {"num_triplet": (3,), "gaps": (1,), "edge": 48}
    short = {"num_step": 3, "learning_rate": 1e-3, "batch": 2, "size": 64}
    routed = {**short, "learning_rate": 1e-4, "batch": 1, "lambda_s": 5e-8, "lambda_d": 5e-8}
    config.stages = [
        {**short, "name": "stage1", "kind": "exits", "trains": INTERPOLATION},
        {**routed, "name": "stage2", "kind": "depth", "trains": DEPTH},
        {**routed, "name": "stage3", "kind": "scale", "trains": SCALE},
        {**short, "name": "finders", "kind": "finders", "trains": FINDERS, "entropy": 5e-3},
    ]


VARIANTS = {"published": published, "small": small, "tiny": tiny}
