"""Scores of a network where the truth is known: of CAIN-SD on middle frames, of SkipVSR or BasicVSR on large frames.

python -m eval.main --data ../shared/video/val [--weights cain_sd] [--frames 41] [--middlebury FOLDER] [--ssim]
python -m eval.main --vid4 ../shared/video/eval/vid4 [--weights skipvsr] [--thresholds 0,0.9] [--policies uniform]
"""

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from absl import app, flags

from eval import evaluate, tables, upscaling
from jaxdyn import pretrained
from jaxdyn.data import sequences

_DATA = flags.DEFINE_string("data", None, "Folder of clips: odd frames are made from even ones.")
_MIDDLEBURY = flags.DEFINE_string("middlebury", None, "Folder of Middlebury's triplets.")
_VID4 = flags.DEFINE_string("vid4", None, "Folder of clips as large frames: small ones are made of them and upscaled.")
_WEIGHTS = flags.DEFINE_string(
    "weights", None, "Weights of the package by name, or a file; cain_sd by default, with --vid4 skipvsr."
)
_FRAMES = flags.DEFINE_integer("frames", 41, "Frames of each clip; with --vid4 always all.", lower_bound=3)
_SSIM = flags.DEFINE_boolean("ssim", False, "SSIM as well; with --vid4 always.")
_THRESHOLDS = flags.DEFINE_list("thresholds", [f"{t:g}" for t in upscaling.THRESHOLDS], "--vid4: alpha of Eq. 9.")
_POLICIES = flags.DEFINE_list("policies", [], "--vid4: fixed halves of the blocks, of uniform, shallow, deep.")
_DEGRADATION = flags.DEFINE_enum(
    "degradation", "bi", list(sequences.DEGRADATIONS), "--vid4: how small frames are made."
)
_JSON = flags.DEFINE_string("json", None, "File for the records, one JSON object a line.")


def main(argv: list[str]) -> None:
    """Print one table for each data set."""
    del argv
    sets = {}
    if _DATA.value:
        title = f"{_DATA.value}, first {_FRAMES.value} frames"
        sets[title] = evaluate.video_triplets(_DATA.value, _FRAMES.value)
    if _MIDDLEBURY.value:
        sets[_MIDDLEBURY.value] = evaluate.middlebury_triplets(_MIDDLEBURY.value)
    if not sets and not _VID4.value:
        raise app.UsageError("nothing to score: give --data, --middlebury or --vid4")
    if sets:
        interpolate(sets)
    if _VID4.value:
        upscale(_VID4.value)


def interpolate(sets: Mapping[str, Iterable[evaluate.Triplet]]) -> None:
    """Tables of middle frames, of sets by title."""
    weights = _WEIGHTS.value or "cain_sd"
    model, variables = pretrained.load(weights)
    for title, triplets in sets.items():
        began = time.monotonic()
        records = list(evaluate.evaluate(model, variables, triplets, _SSIM.value))
        spent = time.monotonic() - began
        tables.show(f"{weights} on {title} ({len(records)} triplets, {spent:.0f} s)", records, _SSIM.value)
        keep(records)


def upscale(root: str) -> None:
    """The table of large frames, of a folder of clips."""
    weights = _WEIGHTS.value or "skipvsr"
    model, variables = pretrained.load(weights)
    began = time.monotonic()
    thresholds = [float(threshold) for threshold in _THRESHOLDS.value]
    records = list(
        upscaling.evaluate(model, variables, root, thresholds, _POLICIES.value, degradation=_DEGRADATION.value)
    )
    spent = time.monotonic() - began
    title = f"{weights} on {root}, {_DEGRADATION.value.upper()} ({len(records)} frames, {spent:.0f} s)"
    tables.show_upscaling(title, records)
    keep(records)


def keep(records: Iterable) -> None:
    """Write records to the file that is asked for, if one is."""
    if _JSON.value:
        with Path(_JSON.value).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(dataclasses.asdict(record)) + "\n" for record in records)


if __name__ == "__main__":
    app.run(main)
