"""Scores on true middle frames."""

import io

import cv2
import numpy as np
import pytest
from rich import console

from configs import cain_sd as configuration
from eval import evaluate, tables
from jaxdyn import models
from train import feeds

FRAMES = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clip of a texture that slides, 80 x 96."""
    clip = tmp_path_factory.mktemp("clips") / "slide"
    clip.mkdir()
    large = cv2.resize(
        np.random.RandomState(0).rand(16, 18, 3).astype(np.float32), (160, 120), interpolation=cv2.INTER_CUBIC
    )
    for t in range(FRAMES):
        frame = large[t : t + 80, 3 * t : 3 * t + 96]
        cv2.imwrite(str(clip / f"{t}.png"), np.rint(np.clip(frame, 0, 1) * 255).astype(np.uint8))
    return clip.parent


@pytest.fixture(scope="module")
def records(folder):
    config = configuration.get_config("tiny")
    model = models.build(config.name, **config.model)
    params = feeds.initial(model, 0)
    return list(evaluate.evaluate(model, {"params": params}, evaluate.video_triplets(folder), has_ssim=True))


def test_records(records):
    assert [record.clip for record in records] == ["slide", "slide"]
    for record in records:
        assert list(record.psnr) == list(record.ssim) == ["averaging", "exit 0", "exit 1", "dynamic"]
        # Fresh weights correct nothing: every exit is the aligned mean, which beats averaging where things move.
        assert record.psnr["exit 0"] > record.psnr["averaging"] + 3
        np.testing.assert_allclose([record.psnr["exit 1"], record.psnr["dynamic"]], record.psnr["exit 0"], atol=1e-3)
        assert record.ssim["exit 0"] > record.ssim["averaging"]
        assert 0 < record.share < 10
        assert sum(record.depths) == 4  # patches of 64 px in 80 x 96
        assert sum(record.scales) == sum(record.depths[1:])


def test_means_are_over_frames_then_over_clips():
    rows = [("a", 30.0), ("a", 32.0), ("b", 40.0)]
    records = [evaluate.Record(clip, {"exit 0": value}, {}, value / 100) for clip, value in rows]
    means = evaluate.mean_by_clip(records)
    assert means == {"a": {"exit 0": 31.0}, "b": {"exit 0": 40.0}, "mean": {"exit 0": 35.5}}
    np.testing.assert_allclose(evaluate.mean_by_clip(records, "share")["mean"]["share"], 0.355)


def test_tables_name_everything(records):
    out = console.Console(file=io.StringIO(), width=140)
    tables.show("a title", records, has_ssim=True, out=out)
    text = out.file.getvalue()
    for word in (
        "a title",
        "slide",
        "averaging",
        "exit 1",
        "dynamic",
        "over exit 0",
        "share of dense",
        "SSIM",
        "by exit",
    ):
        assert word in text


def test_middlebury_is_read_by_its_names(tmp_path, random):
    (tmp_path / "Venus").mkdir()
    frames = random.randint(0, 255, (3, 8, 10, 3)).astype(np.uint8)
    for name, frame in zip(("frame10", "frame10i11", "frame11"), frames, strict=True):
        cv2.imwrite(str(tmp_path / "Venus" / f"{name}.png"), frame[..., ::-1])
    (triplet,) = evaluate.middlebury_triplets(tmp_path)
    assert triplet.clip == "Venus"
    for found, frame in zip((triplet.first, triplet.middle, triplet.last), frames, strict=True):
        np.testing.assert_array_equal(found, frame)


def test_another_network_is_refused():
    with pytest.raises(ValueError, match=r"CAIN, expected a CAIN-SD"):
        next(evaluate.evaluate(models.build("cain"), {}, [None]))
