"""The curricula as tables: what each stage trains, on what, for which loss, how fast.

CAIN-SD (Section 3.4): stage 1 teaches every exit at the full scale; stage 2 teaches DepthNet together with the
interpolation network, at the full scale; stage 3 freezes DepthNet and teaches ScaleNet together with the
interpolation network. The parts that the networks bring with them, PWC-Net and CARN-M, have a stage of their own.

SkipVSR (Section 3.5): the teacher, BasicVSR, learns first; then the student, which starts from it, learns to skip
blocks while the teacher stays as it is. SpyNet can learn by itself before.

A configuration (`configs/`) is a table of tables, made by `filled`: every value that something reads stands in it, so
that the command line can change each (`--config.stages.depth.lambda_d=5e-11`), and nothing else may (`of_config`).
"""

import dataclasses
import difflib
import inspect
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import chex
import jax
import ml_collections
from ml_collections import config_dict

from jaxdyn import models
from jaxdyn.data import crops, sequences, triplets
from jaxdyn.errors import UserError
from jaxdyn.types import SCALES
from train import table
from train.settings import Settings

Kind = Literal["exits", "depth", "scale", "finders", "flow", "upscale", "teacher", "gates", "spynet"]
Confidence = Literal["feature interval", "feature", "psnr interval", "psnr"]
Policy = Literal["gates", "uniform", "shallow", "deep"]
Error = Literal["log", "l1", "charbonnier"]


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
      error: of the picture that is made, see `train.reconstruction`: L_r, which is "l1" in CAIN-SD's paper, L_rec (Eq.
        12), which is "charbonnier" in SkipVSR's; "log" is what PSNR measures.
      exit_weight: of the loss of an exit other than the last, whose weight is 1; 0: the others do not train.
      num_frame: frames of a training sequence.
      num_kept: how many of them, next to each other, are upscaled and compared; 0 = all. The others only hand on their
        features, which costs a third.
      reach: about how far things move in pairs of exact motion ("flow", "spynet"), in pixels.
      lambda_1, lambda_2: weights of the confidence's error and of the attention maps' (Eq. 13, SkipVSR).
      alphas: (lowest, highest) threshold of Eq. 9, drawn anew for each step of "gates".
      dense: share of those steps whose threshold is 0 instead, where every block runs.
      confidence: what the gates learn to predict (Table 5, SkipVSR).
      policy: which blocks run as "gates" trains: "gates", those whose score is above the threshold, or a fixed half,
        `routing.skip_policy` (Table 4, SkipVSR).
      scales: at which scale the steps of "exits" work, in turn; its length should share no factor with the number of
        exits less one. Of "upscale", by how much pictures are enlarged.
      warm_up: steps in which the learning rate rises, a quarter of all at most.
      final: the last learning rate, as a share of the highest.
      clip: the gradient's norm at most, over all that trains.
      beta2: Adam's.
      ema: of the running mean of the parameters, what of it stays at each step.
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
    error: Error = "log"
    exit_weight: float = 0.5
    num_frame: int = 7
    num_kept: int = 0
    reach: float = 20.0
    lambda_1: float = 1.0
    lambda_2: float = 0.1
    alphas: tuple[float, float] = (0.0, 1.0)
    dense: float = 0.2
    confidence: Confidence = "feature interval"
    policy: Policy = "gates"
    scales: tuple[int, ...] = (1,)
    warm_up: int = 100
    final: float = 0.03
    clip: float = 0.5
    beta2: float = 0.99
    ema: float = 0.995

    def __post_init__(self):
        for name, kind in (("kind", Kind), ("confidence", Confidence), ("policy", Policy), ("error", Error)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(
                    f"stage {self.name}: {name} (={getattr(self, name)!r}) must be one of {', '.join(get_args(kind))}"
                )
        if not (self.trains and all(map(_is_line, self.trains))):
            raise ValueError(
                f"stage {self.name}: trains (={self.trains!r}) must hold pairs (regex, factor of at least 0), as in "
                '(("cain", 1.0), ("", 0.0))'
            )
        known = (2, 3, 4) if self.kind == "upscale" else SCALES
        if not self.scales or not set(self.scales) <= set(known):
            raise ValueError(f"stage {self.name}: scales (={self.scales!r}) must hold some of {known}")
        if len(self.alphas) != 2 or self.alphas[0] > self.alphas[1]:
            raise ValueError(f"stage {self.name}: alphas (={self.alphas!r}) must be (lowest, highest) threshold")

    def exits_at(self, step: int, num_group: int) -> tuple[int, ...]:
        """Which exits a step of kind "exits" trains: the last one, and one other in turn if that has any weight."""
        if num_group == 1 or not self.exit_weight:
            return (num_group,)
        return step % (num_group - 1) + 1, num_group

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


def _is_line(line: Any) -> bool:
    """Whether it is a (regex, factor)."""
    if not isinstance(line, tuple) or len(line) != 2:
        return False
    pattern, factor = line
    return isinstance(pattern, str) and isinstance(factor, int | float) and factor >= 0


# A configuration

BASICS = {"name": "", **dataclasses.asdict(Settings()), "order": ()}
del BASICS["is_shown"]  # of the caller, not of the run
"""What stands at the top of a configuration, with its default: the network's name, how the run is kept and told (see
`train.settings`), and the names of the stages in order."""

RECIPES = {"crops": crops.Recipe, "triplets": triplets.Recipe, "sequences": sequences.Recipe}
"""Its tables of how data is cut, and what is made of each."""

SECTIONS = ("model", "stages", *RECIPES, "table")
"""All its tables: the network's fields, the curriculum, how data is cut, and the arguments of `train.table.build`. A
configuration has those that it needs."""


def of_config(config: Any) -> tuple[Stage, ...]:
    """The rows of a configuration's curriculum, in order.

    Raises:
      ValueError: a key that nothing reads, with the nearest one that something does; a stage without what it needs; a
        value that a stage cannot have.
    """
    _check_keys(config)
    rows = config["stages"]
    order = config.get("order") or tuple(rows)
    if sorted(order) != sorted(rows):
        raise ValueError(f"order (={tuple(order)}) must name every stage of {', '.join(rows)} once")
    return tuple(Stage(name, **rows[name]) for name in order)


def check_names(names: Iterable[str], table: Sequence[Stage]) -> None:
    """Refuse names that no row of a curriculum has.

    Raises:
      UserError: one of those, with the nearest that there is.
    """
    known = [stage.name for stage in table]
    for name in names:
        if name not in known:
            raise UserError(f"stage (={name!r}) is none of the configuration's; {did_you_mean(name, known)}")


def filled(config: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """A configuration in which every value stands, whether given or a default, in the order of the curriculum.

    Floats are floats also where whole numbers were given, and what may be None has a type, so that the command line
    takes what belongs there and refuses what does not.

    Args:
      config: tables of values, `stages` by name; see `BASICS` and `SECTIONS`.

    Raises:
      ValueError: as in `of_config`.
    """
    _check_keys(config)
    made = ml_collections.ConfigDict({**BASICS, "order": tuple(config["stages"])}, sort_keys=False)
    made.update({name: config[name] for name in BASICS if name in config})
    for section in SECTIONS:
        if section == "stages":
            rows = {name: _typed(row, _values("stage")) for name, row in config["stages"].items()}
            # An ordinary ConfigDict goes by the alphabet, and so do copies of this one: what counts is `order`.
            made.stages = ml_collections.ConfigDict(rows, sort_keys=False)
        elif section in config:
            made[section] = _typed(config[section], _values(section, config["name"]))
    return made


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known: the nearest one, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


@dataclasses.dataclass(frozen=True)
class _Value:
    """Type and default of one value of a table."""

    type: Any
    default: Any = dataclasses.MISSING


def _values(section: str, network: str = "") -> dict[str, _Value]:
    """What a table may hold, by name: the fields of what is made of it."""
    if section == "table":
        arguments = inspect.signature(table.build).parameters.values()
        chosen = (a for a in arguments if a.default is not a.empty and a.name != "say")
        return {a.name: _Value(a.annotation, a.default) for a in chosen}
    kind = models.modules()[network] if section == "model" else {"stage": Stage, **RECIPES}[section]
    left_out = ("name", "parent", "has_motion")  # Linen's own, and what follows from the network
    fields = dataclasses.fields(kind)
    return {field.name: _Value(field.type, field.default) for field in fields if field.name not in left_out}


def _check_keys(config: Mapping[str, Any]) -> None:
    """Refuse what nothing reads, and a stage without what it needs."""

    def check(given, known, where):
        for key in given:
            if key not in known:
                raise ValueError(f"unknown key {key} in {where}; {did_you_mean(key, known)}")

    check(config, (*BASICS, *SECTIONS), "the configuration")
    check((config["name"],), models.modules(), "name")
    for section in SECTIONS:
        if section in config and section != "stages":
            check(config[section], _values(section, config["name"]), section)
    values = _values("stage")
    for name, row in config["stages"].items():
        check(row, values, f"stage {name}")
        missing = [key for key, v in values.items() if v.default is dataclasses.MISSING and key not in row]
        if missing:
            raise ValueError(f"stage {name} lacks {', '.join(missing)}")


def _typed(given: Mapping[str, Any], values: Mapping[str, _Value]) -> dict[str, Any]:
    """A table with every value, each of the type that it will be asked for."""
    made = {}
    for key, value in values.items():
        made[key] = given.get(key, value.default)
        if value.type is float:
            made[key] = float(made[key])
        elif made[key] is None and isinstance(value.type, types.UnionType):
            made[key] = config_dict.placeholder(get_args(value.type)[0])
    return made


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
