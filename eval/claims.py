"""What the papers claim, tested with networks that train on two CPU cores: each claim is one command and one table.

    python -m eval.claims NAME --train CLIPS --workdir W --data FOLDER
    python -m eval.claims skip-rules --train ../shared/video/train --workdir W --data ../shared/video/val

A claim compares variants of a configuration. What they have in common is trained once, or taken from the weights that
--weights names; then what a variant changes in training is trained, and what it changes in use only is used. All of
them are scored on the same frames, by the same rows of `eval.points`. Started again, the command goes on where it
stopped. `eval.paper` compares with published figures, on the papers' own benchmarks; this compares variants with each
other.
"""

import argparse
import contextlib
import dataclasses
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
from flax import linen as nn
from rich import console

from eval import points, tables
from eval.arguments import parse_count, run
from eval.evaluate import evaluate
from eval.main import protocol_of
from eval.methods import Weights, load_weights
from eval.records import Row
from eval.samples import open_samples
from jaxdyn import models
from jaxdyn.errors import UserError
from train import curriculum, feeds, loop, signals


@dataclasses.dataclass(frozen=True)
class Variant:
    """One network of a comparison.

    Attributes:
      words: what it is.
      name: of the configuration's variant; "" the claim's base.
      fields: of the network that differ when it is used.
      rows: of `eval.points`, instead of the claim's.
      num_frame: of each clip, from the first, instead of the protocol's.
    """

    words: str
    name: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rows: tuple[str, ...] = ()
    num_frame: int | None = None


@dataclasses.dataclass(frozen=True)
class Claim:
    """One comparison.

    Attributes:
      title: what it compares.
      said: what the paper says, in this project's words, and where.
      config, base: the configuration file, and its variant that the others are compared with.
      variants: what is compared.
      rows: of `eval.points`, for every variant.
      shared: stages of the base that are trained once, from nothing; none: variants start from the weights.
      stages: that are trained for every variant; none: it is used as it is.
      fresh: parts of the network that every variant starts from nothing, whatever the weights hold.
    """

    title: str
    said: str
    config: str
    base: str
    variants: tuple[Variant, ...]
    rows: tuple[str, ...]
    shared: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()


_STUDENT = ("gates", "student")
_POINTS = ("alpha0", "budget80%", "budget60%")
_AS_SHIPPED = Variant("gates, alignment every 5 blocks")

_FINDERS = {"shared": ("upscale", "interpolation"), "stages": ("finders",)}

