"""Clips that the project draws, for a first run without any data: the moving scenes of `jaxdyn demo`."""

import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np

from jaxdyn import demo

FIRST_SEED = 3
"""The demo's own scenes have the seeds before."""


def clips(folder: str | Path, num_clip: int = 3, num_frame: int = 30, size: tuple[int, int] | None = None) -> Path:
    """Draw clips as folders of images, all or none; those that are there stay.

    Args:
      folder: where they go.
      num_clip: how many, each another scene.
      num_frame: of each.
      size: (H, W) that they are resized to; None: 360 x 640.

    Returns:
      The folder.
    """
    folder = Path(folder)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".partial", dir=folder.parent))
    for seed in range(FIRST_SEED, FIRST_SEED + num_clip):
        shot, clip = demo.Shot(seed), partial / f"scene{seed}"
        clip.mkdir(parents=True)
        for index in range(num_frame):
            frame = shot.frame(index)
            if size is not None:
                frame = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
            (clip / f"{index:03}.png").write_bytes(png(frame))
    partial.chmod(0o755)
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, with the same clips
            raise
        shutil.rmtree(partial)
    return folder


def png(frame: np.ndarray) -> bytes:
    """A PNG file of a picture, uint8 [H, W, 3] RGB."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(frame[..., ::-1]))
    return data.tobytes()
