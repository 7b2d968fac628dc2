"""Datasets: trees with the layout of the published archives, built and read back."""

import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from jaxdyn.data import datasets
from jaxdyn.data.datasets import builder, pictures
from jaxdyn.errors import UserError
from tests import clips as made
from tests.archives import (
    folder,
    middlebury,
    png,
    put,
    reds,
    reds120,
    snu_film,
    ucf101,
    udm10,
    vid4,
    vimeo_septuplet,
    vimeo_triplet,
    xiph,
)
from train import prepare


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


def test_the_clips_of_a_view_are_those_of_its_split(tmp_path):
    expected, _ = reds(tmp_path)
    for name in ("redsval4", "reds4"):
        found = datasets.named("reds").clips(name, tmp_path)
        assert [(clip.name, len(clip.files)) for clip in found] == [(row[0], len(row) - 1) for row in expected[name]]
    for other in (tmp_path / "train" / "train_sharp").glob("[!0]*"):
        shutil.rmtree(other)
    assert len(datasets.named("reds").clips("reds4", tmp_path)) == 4  # it needs its own clips and no other


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
    for name, images, suffix in (("deep", deep, "png"), ("grey", [f[..., 0] for f in frames], "png")):
        (root / name).mkdir()
        for number, image in enumerate(images):
            cv2.imwrite(str(root / name / f"{number}.{suffix}"), np.ascontiguousarray(image))
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