CLAIMS = {
    "scale-and-depth": Claim(
        "scale alone, depth alone, and both, of one interpolation network",
        "depth saves a quarter of the FLOPs for 0.3 dB, scale costs 16 % for nothing, both save a third for 0.3 dB "
        "(CAIN-SD, Table 2)",
        *("cain_sd", "small-cain-sd"),
        (
            Variant("CAIN-SD", rows=("averaging", "dense", "finders", "budget75%", "budget60%", "budget45%")),
            Variant("CAIN-S", "small-cain-s"),
            Variant("CAIN-D", "small-cain-d"),
        ),
        ("finders", "budget75%", "budget60%", "budget45%"),
        **_FINDERS,
    ),
    "patches": Claim(
        "size of patches when the network is used",
        "512 px are most accurate and dearest, then 256 and 128; the whole frame is worst (CAIN-SD, Table 4)",
        *("cain_sd", "small-cain-sd"),
        tuple(
            Variant(words, fields=fields)
            for words, fields in (
                ("patches of 256 px", {"patch": 256, "stride": 240}),
                ("patches of 512 px", {"patch": 512, "stride": 480}),
                ("patches of 128 px", {"patch": 128, "stride": 120}),
                ("the whole frame", {"patch": 2**14, "stride": 2**14}),
            )
        ),
        ("finders", "budget60%"),
        **_FINDERS,
    ),
    "finder-inputs": Claim(
        "what the finders see, of the weights in the package",
        "ScaleNet needs motion and DepthNet the difference; more inputs do not help (CAIN-SD, Section 4.5)",
        *("cain_sd", "small"),
        (
            Variant("ScaleNet sees motion, DepthNet the difference"),
            Variant("both see motion and difference", "small-inputs-both"),
            Variant("both see the difference", "small-inputs-still"),
            Variant("both see motion", "small-inputs-moving"),
            Variant("both see the frames as well", "small-inputs-frames"),
        ),
        ("finders", "budget30%", "budget20%", "budget15%"),
        stages=("finders",),
        fresh=("scale_net", "depth_net"),
    ),
    "thresholds": Claim(
        "SkipVSR at shares of its FLOPs",
        "accuracy falls slowly with the threshold: by 0.6 dB at 78 %, by 1.3 dB at 43 % (SkipVSR, Table 2, REDS4)",
        *("skipvsr", "small-sparse"),
        (_AS_SHIPPED,),
        ("bicubic", "dense", "alpha0", "gates", "budget90%", "budget80%", "budget70%", "budget60%", "budget50%"),
    ),
    "policies": Claim(
        "gates against fixed halves of the blocks, of one network",
        "gates beat uniform, shallow and deep skipping at the same compute (SkipVSR, Table 4)",
        *("skipvsr", "small-sparse"),
        (_AS_SHIPPED,),
        ("alpha0", "uniform", "shallow", "deep", "budget70%"),
    ),
    "skip-rules": Claim(
        "which scores run a block",
        "a block runs where its score is above the threshold (SkipVSR, Eq. 9); the text says the opposite",
        *("skipvsr", "small-sparse"),
        (Variant("S > alpha runs (Eq. 9)"), Variant("S < 1 - alpha runs", fields={"rule": "below"})),
        ("budget80%", "budget70%", "budget60%"),
    ),
    "tilings": Claim(
        "tiles of whole frames against patches that travel by themselves",
        "frames are cut into patches of 48 px, stride 46, each of which is a clip of its own (SkipVSR, Section 4.1)",
        *("skipvsr", "small-sparse"),
        (
            Variant("tiles of 24 px of whole frames"),
            Variant("patches of 48 px, stride 46", fields={"tiling": "patches", "tile": 48, "stride": 46}),
            Variant("patches of 24 px, stride 22", fields={"tiling": "patches", "stride": 22}),
        ),
        _POINTS,
    ),
    "growth": Claim(
        "error along a clip, where skipped blocks hand on what the frame before had",
        "errors grow from frame to frame as features are handed on; alignment keeps them small (SkipVSR, Section 3.4)",
        *("skipvsr", "small-sparse"),
        tuple(Variant(f"first {number} frames", num_frame=number) for number in (4, 8, 16, 32)),
        ("alpha0", "budget60%"),
    ),
    "confidences": Claim(
        "what the gates learn to predict",
        "at intervals features and PSNR do equally well, without both lose 5 to 10 dB (SkipVSR, Table 5)",
        *("skipvsr", "small-sparse"),
        (
            Variant("feature, interval (Eq. 7)"),
            Variant("feature (Eq. 16)", "small-sparse-confidence-feature"),
            Variant("PSNR, interval (Eq. 15)", "small-sparse-confidence-psnr-interval"),
            Variant("PSNR (Eq. 14)", "small-sparse-confidence-psnr"),
        ),
        _POINTS,
        stages=_STUDENT,
    ),
    "alignments": Claim(
        "every how many blocks the student is held to its teacher",
        "alignment every 6 blocks helps, every 15 does not converge, none costs 0.7 dB (SkipVSR, Tables 3 and 6)",
        *("skipvsr", "small-sparse"),
        (
            Variant("every 5 blocks"),
            Variant("every 10 blocks", "small-sparse-align-10"),
            Variant("none", "small-sparse-align-none"),
        ),
        _POINTS,
        stages=_STUDENT,
    ),
    "gates": Claim(
        "students that trained with gates, without skipping, with fixed halves of the blocks",
        "gates lose nothing at threshold 0, fixed halves lose 2 to 19 dB (SkipVSR, Tables 3 and 4)",
        *("skipvsr", "small-sparse"),
        (
            Variant("gates"),
            Variant("no block is skipped", "small-sparse-skip-none"),
            Variant("uniform skip", "small-sparse-skip-uniform", rows=("alpha0", "uniform")),
            Variant("shallow skip", "small-sparse-skip-shallow", rows=("alpha0", "shallow")),
            Variant("deep skip", "small-sparse-skip-deep", rows=("alpha0", "deep")),
        ),
        _POINTS,
        stages=_STUDENT,
    ),
}
"""By the name that the command takes."""

PROTOCOLS = {"cain_sd": "clips", "skipvsr": "clips-x4"}
"""What a claim is scored by unless told, by its configuration."""


