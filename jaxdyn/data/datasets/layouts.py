"""Which files of an unpacked archive are which clip. Nothing is decoded here.

Every function takes the archive's folder and gives its clips in the published order, or in that of their names. What is
missing raises `MissingError` before anything is written.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from jaxdyn import images
from jaxdyn.data import clips

REDS4 = ("000", "011", "015", "020")
"""Test clips, taken out of the training clips (EDVR)."""

REDS_VAL4 = ("240", "241", "246", "257")
"""Validation clips in the merged numbering: the official validation clips 000, 001, 006, 017."""

REDS_NUM_TRAIN, REDS_NUM_VAL = 240, 30

XIPH_CLIPS = (
    "BoxingPractice",
    "Crosswalk",
    "DrivingPOV",
    "FoodMarket",
    "FoodMarket2",
    "RitualDance",
    "SquareAndTimelapse",
    "Tango",
)

SNU_FILM_MODES = ("easy", "medium", "hard", "extreme")


@dataclasses.dataclass(frozen=True)
class Clip:
    """Frames that follow each other.

    Attributes:
      name: unique in its split but for overlapping triplets of one clip.
      files: one image a frame in the order of time; or a single video or folder of images.
    """

    name: str
    files: tuple[Path, ...]


class MissingError(Exception):
    """A file or folder of the archive that is not there.

    Args:
      what: its path inside the archive.
      where: the folder that was looked in.
    """

    def __init__(self, what: str, where: Path):
        super().__init__(f"{what} is not in {where}")
        self.what, self.where = what, where


def vimeo(root: Path, names: str, num_frame: int) -> list[Clip]:
    """Vimeo-90K: `sequences/00001/0001/im1.png` ..., of the sequences that a text file lists, one a line."""
    found = []
    for name in _lines(root, names):
        files = tuple(root / "sequences" / name / f"im{number}.png" for number in range(1, num_frame + 1))
        found.append(Clip(name, files))
    return _all_there(root, found)


def reds(root: Path, part: str, names: Iterable[int], first_number: int = 0) -> list[Clip]:
    """REDS: `PART/000/00000000.png` ..., PART by itself or as it lies in the archives (`train/train_sharp`).

    Args:
      root: holds PART.
      part: for example "train_sharp".
      names: numbers of the clips, as their folders are called.
      first_number: is added to the clips' numbers.

    Raises:
      MissingError: a clip or a frame; all clips of a part have the same number of frames, numbered from 0.
    """
    folder = _folder(root, part, f"{part.partition('_')[0]}/{part}")
    found = []
    for number in names:
        files = tuple(sorted((folder / f"{number:03d}").glob("*.png")))
        found.append(Clip(f"{number + first_number:03d}", files))
        if not files:
            raise MissingError(f"{number:03d}/00000000.png", folder)
    longest = max(len(clip.files) for clip in found)
    for clip in found:
        held = {file.name for file in clip.files}
        for name in (f"{number:08d}.png" for number in range(longest)):
            if name not in held:
                raise MissingError(f"{clip.files[0].parent.name}/{name}", folder)
    return found


def reds_merged(root: Path) -> list[Clip]:
    """REDS, sharp: training clips 000 to 239, validation clips as 240 to 269."""
    train = reds(root, "train_sharp", range(REDS_NUM_TRAIN))
    return train + reds(root, "val_sharp", range(REDS_NUM_VAL), REDS_NUM_TRAIN)


def reds120_validation(root: Path) -> list[Clip]:
    """REDS at 120 fps: even frames of the first 50 of each validation clip, 30 -> 60 fps (Sec. 4.1, CAIN-SD).

    Their triplets are frames (i, i + 2, i + 4) of the clip, i = 0, 4, 8, ...
    """
    return [Clip(clip.name, clip.files[:50:2]) for clip in reds(root, "val_orig", range(REDS_NUM_VAL))]


def xiph(root: Path, names: Sequence[str] = XIPH_CLIPS, num_frame: int = 99) -> list[Clip]:
    """Xiph by the protocol of softmax splatting: `CLIP-001.png` ...; even frames 2 to 98 are the targets."""
    found = [Clip(name, tuple(root / f"{name}-{n:03d}.png" for n in range(1, num_frame + 1))) for name in names]
    return _all_there(root, found)


def snu_film(root: Path, mode: str) -> list[Clip]:
    """SNU-FILM: `test-MODE.txt` has a triplet's three paths on a line; they may begin above the archive's folder."""
    name = f"test-{mode}.txt"
    folder = root / "eval_modes" if (root / "eval_modes" / name).is_file() else root
    found = []
    for line in _lines(folder, name):
        files = tuple(_below(root, path) for path in line.split())
        if len(files) != 3:
            raise MissingError(f"a third path on each line of {name} (={line!r})", folder)
        found.append(Clip(f"{files[1].parent.name}/{files[1].stem}", files))
    return _all_there(root, found)


def middlebury(root: Path) -> list[Clip]:
    """Middlebury OTHER: `other-data/CLIP/frame10.png`, `frame11.png`, `other-gt-interp/CLIP/frame10i11.png`.

    The three files may also lie in one folder for each clip.
    """
    is_published = (root / "other-gt-interp").is_dir()
    truths = sorted((root / "other-gt-interp" if is_published else root).glob("*/frame10i11.png"))
    if not truths:
        raise MissingError("other-gt-interp/CLIP/frame10i11.png", root)
    found = []
    for truth in truths:
        folder = root / "other-data" / truth.parent.name if is_published else truth.parent
        found.append(Clip(truth.parent.name, (folder / "frame10.png", truth, folder / "frame11.png")))
    return _all_there(root, found)


def ucf101(root: Path) -> list[Clip]:
    """UCF101 as published with Deep Voxel Flow: numbered folders, `frame_00.png`, `frame_01_gt.png`, `frame_02.png`."""
    folders = sorted((p for p in root.iterdir() if p.is_dir() and p.name.isdigit()), key=lambda p: int(p.name))
    if not folders:
        raise MissingError("1/frame_00.png", root)
    names = ("frame_00.png", "frame_01_gt.png", "frame_02.png")
    return _all_there(root, [Clip(folder.name, tuple(folder / name for name in names)) for folder in folders])


def folders_of_frames(root: Path) -> list[Clip]:
    """Vid4, UDM10: `GT/CLIP/*.png`, `CLIP/truth/*.png` or `CLIP/*.png`, in the order of the numbers in the names."""
    root = root / "GT" if (root / "GT").is_dir() else root
    found = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        inner = folder / "truth" if (folder / "truth").is_dir() else folder
        if any(inner.glob("*.png")):
            found.append(Clip(folder.name, tuple(images.FolderSource(inner, Fraction(24)).files)))
    if not found:
        raise MissingError("GT/CLIP/*.png", root)
    return found


def anything(root: Path) -> list[Clip]:
    """Every video and every folder of images below a folder."""
    try:
        found = clips.find(root)
    except ValueError:
        raise MissingError("a video, or a folder of images,", root) from None
    return [Clip(path.relative_to(root).as_posix() if path != root else path.name, (path,)) for path in found]


def _lines(folder: Path, name: str) -> list[str]:
    """The lines of a text file that hold something."""
    if not (folder / name).is_file():
        raise MissingError(name, folder)
    return [line.strip() for line in (folder / name).read_text(encoding="utf-8").splitlines() if line.strip()]


def _folder(root: Path, *names: str) -> Path:
    """The first of several folders that is there."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise MissingError(f"{names[0]}/", root)


def _below(root: Path, path: str) -> Path:
    """Where a listed path lies: its longest end that exists below the folder, else the path as it stands."""
    parts = Path(path).parts
    ends = (root.joinpath(*parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end.is_file()), root / path)


def _all_there(root: Path, found: list[Clip]) -> list[Clip]:
    """The clips, all of whose files exist."""
    missing = [file for clip in found for file in clip.files if not file.is_file()]
    if missing:
        more = f" (and {len(missing) - 1} more files)" if len(missing) > 1 else ""
        raise MissingError(f"{missing[0].relative_to(root)}{more}", root)
    return found
