"""Datasets: trees with the layout of the published archives, built and read back.

Every picture of a tree is 8 x 10 pixels of one colour, whose first two channels are its number.
"""

import functools
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from jaxdyn.data import datasets
from jaxdyn.data.datasets import builder, layouts, pictures
from jaxdyn.errors import UserError
from tests import clips as made
from train import prepare


@functools.cache
def png(number: int) -> bytes:
    pixels = np.zeros((8, 10, 3), np.uint8)
    pixels[:] = 7, number // 256, number % 256  # BGR
    return cv2.imencode(".png", pixels)[1].tobytes()


def put(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(number))


def number_of(frame: np.ndarray) -> int:
    """The number of a picture, all pixels of which must have its colour."""
    assert frame.dtype == np.uint8
    assert frame.shape == (8, 10, 3)
    assert (frame == frame[0, 0]).all()
    assert frame[0, 0, 2] == 7
    return int(frame[0, 0, 0]) + 256 * int(frame[0, 0, 1])


def samples(name: str, split: str, folder: Path) -> list[tuple]:
    """(clip, numbers of the frames) of every sample; a triplet is in the order of time."""
    source = datasets.open_dataset(name, split, folder)
    found = []
    for index, sample in enumerate(source):
        if source.kind == "sequence":
            assert list(sample) == ["frames"]
            frames = sample["frames"]
        else:
            assert list(sample) == ["frame0", "target", "frame1"]
            frames = list(sample.values())
        assert len(frames) == source.num_frames(index)
        found.append((source.clip(index), *map(number_of, frames)))
    assert len(found) == len(source)
    return found


# Trees, each with what its splits hold, and a file that is then taken away. -----------------------------------------


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


def vid4(root: Path) -> tuple[dict, str]:
    for clip, name in enumerate(("calendar", "walk")):
        for frame in (1, 2, 10):
            put(root / "GT" / name / f"Frame {frame}.png", 20 * clip + frame)
    return {"test": [("calendar", 1, 2, 10), ("walk", 21, 22, 30)]}, "GT"


def udm10(root: Path) -> tuple[dict, str]:
    for clip, name in enumerate(("archpeople", "lake")):
        for frame in range(3):
            put(root / "UDM10" / name / "truth" / f"{frame:04d}.png", 5 * clip + frame)
    return {"test": [("archpeople", 0, 1, 2), ("lake", 5, 6, 7)]}, "UDM10"


def folder(root: Path) -> tuple[dict, str]:
    for clip, name in enumerate(("a/one", "b")):
        for frame in range(2):
            put(root / name / f"{frame}.png", 2 * clip + frame)
    return {"train": [("a/one", 0, 1), ("b", 2, 3)]}, ""


MISSING = {
    "vimeo90k_triplet": (vimeo_triplet, r"sequences/00002/0001/im2\.png is not in .*vimeo_triplet; get vimeo_triplet"),
    "vimeo90k_septuplet": (vimeo_septuplet, r"sep_testlist\.txt is not in .*toflow"),
    "reds": (reds, r"017/00000001\.png is not in .*val_sharp; get train_sharp\.zip and val_sharp\.zip"),
    "reds120": (reds120, r"239/00000004\.png is not in .*train_orig"),
    "xiph_2k": (xiph, r"Crosswalk-099\.png is not in .*Netflix"),
    "xiph_4k": (xiph, r"Crosswalk-099\.png is not in .*media\.xiph\.org"),
    "snu_film": (snu_film, r"test-hard\.txt is not in .*CAIN"),
    "middlebury": (middlebury, r"other-data/Walking/frame11\.png is not in .*vision\.middlebury\.edu"),
    "ucf101": (ucf101, r"10/frame_01_gt\.png is not in .*voxel-flow"),
    "vid4": (vid4, r"GT/CLIP/\*\.png is not in .*Vid4"),
    "udm10": (udm10, r"GT/CLIP/\*\.png is not in .*UDM10"),
    "folder": (folder, r"a video, or a folder of images, is not in .*clips of your own"),
}


@pytest.fixture(autouse=True)
def small_xiph(monkeypatch):
    """Xiph's frames are 8 x 10 here, and what is made of them too: reduced to the same size, or cropped by nothing."""
    monkeypatch.setattr(pictures, "XIPH_SOURCE", (10, 8))
    monkeypatch.setattr(pictures, "XIPH_SIZE", (10, 8))
    monkeypatch.setattr(pictures, "crop_4k", lambda frame: frame)


def test_every_dataset_is_tested():
    assert set(MISSING) == set(datasets.DATASETS)


