"""Methods on clips: their frames, costs and counts; what is held in memory; the command."""

import json
import re
import sys
import weakref
from types import SimpleNamespace

import cv2
import jax
import numpy as np
import pytest

import eval as measuring
from configs import cain_sd as configuration
from configs import skipvsr as upscaling_configuration
from eval import interpolating, main, methods, points, protocols, samples, shown, timing, upscaling
from eval.records import MEASURED
from jaxdyn import flops, metrics, models, pretrained
from jaxdyn.errors import UserError
from jaxdyn.interpolator import Interpolator
from jaxdyn.types import Cost, Route
from jaxdyn.upscaler import Upscaler

HEIGHT, WIDTH, FRAMES = 80, 96, 5


def slide(number: int, height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    """A smooth texture that slides, uint8 [height, width, 3] each."""
    noise = np.random.RandomState(0).rand(16, 18, 3).astype(np.float32)
    large = np.rint(np.clip(cv2.resize(noise, (160, 120), None, 0, 0, cv2.INTER_CUBIC), 0, 1) * 255).astype(np.uint8)
    return [large[t : t + height, 3 * t : 3 * t + width] for t in range(number)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one clip."""
    clip = tmp_path_factory.mktemp("clips") / "slide"
    clip.mkdir()
    for t, frame in enumerate(slide(FRAMES)):
        cv2.imwrite(str(clip / f"{t}.png"), frame[..., ::-1])
    return clip.parent


def drawn(name: str, **fields) -> methods.Weights:
    """A network with random parameters, none of them zero."""
    model, random = models.build(name, **fields), np.random.RandomState(0)
    draw = lambda leaf: (random.randn(*leaf.shape) / np.sqrt(np.prod(leaf.shape[-4:-1]) + 9)).astype(np.float32)  # noqa: E731
    return methods.Weights(name, model, {"params": jax.tree.map(draw, pretrained.parameter_shapes(model))})


@pytest.fixture(scope="module")
def cain_sd():
    """The shipped kind, tiny: aligned, with exit 0."""
    return drawn("cain_sd", **{**configuration.TINY, "num_group": 2})


@pytest.fixture(scope="module")
def skipvsr():
    return drawn("skipvsr", **upscaling_configuration.TINY)


def run(name, folder, built, **options):
    return measuring.evaluate(samples.open_samples(protocols.named(name), folder), built, **options)


# Interpolation


@pytest.fixture(scope="module")
def middle_rows(folder, cain_sd):
    built = points.build("interpolate", [cain_sd], ["averaging", "exits", "exit2/4", "finders"])
    return run("clips", folder, built), built


def test_rows_of_interpolation(middle_rows, cain_sd):
    rows, _ = middle_rows
    names = ("exit 0", "exit 1", "exit 2", "exit 2 at 1/4", "finders")
    labels = [("frame averaging", "", ""), *(("CAIN-SD", point, "cain_sd") for point in names)]
    assert [(row.method, row.point, row.weights) for row in rows] == labels
    averaging, exit0, exit1, exit2, quarter, finders = rows
    for row in rows:
        assert (row.benchmark, row.source, row.num_frame, row.size) == ("clips", MEASURED, 2, (WIDTH, HEIGHT))
        assert list(row.clips) == list(row.clips_ssim) == ["slide"]
        assert row.psnr == row.clips["slide"]
        assert set(row.ssim) == {"gaussian", "volume"}
        assert row.clips_ssim["slide"] == row.ssim["gaussian"]
        assert row.milliseconds == row.dense_milliseconds == {}
        assert row.peak_memory is None
        np.testing.assert_allclose(row.share, row.flops / flops.dense_cain(cain_sd.model, HEIGHT, WIDTH).flops)
    assert exit0.psnr > averaging.psnr + 3  # the aligned mean, where things move
    assert averaging.share < exit0.share < quarter.share < exit1.share < exit2.share
    assert averaging.multiply_adds == exit0.multiply_adds == 0
    assert 0 < quarter.multiply_adds < exit1.multiply_adds < exit2.multiply_adds < exit2.flops / 2
    patches = 2 * 4  # of 64 px in 80 x 96, two frames
    assert exit2.counts == {"scale 1": patches, "scale 1/2": 0, "scale 1/4": 0, "exit 0": 0, "exit 1": 0, "exit 2": 8}
    assert exit0.counts["exit 0"] == patches
    assert exit0.counts["scale 1"] == 0
    assert quarter.counts["scale 1/4"] == quarter.counts["exit 2"] == patches
    assert sum(number for name, number in finders.counts.items() if name.startswith("exit")) == patches
    assert averaging.counts == {}
    of = cain_sd.parameters
    assert [row.parameters for row in rows] == [None, 0, of("cain"), of("cain"), of("cain"), of()]


@pytest.mark.parametrize(("name", "percent"), [("budget30%", 30), ("budget1.2", 120)])
def test_a_budget_is_met_on_pairs_spread_over_the_clips(name, percent, cain_sd, monkeypatch):
    """How it is met is the interpolator's, see its tests."""
    seen = []

    def meet(self, budget, pairs):
        seen.append((budget, [tuple(map(level, pair)) for pair in pairs]))

    level = lambda frame: round(float(frame[0, 0, 0]) * 255)  # noqa: E731
    monkeypatch.setattr(interpolating.Interpolator, "meet", meet)
    monkeypatch.setattr(interpolating.Network, "middle", lambda self, a, b: methods.Made(a, Cost(())))
    clips = [samples.Clip(str(first), known, Levels(first, 21)) for first, known in ((0, 21), (100, 21), (200, None))]
    (method,) = points.build("interpolate", [cain_sd], [name])
    assert method.label.point == f"budget {percent}%"
    measuring.evaluate(samples.Samples(protocols.named("clips"), clips), [method])
    # Eight pairs: three, three and two, over the whole of a clip if its length is known; at most 41 frames if not.
    pairs = [(0, 2), (6, 8), (12, 14), (100, 102), (106, 108), (112, 114), (200, 202)]
    assert seen == [(percent / 100, pairs)]  # the third clip turns out to be shorter than that


class Levels:
    """Flat frames whose level is their number, from some number on."""

    def __init__(self, first, number):
        self.first, self.number = first, number

    def __call__(self):
        return (np.full((16, 20, 3), min(self.first + t, 255), np.uint8) for t in range(self.number))


def test_the_same_rows_twice_are_identical(middle_rows, folder):
    rows, built = middle_rows
    assert run("clips", folder, built) == rows


def test_frames_are_those_of_the_network(middle_rows, cain_sd):
    """Each row against the interpolator and the network by themselves."""
    rows, _ = middle_rows
    first, truth, last = slide(3)
    given = [frame.astype(np.float32) / 255 for frame in (first, last)]
    _, truth2, last2 = slide(5)[2:]
    given2 = [given[1], last2.astype(np.float32) / 255]
    shape = (1, *cain_sd.model.grid(HEIGHT, WIDTH).shape)
    ways = {
        "finders": (Interpolator(cain_sd.model, cain_sd.variables), None),
        "exit 2 at 1/4": (
            Interpolator(cain_sd.model, cain_sd.variables),
            Route(np.full(shape, 2, np.int32), np.full(shape, 2, np.int32)),
        ),
    }
    for row in rows:
        if row.point in ways:
            interpolator, route = ways[row.point]
            made = [interpolator.middle(*pair, route) for pair in (given, given2)]
            expected = np.mean([metrics.psnr(m.frame, t) for m, t in zip(made, (truth, truth2), strict=True)])
            np.testing.assert_allclose(row.psnr, expected, atol=1e-4, err_msg=row.point)
            np.testing.assert_allclose(row.flops, np.mean([m.cost.flops for m in made]), err_msg=row.point)


def test_dense_is_the_static_network_where_there_is_one(folder):
    plain = drawn("cain_sd", **configuration.NARROW, motion="difference")
    (method,) = points.build("interpolate", [plain], ["dense"])
    static = models.build("cain", **{name: getattr(plain.model, name) for name in CAIN_FIELDS})
    alone = methods.Weights("cain", static, {"params": plain.variables["params"]["cain"]})
    (other,) = points.build("interpolate", [alone], ["dense"])
    assert (other.label.method, other.label.point) == ("CAIN", "dense")
    rows = run("clips", folder, [method, other])
    assert rows[0].psnr == rows[1].psnr
    assert rows[0].share == rows[1].share == 1
    assert rows[0].parameters == rows[1].parameters == plain.parameters("cain")
    # Parts are counted where they run.
    both, shipped = drawn("cain_sd", **configuration.NARROW), drawn("cain_sd", **configuration.TINY)
    full, half, found = points.build("interpolate", [both], ["exit1", "exit1/2", "finders"])
    (aligned,) = points.build("interpolate", [shipped], ["dense"])
    assert aligned.interpolator.execution == "dense"  # the whole frame is one patch, to the last exit
    assert aligned.label.parameters == shipped.parameters("cain")
    assert full.label.parameters == both.parameters("cain")
    assert half.label.parameters == both.parameters("cain", "carn_m")
    assert found.label.parameters == both.parameters()


CAIN_FIELDS = ("num_feat", "num_group", "num_block", "reduction")


# Upscaling


@pytest.fixture(scope="module")
def large_rows(folder, skipvsr):
    names = ["bicubic", "dense", "alpha0", "gates", "alpha0.6", "x4"]
    built = points.build("upscale", [skipvsr, drawn("carn_m")], names)
    return run("clips-x4", folder, built), built


def test_rows_of_upscaling(large_rows, skipvsr):
    rows, _ = large_rows
    assert [(row.method, row.point) for row in rows] == [
        ("bicubic", ""),
        *(("SkipVSR", point) for point in ("dense", "alpha 0", "alpha 0.78", "alpha 0.6")),
        ("CARN-M", "x4"),
    ]
    bicubic, dense, alpha0, gates, alpha6, x4 = rows
    for row in rows:
        assert (row.num_frame, row.size, list(row.ssim)) == (FRAMES, (WIDTH // 4, HEIGHT // 4), ["gaussian"])
        np.testing.assert_allclose(row.share, row.flops / dense.flops)
    assert bicubic.psnr > 25
    assert bicubic.parameters is None
    np.testing.assert_allclose(dense.psnr, alpha0.psnr, atol=1e-3)  # every block runs, by tiles
    assert dense.share == 1 <= alpha0.share
    assert gates.share <= alpha6.share <= alpha0.share
    tiles = 2 * FRAMES * int(np.prod(skipvsr.model.grid(HEIGHT // 4, WIDTH // 4).shape))
    assert alpha0.counts == {"tiles": tiles, **{f"block {m}": tiles for m in (1, 2, 3, 4)}}
    assert alpha6.counts["tiles"] == tiles
    assert dense.counts == x4.counts == {}
    assert x4.multiply_adds == 563_904 * HEIGHT * WIDTH // 16  # for each small pixel
    assert x4.parameters == 414_811
    gate = skipvsr.parameters("gate_forward", "gate_backward")
    assert [row.parameters - skipvsr.parameters() for row in (dense, alpha0)] == [-gate, 0]


def test_fixed_blocks_and_scales_by_name(skipvsr):
    """What runs them is tested with the upscaler and with CARN-M."""
    uniform, shallow, deep = points.build("upscale", [skipvsr], ["uniform", "shallow", "deep"])
    assert uniform.upscaler.blocks.sum() == 2
    assert shallow.upscaler.blocks.tolist() == [False, False, True, True]
    assert deep.upscaler.blocks.tolist() == [True, True, False, False]
    assert [method.label.point for method in (uniform, shallow, deep)] == ["uniform", "shallow", "deep"]
    (twice,) = points.build("upscale", [drawn("carn_m")], ["x2x2"])
    assert twice.label.point == "x2 twice"
    assert twice.cost(6, 8).multiply_adds == 395_712 * 6 * 8 * (1 + 4)  # at x2, and at x2 of four times the pixels
    assert twice.dense is None


def test_a_budget_is_met_on_the_first_frames_of_some_clips(skipvsr, monkeypatch):
    seen = []
    monkeypatch.setattr(upscaling.Upscaler, "meet", lambda self, budget, windows: seen.append((budget, windows)))
    monkeypatch.setattr(upscaling.Network, "window", Nearest().window)
    clips = [samples.Clip(str(level), None, Levels(level, 20)) for level in range(0, 100, 20)]
    (method,) = points.build("upscale", [skipvsr], ["budget80%"], 3)
    monkeypatch.setattr(Nearest, "check", False)
    measuring.evaluate(samples.Samples(protocols.named("clips-x4"), clips), [method])
    ((budget, windows),) = seen
    assert budget == 0.8
    assert [round(float(frames[0, 0, 0, 0]) * 255) for frames, _ in windows] == [0, 20, 60]
    for frames, starts in windows:
        assert frames.shape == (14, 4, 5, 3)
        assert starts.tolist() == [True] + [False] * 13


def test_large_frames_are_those_of_the_network(large_rows, skipvsr):
    rows, _ = large_rows
    truth = np.stack(slide(FRAMES))
    small = np.stack([np.asarray(samples_of(frame)) for frame in truth]).astype(np.float32) / 255
    upscaler = Upscaler(skipvsr.model, skipvsr.variables, threshold=0.6)
    made = upscaler.window(small, np.arange(FRAMES) == 0, (0, FRAMES))
    expected = [metrics.psnr(large.frame, frame, "y") for large, frame in zip(made, truth, strict=True)]
    row = next(row for row in rows if row.point == "alpha 0.6")
    np.testing.assert_allclose(row.psnr, np.mean(expected), atol=1e-4)
    np.testing.assert_allclose(row.flops, np.mean([large.cost.flops for large in made]))


def samples_of(frame):
    from jaxdyn.data import sequences

    return sequences.degrade(frame, "bi")


def test_the_same_large_rows_twice_are_identical(large_rows, folder):
    rows, built = large_rows
    assert run("clips-x4", folder, built) == rows


def test_several_weights_give_a_row_each(folder):
    one, other = (drawn("basicvsr", num_feat=4, num_block=1, num_hr=4, motion="dis") for _ in range(2))
    other = methods.Weights("other", other.model, other.variables)
    built = points.build("upscale", [one, other], ["bicubic", "dense"])
    assert [method.label.weights for method in built] == ["", "basicvsr", "other"]
    assert built[1].label.method == "BasicVSR"
    assert built[0].dense is built[1].dense


# What is held


class Watched:
    """Gives frames and knows how many of them are still held by anyone."""

    def __init__(self, number):
        self.number, self.alive, self.most = number, weakref.WeakSet(), 0

    def frames(self):
        for t in range(self.number):
            frame = np.full((16, 20, 3), t, np.uint8).view(Frame)
            self.alive.add(frame)
            self.most = max(self.most, len(self.alive))
            yield frame
            del frame


class Frame(np.ndarray):
    """An array that can be watched, and that counts the arrays made of it."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


@pytest.mark.parametrize(("name", "number"), [("clips", 9), ("clips", 31), ("clips-x4", 9), ("clips-x4", 31)])
def test_few_frames_are_held_whatever_the_length(name, number):
    watched = Watched(number)
    protocol = protocols.named(name)
    clip = samples.Clip("long", None, watched.frames)
    given = samples.Samples(protocol, [clip] * 2)
    if protocol.task == "interpolate":
        method, most = Plain(), 4  # two frames, the truth, and the one that the source has just decoded
    else:
        method, most = Nearest(), 3 + 2 * 1 + 1  # a window of 3 with 1 before and 1 after, and the newest
    measuring.evaluate(given, [method])
    assert 3 <= watched.most <= most


class Plain:
    """Gives the first frame."""

    label, dense = methods.Label("first"), None

    def tune(self, pairs):
        """There is nothing to choose."""

    def middle(self, frame0, frame1):
        return methods.Made(frame0, Cost(()))


class Nearest:
    """Repeats pixels, in windows of 3 with 1 on either side, and checks what it is given."""

    label, dense, overlap, check = methods.Label("nearest"), None, 1, True

    def __init__(self):
        self.next = 0

    def tune(self, windows):
        """There is nothing to choose."""

    def window_length(self, height, width):
        return 3

    def window(self, frames, starts, keep):
        if not self.check:
            return [methods.Made(frame.repeat(4, 0).repeat(4, 1), Cost(())) for frame in frames[slice(*keep)]]
        values = np.rint(frames[:, 0, 0, 0] * 255).astype(int)
        kept = values[slice(*keep)].tolist()
        if kept[0] == 0:
            self.next = 0
        assert kept == list(range(self.next, self.next + len(kept)))  # every frame once, in order
        assert values.tolist() == list(range(values[0], values[0] + len(values)))
        assert values[0] == max(0, kept[0] - 1)
        self.next += len(kept)
        return [methods.Made(frame.repeat(4, 0).repeat(4, 1), Cost(())) for frame in frames[slice(*keep)]]


def test_clips_without_a_frame_to_score_are_told(folder):
    protocol = protocols.named("clips")
    with pytest.raises(ValueError, match="there are no clips"):
        measuring.evaluate(samples.Samples(protocol, []), [Plain()])
    short = samples.Clip("short", 2, Watched(2).frames)
    with pytest.raises(UserError, match="hold no frame to score"):
        measuring.evaluate(samples.Samples(protocol, [short]), [Plain()])


# Rows by name


def test_rows_that_there_are_not_are_told(cain_sd, skipvsr):
    for task, weights, name, expected in (
        ("interpolate", cain_sd, "exit9", r"row \(='exit9'\) .*averaging, dense, exits, finders, exitD"),
        ("interpolate", cain_sd, "alpha0", "is not one that there is here"),
        ("upscale", skipvsr, "x4", r"bicubic, dense, gates, alphaA, budgetN%, uniform, shallow, deep"),
        ("upscale", skipvsr, "budget", "must be a share of the dense FLOPs"),
        ("interpolate", cain_sd, "budget0%", "must be a share of the dense FLOPs"),
        ("upscale", skipvsr, "alpha1.5", r"threshold 1\.5"),
        ("upscale", cain_sd, "dense", "a CainSD does not upscale; use weights of skipvsr"),
        ("interpolate", skipvsr, "dense", "a SkipVSR does not interpolate; use weights of cain_sd"),
    ):
        with pytest.raises(UserError, match=expected):
            points.build(task, [weights], [name])


def test_rows_by_default_and_shares_in_both_forms(cain_sd, skipvsr):
    assert [method.label.point for method in points.build("interpolate", [cain_sd])] == [
        "",
        "dense",
        "exit 0",
        "exit 1",
        "exit 2",
        "finders",
    ]
    assert [method.label.point for method in points.build("upscale", [skipvsr])] == [
        "",
        "dense",
        "alpha 0",
        "alpha 0.78",
    ]
    assert methods.budget_of("budget60%") == methods.budget_of("budget0.6") == 0.6
    assert methods.budget_of("dense") is None
    assert len(points.build("upscale", [skipvsr], ["gates", "alpha0.78"])) == 1  # the same point once


# Times and memory


def test_times_are_medians_of_calls_in_turn(monkeypatch):
    calls, now = [], iter(np.cumsum([0, *(x for spent in (1, 10, 3, 20, 2, 90) for x in (spent, 0))]).tolist())
    monkeypatch.setattr(timing, "peak_of", lambda call: 7)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(now))
    found = timing.interleaved([lambda: calls.append("a"), lambda: calls.append("b")], 3)
    assert calls == ["a", "b"] * 3
    assert found == [timing.Measured(2, 7), timing.Measured(20, 7)]
    with pytest.raises(ValueError, match=r"rounds \(=0\)"):
        timing.interleaved([], 0)


def test_a_peak_is_that_of_the_call(monkeypatch):
    small, large = (lambda size=size: np.ones(size, np.uint8).sum() for size in (2**20, 2**27))
    peaks = [timing.peak_of(call) for call in (small, large, small)]
    assert peaks[1] is not None
    assert all(peak is None or peak < peaks[1] - 2**26 for peak in (peaks[0], peaks[2]))
    monkeypatch.setattr(timing, "CLEAR", timing.Path("/nowhere/clear_refs"))
    assert timing.peak_of(small) is None  # nobody can tell: something before it took more


def test_timed_rows_have_the_dense_networks_time(folder, cain_sd, middle_rows):
    rows, built = middle_rows
    timed = run("clips", folder, [built[0], built[-1]], rounds=1)
    for row, known in zip(timed, (rows[0], rows[-1]), strict=True):
        assert row.psnr == known.psnr
        assert row.milliseconds["cpu"] > 0
        assert row.dense_milliseconds == timed[0].dense_milliseconds
        assert row.dense_milliseconds["cpu"] > 0
        assert row.peak_memory is None or row.peak_memory > 2**20


# Frames to look at on a page


def test_a_triplet_is_shown_as_its_networks_make_it(folder, cain_sd):
    [sample], legends = shown.of_benchmark(samples.open_samples(protocols.named("clips"), folder), [cain_sd])
    first, truth, last = slide(3)
    first, last = (frame.astype(np.float32) / 255 for frame in (first, last))
    assert list(sample.layers) == ["frame before", "averaged", "dense", "dynamic", "truth"]
    np.testing.assert_array_equal(sample.layers["frame before"], first)
    np.testing.assert_array_equal(sample.layers["truth"], truth)
    routed = Interpolator(cain_sd.model, cain_sd.variables)
    made = routed.middle(first, last)
    np.testing.assert_array_equal(sample.layers["dynamic"], made.frame)
    np.testing.assert_array_equal(sample.layers["dense"], routed.densely().middle(first, last).frame)
    assert sample.share == made.cost.share(routed.dense_cost(HEIGHT, WIDTH))
    assert set(sample.scores) == {"averaged", "dense", "dynamic"}
    averaged = np.square((first + last) / 2 - truth / 255).mean()
    assert sample.scores["averaged"] == pytest.approx(-10 * np.log10(averaged), abs=0.1)  # of 8-bit frames
    assert sample.cells
    assert legends


def test_the_middle_of_a_clip_is_shown_as_its_networks_make_it(folder, skipvsr):
    [sample], legends = shown.of_benchmark(samples.open_samples(protocols.named("clips-x4"), folder), [skipvsr])
    assert sample.name == "slide, frame 3"
    assert list(sample.layers) == ["input", "dense", "dynamic", "truth"]
    assert sample.layers["input"].shape == (HEIGHT // 4, WIDTH // 4, 3)
    for name in ("dense", "dynamic", "truth"):
        assert sample.layers[name].shape == (HEIGHT, WIDTH, 3), name
    assert set(sample.scores) == {"dense", "dynamic"}
    assert sample.cells
    assert legends


def test_nothing_is_shown_without_a_network_that_can(folder, skipvsr):
    assert shown.of_benchmark(samples.open_samples(protocols.named("clips"), folder), [skipvsr]) == ([], [])


# The command


@pytest.fixture(scope="module")
def files(tmp_path_factory, cain_sd, skipvsr):
    """Weights files of both kinds."""
    root = tmp_path_factory.mktemp("weights")
    for weights in (cain_sd, skipvsr):
        pretrained.save(root / f"{weights.name}.safetensors", weights.model, weights.variables, {})
    return root


def test_the_command_prints_a_table_with_its_protocol(folder, files, middle_rows, capsys):
    weights = str(files / "cain_sd.safetensors")
    options = ["--protocol", "clips", "--data", str(folder), "--weights", weights, "--rows", "averaging,finders"]
    assert main.main([*options, "--details"]) == 0
    text = capsys.readouterr().out
    rows, _ = middle_rows
    assert protocols.named("clips").sentence() in text
    assert text.count(f"{rows[0].psnr:.2f}") >= 2  # the mean, and the clip
    assert "slide" in text
    assert "CAIN-SD finders: patches at " in text


def test_the_command_writes_what_the_suffix_says(folder, files, tmp_path, capsys):
    target = tmp_path / "rows.json"
    options = ["--protocol", "clips-x4", "--data", str(folder), "--rows", "bicubic", "--frames", "2"]
    assert main.main([*options, "--weights", str(files / "skipvsr.safetensors"), "--out", str(target)]) == 0
    assert capsys.readouterr().out == ""
    (row,) = json.loads(target.read_text())
    assert (row["benchmark"], row["num_frame"]) == ("clips-x4", 2)
    assert "first 2 frames" in row["protocol"]


def test_a_variant_changes_fields_of_the_network(cain_sd, tmp_path):
    config = tmp_path / "mine.py"
    config.write_text(
        "from configs import cain_sd\n"
        "from ml_collections import ConfigDict\n"
        "def get_config(variant='a'):\n"
        "    model = dict(cain_sd.TINY, num_group=2, patch={'a': 64, 'b': 60, 'c': 64}[variant])\n"
        "    model['num_feat'] = 24 if variant == 'c' else 16\n"
        "    return ConfigDict({'name': 'cain_sd', 'model': model})\n"
    )
    pretrained.save(tmp_path / "w.safetensors", cain_sd.model, cain_sd.variables, {})
    given = [str(tmp_path / "w.safetensors")]
    assert main._weights(f"{config}", given, "interpolate")[0].model.patch == 64
    assert main._weights(f"{config}:b", given, "interpolate")[0].model.patch == 60
    with pytest.raises(UserError, match="its parameters are not those of"):
        main._weights(f"{config}:c", given, "interpolate")


@pytest.mark.parametrize("option", ["--frames", "--timing"])
def test_numbers_are_checked_first(option, capsys):
    with pytest.raises(SystemExit):
        main.main(["--protocol", "clips", "--data", "FOLDER", option, "0"])
    assert "'0' must be a whole number, at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--protocol", "clip"], "did you mean clips"),
        (["--protocol", "middlebury", "--frames", "3"], "has frames of its own"),
        (["--protocol", "middlebury"], r"frame10i11\.png is not in"),
        (["--protocol", "clips", "--weights", "none.safetensors"], "no such weights file"),
        (["--protocol", "clips", "--config", "configs/none.py"], "no such configuration"),
        (["--protocol", "clips", "--config", "configs/cain_sd.py:smal"], "small"),
        (["--protocol", "clips", "--config", "configs/skipvsr.py"], "does not interpolate"),
        (["--protocol", "clips", "--rows", "nothing"], "is not one that there is here"),
        (["--protocol", "clips", "--out", "/nowhere/rows.md"], "its folder is not there"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(options, expected, folder, capsys):
    assert main.main([*options, "--data", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert re.search(expected, said.err), said.err


# Real clips


@pytest.fixture
def without_ssim(monkeypatch):
    """SSIM takes long without the compiler's optimisations; it has its own tests."""

    def scores(image, other, channel, border, windows, is_rounded):
        psnr = float(metrics.psnr(image, other, channel, border, is_rounded))
        return metrics.Scores(psnr, dict.fromkeys(windows, 0.0))

    monkeypatch.setattr(sys.modules["eval.evaluate"], "metrics", SimpleNamespace(scores=scores))


def test_bicubic_on_vid4_parity(shared, without_ssim):
    """MATLAB's bicubic and luma: 20.315 and 23.489 dB. Rounding small frames to 8 bits costs 0.0004 and 0.002 dB."""
    given = samples.open_samples(protocols.named("vid4-y"), shared / "video" / "eval" / "vid4", is_partial=True)
    (row,) = measuring.evaluate(given, points.build("upscale", [], ["bicubic"]))
    assert (row.benchmark, row.num_frame) == ("vid4-y, incomplete", 40)
    np.testing.assert_allclose([row.clips["calendar"], row.clips["foliage"]], [20.315, 23.489], atol=0.001)


def test_averaging_on_middlebury_parity(shared, without_ssim):
    given = samples.open_samples(protocols.named("middlebury"), shared / "video" / "eval")
    (row,) = measuring.evaluate(given, [interpolating.Averaging()])
    assert (row.benchmark, row.num_frame) == ("middlebury", 12)
    np.testing.assert_allclose(row.psnr, 28.00, atol=0.005)
