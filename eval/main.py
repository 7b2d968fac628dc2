"""Scores and costs of a network on benchmarks: weights x protocols x operating points, as one table.

    python -m eval.main --protocol middlebury --data FOLDER
    python -m eval.main --protocol vid4-y --data FOLDER --rows bicubic,dense,alpha0,alpha0.78 --details
    python -m eval.main --config configs/cain_sd.py --protocol xiph-2k --data FOLDER --weights published.safetensors
    python -m eval.main --protocol clips --data VIDEOS --rows averaging,finders,budget50% --timing --out rows.json
    python -m eval.main --protocol vid4-y --data FOLDER --report page.html

--data is the folder in which `train.prepare` built records, or that of the unpacked archive. `eval.points` lists the
rows, `eval.protocols` the protocols.
"""

import argparse
import dataclasses
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import jax
import ml_collections
import numpy as np
from rich import console, progress

from eval import points, protocols, published, tables
from eval import report as eval_report
from eval import shown as shown_frames
from eval.arguments import parse_count, parse_list, run
from eval.evaluate import evaluate
from eval.methods import Weights, load_weights
from eval.protocols import Protocol, Task
from eval.records import Row
from eval.samples import Samples, open_samples
from jaxdyn import models, pretrained, report
from jaxdyn.errors import UserError, one_line

WEIGHTS: dict[Task, str] = {"interpolate": "cain_sd", "upscale": "skipvsr"}
"""The package's own, by task."""

FORMS = {".md": "markdown", ".csv": "csv", ".json": "json", ".tex": "latex"}
"""By suffix of --out."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print or write the table. Returns the exit code: 0, 2 for what the user can put right, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)

    def make(errors: console.Console) -> str:
        return shown(measure(arguments, errors), _form(arguments), arguments.details)

    return run(make, arguments.out)


def measure(arguments: argparse.Namespace, errors: console.Console) -> list[Row]:
    """The rows of all protocols, with a progress bar; what is wrong is told before the work begins."""
    wanted = [protocol_of(name, arguments.frames) for name in arguments.protocol]
    sets = [open_samples(protocol, arguments.data, arguments.partial) for protocol in wanted]
    report.check_path(arguments.report, arguments.overwrite)
    loaded = [_weights(arguments.config, arguments.weights, samples.protocol.task) for samples in sets]
    plans = [
        points.build(samples.protocol.task, weights, arguments.rows, samples.protocol.length)
        for samples, weights in zip(sets, loaded, strict=True)
    ]
    rows = []
    columns = (*progress.Progress.get_default_columns(), progress.MofNCompleteColumn(), progress.TimeElapsedColumn())
    with progress.Progress(*columns, console=errors, transient=True) as bar:
        for samples, methods in zip(sets, plans, strict=True):
            task = bar.add_task(samples.protocol.name, total=len(samples))
            rows += evaluate(samples, methods, arguments.timing, lambda clip, task=task: bar.advance(task))
    if arguments.report:
        write_page(arguments.report, rows, sets, loaded)
    return rows


def write_page(path: str, rows: Sequence[Row], sets: Sequence[Samples], loaded: Sequence[Sequence[Weights]]) -> None:
    """The page of the rows, with frames of the first benchmark of each task to look at."""
    shots, legends, seen = [], [], set()
    for samples, weights in zip(sets, loaded, strict=True):
        if samples.protocol.task not in seen:
            seen.add(samples.protocol.task)
            found, meanings = shown_frames.of_benchmark(samples, weights)
            shots, legends = [*shots, *found], [*legends, *meanings]
    told = " ".join(dict.fromkeys(samples.protocol.sentence() for samples in sets))
    eval_report.write(path, [*rows, *published.like(rows)], shots, "Evaluation", told, legends)


def shown(rows: Sequence[Row], form: tables.Form, has_details: bool = False) -> str:
    """Rows as text, published ones beside them; with details, of text for people, also by clip and what routing did."""
    text = tables.render([*rows, *published.like(rows)], form)
    if not has_details or form in ("csv", "json"):
        return text
    text += "\n" + tables.render_clips(rows, form)
    lines = [f"{row.benchmark}, {row.method} {row.point}: {routing(row)}" for row in rows if row.counts]
    start = "% " if form == "latex" else "- "
    return text + "".join(f"\n{start}{line}" for line in lines) + ("\n" if lines else "")


def routing(row: Row) -> str:
    """What routing did, in words; what it never did is left out."""
    counts = {name: number for name, number in row.counts.items() if number}
    tiles = counts.pop("tiles", None)
    if tiles is None:
        return "patches at " + ", at ".join(f"{name} {number}" for name, number in counts.items())
    return "share of tiles in " + ", ".join(f"{name} {number / tiles:.0%}" for name, number in counts.items())


def protocol_of(name: str, num_frame: int | None) -> Protocol:
    """The protocol that the options name.

    Args:
      name: of the protocol.
      num_frame: of each clip at most, of a folder's clips; None: the protocol's own.

    Raises:
      UserError: an unknown one, or one that has frames of its own.
    """
    protocol = protocols.named(name)
    if num_frame is None:
        return protocol
    if protocol.dataset != "folder":
        raise UserError(f"--frames {num_frame}: {name} has frames of its own; --frames goes with clips and clips-x4.")
    return dataclasses.replace(protocol, num_frame=num_frame)


def _weights(config: str | None, names: Sequence[str] | None, task: Task) -> list[Weights]:
    """The networks of a run; a variant that the configuration names changes those of its kind."""
    if config is None:
        return [load_weights(name) for name in names or [WEIGHTS[task]]]
    experiment = _load_config(config)
    loaded = [load_weights(name) for name in names or [experiment.name]]
    if ":" not in config:
        return loaded
    return [_varied(weights, experiment, config) for weights in loaded]


def _varied(weights: Weights, experiment: ml_collections.ConfigDict, config: str) -> Weights:
    """A network with a variant's fields, such as another patch; its parameters stay."""
    model = models.build(experiment.name, **experiment.model)
    if type(model) is not type(weights.model):
        return weights
    changed, trained = (jax.tree.map(np.shape, pretrained.parameter_shapes(one)) for one in (model, weights.model))
    if changed != trained:
        raise UserError(f"{weights.name}: its parameters are not those of {config}; name the variant that trained it.")
    return dataclasses.replace(weights, model=model)


