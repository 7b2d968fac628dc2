"""A TensorBoard log: scalars, histograms and pictures.

Events are written at once and by the caller, so that a killed run loses none, and a full disk is an error here and
not in a thread that nobody asks.
"""

import os
import time
from pathlib import Path

import numpy as np
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2, summary_pb2

from train import drawn

NUM_BIN = 30


class Board:
    """One run's log; TensorBoard hides what earlier runs wrote from step `first` on.

    Args:
      folder: of the logs of all runs of a stage.
      first: the first step of this run.
    """

    def __init__(self, folder: Path, first: int):
        folder.mkdir(parents=True, exist_ok=True)
        suffix = f".{os.getpid()}.{time.monotonic_ns()}"  # a run that goes on at once has a file of its own
        self._file = event_file_writer.EventsWriter(str(folder / "events"), suffix)
        session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._file.write_event(event_pb2.Event(step=first, wall_time=time.time(), session_log=session))
        self._file.flush()

    def add(self, step: int, values: dict[str, np.ndarray | float]) -> None:
        """Write values of a step, each by what it is.

        Args:
          step: how many were done.
          values: by name: a number, a scalar; [n], a histogram; uint8 [H, W, 3], a picture.
        """
        shown = [_shown(name, np.asarray(value)) for name, value in values.items()]
        content = summary_pb2.Summary(value=shown)
        self._file.write_event(event_pb2.Event(step=step, wall_time=time.time(), summary=content))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _shown(name: str, value: np.ndarray) -> summary_pb2.Summary.Value:
    if value.ndim == 0:
        return summary_pb2.Summary.Value(tag=name, simple_value=float(value))
    if value.ndim == 1:
        return summary_pb2.Summary.Value(tag=name, histo=summary.make_histogram(value.astype(float), NUM_BIN))
    if value.ndim == 3 and value.dtype == np.uint8 and value.shape[2] == 3:
        height, width, _ = value.shape
        data = drawn.png(value)
        image = summary_pb2.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
        return summary_pb2.Summary.Value(tag=name, image=image)
    raise ValueError(
        f"{name} has shape {value.shape} and type {value.dtype}, expected a number, numbers [n], or a picture uint8 "
        "[H, W, 3]"
    )
