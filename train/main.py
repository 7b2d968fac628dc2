"""Trains a network through its curriculum.

    python -m train.main --config configs/cain_sd.py:small --workdir W --data FOLDER

Running the same command again goes on where it stopped.
"""

from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from jaxdyn import models
from train import feeds, loop, stages

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration and its variant, such as configs/cain_sd.py:small.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and caches.")
_DATA = flags.DEFINE_string("data", None, "Folder of clips: videos, or folders of images.")
_STAGES = flags.DEFINE_list("stages", None, "Names of the stages to run; all of the configuration's by default.")


def main(argv: list[str]) -> None:
    """Run the stages in order, each from the result of the one before."""
    del argv
    config, workdir = _CONFIG.value, Path(_WORKDIR.value).absolute()
    jax.config.update("jax_compilation_cache_dir", str(workdir / "compiled"))
    train(config, workdir, _DATA.value, _STAGES.value)


def train(config, workdir: Path, data: str, names: list[str] | None = None, is_shown: bool = True):
    """The parameters after the last stage, their running mean."""
    model = models.build(config.name, **config.model)
    params = feeds.initial(model, jax.random.key(config.seed))
    for row in config.stages:
        stage = stages.Stage(**row)
        if names is not None and stage.name not in names:
            params = loop.finished(model, stage, params, workdir)
            continue
        feed = feeds.feed_of(model, stage, params, config, workdir, data)
        state = loop.run(
            model, stage, params, feed, workdir, seed=config.seed, log_every=config.log_every, save_every=config.save_every, is_shown=is_shown
        )
        params = state.mean
    return model, params


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir", "data"])
    app.run(main)