@pytest.mark.parametrize("name", MISSING)
def test_what_is_built_is_read_in_order(name, tmp_path):
    make, _ = MISSING[name]
    expected, _ = make(tmp_path / "archive")
    dataset = datasets.named(name)
    steps = []
    built = datasets.build(dataset, tmp_path / "archive", tmp_path / "data", steps.append, lambda: steps.append("file"))
    assert steps == [len(steps) - 1] + ["file"] * (len(steps) - 1)
    assert {split.name: split.num_sample for split in built} == {name: len(rows) for name, rows in expected.items()}
    assert [split.name for split in built] == [*dataset.splits, *dataset.views]
    assert all((split.num_byte > 0) == (split.name in dataset.splits) for split in built)
    for split, rows in expected.items():
        assert samples(name, split, tmp_path / "data") == rows


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_named_in_one_line(name, tmp_path):
    make, message = MISSING[name]
    root = tmp_path / "archive"
    _, lost = make(root) if name != "folder" else ({}, "")
    if lost:
        (root / lost).rename(tmp_path / "lost")
    else:
        root.mkdir()
    with pytest.raises(UserError, match=message) as caught:
        datasets.build(datasets.named(name), root, tmp_path / "data")
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data" / name).exists()


def test_an_archive_that_is_not_unpacked_is_named(tmp_path):
    (tmp_path / "vimeo_triplet.zip").write_bytes(b"PK")
    with pytest.raises(
        UserError, match=r"tri_trainlist\.txt is not in .*; unpack vimeo_triplet\.zip, which lies there"
    ):
        datasets.build(datasets.named("vimeo90k_triplet"), tmp_path, tmp_path / "data")
    with pytest.raises(UserError, match="the folder nowhere is not in"):
        datasets.build(datasets.named("vid4"), tmp_path / "nowhere", tmp_path / "data")


def test_the_top_folder_may_be_given_itself(tmp_path):
    expected, _ = vimeo_triplet(tmp_path)
    datasets.build(datasets.named("vimeo90k_triplet"), tmp_path / "vimeo_triplet", tmp_path / "data")
    assert samples("vimeo90k_triplet", "test", tmp_path / "data") == expected["test"]


def test_middlebury_may_be_one_folder_a_clip(tmp_path):
    for number, file in enumerate(("frame10", "frame10i11", "frame11")):
        put(tmp_path / "archive" / "Venus" / f"{file}.png", number)
    datasets.build(datasets.named("middlebury"), tmp_path / "archive", tmp_path / "data")
    assert samples("middlebury", "other", tmp_path / "data") == [("Venus", 0, 1, 2)]


def test_a_list_that_names_no_triplet_is_told(tmp_path):
    snu_film(tmp_path)
    (tmp_path / "SNU-FILM" / "test-easy.txt").write_text("one.png two.png\n")
    with pytest.raises(UserError, match=r"a third path on each line of test-easy\.txt"):
        datasets.build(datasets.named("snu_film"), tmp_path, tmp_path / "data")


def test_a_build_that_breaks_leaves_nothing_and_one_that_is_done_stays(tmp_path):
    expected, _ = vid4(tmp_path / "archive")
    broken, dataset = tmp_path / "archive" / "GT" / "walk" / "Frame 10.png", datasets.named("vid4")
    broken.write_bytes(png(30)[:-12])
    with pytest.raises(UserError, match=r"Frame 10\.png: is cut short"):
        datasets.build(dataset, tmp_path / "archive", tmp_path / "data")
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not datasets.is_built(dataset, tmp_path / "data")
    broken.write_bytes(png(30))
    first = datasets.build(dataset, tmp_path / "archive", tmp_path / "data")
    assert datasets.build(dataset, tmp_path / "nowhere", tmp_path / "data") == first
    assert samples("vid4", "test", tmp_path / "data") == expected["test"]


def test_shards_keep_the_order(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "FRAMES_A_SHARD", 4)
    expected, _ = vimeo_triplet(tmp_path / "archive")
    datasets.build(datasets.named("vimeo90k_triplet"), tmp_path / "archive", tmp_path / "data")
    assert len(list((tmp_path / "data").rglob("*-train.array_record-*"))) == 2
    assert samples("vimeo90k_triplet", "train", tmp_path / "data") == expected["train"]


