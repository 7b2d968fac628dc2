"""The curricula as tables: what each stage trains, on what, for which loss, how fast.

CAIN-SD (Section 3.4): stage 1 teaches every exit at the full scale; stage 2 teaches DepthNet together with the
interpolation network, at the full scale; stage 3 freezes DepthNet and teaches ScaleNet together with the
interpolation network. The parts that the networks bring with them, PWC-Net and CARN-M, have a stage of their own.

SkipVSR (Section 3.5): the teacher, BasicVSR, learns first; then the student, which starts from it, learns to skip
blocks while the teacher stays as it is. SpyNet can learn by itself before.
"""

import dataclasses
import re
from typing import Any, Literal, get_args

import chex
import jax

Kind = Literal["exits", "depth", "scale", "finders", "flow", "upscale", "teacher", "gates", "spynet"]
Confidence = Literal["feature interval", "feature", "psnr interval", "psnr"]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One row of a curriculum.

    Attributes:
      name: also the name of its folder of checkpoints.
      kind: what a step computes, see `train.step`: "exits" (stage 1), "depth" (stage 2), "scale" (stage 3), "finders"
        (both finders on a table of losses), "flow" (PWC-Net), "upscale" (CARN-M); `train.upscaling`: "teacher"
        (BasicVSR), "gates" (SkipVSR), "spynet" (SpyNet).
      trains: (regex, factor) by which the learning rate is multiplied; the first that fits a parameter's path counts,
        0 freezes it.
      num_step: steps in all.
      learning_rate: the highest; warm-up from 0, then half a cosine to `final` of it.
      batch: crops or frames of a step.
      size: side of a training crop, in pixels; 0 where whole frames are used.
      lambda_s, lambda_d: weights of the cost of scale and depth (Eq. 14), for each FLOP and pixel.
      entropy: weight of the finders' entropy, which is rewarded, so that no choice becomes impossible before it was
        tried.
      exit_weight: of the loss of an exit other than the last, whose weight is 1.
      num_frame: frames of a training sequence.
      num_kept: how many of them, next to each other, are upscaled and compared; 0 = all. The others only hand on their
        features, which costs a third.
      reach: about how far things move in pairs of exact motion ("flow", "spynet"), in pixels.
      lambda_1, lambda_2: weights of the confidence's error and of the attention maps' (Eq. 13, SkipVSR).
      alphas: (lowest, highest) threshold of Eq. 9, drawn anew for each step of "gates".
      dense: share of those steps whose threshold is 0 instead, where every block runs.
      confidence: what the gates learn to predict (Table 5, SkipVSR).
      scales: at which scale the steps of "exits" work, in turn; its length should share no factor with the number of
        exits less one.
    """

    name: str
    kind: Kind
    trains: tuple[tuple[str, float], ...]
    num_step: int
    learning_rate: float
    batch: int
    size: int = 128
    lambda_s: float = 0.0
    lambda_d: float = 0.0
    entropy: float = 0.0
    exit_weight: float = 0.5
    num_frame: int = 7
    num_kept: int = 0
    reach: float = 20.0
    lambda_1: float = 1.0
    lambda_2: float = 0.1
    alphas: tuple[float, float] = (0.0, 1.0)
    dense: float = 0.2
    confidence: Confidence = "feature interval"
    scales: tuple[int, ...] = (1,)
    warm_up: int = 100
    final: float = 0.03
    clip: float = 0.5
    beta2: float = 0.99
    ema: float = 0.995

    def __post_init__(self):
        for name, kind in (("kind", Kind), ("confidence", Confidence)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(
                    f"stage {self.name}: {name} (={getattr(self, name)!r}) must be one of {', '.join(get_args(kind))}"
                )

    def exits_at(self, step: int, num_group: int) -> tuple[int, ...]:
        """Which exits a step of kind "exits" trains: the last one, and one other in turn."""
        return (num_group,) if num_group == 1 else (step % (num_group - 1) + 1, num_group)

    def keep_at(self, step: int) -> tuple[int, int] | None:
        """Which frames a step upscales, (first, last): those in the middle in every other step, else the first or the
        last ones; None: all."""
        if not self.num_kept:
            return None
        spare = self.num_frame - self.num_kept
        first = (spare // 2, 0, spare // 2, spare)[step % 4]
        return first, first + self.num_kept

    def scale_at(self, step: int) -> int:
        """At which scale a step of kind "exits" works."""
        return self.scales[step % len(self.scales)]


def of_config(config: Any) -> tuple[Stage, ...]:
    """The rows of a configuration's curriculum, in order."""
    return tuple(Stage(**row) for row in config.stages)


def path_of(path: tuple) -> str:
    """A parameter's place in its tree, such as "cain/body/conv1/kernel"."""
    return "/".join(str(getattr(part, "key", getattr(part, "name", part))) for part in path)


def factors(params: chex.ArrayTree, trains: tuple[tuple[str, float], ...]) -> chex.ArrayTree:
    """By how much each parameter's learning rate is multiplied: a tree of floats.

    Args:
      params: tree of parameters.
      trains: (regex, factor), see `Stage`; a regex must fit the beginning of a path.

    Raises:
      ValueError: a parameter that no line covers, or a line that covers none.
    """
    used = set()

    def one(path, leaf):
        del leaf
        name = path_of(path)
        for pattern, factor in trains:
            if re.match(pattern, name):
                used.add(pattern)
                return float(factor)
        raise ValueError(
            f"parameter {name} is covered by no line of {[p for p, _ in trains]}; add one, with factor 0 to freeze it"
        )

    tree = jax.tree_util.tree_map_with_path(one, params)
    idle = [pattern for pattern, _ in trains if pattern not in used]
    if idle:
        raise ValueError(f"the lines {idle} fit no parameter; take them out or correct them")
    return tree
