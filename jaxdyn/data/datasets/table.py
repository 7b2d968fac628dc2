"""The datasets: one declaration each.

All store frames, one record each, and samples are drawn from them: whole clips, or triplets of a frame before, a target
and a frame after. Frames that triplets share are stored once, and a part of a long clip is read without the rest.
"""

import dataclasses
import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from jaxdyn.data.datasets import layouts, pictures
from jaxdyn.errors import UserError


@dataclasses.dataclass(frozen=True)
class Split:
    """A part of a dataset that is stored.

    Attributes:
      clips: lists them, from the archive's folder.
      gaps: of triplets, distances between neighbours: every triplet of the clip at each. Without, odd frames are
        targets between the even ones, all counted from 0.
      published: number of samples that the paper reports on, to compare with; None where it varies.
    """

    clips: Callable[[Path], list[layouts.Clip]]
    gaps: tuple[int, ...] = ()
    published: int | None = None


@dataclasses.dataclass(frozen=True)
class View:
    """Some of the clips of a split that is stored, under a name of their own.

    Attributes:
      of: the stored split.
      has: whether a clip belongs to it, by name.
    """

    of: str
    has: Callable[[str], bool]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One dataset.

    Attributes:
      name: as in commands and folders.
      kind: what a sample is.
      origin: what to get, and the page where it is published.
      splits: what is stored, by name.
      views: by name.
      top: the archive's own top folder; the files are looked for in it if it is there.
      frames_of: the frames of one of a clip's files.
    """

    name: str
    kind: Literal["triplet", "sequence"]
    origin: str
    splits: Mapping[str, Split]
    views: Mapping[str, View] = dataclasses.field(default_factory=dict)
    top: str = ""
    frames_of: Callable[[Path], Iterator[pictures.Encoded]] = pictures.stored

    def clips(self, split: str, manual_dir: str | Path) -> list[layouts.Clip]:
        """The clips of a split or a view, all files of which are there.

        Args:
          split: its name.
          manual_dir: the unpacked archive.

        Raises:
          UserError: something is missing; says what, where, and where to get it.
        """
        if split in self.views:
            view = self.views[split]
            return [clip for clip in self.clips(view.of, manual_dir) if view.has(clip.name)]
        root = Path(manual_dir)
        root = root / self.top if self.top and (root / self.top).is_dir() else root
        try:
            if not root.is_dir():
                raise layouts.MissingError(f"the folder {root.name}", root.parent)
            found = self.splits[split].clips(root)
            if not found:
                raise layouts.MissingError(f"any clip of the split {split}", root)
            return found
        except layouts.MissingError as error:
            packed = sorted(path.name for path in Path(manual_dir).glob("*.zip"))
            if packed:
                remedy = f"unpack {', '.join(packed)}, which lies there"
            else:
                remedy = f"get {self.origin}, and unpack into {manual_dir}"
            raise UserError(f"{self.name}: {error}; {remedy}.") from None


def _is_in(names: Collection[str]) -> Callable[[str], bool]:
    return lambda name: name in names


def _is_not_in(names: Collection[str]) -> Callable[[str], bool]:
    return lambda name: name not in names


def _merged_reds(has: Callable[[str], bool]) -> Callable[[Path], list[layouts.Clip]]:
    return lambda root: [clip for clip in layouts.reds_merged(root) if has(clip.name)]


def _vimeo(names: str, num_frame: int, published: int) -> Split:
    return Split(partial(layouts.vimeo, names=names, num_frame=num_frame), published=published)


_VIMEO = "of http://toflow.csail.mit.edu"
_REDS = "of https://seungjunnah.github.io/Datasets/reds.html"
_XIPH = (
    "the eight Netflix clips at 4096x2160 and 60 fps of https://media.xiph.org/video/derf, their first 100 frames as "
    "rgb24 PNG by the name CLIP-001.png"
)

_ALL = (
    Dataset(
        "vimeo90k_triplet",
        "triplet",
        f"vimeo_triplet.zip {_VIMEO}",
        {"train": _vimeo("tri_trainlist.txt", 3, 51313), "test": _vimeo("tri_testlist.txt", 3, 3782)},
        top="vimeo_triplet",
    ),
    Dataset(
        "vimeo90k_septuplet",
        "sequence",
        f"vimeo_septuplet.zip {_VIMEO}",
        {"train": _vimeo("sep_trainlist.txt", 7, 64612), "test": _vimeo("sep_testlist.txt", 7, 7824)},
        top="vimeo_septuplet",
    ),
    # As BasicSR does, training leaves out REDS4 alone; to validate on REDSval4, train on "train_without_val4".
    Dataset(
        "reds",
        "sequence",
        f"train_sharp.zip and val_sharp.zip {_REDS}",
        {
            "train": Split(_merged_reds(_is_not_in(layouts.REDS4)), published=266),
            "reds4": Split(
                partial(layouts.reds, part="train_sharp", names=tuple(map(int, layouts.REDS4))), published=4
            ),
        },
        views={
            "redsval4": View("train", _is_in(layouts.REDS_VAL4)),
            "train_without_val4": View("train", _is_not_in(layouts.REDS_VAL4)),
        },
    ),
    Dataset(
        "reds120",
        "triplet",
        f"all parts of train_orig and val_orig {_REDS}",
        {
            "train": Split(partial(layouts.reds, part="train_orig", names=range(layouts.REDS_NUM_TRAIN)), gaps=(1, 2)),
            "val": Split(layouts.reds120_validation, published=360),
        },
    ),
    *(
        Dataset(name, "triplet", _XIPH, {"test": Split(layouts.xiph, published=392)}, frames_of=make)
        for name, make in (("xiph_2k", pictures.xiph_2k), ("xiph_4k", pictures.xiph_4k))
    ),
    Dataset(
        "snu_film",
        "triplet",
        "the frames and the lists test-easy.txt to test-extreme.txt of https://myungsub.github.io/CAIN",
        {mode: Split(partial(layouts.snu_film, mode=mode), published=310) for mode in layouts.SNU_FILM_MODES},
        top="SNU-FILM",
    ),
    Dataset(
        "middlebury",
        "triplet",
        "other-color-twoframes.zip and other-gt-interp.zip of https://vision.middlebury.edu/flow/data",
        {"other": Split(layouts.middlebury, published=12)},
    ),
    Dataset(
        "ucf101",
        "triplet",
        "the 379 triplets of https://github.com/liuziwei7/voxel-flow",
        {"test": Split(layouts.ucf101, published=379)},
        top="ucf101_interp_ours",
    ),
    Dataset(
        "vid4",
        "sequence",
        "Vid4 of https://github.com/XPixelGroup/BasicSR/blob/master/docs/DatasetPreparation.md",
        {"test": Split(layouts.folders_of_frames, published=4)},
        top="Vid4",
    ),
    Dataset(
        "udm10",
        "sequence",
        "UDM10 of https://github.com/psychopa4/PFNL",
        {"test": Split(layouts.folders_of_frames, published=10)},
        top="UDM10",
    ),
    Dataset(
        "folder",
        "sequence",
        "clips of your own",
        {"train": Split(layouts.anything)},
        frames_of=pictures.of_clip,
    ),
)

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in _ALL}
"""By name."""


def named(name: str) -> Dataset:
    """A dataset by name; "xiph/2k" is "xiph_2k".

    Raises:
      UserError: no such dataset; names the nearest.
    """
    name = name.replace("/", "_")
    if name in DATASETS:
        return DATASETS[name]
    nearest = difflib.get_close_matches(name, DATASETS, 1, 0.4)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(DATASETS)}."
    raise UserError(f"dataset (={name!r}) is not known; {hint}")