def test_xiph_is_reduced_or_cropped(monkeypatch, tmp_path):
    monkeypatch.undo()
    put(tmp_path / "Tango-001.png", 1)
    for make in (pictures.xiph_2k, pictures.xiph_4k):
        with pytest.raises(UserError, match=r"Tango-001\.png: is 10x8 of 8 bit, expected 4096x2160"):
            next(make(tmp_path / "Tango-001.png")).read()
    frame = np.arange(2160 * 4096, dtype=np.uint32).reshape(2160, 4096, 1).astype(np.uint8).repeat(3, axis=-1)
    np.testing.assert_array_equal(pictures.crop_4k(frame), frame[540:1620, 1024:3072])
    blocks = frame.reshape(1080, 2, 2048, 2, 3).mean(axis=(1, 3))
    assert np.abs(pictures.reduce_2k(frame) - blocks).max() <= 0.5


def test_a_folder_holds_videos_and_images_of_any_depth(tmp_path):
    frames = made.pan(3, 16, 24)
    root = tmp_path / "clips"
    root.mkdir()
    made.write_clip(root / "video.mkv", frames, codec="ffv1", pixel_format="bgr0")
    deep = (np.stack(frames).astype(np.uint16) * 257)[..., ::-1]
    for folder, images, suffix in (("deep", deep, "png"), ("grey", [f[..., 0] for f in frames], "png")):
        (root / folder).mkdir()
        for number, image in enumerate(images):
            cv2.imwrite(str(root / folder / f"{number}.{suffix}"), np.ascontiguousarray(image))
    datasets.build(datasets.named("folder"), root, tmp_path / "data")
    source = datasets.open_dataset("folder", "train", tmp_path / "data")
    found = {source.clip(index): source[index]["frames"] for index in range(len(source))}
    assert list(found) == ["deep", "grey", "video.mkv"]
    np.testing.assert_array_equal(found["deep"], frames)
    np.testing.assert_array_equal(found["grey"], np.stack(frames)[..., :1].repeat(3, axis=-1))
    np.testing.assert_array_equal(found["video.mkv"], frames)


def test_a_source_is_a_sequence(tmp_path):
    vimeo_septuplet(tmp_path / "archive")
    datasets.build(datasets.named("vimeo90k_septuplet"), tmp_path / "archive", tmp_path / "data")
    source = datasets.open_dataset("vimeo90k_septuplet", "train", str(tmp_path / "data"))
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[-1]["frames"], source[2]["frames"])
    assert [number_of(frame) for frame in source.frames(1, 1, 3, gap=2)] == [1, 3, 5]
    assert [number_of(frame) for frame in source.frames(1, 5)] == [5, 6]
    with pytest.raises(IndexError, match="below 3"):
        source[3]
    for wrong in ((0, 5, 3), (0, -1, 2), (0, 0, 0), (0, 0, 3, 0)):
        with pytest.raises(ValueError, match=r"are not in clip 00002/0007, which has 7|must not be zero"):
            source.frames(*wrong)


def test_triplets_have_no_sequences(tmp_path):
    middlebury(tmp_path / "archive")
    datasets.build(datasets.named("middlebury"), tmp_path / "archive", tmp_path / "data")
    with pytest.raises(ValueError, match="no sequences"):
        datasets.open_dataset("middlebury", "other", tmp_path / "data").frames(0)


def test_names_and_splits_that_are_not_there(tmp_path):
    assert datasets.named("xiph/2k").name == "xiph_2k"
    with pytest.raises(UserError, match="did you mean vimeo90k_triplet"):
        datasets.named("vimeo_triplet")
    with pytest.raises(UserError, match="there are vimeo90k_triplet, "):
        datasets.named("qqq")
    with pytest.raises(UserError, match="which has train, reds4, redsval4, train_without_val4"):
        datasets.open_dataset("reds", "test", tmp_path)
    with pytest.raises(UserError, match=r"vid4 is not built in .*python -m train\.prepare --dataset vid4"):
        datasets.open_dataset("vid4", "test", tmp_path)


def test_prepare_says_what_was_built(tmp_path, capsys):
    vid4(tmp_path / "archive")
    options = ["--manual_dir", str(tmp_path / "archive"), "--data_dir", str(tmp_path / "data")]
    (tmp_path / "data" / "vid4" / "incomplete.ABC_1.0.0").mkdir(parents=True)
    assert prepare.main(["--dataset", "vid4", *options]) == 0
    said = capsys.readouterr()
    assert "2 sequences" in said.out
    assert "test: 2 samples; the published set has 4" in said.out
    assert "incomplete.ABC_1.0.0: left by a run that was killed" in said.err
    assert prepare.main(["--dataset", "vid4", *options]) == 0
    assert "is there already" in capsys.readouterr().err
    assert prepare.main(["--dataset", "vid5", *options]) == 2
    assert "did you mean vid4?" in capsys.readouterr().err
    assert prepare.main(["--dataset", "reds", *options]) == 2
    assert "train_sharp/ is not in" in capsys.readouterr().err
