"""Tests of `jaxdyn.demo`."""

import numpy as np
import pytest

from jaxdyn import demo
from jaxdyn.errors import UserError
from tests.clips import Average, packets, read_clip


def test_the_demo_runs_the_whole_path(tmp_path):
    report = demo.run(tmp_path / "out.mp4", Average())
    counts = report.counts
    assert (counts.frames_in, counts.frames_out) == (demo.NUM_FRAMES, 2 * demo.NUM_FRAMES - 1)
    assert (counts.cuts, counts.repeats) == (1, 1)
    assert len(read_clip(tmp_path / "out.mp4").frames) == 2 * demo.NUM_FRAMES - 1
    assert packets(tmp_path / "out.mp4", "audio") == packets(tmp_path / "out-source.mp4", "audio")
    assert len(packets(tmp_path / "out.mp4", "audio")) > 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-source.mp4", "out.mp4"]


def test_the_scene_is_the_same_every_time_and_has_still_and_moving_parts():
    one, two = list(demo.frames()), list(demo.frames())
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert one[0].shape == (demo.HEIGHT, demo.WIDTH, 3)
    np.testing.assert_array_equal(one[0][-56:], one[4][-56:])
    assert np.abs(one[0][:-56].astype(int) - one[4][:-56]).mean() > 3
    np.testing.assert_array_equal(one[demo.REPEATED], one[demo.REPEATED - 1])


@pytest.mark.parametrize("name", ["out.mp4", "out-source.mp4"])
def test_nothing_is_replaced_unasked(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(UserError, match=f"{name}: exists; add --overwrite"):
        demo.run(tmp_path / "out.mp4", Average())
    assert (tmp_path / name).read_bytes() == b"precious"
