"""Scores of a CAIN-SD network on clips whose middle frames are known.

    python -m eval.main --data ../shared/video/val [--weights cain_sd] [--frames 41] [--middlebury FOLDER] [--ssim]
"""

import json
import time
from pathlib import Path

from absl import app, flags
from rich import console, table

import jaxdyn
from eval import evaluate

_DATA = flags.DEFINE_string("data", None, "Folder of clips: odd frames are made from even ones.")
_MIDDLEBURY = flags.DEFINE_string("middlebury", None, "Folder of Middlebury's triplets.")
_WEIGHTS = flags.DEFINE_string("weights", "cain_sd", "Weights of the package by name, or a file.")
_FRAMES = flags.DEFINE_integer("frames", 41, "Frames of each clip.", lower_bound=3)
_SSIM = flags.DEFINE_boolean("ssim", False, "SSIM as well.")
_JSON = flags.DEFINE_string("json", None, "File for the records, one JSON object a line.")


def main(argv: list[str]) -> None:
    """Print one table for each data set."""
    del argv
    if not (_DATA.value or _MIDDLEBURY.value):
        raise app.UsageError("nothing to score: give --data or --middlebury")
    model, variables = jaxdyn.load(_WEIGHTS.value)
    sets = {}
    if _DATA.value:
        sets[f"{_DATA.value}, first {_FRAMES.value} frames"] = evaluate.video_pairs(_DATA.value, _FRAMES.value)
    if _MIDDLEBURY.value:
        sets[_MIDDLEBURY.value] = evaluate.middlebury_pairs(_MIDDLEBURY.value)
    for title, pairs in sets.items():
        began = time.monotonic()
        records = list(evaluate.evaluate(model, variables, pairs, _SSIM.value))
        show(f"{title} ({len(records)} frames, {time.monotonic() - began:.0f} s)", records, _SSIM.value)
        if _JSON.value:
            with Path(_JSON.value).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(vars(record)) + "\n" for record in records)


def show(title: str, records: list[evaluate.Record], has_ssim: bool = False) -> None:
    """Print the means by clip, and how the finders decide."""
    means, shares = evaluate.mean_by_clip(records), evaluate.mean_by_clip(records, "share")
    ways = list(next(iter(means.values())))
    printed = table.Table("clip", *ways, "share of dense", title=f"{title}: RGB PSNR, dB")
    for clip, row in means.items():
        printed.add_row(clip, *(f"{row[way]:.2f}" for way in ways), f"{shares[clip]['share']:.1%}")
    gains = means["mean"]
    printed.add_row("over exit 0", *(f"{gains[way] - gains['exit 0']:+.2f}" for way in ways), "")
    out = console.Console(width=160)
    out.print(printed)
    if has_ssim:
        similar = table.Table("clip", *ways, title=f"{title}: SSIM")
        for clip, row in evaluate.mean_by_clip(records, "ssim").items():
            similar.add_row(clip, *(f"{row[way]:.4f}" for way in ways))
        out.print(similar)
    for what in ("scales", "depths"):
        counts = [sum(column) for column in zip(*(getattr(record, what) for record in records), strict=True)]
        out.print(f"patches by {what[:-1]}: {counts}")


if __name__ == "__main__":
    app.run(main)
