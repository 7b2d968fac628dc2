"""Trees with the layout of the published archives, in small: each maker fills a folder, and gives the samples of every
split as (clip, numbers of the pictures), and a file without which the archive is not whole.

A picture is `png` of its number: here 8 x 10 pixels of one colour, whose first two channels are the number. A test that
needs more to see replaces `archives.png`.
"""

import functools
from pathlib import Path

import cv2
import numpy as np

from jaxdyn.data.datasets import layouts


@functools.cache
def png(number: int) -> bytes:
    pixels = np.zeros((8, 10, 3), np.uint8)
    pixels[:] = 7, number // 256, number % 256  # BGR
    return cv2.imencode(".png", pixels)[1].tobytes()


def put(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(number))


def vimeo(root: Path, kind: str, num_frame: int) -> dict:
    top = root / f"vimeo_{kind}"
    names = ["00001/0001", "00001/0002", "00002/0001", "00002/0007"]
    for first, name in enumerate(names):
        for frame in range(num_frame):
            put(top / "sequences" / name / f"im{frame + 1}.png", 10 * first + frame)
    (top / f"{kind[:3]}_trainlist.txt").write_text(f"{names[3]}\n{names[0]}\n{names[2]}\n\n")
    (top / f"{kind[:3]}_testlist.txt").write_text(f"{names[1]}\r\n")
    of = lambda first: (names[first], *range(10 * first, 10 * first + num_frame))  # noqa: E731
    return {"train": [of(3), of(0), of(2)], "test": [of(1)]}


def vimeo_triplet(root: Path) -> tuple[dict, str]:
    return vimeo(root, "triplet", 3), "vimeo_triplet/sequences/00002/0001/im2.png"


def vimeo_septuplet(root: Path) -> tuple[dict, str]:
    return vimeo(root, "septuplet", 7), "vimeo_septuplet/sep_testlist.txt"


def reds(root: Path) -> tuple[dict, str]:
    for clip in range(270):
        part, name = ("train/train_sharp", clip) if clip < 240 else ("val_sharp", clip - 240)
        for frame in range(2):
            put(root / part / f"{name:03d}" / f"{frame:08d}.png", 2 * clip + frame)
    of = lambda clips: [(f"{clip:03d}", 2 * clip, 2 * clip + 1) for clip in clips]  # noqa: E731
    test, validation = (0, 11, 15, 20), (240, 241, 246, 257)
    train = [clip for clip in range(270) if clip not in test]
    return {
        "train": of(train),
        "reds4": of(test),
        "redsval4": of(validation),
        "train_without_val4": of([clip for clip in train if clip not in validation]),
    }, "val_sharp/017/00000001.png"


def reds120(root: Path) -> tuple[dict, str]:
    for part, num_clip, num_frame in (("train_orig", 240, 5), ("val/val_orig", 30, 52)):
        for clip in range(num_clip):
            for frame in range(num_frame):
                put(root / part / f"{clip:03d}" / f"{frame:08d}.png", num_frame * clip + frame)
    at = ((0, 1, 2), (1, 2, 3), (2, 3, 4), (0, 2, 4))
    return {
        "train": [(f"{clip:03d}", *(5 * clip + frame for frame in frames)) for clip in range(240) for frames in at],
        "val": [(f"{c:03d}", *(52 * c + i + k for k in (0, 2, 4))) for c in range(30) for i in range(0, 45, 4)],
    }, "train_orig/239/00000004.png"


def xiph(root: Path) -> tuple[dict, str]:
    for clip, name in enumerate(layouts.XIPH_CLIPS):
        for frame in range(1, 101):
            put(root / f"{name}-{frame:03d}.png", 100 * clip + frame)
    return {
        "test": [
            (name, *(100 * clip + target + k for k in (-1, 0, 1)))
            for clip, name in enumerate(layouts.XIPH_CLIPS)
            for target in range(2, 99, 2)
        ]
    }, "Crosswalk-099.png"


def snu_film(root: Path) -> tuple[dict, str]:
    top = root / "SNU-FILM"
    for clip, name in enumerate(("GOPRO_test/GOPR0384", "YouTube_test/0000")):
        for frame in range(1, 34):
            put(top / "test" / name / f"{frame:06d}.png", 40 * clip + frame)
    expected = {}
    for gap, mode in ((1, "easy"), (2, "medium"), (4, "hard"), (8, "extreme")):
        rows = [
            (f"{name.split('/')[1]}/{17:06d}", *(40 * clip + 17 + k for k in (-gap, 0, gap)))
            for clip, name in ((1, "YouTube_test/0000"), (0, "GOPRO_test/GOPR0384"))
        ]
        paths = [
            " ".join(f"data/SNU-FILM/test/{name}/{17 + k:06d}.png" for k in (-gap, 0, gap))
            for name in ("YouTube_test/0000", "GOPRO_test/GOPR0384")
        ]
        folder = top if mode != "hard" else top / "eval_modes"
        folder.mkdir(exist_ok=True)
        (folder / f"test-{mode}.txt").write_text("\n".join(paths) + "\n")
        expected[mode] = rows
    return expected, "SNU-FILM/eval_modes/test-hard.txt"


def middlebury(root: Path) -> tuple[dict, str]:
    for clip, name in enumerate(("Beanbags", "Walking")):
        put(root / "other-data" / name / "frame10.png", 3 * clip)
        put(root / "other-gt-interp" / name / "frame10i11.png", 3 * clip + 1)
        put(root / "other-data" / name / "frame11.png", 3 * clip + 2)
    put(root / "other-data" / "Army" / "frame10.png", 99)  # no truth, no triplet
    return {"other": [("Beanbags", 0, 1, 2), ("Walking", 3, 4, 5)]}, "other-data/Walking/frame11.png"


def ucf101(root: Path) -> tuple[dict, str]:
    for name in (1, 2, 10):
        for frame, file in enumerate(("frame_00", "frame_01_gt", "frame_02", "frame_01_ours")):
            put(root / "ucf101_interp_ours" / str(name) / f"{file}.png", 4 * name + frame)
    rows = [(str(name), 4 * name, 4 * name + 1, 4 * name + 2) for name in (1, 2, 10)]
    return {"test": rows}, "ucf101_interp_ours/10/frame_01_gt.png"


def vid4(root: Path, frames: tuple[int, ...] = (1, 2, 10)) -> tuple[dict, str]:
    for clip, name in enumerate(("calendar", "walk")):
        for frame in frames:
            put(root / "GT" / name / f"Frame {frame}.png", 20 * clip + frame)
    rows = [(name, *(20 * clip + frame for frame in frames)) for clip, name in enumerate(("calendar", "walk"))]
    return {"test": rows}, "GT"


def udm10(root: Path) -> tuple[dict, str]:
    for clip, name in enumerate(("archpeople", "lake")):
        for frame in range(3):
            put(root / "UDM10" / name / "truth" / f"{frame:04d}.png", 5 * clip + frame)
    return {"test": [("archpeople", 0, 1, 2), ("lake", 5, 6, 7)]}, "UDM10"


def folder(root: Path, num_frame: int = 2) -> tuple[dict, str]:
    rows = []
    for clip, name in enumerate(("a/one", "b")):
        numbers = range(num_frame * clip, num_frame * (clip + 1))
        for frame, number in enumerate(numbers):
            put(root / name / f"{frame}.png", number)
        rows.append((name, *numbers))
    return {"train": rows}, ""
