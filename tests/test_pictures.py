"""Figures for print: what is drawn is what was given; what is observed of a tiny network on a tiny clip."""

import builtins
import itertools

import cv2
import jax
import numpy as np
import pytest

from eval import curves, observed, pictures
from eval.records import Row
from jaxdyn import maps, metrics, models, pretrained
from jaxdyn.errors import UserError
from jaxdyn.ops import patches
from jaxdyn.types import Route
from tests.clips import pan, texture

pytest.importorskip("matplotlib")
NETWORK = {"num_feat": 8, "num_block": 1, "reduction": 4}


def row(method, psnr, gflops, point="", source="measured", weights="w"):
    flops = None if gflops is None else 1e9 * gflops
    return Row("b", method, point, "" if source != "measured" else weights, psnr, flops=flops, source=source)


def rows():
    return [
        row("CAIN-SD", 31.0, 20.0, "exit 3"),
        row("CAIN-SD", 30.0, 10.0, "exit 1"),
        row("CAIN", 32.0, 100.0, source="CAIN-SD, Table 1"),
        row("CAIN-SD", None, 15.0, "exit 2"),
        row("DAIN", 29.0, None, source="CAIN-SD, Table 1"),
        Row("b", "BasicVSR", psnr=31.5, multiply_adds=3e10, source="SkipVSR, Table 2"),
    ]


def test_curves_hold_what_has_accuracy_and_cost_cheapest_first():
    found = curves.of_rows(rows())
    assert [(curve.name, curve.is_published) for curve in found] == [
        ("CAIN-SD (w)", False),
        ("CAIN (CAIN-SD, Table 1)", True),
        ("BasicVSR (SkipVSR, Table 2)", True),
    ]
    assert (found[0].flops, found[0].psnr) == ([1e10, 2e10], [30.0, 31.0])
    assert found[2].flops == [6e10]


