"""Turns an unpacked dataset into records that training and measuring read.

    python -m train.prepare --dataset vimeo90k_triplet --manual_dir FOLDER --data_dir FOLDER

`--manual_dir` is the folder in which the published archive was unpacked, `--data_dir` the one for everything that is
built. Nothing is downloaded. The records appear when all are whole; a dataset that is there is not built again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich import console as rich_console
from rich import progress, table

from jaxdyn.data import datasets
from jaxdyn.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Build, then say what is there. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    error_console = rich_console.Console(stderr=True)
    try:
        show(arguments.dataset, prepare(arguments, error_console), rich_console.Console())
    except UserError as error:
        error_console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        error_console.print("stopped; nothing was kept")
        return 130
    return 0


def prepare(arguments: argparse.Namespace, console: rich_console.Console) -> list[datasets.Built]:
    """The splits of a dataset, built with a progress bar."""
    dataset = datasets.named(arguments.dataset)
    folder = Path(arguments.data_dir) / dataset.name
    if datasets.is_built(dataset, arguments.data_dir):
        console.print(f"{dataset.name} is there already; to build it again, remove {folder} first", soft_wrap=True)
        return datasets.built(dataset, arguments.data_dir)
    for left in sorted(folder.glob("incomplete.*")):
        console.print(f"{left}: left by a run that was killed; remove it unless one is running", soft_wrap=True)
    columns = (
        *progress.Progress.get_default_columns(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
    )
    with progress.Progress(*columns, console=console) as bar:
        task = bar.add_task(dataset.name, total=None)
        return datasets.build(
            dataset,
            arguments.manual_dir,
            arguments.data_dir,
            lambda num_file: bar.update(task, total=num_file),
            lambda: bar.advance(task),
        )


def show(name: str, built: Sequence[datasets.Built], console: rich_console.Console) -> None:
    """A table of what was built, and what differs from the published set."""
    rows = table.Table("split", "samples", "frames", "bytes", title=name)
    for split in built:
        size = f"{split.num_byte:,}" if split.num_byte else "part of another split"
        rows.add_row(split.name, f"{split.num_sample:,} {split.kind}s", f"{split.num_frame:,}", size)
    console.print(rows)
    for split in built:
        if split.published not in (None, split.num_sample):
            console.print(f"{split.name}: {split.num_sample:,} samples; the published set has {split.published:,}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m train.prepare", description="Turns an unpacked dataset into records.")
    parser.add_argument("--dataset", required=True, help=", ".join(datasets.DATASETS))
    parser.add_argument("--manual_dir", required=True, help="folder in which the published archive was unpacked")
    parser.add_argument("--data_dir", required=True, help="folder of everything that is built")
    return parser


if __name__ == "__main__":
    sys.exit(main())
