"""Trains a network through its curriculum, or writes what was trained as a weights file.

    python -m train.main --config configs/cain_sd.py:small --workdir W --data FOLDER
    python -m train.main --config configs/cain_sd.py:small --workdir W --export cain_sd.safetensors [--card card.json]
    python -m train.main --config configs/cain_sd.py:small --workdir W --export mean.safetensors --mean cain_sd
    python -m train.main --config configs/cain_sd.py:small --workdir W --data FOLDER --weights cain_sd
    python -m train.main --config configs/cain_sd.py:small --dry_run
    python -m train.main --config configs/cain_sd.py:published --workdir W --dataset reds120/train --data RECORDS
    python -m train.main ... --parallel sharding

Running the first command again goes on where it stopped. Without --data it trains on clips that are drawn. With
--weights the first stage starts from a weights file instead of fresh parameters, for fine-tuning; with --stages as
well, stages that are not named and were not run are left out. With --parallel a step's batch is spread over devices; on
several hosts every process runs the same command, with the variables of `train.parallel.ENVIRONMENT` set.

SIGTERM and SIGINT let the step end and save a checkpoint; the exit code is then 143 or 130. It is 1 where the disk is
full or a number is not finite, with a line that says what to do; the last checkpoint is whole in every case.
"""

import logging
import sys
from pathlib import Path
from typing import get_args

import jax
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from jaxdyn import errors
from jaxdyn.data import datasets
from train import checkpoints, curriculum, dry_run, feeds, loop, parallel, signals

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration and variant: configs/cain_sd.py:small.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and caches.")
_DATA = flags.DEFINE_string("data", None, "Folder of clips: videos, or folders of images. Without it some are drawn.")
_DATASET = flags.DEFINE_string("dataset", None, "NAME/SPLIT of records in --data, which train.prepare made.")
_PARALLEL = flags.DEFINE_enum("parallel", "single", get_args(parallel.Kind), "Where steps run, see train/parallel.py.")
_DEVICES = flags.DEFINE_integer("devices", None, "How many devices steps run on; all that there are by default.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Start from these: a weights file, or a name of the package's weights.")
_STAGES = flags.DEFINE_list("stages", None, "Names of the stages to run; all of the configuration's by default.")
_EXPORT = flags.DEFINE_string("export", None, "Write the trained parameters to this file, and do not train.")
_CARD = flags.DEFINE_string("card", None, "With --export: a JSON file with data, licence, command, scores, limits.")
_MEAN = flags.DEFINE_string("mean", None, "With --export: write the mean of the trained and these, a name or a file.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what each stage trains and costs, and do not train.")


def main(argv: list[str]) -> None:
    """Train, export, or tell what training would cost."""
    del argv
    absl_logging.set_verbosity(absl_logging.WARNING)  # Orbax tells every move
    if _DRY_RUN.value:
        dry_run.show(dry_run.rows(_CONFIG.value), _DATA.value)
        return
    if _PARALLEL.value != "single":
        parallel.initialize()
    if not _WORKDIR.value:
        raise app.UsageError("--workdir is missing: name a folder for checkpoints, logs and caches")
    if (_CARD.value or _MEAN.value) and not _EXPORT.value:
        raise app.UsageError("--card and --mean say what --export writes: name a file with --export")
    workdir = Path(_WORKDIR.value).absolute()
    jax.config.update("jax_compilation_cache_dir", str(workdir / "compiled"))
    sys.exit(work(workdir))


def data() -> feeds.Data | None:
    """What the flags name: a folder of clips, or a data set."""
    if not _DATASET.value:
        return _DATA.value
    name, _, split = _DATASET.value.rpartition("/")
    if not name or not _DATA.value:
        raise app.UsageError(f"--dataset (={_DATASET.value}) must be NAME/SPLIT, with --data the folder of its records")
    return datasets.open_dataset(name, split, _DATA.value)


def work(workdir: Path) -> int:
    """Train or export as the flags say; returns the exit code."""
    # Orbax logs its errors with their traces, and raises them too: here they become one line.
    logging.getLogger("absl").addFilter(lambda record: not (record.exc_info and "orbax" in record.pathname))
    try:
        if _EXPORT.value:
            last = _STAGES.value[-1] if _STAGES.value else None
            curriculum.export(_CONFIG.value, workdir, _EXPORT.value, _CARD.value, last, _MEAN.value)
        else:
            train(workdir)
    except errors.UserError as error:
        print(errors.one_line(error), file=sys.stderr)
        return error.exit_code
    except signals.StoppedError as stopped:
        print(stopped, file=sys.stderr)
        return stopped.code
    except (checkpoints.DiskFullError, FloatingPointError) as error:
        print(errors.one_line(error), file=sys.stderr)
        return 1
    return 0


def train(workdir: Path) -> None:
    """Train as the flags say."""
    plan = parallel.plan_of(_PARALLEL.value, _DEVICES.value)
    params = curriculum.params_of(_CONFIG.value, _WEIGHTS.value) if _WEIGHTS.value else None
    loop.train(_CONFIG.value, workdir, data(), _STAGES.value, params=params, plan=plan)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    app.run(main)
