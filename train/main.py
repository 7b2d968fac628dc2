"""Trains a network through its curriculum, or writes what was trained as a weights file.

    python -m train.main --config configs/cain_sd.py:small --workdir W --data FOLDER
    python -m train.main --config configs/cain_sd.py:small --workdir W --export cain_sd.safetensors [--card card.json]

Running the first command again goes on where it stopped.
"""

from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from train import curriculum

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration and variant: configs/cain_sd.py:small.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and caches.")
_DATA = flags.DEFINE_string("data", None, "Folder of clips: videos, or folders of images.")
_STAGES = flags.DEFINE_list("stages", None, "Names of the stages to run; all of the configuration's by default.")
_EXPORT = flags.DEFINE_string("export", None, "Write the trained parameters to this file, and do not train.")
_CARD = flags.DEFINE_string("card", None, "With --export: a JSON file with data, licence, command, scores, limits.")


def main(argv: list[str]) -> None:
    """Train or export."""
    del argv
    workdir = Path(_WORKDIR.value).absolute()
    jax.config.update("jax_compilation_cache_dir", str(workdir / "compiled"))
    if _EXPORT.value:
        last = _STAGES.value[-1] if _STAGES.value else None
        curriculum.export(_CONFIG.value, workdir, _EXPORT.value, _CARD.value, last)
    elif _DATA.value:
        curriculum.train(_CONFIG.value, workdir, _DATA.value, _STAGES.value)
    else:
        raise app.UsageError("nothing to do: give --data FOLDER to train, or --export FILE")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