def measure(claim: Claim, options: argparse.Namespace) -> list[Row]:
    """The rows of all variants, in their order.

    Args:
      claim: which.
      options: train, workdir, data, protocol, partial, frames, weights.

    Raises:
      UserError: what --data lacks, or what training needs and does not have.
    """
    protocol = protocol_of(options.protocol or PROTOCOLS[claim.config], options.frames)
    samples = open_samples(protocol, options.data, options.partial)
    if claim.stages and not (options.train and options.workdir):
        raise UserError("this claim trains its variants: name clips with --train, and a folder with --workdir.")
    if claim.shared and options.weights:
        raise UserError(f"--weights {options.weights}: this claim trains its networks from nothing; leave it out.")
    if claim.shared:
        params = train(claim, claim.base, claim.shared, None, options)[1]
    else:
        start = load_weights(options.weights or claim.config)
        params = curriculum.checked(config_of(claim, claim.base), start.variables, Path(start.name))
    rows, task = [], samples.protocol.task
    for variant in claim.variants:
        model, own = (
            train(claim, variant.name or claim.base, claim.stages, params, options)
            if claim.stages
            else (start.model, params)
        )
        weights = Weights(variant.words, model.clone(**variant.fields), {"params": own})
        methods = points.build(task, [weights], variant.rows or claim.rows, samples.protocol.length)
        how = dataclasses.replace(samples.protocol, num_frame=variant.num_frame or samples.protocol.num_frame)
        rows += evaluate(dataclasses.replace(samples, protocol=how), methods)
    return rows


def train(
    claim: Claim, name: str, stages: Sequence[str], params: chex.ArrayTree | None, options: argparse.Namespace
) -> tuple[nn.Module, chex.ArrayTree]:
    """A variant's network after some of its stages, and its parameters.

    It begins with the parts of `params` that it has in the same shape, but for those of `claim.fresh`, and with fresh
    ones for the others. What takes long to make of the clips is kept once for all variants.
    """
    config = config_of(claim, name)
    workdir = Path(options.workdir)
    folder, shared = workdir / ("-".join(stages) + f"-{name}"), workdir / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    shared.mkdir(exist_ok=True)
    if not (folder / "cache").exists():
        (folder / "cache").symlink_to(Path("..") / "cache")
    fresh = feeds.initial(models.build(config.name, **config.model), config.seed)
    given = {
        part: value
        for part, value in (params or {}).items()
        if part not in claim.fresh and _shapes(value) == _shapes(fresh.get(part))
    }
    return loop.train(config, folder, options.train, stages, params={**fresh, **given})


def config_of(claim: Claim, name: str) -> Any:
    """The configuration of a variant."""
    return importlib.import_module(f"configs.{claim.config}").get_config(name)


def _shapes(params: chex.ArrayTree) -> Any:
    return jax.tree.map(np.shape, params)


def shown(name: str, claim: Claim, rows: Sequence[Row], form: tables.Form = "markdown") -> str:
    """The table, under what is claimed."""
    return tables.render(rows, form, f"{name}: {claim.title}. Claim: {claim.said}.")


def main(argv: Sequence[str] | None = None) -> int:
    """Print or write the table. Returns the exit code: 0, 2 for what the user can put right, or a signal's."""
    options = _parser().parse_args(argv)
    if options.workdir:
        jax.config.update("jax_compilation_cache_dir", str(Path(options.workdir).absolute() / "compiled"))

    def make(errors: console.Console) -> str:
        claim = CLAIMS[options.name]
        with contextlib.redirect_stdout(errors.file):  # where training shows how it goes
            rows = measure(claim, options)
        return shown(options.name, claim, rows)

    try:
        return run(make, options.out)
    except signals.StoppedError as stopped:
        print(stopped, file=sys.stderr)
        return stopped.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m eval.claims", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("name", metavar="NAME", choices=CLAIMS, help=", ".join(CLAIMS))
    add("--data", required=True, metavar="FOLDER", help="what is scored: records of train.prepare, or the archive")
    add("--train", metavar="FOLDER", help="clips to train on, of claims that train")
    add("--workdir", metavar="FOLDER", help="for checkpoints, logs and caches, of claims that train")
    add("--protocol", metavar="NAME", help="see eval/protocols.py (clips, of super-resolution clips-x4)")
    add("--frames", type=parse_count, metavar="N", help="so many frames of each clip of a folder, from the first")
    add("--partial", action="store_true", help="score what is there of an incomplete benchmark, and say so")
    add("--weights", metavar="NAME|FILE", help="where variants start, by default the package's")
    add("--out", metavar="FILE", help="write the table there instead of printing it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