def _load_config(text: str) -> ml_collections.ConfigDict:
    """The configuration of FILE or FILE:VARIANT."""
    name, _, variant = text.partition(":")
    path = Path(name)
    if not path.is_file():
        raise UserError(f"{path}: no such configuration; there are configs/cain_sd.py and configs/skipvsr.py.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return module.get_config(*([variant] if variant else []))
    except ValueError as error:
        raise UserError(f"{text}: {one_line(error)}") from None


def _form(arguments: argparse.Namespace) -> tables.Form:
    return arguments.format or FORMS.get(Path(arguments.out or "").suffix, "markdown")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m eval.main", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--protocol", type=parse_list, required=True, metavar="NAME[,NAME...]", help=", ".join(protocols.PROTOCOLS))
    add("--data", required=True, metavar="FOLDER", help="records of train.prepare, or the unpacked archive")
    add("--config", metavar="FILE[:VARIANT]", help="names the network; a variant changes fields of it, as patches")
    add(
        "--weights",
        type=parse_list,
        metavar="NAME|FILE[,...]",
        help="of the package, or of jaxdyn convert or training; by default cain_sd or skipvsr, as the task asks",
    )
    add("--rows", type=parse_list, metavar="ROW[,ROW...]", help="see eval/points.py; by default what needs no number")
    add("--partial", action="store_true", help="score what is there of an incomplete benchmark, and say so")
    add(
        "--frames",
        type=parse_count,
        metavar="N",
        help="of clips and clips-x4: so many frames of each clip, from the first",
    )
    add(
        "--timing",
        type=parse_count,
        nargs="?",
        const=5,
        default=0,
        metavar="ROUNDS",
        help="time every row in turn with the dense network, and measure its memory (5 rounds)",
    )
    add("--details", action="store_true", help="scores by clip as well, and what routing did")
    add("--format", choices=get_args(tables.Form), help="by default as --out ends, or markdown")
    add("--report", metavar="FILE", help="write a page as well: the table, curves, frames to look at with their maps")
    add("--overwrite", action="store_true", help="replace the page if it exists")
    add("--out", metavar="FILE", help="write the table there instead of printing it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
