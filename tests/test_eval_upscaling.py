"""Scores on true large frames."""

import io

import cv2
import numpy as np
import pytest
from rich import console

from configs import skipvsr as configuration
from eval import evaluate, tables, upscaling
from jaxdyn import models
from train import feeds

FRAMES = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clip of a texture that slides, 70 x 83: small frames of 17 x 20."""
    clip = tmp_path_factory.mktemp("clips") / "slide"
    clip.mkdir()
    large = cv2.resize(np.random.RandomState(0).rand(12, 14, 3).astype(np.float32), (160, 120), None, 0, 0, 2)
    for t in range(FRAMES):
        frame = large[t : t + 70, 3 * t : 3 * t + 83]
        cv2.imwrite(str(clip / f"{t}.png"), np.rint(np.clip(frame, 0, 1) * 255).astype(np.uint8))
    return clip.parent


@pytest.fixture(scope="module")
def model():
    config = configuration.get_config("tiny")
    return models.build(config.name, **config.model)


@pytest.fixture(scope="module")
def records(folder, model):
    variables = {"params": feeds.initial(model, 0)}
    return list(upscaling.evaluate(model, variables, folder, (0.0, 0.6), ("deep",)))


def test_records(records):
    assert [record.clip for record in records] == ["slide"] * FRAMES
    for record in records:
        assert (
            list(record.psnr) == list(record.ssim) == list(record.share) == ["bicubic", "alpha 0", "alpha 0.6", "deep"]
        )
        assert record.psnr["bicubic"] > 25
        assert record.ssim["bicubic"] > 0.8
        assert record.psnr["alpha 0"] != record.psnr["alpha 0.6"]
        share = record.share
        assert share["bicubic"] == 0
        # Fresh gates say one half: above 0.6 nothing runs but the first frame of each direction.
        assert share["alpha 0.6"] < share["deep"] < share["alpha 0"]
        assert share["alpha 0"] >= 1


def test_a_static_network_is_dense(folder, model):
    network = models.build("basicvsr", num_feat=model.num_feat, num_block=2, num_hr=8, motion="dis")
    found = list(upscaling.evaluate(network, {"params": feeds.initial(network, 0)}, folder, num_frame=2))
    assert len(found) == 2
    assert found[0].share == {"bicubic": 0.0, "dense": 1.0}


def test_the_table_names_everything(records):
    out = console.Console(file=io.StringIO(), width=140)
    tables.show_upscaling("a title", records, out)
    text = out.file.getvalue()
    for word in ("a title", "slide", "bicubic", "alpha 0.6", "deep", "mean", "share of dense", "%"):
        assert word in text
    assert evaluate.mean_by_clip(records, "share")["mean"]["bicubic"] == 0


def test_another_network_is_refused(folder):
    with pytest.raises(ValueError, match=r"CAIN, expected a SkipVSR or a BasicVSR"):
        next(upscaling.evaluate(models.build("cain"), {}, folder))


@pytest.mark.parametrize(("clip", "expected"), [("calendar", 20.315), ("foliage", 23.489)])
def test_bicubic_on_vid4_parity(shared, model, clip, expected, monkeypatch):
    """Rounding the small frames to 8 bits costs 0.0004 and 0.002 dB."""
    bicubic = lambda network, variables, small, *_: [("bicubic", np.asarray(upscaling._bicubic(small / 255.0)), 0.0)]  # noqa: E731
    monkeypatch.setattr(upscaling, "ways", bicubic)
    monkeypatch.setattr(upscaling.metrics, "ssim", lambda image, other, channel: np.zeros(len(image)))
    found = list(upscaling.evaluate(model, {}, shared / "video" / "eval" / "vid4" / clip))
    assert len(found) == 20
    np.testing.assert_allclose(np.mean([record.psnr["bicubic"] for record in found]), expected, atol=0.001)
