"""What is made of each clip once and kept on disk: the loop that crops, sequences and triplets share.

A recipe, a dataclass of plain values, names the folder: another recipe never finds the results of this one. A clip's
arrays are written beside their place and moved there when they are complete, so that a run that is cut off, or several
at once, leave nothing that is half made.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxdyn.data import clips

Make = Callable[[int, Path], tuple[dict[str, np.ndarray] | None, str]]
"""(number of the clip, its path) -> (its arrays, or None to leave it out; what is said about it)."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """The arrays of one clip. Each is mapped when it is looked at: no file stays open, and a pickle is a path."""

    folder: Path

    def __getitem__(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")


def name_of(kind: str, recipe: Any) -> str:
    """The folder's name of a recipe, which differs where one of its values does."""
    return f"{kind}-" + hashlib.sha256(json.dumps(dataclasses.asdict(recipe)).encode()).hexdigest()[:10]


def build(
    root: str | Path,
    folder: Path,
    recipe: Any,
    make: Make,
    suffix: str,
    say: Callable[[str], None] = print,
    num_thread: int = 2,
) -> list[Stored]:
    """The arrays of every clip under a folder, made or taken from the cache.

    Args:
      root: folder of clips, see `clips.find`.
      folder: where they are kept; it is made.
      recipe: is written beside them.
      make: makes those that are not there.
      suffix: of the folder of one clip.
      say: is told about each clip that is made or left out.
      num_thread: clips made at the same time.

    Returns:
      In the order of `clips.find`, without the clips that were left out.
    """
    root = Path(root)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe), indent=1))

    def one(number_and_path: tuple[int, Path]) -> Stored | None:
        number, path = number_and_path
        place = "_".join(path.relative_to(root).parts) or path.name  # two folders may hold clips of one name
        kept = folder / f"{place}.{suffix}"
        if not kept.is_dir():
            parts, line = make(number, path)
            say(f"{place}: {line}")
            if parts is None:
                return None
            _keep(parts, kept)
        return Stored(kept)

    with concurrent.futures.ThreadPoolExecutor(num_thread) as pool:
        return [stored for stored in pool.map(one, enumerate(clips.find(root))) if stored is not None]


def _keep(parts: dict[str, np.ndarray], kept: Path) -> None:
    """Write arrays so that `kept` is complete as soon as it exists."""
    partial = Path(tempfile.mkdtemp(prefix=f"{kept.name}.", suffix=".partial", dir=kept.parent))
    try:
        for name, part in parts.items():
            np.save(partial / f"{name}.npy", part)
        partial.chmod(0o755)  # others may read what is kept, unlike a temporary folder
        partial.rename(kept)
    except OSError:
        if not kept.is_dir():  # else another process was faster, with the same arrays
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