def test_accuracy_against_compute():
    axes = pictures.accuracy_against_compute(rows()).axes[0]
    ours, cain, basicvsr = axes.lines
    np.testing.assert_allclose(ours.get_xydata(), [(10, 30), (20, 31)])
    np.testing.assert_allclose(cain.get_xydata(), [(100, 32)])
    assert (ours.get_linestyle(), cain.get_linestyle(), cain.get_markerfacecolor()) == ("-", "None", "none")
    assert len({line.get_marker() for line in (ours, cain, basicvsr)}) == 3
    assert [text.get_text() for text in axes.texts] == ["exit 1", "exit 3"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("compute of a frame (GFLOPs)", "PSNR (dB)")
    large = [row("CAIN-SD", 31.0, 2000.0)]
    assert pictures.accuracy_against_compute(large).axes[0].get_xlabel() == "compute of a frame (TFLOPs)"
    with pytest.raises(ValueError, match="none of 1 rows has a PSNR and a cost"):
        pictures.accuracy_against_compute(rows()[3:4])


def test_names_of_near_points_do_not_overlap():
    near = [row("CAIN-SD", 31.0 + 0.01 * i, 20.0 + 0.1 * i, point=f"exit {i}") for i in range(5)]
    far = [row("CAIN-SD", 25.0, 1.0, point="averaging"), row("CAIN-SD", 31.1, 60.0, point="a long name at the end")]
    drawn = pictures.accuracy_against_compute([*near, *far])
    drawn.draw_without_rendering()
    axes = drawn.axes[0]
    places = [text.get_window_extent() for text in axes.texts]
    assert len(places) == 7
    assert not any(a.overlaps(b) for i, a in enumerate(places) for b in places[:i])
    assert all(axes.bbox.x0 <= place.x0 and place.x1 <= axes.bbox.x1 for place in places)


def test_blocks_by_layer():
    blocks = np.zeros((1, 2, 4, 3, 2, 5), bool)
    blocks[:, 0, :, 0], blocks[:, 1, :2, 1], blocks[:, 1, :, 2, 0] = True, True, True
    axes = pictures.blocks_by_layer(blocks).axes[0]
    heights = np.reshape([bar.get_height() for bar in axes.patches], (2, 3))
    np.testing.assert_allclose(heights, [[100, 0, 0], [0, 50, 50]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["backward", "forward"]
    assert "(%)" in axes.get_ylabel()


def test_cells_over_a_frame():
    route = Route(np.array([[[0, 1]]], np.int32), np.array([[[5, 0]]], np.int32))
    cells = maps.route_cells(40, 70, route, patch=40, stride=30)
    axes = pictures.cells_over_frame(texture(40, 70), cells).axes[0]
    tints = [patch for patch in axes.patches if patch.get_fill()]
    assert [tint.get_bbox().bounds for tint in tints] == [(-0.5, -0.5, 35, 40), (34.5, -0.5, 35, 40)]
    np.testing.assert_allclose(tints[0].get_facecolor(), (*maps.COLOURS[0], 0.7), atol=1e-6)
    assert tints[1].get_facecolor()[3] == 0
    assert [text.get_text() for text in axes.texts] == ["1:5", "0"]
    assert axes.images[0].get_array().shape == (40, 70)


def test_scales_differ_in_hatching_too():
    route = Route(np.array([[[0, 1, 2]]], np.int32), np.ones((1, 1, 3), np.int32))
    cells = maps.route_cells(40, 100, route, patch=40, stride=30)
    axes = pictures.cells_over_frame(texture(40, 100), cells).axes[0]
    hatches = [patch.get_hatch() for patch in axes.patches if not patch.get_fill()]
    assert len(set(hatches)) == 3


def test_error_maps_share_one_scale():
    truth = texture(20, 30)
    off = truth.astype(np.float32) / 255
    off[5, 7] = np.clip(off[5, 7] + 0.2, 0, 1)
    figure = pictures.error_maps({"same": truth, "off": off}, truth)
    same, other = (axes.images[0] for axes in figure.axes[:2])
    assert same.get_array().max() == 0
    assert same.get_clim() == other.get_clim()
    expected = np.zeros((20, 30))
    expected[5, 7] = 255 * np.abs(off[5, 7] - truth[5, 7] / 255).mean()
    np.testing.assert_allclose(other.get_array(), expected, atol=1e-3)
    titles = [axes.get_title() for axes in figure.axes[:2]]
    assert titles == ["same: inf dB", f"off: {float(metrics.psnr(off, truth)):.2f} dB"]


def test_psnr_by_patch_against_a_loop():
    truth = texture(40, 64)
    image = np.clip(truth.astype(int) + np.random.RandomState(0).randint(-9, 10, truth.shape), 0, 255).astype(np.uint8)
    grid = patches.grid(40, 64, 16, 16)
    figure = pictures.psnr_by_patch(image, truth, grid)
    values = np.reshape(figure.axes[0].collections[0].get_array(), grid.shape)
    for (i, y), (j, x) in itertools.product(enumerate((0, 16, 24)), enumerate((0, 16, 32, 48))):
        error = image[y : y + 16, x : x + 16].astype(float) - truth[y : y + 16, x : x + 16]
        assert values[i, j] == pytest.approx(10 * np.log10(255**2 / np.mean(error**2)), abs=1e-3)
    assert figure.axes[1].get_ylabel() == "PSNR of the patch (dB)"


def test_feature_differences():
    values = {"backward": np.arange(30.0).reshape(3, 10), "forward": 5 * np.ones((3, 10))}
    axes = pictures.feature_differences(values).axes[0]
    medians = [line.get_ydata()[0] for line in axes.lines if line.get_color() == "white"]
    assert medians == [4.5, 14.5, 24.5, 5, 5, 5]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "3"]


def test_latency_by_stage():
    seconds = {"dense": {"network": 0.4}, "dynamic": {"motion": 0.1, "network": 0.05}}
    axes = pictures.latency_by_stage(seconds).axes[0]
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    np.testing.assert_allclose(widths, [[400, 50], [0, 100]])
    assert axes.containers[1][1].get_x() == pytest.approx(50)
    assert [text.get_text() for text in axes.texts] == [" 400 ms", " 150 ms"]
    assert axes.get_xlabel() == "time of a frame (ms)"


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_files_are_of_their_kind_and_the_same_again(tmp_path, suffix):
    heads = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}
    for name in ("one", "two"):
        pictures.save(pictures.accuracy_against_compute(rows()), tmp_path / f"{name}.{suffix}")
    one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
    assert one == two
    assert one.startswith(heads[suffix])


def test_without_matplotlib_it_is_said_before_the_work(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(observed, "observe", lambda *_: pytest.fail("the work began"))
    with pytest.raises(UserError, match=r"figures need matplotlib, which is not here: pip install"):
        pictures.accuracy_against_compute(rows())
    with pytest.raises(SystemExit, match="need matplotlib"):
        pictures.main(["--data", "clip", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


# What is observed


def saved(path, name, **fields):
    """A weights file of a network with small random weights."""
    model, random = models.build(name, **fields), np.random.RandomState(0)
    shapes = pretrained.parameter_shapes(model)
    variables = {"params": jax.tree.map(lambda leaf: np.float32(0.1 * random.randn(*leaf.shape)), shapes)}
    pretrained.save(path, model, variables, card={})
    return str(path)


def clip(folder, num, height, width):
    folder.mkdir()
    for index, frame in enumerate(pan(num, height, width)):
        cv2.imwrite(str(folder / f"{index}.png"), frame[..., ::-1])
    return str(folder)


def test_every_figure_of_an_interpolating_network(tmp_path, capsys, monkeypatch):
    fields = {
        "patch": 32,
        "stride": 24,
        "motion": "dis",
        "num_group": 2,
        "chunks": (1, 1, 1),
        "is_aligned": True,
        "has_exit0": True,
        "fixed_scale": 0,
    }
    weights = saved(tmp_path / "tiny.safetensors", "cain_sd", **NETWORK, **fields)
    source = clip(tmp_path / "clip", 5, 40, 56)
    seen = observed.observe(weights, source, 5)
    assert [row.point for row in seen.rows] == ["exit 0", "exit 1", "exit 2", "finders"]
    assert [row.flops for row in seen.rows[:3]] == sorted(row.flops for row in seen.rows[:3])
    assert set(seen.made) == {"mean of both", "dense", "dynamic"}
    assert len(seen.cells) == 2 * 2
    assert list(seen.seconds["dynamic"]) == ["motion on the host", "finders", "patches, merging"]
    assert all(spent >= 0 for parts in seen.seconds.values() for spent in parts.values())
    monkeypatch.setattr(observed, "observe", lambda *_: seen)
    pictures.main(["--weights", weights, "--data", source, "--out", str(tmp_path / "out"), "--format", "svg"])
    names = sorted(path.stem for path in (tmp_path / "out").iterdir())
    assert names == [f"tiny-{name}" for name in ("accuracy", "errors", "latency", "map", "psnr-by-patch")]
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_every_figure_of_an_upscaling_network(tmp_path):
    fields = {"num_feat": 8, "num_hr": 8, "num_block": 3, "motion": "dis", "tile": 8, "interval": 2, "alpha": 0.5}
    weights = saved(tmp_path / "tiny.safetensors", "skipvsr", **fields, parallel=2)
    source = clip(tmp_path / "clip", 4, 49, 66)
    seen = observed.observe(weights, source, 4)
    assert seen.truth.shape == (48, 64, 3)
    assert {name: image.shape for name, image in seen.made.items()} == dict.fromkeys(
        ("bicubic", "dense", "dynamic"), (48, 64, 3)
    )
    assert seen.blocks.shape == (2, 4, 3, 2, 2)
    assert {name: values.shape for name, values in seen.differences.items()} == dict.fromkeys(
        ("backward", "forward"), (3, 4 * 4)
    )
    assert [row.method for row in seen.rows[:2]] == ["bicubic", "SkipVSR"]
    assert seen.rows[1].point == "alpha 0"
    assert max(row.share for row in seen.rows) == seen.rows[1].share
    drawn = pictures.figures_of(seen)
    assert list(drawn) == ["accuracy", "map", "errors", "psnr-by-patch", "latency", "blocks", "features"]


def test_feature_differences_are_to_the_next_target():
    model = models.build("skipvsr", num_feat=4, num_block=3, interval=2, tile=8)  # targets: blocks 2 and 3
    full = np.random.RandomState(0).rand(2, 1, 3, 8, 12, 4)  # tiles 8 x 6
    skipped = full.copy()
    skipped[1, 0, 1, :, 6:] += 0.5
    found = observed.feature_differences(model, skipped, full)
    np.testing.assert_allclose(found["backward"][1:], 0)
    np.testing.assert_allclose(found["forward"][1], [0, 0.25])
    expected = np.square(full[0, 0, 0, :, :6] - full[0, 0, 1, :, :6]).mean()
    assert found["backward"][0, 0] == pytest.approx(expected)


def test_what_shows_no_routing_is_refused(tmp_path):
    weights = saved(tmp_path / "cain.safetensors", "cain", num_group=1, **NETWORK)
    source = clip(tmp_path / "clip", 3, 16, 16)
    with pytest.raises(UserError, match="is a CAIN, which routes nothing; use cain_sd or skipvsr"):
        observed.observe(weights, source, 3)
    with pytest.raises(UserError, match="has 2 frames; figures need 3 or more"):
        observed.observe(weights, source, 2)
    with pytest.raises(SystemExit, match=r"eval\.pictures: .*is a CAIN"):
        pictures.main(["--weights", weights, "--data", source, "--out", str(tmp_path / "out")])
