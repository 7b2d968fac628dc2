"""Kills a tiny run at random moments, again and again, and compares its end with that of a run left alone.

    python -m train.kill --config configs/cain_sd.py:tiny --kills 20
    python -m train.kill --config configs/skipvsr.py:tiny --kills 20

Each run is a process of its own that is ended by SIGKILL after a random time, at most as long as a whole run takes, and
started again. A run that comes to its end before is compared, and the next one begins from nothing, until all kills are
used. All arrays of the last checkpoint of every stage (parameters, mean, moments) must be equal bit for bit; the
process exits with 1 where they are not. Clips are drawn; nothing is kept.
"""

import dataclasses
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from jaxdyn import models
from train import checkpoints, drawn, feeds, guard, loop, stages, step

SIZE = (144, 160)
"""Of the drawn clips; what the tiny configurations can be trained on in seconds."""

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration and variant: configs/cain_sd.py:tiny.")
_KILLS = flags.DEFINE_integer("kills", 20, "How often to kill.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")
_STEPS = flags.DEFINE_integer("steps", 12, "Steps of each stage.")
_RUN = flags.DEFINE_string("run", None, "Only train, into this folder, with the clips beside it.")


@dataclasses.dataclass
class Trial:
    """Runs of one configuration in one folder.

    Attributes:
      folder: for everything.
      num_whole: how many runs that were killed on their way came to their end.
    """

    folder: Path
    num_whole: int = 0

    def start(self, name: str) -> subprocess.Popen:
        """A process that trains into a folder of this name."""
        arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--run")]
        command = [sys.executable, "-m", "train.kill", *arguments, f"--run={self.folder / name}"]
        cache = {"JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled")}
        with open(self.folder / "output.txt", "a", encoding="utf-8") as output:
            return subprocess.Popen(command, env={**os.environ, **cache}, stdout=output, stderr=output)

    def finish(self, name: str) -> float:
        """Train into a folder to the end; returns the seconds that it took."""
        began = time.monotonic()
        with self.start(name) as process:
            if process.wait():
                raise RuntimeError((self.folder / "output.txt").read_text(encoding="utf-8")[-4000:])
        return time.monotonic() - began

    def disturb(self, limit: float, generator: random.Random) -> bool:
        """Kill a run after at most `limit` seconds; returns whether it was alive until then."""
        with self.start("killed") as process:
            try:
                if process.wait(timeout=generator.uniform(0, limit)):
                    raise RuntimeError((self.folder / "output.txt").read_text(encoding="utf-8")[-4000:])
            except subprocess.TimeoutExpired:
                process.kill()
                return True
        return False

    def compare(self, config) -> list[str]:
        """Arrays of the killed run that are not those of the whole one, by stage and path."""
        self.num_whole += 1
        whole, killed = (states(config, self.folder / name) for name in ("whole", "killed"))
        return [path for path in whole if whole[path].tobytes() != killed[path].tobytes()]


def states(config, workdir: Path) -> dict[str, np.ndarray]:
    """All arrays of the last checkpoint of each stage, by stage and path."""
    params, found = feeds.initial(models.build(config.name, **config.model), config.seed), {}
    for stage in shortened(config):
        with checkpoints.Store(workdir / stage.name, is_read_only=True) as store:
            state, note = store.restore(guard.start(step.start(stage, params)))
        if note.position != stage.num_step:
            raise RuntimeError(f"{workdir}: stage {stage.name} stands at step {note.position} of {stage.num_step}")
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            found[f"{stage.name}: {stages.path_of(path)}"] = np.asarray(leaf)
    return found


def shortened(config) -> tuple[stages.Stage, ...]:
    """The stages with the number of steps that is asked for."""
    return tuple(dataclasses.replace(stage, num_step=_STEPS.value) for stage in stages.of_config(config))


def main(argv: list[str]) -> None:
    """Train once undisturbed, then kill and compare."""
    del argv
    logging.set_verbosity(logging.ERROR)
    config = _CONFIG.value
    if _RUN.value:
        for name in config.stages:
            config.stages[name].num_step = _STEPS.value
        loop.train(config, _RUN.value, drawn.clips(Path(_RUN.value).parent / "clips", 2, 8, SIZE), is_shown=False)
        return
    generator, killed, differing = random.Random(_SEED.value), 0, []
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder))
        trial.finish("whole")
        limit = trial.finish("timed")  # with everything compiled
        print(f"a whole run takes {limit:.1f} s")
        while killed < _KILLS.value:
            is_alive = trial.disturb(limit, generator)
            killed += is_alive
            if not is_alive or killed == _KILLS.value:
                trial.finish("killed")
                differing += trial.compare(config)
                shutil.rmtree(Path(folder) / "killed")
        print(f"{killed} kills, {trial.num_whole} runs that came to their end, {len(differing)} arrays that differ")
    for path in differing:
        print(path)
    sys.exit(bool(differing))


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    app.run(main)
