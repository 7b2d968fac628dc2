"""Rows of what needs data and weights: each line of a table on its benchmarks, and what to get where one is missing."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from flax import linen as nn

from eval import points, protocols
from eval.evaluate import evaluate
from eval.methods import Method, Weights, load_weights
from eval.paper.declared import Line, PaperTable
from eval.protocols import Protocol
from eval.records import Row
from eval.samples import Clip, Samples, open_samples
from jaxdyn.errors import UserError
from jaxdyn.models.basicvsr import BasicVSR
from jaxdyn.models.cain import CAIN
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.models.skipvsr import SkipVSR


@dataclasses.dataclass(frozen=True)
class Given:
    """Weights that the user gave.

    Attributes:
      weights: the network.
      variant: the one that they are said to be of; "" they are of the method's own.
    """

    weights: Weights
    variant: str = ""

    def fits(self, line: Line, protocol: Protocol) -> bool:
        """Whether a line is measured with them on a benchmark: they are of its variant and its kind of network."""
        wanted = variant_of(line, protocol)
        is_named = wanted == self.variant if self.variant else wanted in OWN
        return is_named and _is_of(self.weights.model, line.method)


OWN = ("published", "cain", "cain-s", "cain-d")
"""Variants that weights without a variant's name may be of."""


def _is_of(model: nn.Module, method: str) -> bool:
    """Whether a network is the one that a paper calls by that name."""
    if method in ("BasicVSR", "SkipVSR"):
        return isinstance(model, BasicVSR) and isinstance(model, SkipVSR) == (method == "SkipVSR")
    if method == "CAIN":
        return isinstance(model, CAIN)
    fixed = {"CAIN-S": (False, True), "CAIN-D": (True, False), "CAIN-SD": (False, False)}.get(method)
    return isinstance(model, CainSD) and fixed == (model.fixed_scale is not None, model.fixed_depth is not None)


def variant_of(line: Line, protocol: Protocol) -> str:
    """The variant that trains a line's network for a benchmark; "" where nothing is trained."""
    return f"{line.variant}-bd" if line.variant and protocol.degradation == "bd" else line.variant


def read(arguments: Sequence[str], table: PaperTable, benchmarks: Sequence[str]) -> list[Given]:
    """Weights as the command line has them, NAME, FILE or VARIANT=FILE.

    Raises:
      UserError: a variant or a network that no line of the table is of, weights that cannot be read.
    """
    wanted = [protocols.named(name) for name in benchmarks]
    given = []
    for argument in arguments:
        variant, _, name = argument.rpartition("=")
        one = Given(load_weights(name), variant)
        if not any(one.fits(line, protocol) for line in table.lines for protocol in wanted):
            variants = dict.fromkeys(variant_of(line, protocol) for line in table.lines for protocol in wanted)
            raise UserError(
                f"--weights {argument}: no line of this table is measured with it; name the variant that it was "
                f"trained as, VARIANT=FILE, of {', '.join(filter(None, variants))}."
            )
        given.append(one)
    return given


def measured(
    table: PaperTable,
    samples: Sequence[Samples],
    given: Sequence[Given],
    others: Sequence[str] = (),
    rounds: int = 0,
    on_clip: Callable[[Clip], None] = lambda clip: None,
) -> list[Row]:
    """Scores and costs of the lines whose weights are there, on what is there.

    Args:
      table: which.
      samples: of benchmarks.
      given: weights.
      others: further rows of `eval.points`, of weights that name no variant.
      rounds: of timing, see `evaluate`.
      on_clip: is told each clip that is done.
    """
    rows = []
    for part in samples:
        plan = list(_plan(table, part.protocol, given))
        own = [one.weights for one in given if not one.variant]
        is_blurred = part.protocol.degradation == "bd"  # which wants networks of its own
        more = [] if is_blurred or not others else points.build(part.protocol.task, own, others, part.protocol.length)
        methods = [*(method for _, method in plan), *more]
        found = evaluate(part, methods, rounds, on_clip) if methods else []
        for (line, _), row in zip(plan, found[: len(plan)], strict=True):
            rows.append(dataclasses.replace(row, method=line.method, point=line.point))
        rows += found[len(plan) :]
    return rows


def _plan(table: PaperTable, protocol: Protocol, given: Sequence[Given]) -> Iterator[tuple[Line, Method]]:
    """The methods of a benchmark, by line."""
    for line in table.lines:
        if not line.variant and line.method == "bicubic":
            yield from ((line, method) for method in points.build(protocol.task, [], [line.method], protocol.length))
        for one in given:
            if line.variant and one.fits(line, protocol):
                model = one.weights.model.clone(**line.fields) if line.fields else one.weights.model
                weights = dataclasses.replace(one.weights, model=model)
                for method in points.build(protocol.task, [weights], [line.way or line.point], protocol.length):
                    yield line, method


def open_all(
    benchmarks: Sequence[str], data: str | Path | None, is_partial: bool = False
) -> tuple[list[Samples], list[str]]:
    """The benchmarks that are in a folder, and what to get for those that are not.

    Args:
      benchmarks: names of protocols.
      data: the folder, or None.
      is_partial: take incomplete ones.
    """
    found: list[Samples] = []
    missing: dict[str, tuple[list[str], str]] = {}  # by dataset: its protocols, and what is wrong with the first
    for protocol in map(protocols.named, benchmarks):
        problem = (
            f"get {protocols.origin(protocol)}, and give its folder with --data, or records of it: `python -m "
            f"train.prepare --dataset {protocol.dataset} --manual_dir FOLDER --data_dir RECORDS`."
        )
        try:
            if data is not None:
                found.append(open_samples(protocol, data, is_partial))
                continue
        except UserError as error:
            problem = str(error)
        missing.setdefault(protocol.dataset, ([], problem))[0].append(protocol.name)
    return found, [f"{', '.join(names)}: {problem}" for names, problem in missing.values()]


def without_weights(table: PaperTable, benchmarks: Sequence[str], given: Sequence[Given]) -> list[str]:
    """What to get for lines that no weights are there for."""
    lacking: dict[str, dict[str, list[str]]] = {}  # by variant and method: points
    for protocol in map(protocols.named, benchmarks):
        for line in table.lines:
            if line.variant and not any(one.fits(line, protocol) for one in given):
                points_of = lacking.setdefault(variant_of(line, protocol), {}).setdefault(line.method, [])
                if line.point not in points_of:
                    points_of.append(line.point)
    if not lacking:
        return []
    wanted = [
        f"{variant} for " + ", ".join(f"{method} ({', '.join(points_of)})" for method, points_of in methods.items())
        for variant, methods in lacking.items()
    ]
    remarks = [
        f"{'; '.join(wanted)}. The docstring of configs/{table.config}.py has the commands that train and export these "
        "variants; --weights takes VARIANT=FILE, and of the network itself just FILE."
    ]
    methods = {method for variant in set(OWN) & set(lacking) for method in lacking[variant]}
    return remarks + [f"{method} can be {how}." for method, how in CONVERTED.items() if method in methods]


CONVERTED = {
    "CAIN": "the published one: `jaxdyn convert cain FILE cain.safetensors`, FILE from github.com/myungsub/CAIN",
    "BasicVSR": "a published one: `jaxdyn convert basicvsr FILE basicvsr.safetensors`, FILE of BasicSR or mmagic",
}
"""Where published weights of a method are from."""
