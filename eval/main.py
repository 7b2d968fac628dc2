"""Scores of a CAIN-SD network on clips whose middle frames are known.

python -m eval.main --data ../shared/video/val [--weights cain_sd] [--frames 41] [--middlebury FOLDER] [--ssim]
"""

import dataclasses
import json
import time
from pathlib import Path

from absl import app, flags

from eval import evaluate, tables
from jaxdyn import pretrained

_DATA = flags.DEFINE_string("data", None, "Folder of clips: odd frames are made from even ones.")
_MIDDLEBURY = flags.DEFINE_string("middlebury", None, "Folder of Middlebury's triplets.")
_WEIGHTS = flags.DEFINE_string("weights", "cain_sd", "Weights of the package by name, or a file.")
_FRAMES = flags.DEFINE_integer("frames", 41, "Frames of each clip.", lower_bound=3)
_SSIM = flags.DEFINE_boolean("ssim", False, "SSIM as well.")
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
    if not sets:
        raise app.UsageError("nothing to score: give --data or --middlebury")
    model, variables = pretrained.load(_WEIGHTS.value)
    for title, triplets in sets.items():
        began = time.monotonic()
        records = list(evaluate.evaluate(model, variables, triplets, _SSIM.value))
        spent = time.monotonic() - began
        tables.show(f"{_WEIGHTS.value} on {title} ({len(records)} triplets, {spent:.0f} s)", records, _SSIM.value)
        if _JSON.value:
            with Path(_JSON.value).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(dataclasses.asdict(record)) + "\n" for record in records)


if __name__ == "__main__":
    app.run(main)
