"""CAIN-SD: the published network, the small one that ships, and a tiny one for tests.

    python -m train.main --config configs/cain_sd.py:small --workdir W --data ../shared/video/train

small: 64 features, 5 groups of 2 blocks, 1.4 M parameters, motion-aligned, exit 0, DIS motion.
"""

import ml_collections

SMALL = {
    "num_feat": 64,
    "num_block": 2,
    "is_aligned": True,
    "has_exit0": True,
    "motion": "dis",
}

TINY = {**SMALL, "num_feat": 16, "num_group": 2, "num_block": 1, "reduction": 4, "patch": 64, "stride": 56, "router_edge": 48}


def get_config(variant: str = "small") -> ml_collections.ConfigDict:
    """The configuration `published`, `small` or `tiny`."""
    if variant not in ("published", "small", "tiny"):
        raise ValueError(f"variant (={variant!r}) must be 'published', 'small' or 'tiny', as in configs/cain_sd.py:small")
    config = ml_collections.ConfigDict()
    config.name = "cain_sd"
    config.model = {"published": {}, "small": SMALL, "tiny": TINY}[variant]
    config.seed = 0
    config.log_every = 50 if variant != "tiny" else 1
    config.save_every = 500 if variant != "tiny" else 2
    config.crops = {"num_triplet": (60, 16), "gaps": (1, 2), "num_crop": 5, "edge": 384, "size": 144}
    everything, no_finder = (("", 1.0),), (("(scale|depth)_net", 0.0), ("", 1.0))
    if variant == "published":
        config.stages = [
            {"name": "flow", "kind": "flow", "trains": (("flow", 1.0), ("", 0.0)), "num_step": 600_000, "learning_rate": 1e-4, "batch": 8, "size": 256},
            {"name": "upscale", "kind": "upscale", "trains": everything, "num_step": 600_000, "learning_rate": 1e-4, "batch": 64, "size": 128},
        ]
    config.stages = _stages(variant, no_finder)
    if variant == "tiny":
        config.crops.update({"num_triplet": (4,), "gaps": (1,), "num_crop": 2, "size": 72, "edge": 48})
    return config


def _stages(variant: str, no_finder: tuple) -> list[dict]:
    small = variant == "small"
    num_step = {"published": 600_000, "small": 3500, "tiny": 3}[variant]
    return [
        {
            "name": "stage1",
            "kind": "exits",
            "trains": no_finder,
            "num_step": num_step,
            "learning_rate": 1e-3 if small else 2e-4,
            "batch": 16 if variant != "tiny" else 2,
            "size": {"published": 256, "small": 128, "tiny": 64}[variant],
            "scales": (1, 1, 2, 1, 1, 1, 1, 4, 1) if variant != "published" else (1,),
        },
    ]
