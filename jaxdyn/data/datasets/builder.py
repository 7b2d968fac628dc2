"""Writes a dataset's frames as array records, by TensorFlow Datasets, without TensorFlow.

A split is written shard by shard, as `tfds.core.ShardBasedBuilder` does: in order, and with one frame in memory.

Differs: `GeneratorBasedBuilder`, the usual class, sorts a split of more than 1 GB through temporary files that
TensorFlow opens.
"""

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

from jaxdyn.data.datasets import layouts
from jaxdyn.data.datasets.table import Dataset, View
from jaxdyn.errors import UserError

try:
    import tensorflow_datasets as tfds
except ImportError as error:
    raise ImportError(f'datasets need TensorFlow Datasets ({error}): pip install "jaxdyn[train]"') from error

FRAMES_A_SHARD = 2048
"""A shard is closed after the clip that reaches this number of files: of Vimeo-90K 0.3 GB, of REDS 2.5 GB."""


@dataclasses.dataclass(frozen=True)
class Built:
    """A split as it lies in the data folder.

    Attributes:
      name: of the split, or of a view.
      kind: "triplet" or "sequence".
      num_sample: triplets or clips.
      num_frame: frames that are stored.
      num_byte: of the records; 0 for a view, which stores nothing.
      published: the number of samples that papers report on, if that is known.
    """

    name: str
    kind: str
    num_sample: int
    num_frame: int
    num_byte: int
    published: int | None


class Frames(tfds.core.ShardBasedBuilder, skip_registration=True):
    """The frames of a dataset, one record each.

    Args:
      dataset: which.
      data_dir: folder of all datasets that are built; this one lies in `NAME/VERSION`.
      clips: by split, what to write; None to read what is there.
      on_file: is called for each file that is written.
    """

    VERSION = tfds.core.Version("1.0.0")
    url_infos: ClassVar[dict] = {}  # checksums of downloads: there are none, and to look for them needs a package more

    def __init__(
        self,
        dataset: Dataset,
        data_dir: str | Path,
        clips: dict[str, list[layouts.Clip]] | None = None,
        on_file: Callable[[], None] = lambda: None,
    ):
        self.dataset, self.clips, self.on_file = dataset, clips or {}, on_file
        self.name = dataset.name
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"clip": tfds.features.Text(), "image": tfds.features.Image(shape=(None, None, 3))}
        return _Info(
            builder=self,
            description=f"Frames of {self.name}: {self.dataset.origin}.",
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(),  # by split: [clip's name, number of frames] in the order of the records
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager) -> dict[str, list[Callable]]:
        del dl_manager  # nothing is downloaded
        return {
            split: [partial(self._examples, split, shard) for shard in _shards(clips)]
            for split, clips in self.clips.items()
        }

    def _examples(self, split: str, clips: list[layouts.Clip]) -> Iterator[tuple[str, dict]]:
        """Key and example of each frame; notes how many a clip has."""
        lengths = self.info.metadata.setdefault(split, [])
        for clip in clips:
            number = 0
            for file in clip.files:
                for image in self.dataset.frames_of(file):
                    yield f"{clip.name}/{number}", {"clip": clip.name, "image": image}
                    number += 1
                self.on_file()
            lengths.append([clip.name, number])


class _Info(tfds.core.DatasetInfo):
    """What is known of a dataset."""

    def initialize_from_bucket(self) -> None:
        """Nothing: no server knows these, and TFDS's own leaves an empty temporary folder behind at every call."""


def build(
    dataset: Dataset,
    manual_dir: str | Path,
    data_dir: str | Path,
    on_start: Callable[[int], None] = lambda num_file: None,
    on_file: Callable[[], None] = lambda: None,
) -> list[Built]:
    """Write a dataset's records, all or none; one that is there already stays as it is.

    The records are written beside their place and renamed when all are whole.

    Args:
      dataset: which, see `table.named`.
      manual_dir: the unpacked archive.
      data_dir: folder of all datasets that are built.
      on_start: is told how many files there are to write.
      on_file: is called for each file that is written.

    Returns:
      What is there now, split by split.

    Raises:
      UserError: a file is missing, or cut short.
    """
    if not is_built(dataset, data_dir):
        clips = {split: dataset.clips(split, manual_dir) for split in dataset.splits}
        on_start(sum(len(clip.files) for found in clips.values() for clip in found))
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints what its caller says better
            Frames(dataset, data_dir, clips, on_file).download_and_prepare()
    return built(dataset, data_dir)


def built(dataset: Dataset, data_dir: str | Path) -> list[Built]:
    """What of a dataset lies in a folder, split by split, then its views.

    Raises:
      UserError: it was not built there.
    """
    builder = opened(dataset, data_dir)
    found = []
    for name in [*dataset.splits, *dataset.views]:
        clips = clips_of(builder, name)
        stored = dataset.splits.get(name)
        found.append(
            Built(
                name,
                dataset.kind,
                sum(num_samples(dataset, name, length) for _, _, length in clips),
                sum(length for _, _, length in clips),
                int(builder.info.splits[name].num_bytes) if stored else 0,
                stored.published if stored else None,
            )
        )
    return found


def is_built(dataset: Dataset, data_dir: str | Path) -> bool:
    """Whether a dataset lies in a folder, whole."""
    return (Path(Frames(dataset, data_dir).data_dir) / "dataset_info.json").is_file()


def opened(dataset: Dataset, data_dir: str | Path) -> Frames:
    """A builder that reads what was built.

    Raises:
      UserError: it was not built there.
    """
    if not is_built(dataset, data_dir):
        command = f"python -m train.prepare --dataset {dataset.name} --manual_dir FOLDER --data_dir {data_dir}"
        raise UserError(f"{dataset.name} is not built in {data_dir}; run {command}")
    return Frames(dataset, data_dir)


def clips_of(builder: Frames, split: str) -> list[tuple[str, int, int]]:
    """Name, first record and number of records of each clip of a split or a view."""
    view = builder.dataset.views.get(split, View(split, lambda name: True))
    found, first = [], 0
    for name, length in builder.info.metadata[view.of]:
        if view.has(name):
            found.append((name, first, length))
        first += length
    return found


def triplets(length: int, gaps: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Numbers of the frames of each triplet of a clip: all at each gap, or odd ones between even ones without."""
    if not gaps:
        return [(middle - 1, middle, middle + 1) for middle in range(1, length - 1, 2)]
    return [(middle - gap, middle, middle + gap) for gap in gaps for middle in range(gap, length - gap)]


def num_samples(dataset: Dataset, split: str, length: int) -> int:
    """How many samples a clip of so many frames gives."""
    if dataset.kind == "sequence":
        return 1
    return len(triplets(length, dataset.splits[split].gaps))


def _shards(clips: list[layouts.Clip]) -> list[list[layouts.Clip]]:
    """Clips in order, in groups of about `FRAMES_A_SHARD` files."""
    groups: list[list[layouts.Clip]] = [[]]
    held = 0
    for clip in clips:
        if held >= FRAMES_A_SHARD:
            groups.append([])
            held = 0
        groups[-1].append(clip)
        held += len(clip.files)
    return groups
