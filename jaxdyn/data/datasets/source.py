"""Reads what `builder` wrote: samples in any order, decoded."""

import operator
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxdyn.data.datasets import builder, pictures
from jaxdyn.data.datasets.table import named
from jaxdyn.errors import UserError


def open_dataset(name: str, split: str, folder: str | Path) -> "Source":
    """A dataset that was built, as a sequence of samples.

    Args:
      name: see `table.DATASETS`.
      split: one of its splits or views.
      folder: where it was built, the `--data_dir` of `train.prepare`.

    Raises:
      UserError: an unknown name or split, or a dataset that was not built there.
    """
    dataset = named(name)
    if split not in [*dataset.splits, *dataset.views]:
        known = ", ".join([*dataset.splits, *dataset.views])
        raise UserError(f"split (={split!r}) is not one of {dataset.name}, which has {known}.")
    return Source(dataset.name, split, folder)


class Source:
    """Samples in the published order; may be read by several threads, and pickled.

    A sample is {"frames": uint8 [T, H, W, 3]} of a dataset of sequences, or {"frame0", "target", "frame1"}, each uint8
    [H, W, 3], of one of triplets.

    Attributes:
      kind: "sequence" or "triplet".
    """

    def __init__(self, name: str, split: str, folder: str | Path):
        self._arguments = (name, split, folder)
        dataset = named(name)
        opened = builder.opened(dataset, folder)
        self.kind = dataset.kind
        self._clips = builder.clips_of(opened, split)
        stored = dataset.views[split].of if split in dataset.views else split
        self._records = opened.as_data_source(split=stored)
        if self.kind == "triplet":
            gaps = dataset.splits[stored].gaps
            rows = [
                (number, first + a, first + b, first + c)
                for number, (_, first, length) in enumerate(self._clips)
                for a, b, c in builder.triplets(length, gaps)
            ]
            self._triplets = np.array(rows, np.int64).reshape(-1, 4)  # clip, and three records

    def __len__(self) -> int:
        return len(self._triplets) if self.kind == "triplet" else len(self._clips)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        index = self._checked(index)
        if self.kind == "sequence":
            return {"frames": self.frames(index)}
        images = self._read(self._triplets[index, 1:])
        return dict(zip(("frame0", "target", "frame1"), images, strict=True))

    def __reduce__(self):
        return open_dataset, self._arguments

    def clip(self, index: int) -> str:
        """The name of the clip that a sample is of."""
        index = self._checked(index)
        return self._clips[self._triplets[index, 0] if self.kind == "triplet" else index][0]

    def num_frames(self, index: int) -> int:
        """How many frames a sample has; nothing is read."""
        index = self._checked(index)
        return 3 if self.kind == "triplet" else self._clips[index][2]

    def frames(self, index: int, first: int = 0, number: int | None = None, gap: int = 1) -> np.ndarray:
        """Some frames of a sequence; no other is read.

        Args:
          index: of the sample.
          first: number of the first frame.
          number: how many; all that follow by default.
          gap: distance of neighbours.

        Returns:
          uint8 [number, H, W, 3].

        Raises:
          ValueError: this is a dataset of triplets, or the clip does not have these frames.
        """
        if self.kind != "sequence":
            raise ValueError("a dataset of triplets has no sequences; take its samples by index")
        name, start, length = self._clips[self._checked(index)]
        number = len(range(first, length, gap)) if number is None else number
        last = first + gap * (number - 1)
        if not (first >= 0 and number >= 1 and gap >= 1 and last < length):
            raise ValueError(f"frames {first} to {last} (gap={gap}) are not in clip {name}, which has {length}")
        return np.stack(self._read(range(start + first, start + last + 1, gap)))

    def _checked(self, index: int) -> int:
        """An index from 0; IndexError ends a loop over the source."""
        index, number = operator.index(index), len(self)
        if not -number <= index < number:
            raise IndexError(f"index (={index}) must be below {number}, the number of samples")
        return index % number

    def _read(self, records: Iterable[int]) -> list[np.ndarray]:
        """Frames by record, uint8 [H, W, 3] each."""
        examples = self._records.__getitems__([int(record) for record in records])
        return [pictures.decode(example["image"]) for example in examples]
