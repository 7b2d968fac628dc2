"""Pages: what stands on them, that names are text, that a file is whole or not there; jobs and evaluations."""

import base64
import dataclasses
import hashlib
import html.parser
import itertools
import re
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import report as evaluation
from eval.records import Row
from jaxdyn import cli, maps, pipeline, report
from jaxdyn.errors import UserError
from jaxdyn.report import charts, job, keeping, page, pictures
from jaxdyn.types import Cost, Stage
from tests.clips import Average, Nearest, pan, texture, write_clip
from tests.test_cli import refused
from tests.test_pipeline import Failing

NASTY = '<script>alert(\'x\')</script>" onload="alert(1)" & Ж.mp4'
CELLS = (maps.Cell(0, 40, 0, 30, (0.8, 0.4, 0.0), 0.5, "1:5"), maps.Cell(0, 40, 30, 60, (0.3, 0.7, 0.9), 0.2, "1/2:1"))
VOID = {"meta", "link", "input", "img", "br"}


class Reader(html.parser.HTMLParser):
    """Elements of a page as (name, attributes), and its text; refuses elements that are closed in another order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert len({name for name, _ in attributes}) == len(attributes)
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if self.open[-1:] not in (["script"], ["style"]) else ""

    def all(self, tag, **wanted):
        return [a for name, a in self.elements if name == tag and wanted.items() <= a.items()]


def shot(number, name="frame", layers=("input", "dynamic", "truth"), **more):
    images = {layer: pictures.data_uri(texture(40, 60, number + index)) for index, layer in enumerate(layers)}
    place = (float(number), 20.0 + number % 3)
    return report.Shot(f"{name} {number}", (60, 40), images, CELLS, (("cost", f"{number} GFLOPs"),), place, **more)


def viewer(count=4, **options):
    places = list(range(count))
    curve = report.Plot("costs", [report.Series("cost", places, [20.0 + n % 3 for n in places])], "time, s", "share, %")
    legends = report.scale_legends(5)
    return report.Viewer("Frames", [shot(n) for n in places], **{"plot": curve, "legends": legends, **options})


def everything(name="a name"):
    """One section of each kind, with a name in every place that takes text."""
    series = report.Series(name, [0, 1, 2], [1, 3, 2], [0, 2, 1], [2, 4, 3], has_marks=True)
    bare = dataclasses.replace(shot(0, name), layers={name: shot(0).layers["input"]}, facts=((name, name),))
    cell = dataclasses.replace(CELLS[0], label=name)
    return [
        report.Tiles([(name, name)]),
        report.Row([report.Facts(name, [(name, name)]), report.Table(name, [name, name], [[name, name]], name)]),
        report.Plot(name, [series, series], name, name, note=name),
        report.Bars(name, [name, "b"], [(name, [1, 2]), ("other", [0, 3])], name, name, note=name),
        report.Viewer(
            name, [bare], name="one", note=name, legend_note=name, legends=[report.Legend(name, (0, 0, 0), [1])]
        ),
        report.Viewer(name, [dataclasses.replace(bare, cells=[cell])], name="two", left=name, right=name),
        report.Notes(name, [name]),
    ]


# The page


def test_a_page_stands_by_itself_and_says_what_it_shows():
    text = page.render("A title", [*everything(), viewer()], "a subtitle")
    found = Reader(text)
    assert text.startswith("<!doctype html>")
    assert found.all("html", lang="en")
    assert found.all("meta", name="viewport")
    for _, attributes in found.elements:
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            assert attributes.get(name, "data:").startswith("data:")
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert all(image["alt"] for image in found.all("img"))
    assert all(drawing["aria-label"] for tag in ("div", "svg") for drawing in found.all(tag, role="img"))
    assert found.all("input", type="range")[0]["aria-label"]
    for word in ("A title", "a subtitle", "a name", "Frames", "costs", "share, %", "scale 1/4", "frame 2", "2 GFLOPs"):
        assert word in found.text
    assert "[hidden]" in text
    assert "prefers-color-scheme: dark" in text
    assert ":focus-visible" in text


def test_only_its_own_script_may_run():
    text = page.render("A title", everything(NASTY))
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = Reader(text).all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:; ")


def test_names_are_text_everywhere():
    plain, nasty = (Reader(page.render(name, everything(name), name)) for name in ("a name", NASTY))
    assert [tag for tag, _ in plain.elements] == [tag for tag, _ in nasty.elements]
    assert [set(attributes) for _, attributes in plain.elements] == [
        set(attributes) for _, attributes in nasty.elements
    ]
    assert len(nasty.all("script")) == 1
    assert nasty.text.count(NASTY) == plain.text.count("a name")


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    report.write(path, "one", [])
    before = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o644

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(page.os, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            report.write(path, "two", [])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    report.write(path, "a name that is no UTF-8: \udcff", [])
    assert "a name that is no UTF-8: ?" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("page", r"--report .*page: is no name of a page; let it end with \.html\."),
        ("page.mp4", r"let it end with \.html\."),
        ("nowhere/page.html", r"its folder .*nowhere does not exist; make it first\."),
        ("folder.html", r"folder\.html: is something else already; give the page another name\."),
        ("in.html", r"in\.html: is something else already"),
        ("old.html", r"old\.html: exists; add --overwrite to replace it, or choose another name\."),
    ],
)
def test_a_page_that_cannot_be_is_refused(tmp_path, name, message):
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "old.html").write_text("precious")
    with pytest.raises(UserError, match=message) as caught:
        report.check_path(tmp_path / name, others=[tmp_path / "in.html"])
    assert "\n" not in str(caught.value)
    report.check_path(tmp_path / "old.html", overwrite=True)
    report.check_path(tmp_path / "new.HTM")
    report.check_path(None)


# Parts


def test_pictures_are_bounded_and_true(random):
    noise = random.randint(0, 256, (1500, 2600, 3), np.uint8)
    decoded = decode(uri := pictures.data_uri(noise))
    assert len(base64.b64decode(uri.partition(",")[2])) <= pictures.BYTES
    assert decoded.shape[1] <= pictures.SIDE
    assert decoded.shape[1] / decoded.shape[0] == pytest.approx(2600 / 1500, rel=0.01)
    plain = np.full((20, 30, 3), (0.9, 0.5, 0.1), np.float32)
    assert decode(pictures.data_uri(plain)).shape == (20, 30, 3)
    np.testing.assert_allclose(decode(pictures.data_uri(plain))[10, 10] / 255, (0.9, 0.5, 0.1), atol=0.02)
    np.testing.assert_allclose(pictures.enlarged(plain, 45, 31), np.broadcast_to((230, 128, 26), (45, 31, 3)), atol=1)
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 4)), np.zeros((0, 4, 3))):
        with pytest.raises(ValueError, match=r"must be \[H, W, 3\]; got shape"):
            pictures.data_uri(wrong)


def decode(uri):
    """RGB of a picture in a page."""
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@given(st.lists(st.floats(0, 100), max_size=300), st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_a_choice_is_even_bounded_and_has_the_dearest(costs, num):
    choice, made = keeping.Choice(num), []
    for index, cost in enumerate(costs):
        choice.add(cost, lambda index=index: made.append(index) or index)
        assert len(choice._held) <= 2 * num
    chosen = choice.chosen()
    assert choice.count == len(costs)
    assert chosen == sorted(set(chosen))
    assert len(chosen) >= min(num, len(costs))
    assert len(chosen) <= num + 1
    if costs:
        assert chosen[0] == 0 or num == 1
        dearest = int(np.argmax(costs))
        assert dearest in chosen
        steps = np.diff([index for index in chosen if index != dearest] or [0])
        if num > 1 and len(costs) > 4 * num:
            assert steps.max(initial=0) <= 2.1 * len(costs) / (num - 1)


def test_few_of_a_long_stream_are_made():
    choice, made = keeping.Choice(8), []
    for index in range(100_000):
        choice.add(-index, lambda index=index: made.append(index) or index)
    assert len(made) < 8 * 20
    assert len(choice.chosen()) == 8
    with pytest.raises(ValueError, match="`num`"):
        keeping.Choice(0)


@given(st.lists(st.floats(-10, 10), max_size=200), st.sampled_from([2, 4, 10]))
@settings(deadline=None, max_examples=60)
def test_a_trace_keeps_sums_and_extremes(values, size):
    trace = keeping.Trace(size)
    for index, value in enumerate(values):
        trace.add(index, value)
    assert len(trace.bins) <= size
    assert sum(one.count for one in trace.bins) == len(values)
    begin = 0
    for one in trace.bins:
        part = values[begin : begin + one.count]
        begin += one.count
        assert (one.low, one.high) == (min(part), max(part))
        assert one.mean == pytest.approx(np.mean(part), abs=1e-9)
        assert one.x == pytest.approx(begin - (one.count + 1) / 2)
        assert one.count == trace.width or one is trace.bins[-1]


def test_a_traces_size_is_even():
    with pytest.raises(ValueError, match="even number"):
        keeping.Trace(3)


@given(st.floats(-1e4, 1e4), st.floats(1e-2, 1e6))
@settings(deadline=None, max_examples=60)
def test_ticks_are_round_and_few(low, extent):
    found = charts.ticks(low, low + extent)
    step = charts.tick_step(low, low + extent)
    assert 1 <= len(found) <= 6
    assert low - 1e-6 * step <= found[0]
    assert found[-1] <= low + extent + 1e-6 * step
    assert float(f"{step:e}".partition("e")[0]) in (1, 2, 5)
    np.testing.assert_allclose(np.diff(found), step, rtol=1e-6)


def test_a_plot_places_points_between_its_ticks():
    plot = report.Plot("p", [report.Series("s", [2, 4], [10, 30])], "x", "y", has_zero=True)
    assert plot.bounds == ((2, 4), (0, 30))
    assert plot.place(3, 15) == "left:50.00%;bottom:50.00%"
    assert "y by x. s: 10 to 30, mean 20." in plot.html()
    points = re.search(r'<polyline points="([^"]*)"', plot.html())[1]
    assert points == "0.0,666.7 1000.0,0.0"
    alone = report.Plot("p", [report.Series("s", [2], [7.0])], "x", "y")
    assert alone.bounds[1][0] < 7 < alone.bounds[1][1]
    assert charts.figure(1234.4) == "1,234"
    assert charts.figure(0.25) == "0.25"


def test_bars_have_the_heights_of_their_values():
    found = Reader(report.Bars("b", ["0", "1"], [("a", [10, 40]), ("b", [30, 0])], "x", "y", is_stacked=True).html())
    heights = [a["style"] for a in found.all("i") if a.get("style", "").startswith("height")]
    assert heights == ["height:25.00%;", "height:75.00%;", "height:100.00%;", "height:0.00%;"]
    assert "a: 0 10, 1 40; b: 0 30, 1 0." in found.all("div", role="img")[0]["aria-label"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: report.Table("t", ["a", "b"], [["1"]]), "1 cells, the table 2 columns"),
        (lambda: report.Series("s", [1, 2], [1]), "'s' has 2 places and 1 values"),
        (lambda: report.Plot("p", [report.Series("s", [], [])], "x", "y"), "'p' has no point"),
        (lambda: report.Bars("b", ["1"], [("a", [1, 2])], "x", "y"), "'a' has 2 values for 1 groups"),
        (lambda: report.Bars("b", [], [], "x", "y"), "'b' have nothing to draw"),
        (lambda: report.Viewer("v", []), "'v' has no frame"),
        (lambda: report.Viewer("v", [report.Shot("s", (1, 1), {})]), "'s' of viewer 'v' has no picture"),
    ],
)
def test_sections_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Jobs


@pytest.fixture
def source(tmp_path):
    return write_clip(tmp_path / "in & <b>.mkv", pan(30, 64, 96), options={"qp": "0"})


def read(path):
    return Reader(path.read_text(encoding="utf-8"))


def values_of(found, text):
    """What stands beside a name in the page's lists."""
    return re.findall(rf"{re.escape(text)}\s*([^\n]*)", found)


def test_the_page_of_an_interpolation(tmp_path, source):
    path = tmp_path / "page.html"
    asked = {"factor": 4, "settings": "weights, packed", "end": Fraction(4, 5), "budget": 0.6, "report": path}
    done = pipeline.interpolate_video(source, tmp_path / "out.mkv", Average(has_route=True), **asked)
    found, counts = read(path), done.counts
    assert (counts.frames_in, counts.made) == (20, 57)
    assert found.all("title")
    assert "in & <b>.mkv → out.mkv" in found.text
    for words in ("25.0%of the dense network's FLOPs", "77frames out, of 20 in", "57made by the network"):
        assert words in found.text
    for words in (
        "frames in20",
        "made57",
        "evaluations of the network57",
        "modelweights, packed",
        "end, s0.8",
        "budget0.6",
        "meeting the budget",
    ):
        assert words in found.text
    assert "Where the patches went" in found.text
    assert "exit" in found.text
    shots = found.all("div", **{"class": "shot"})
    assert 8 <= len(shots) <= 9
    assert {image["alt"].partition(": ")[2] for image in found.all("img")} == {
        "frame before",
        "dynamic",
        "frame after",
        "dense",
    }
    assert len(found.all("svg", **{"class": "map"})) == len(shots)
    assert found.text.count("dynamic against dense") == len(shots)
    assert "8 of 57 made frames, evenly chosen" in found.text
    assert path.stat().st_size < 9e6
    # Average's dense form is itself: the loss is none, the pictures are equal.
    assert found.text.count("inf dB") == len(shots)
    sources = {image["alt"]: image["src"] for image in found.all("img")}
    assert all(uri == sources[alt.replace("dynamic", "dense")] for alt, uri in sources.items() if "dynamic" in alt)


def test_pictures_are_those_of_their_frame(tmp_path):
    frames = pan(3, 64, 96, step=6)
    source = write_clip(tmp_path / "in.mkv", frames, codec="ffv1", pixel_format="bgr0", options={})
    path = tmp_path / "page.html"
    pipeline.interpolate_video(source, tmp_path / "out.mkv", Average(has_route=True), codec="ffv1", report=path)
    expected = [np.mean(pair, axis=0) for pair in itertools.pairwise(np.float32(frames))]
    for number, wanted in zip((1, 3), expected, strict=True):
        for layer in ("dynamic", "dense"):
            image = decode(next(a["src"] for a in read(path).all("img", alt=f"frame {number}: {layer}")))
            assert np.abs(image - wanted).mean() < 3


def test_a_static_network_has_neither_maps_nor_a_second_dense_picture(tmp_path, source):
    path = tmp_path / "page.html"
    pipeline.interpolate_video(source, tmp_path / "out.mkv", Average(), report=path, fps=Fraction(30))
    found = read(path)
    assert {image["alt"].partition(": ")[2] for image in found.all("img")} == {"frame before", "dense", "frame after"}
    assert not found.all("svg", **{"class": "map"})
    assert not found.all("input", type="checkbox")
    assert "Where the patches went" not in found.text


def test_the_page_of_an_upscaling(tmp_path):
    source, path = write_clip(tmp_path / "in.mkv", pan(20, 48, 94)), tmp_path / "page.html"  # of two patches
    pipeline.upscale_video(source, tmp_path / "out.mkv", Nearest(has_blocks=True), report=path, end=Fraction(1, 2))
    found = read(path)
    for words in ("30.0%of the dense", "94x48 → 376x192", "Dense pictures are left out: the static network would need"):
        assert words in found.text
    assert "blocks that ran25.0%" in found.text
    assert "Which blocks ran" in found.text
    assert {image["alt"].partition(": ")[2] for image in found.all("img")} == {"input, bicubic", "dynamic"}
    assert found.all("svg", **{"class": "map"})[0]["viewbox"] == "0 0 376 192"


def test_nothing_to_look_at(tmp_path):
    source = write_clip(tmp_path / "in.mkv", [texture(64, 96)] * 3)
    path = tmp_path / "page.html"
    pipeline.interpolate_video(source, tmp_path / "out.mkv", Average(has_route=True), report=path)
    found = read(path)
    assert "this run made no frame by the network" in found.text
    assert "copied2" in found.text
    assert not found.all("img")


def test_a_resumed_run_says_what_its_page_lacks(tmp_path, source, monkeypatch):
    monkeypatch.setattr("jaxdyn.jobs.SEGMENT_FRAMES", (8, 8))
    target, path = tmp_path / "out.mkv", tmp_path / "page.html"
    with pytest.raises(KeyboardInterrupt):
        pipeline.interpolate_video(source, target, Failing(KeyboardInterrupt(), 20), resume=True, report=path)
    assert not path.exists()
    done = pipeline.interpolate_video(source, target, Average(), resume=True, report=path)
    found = read(path)
    assert done.frames_resumed == 40
    assert "40 output frames came from an earlier run: the counts include them" in found.text
    assert "frames in30" in found.text
    assert "evaluations of the network29" in found.text
    assert "of 9 made frames" in found.text


def test_a_page_that_cannot_be_written_leaves_the_video(tmp_path, source, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page, "write", fail)
    target = tmp_path / "out.mkv"
    with pytest.raises(
        UserError, match=r"--report .*page\.html: could not be written \(No space left .*out\.mkv is whole"
    ):
        pipeline.interpolate_video(source, target, Average(), report=tmp_path / "page.html")
    assert target.stat().st_size > 0


def test_what_is_kept_does_not_grow_with_the_clip():
    gathered = job.InterpolationPage("page.html", {})
    gathered.dense_flops = 100.0
    shown = job.Pictures({"dynamic": texture(20, 30)})
    made = []
    for number in range(5000):
        cost = Cost((Stage("network", 20.0 + number % 7, 0.0),))
        frame = job.Frame(number, Fraction(number, 25), cost)
        gathered.evaluated([cost], 0.5)
        gathered.made(frame, lambda: made.append(1) or shown)
    assert len(made) < 120
    assert len(gathered.trace.bins) <= 600
    assert len(gathered.choice.chosen()) <= job.NUM_SHOT + 1
    assert gathered.seconds == (0.5, 0.5 * 4999)
    assert gathered.stages["network"] == [sum(20.0 + n % 7 for n in range(5000)), 5000]


def test_the_command_line_writes_a_page_and_refuses_before_any_work(tmp_path, source, monkeypatch, capsys):
    models = []
    monkeypatch.setattr(cli, "load_interpolator", lambda _: models.append(Average()) or models[-1])
    (tmp_path / "old.html").write_text("precious")
    for name, message in (("old.html", "exists; add --overwrite"), ("no/p.html", "does not exist; make it first")):
        command = ("interpolate", source, tmp_path / "out.mkv", "--report", tmp_path / name)
        assert message in refused(capsys, *command)
    assert models == []
    assert not (tmp_path / "out.mkv").exists()
    assert cli.main([*map(str, command[:3]), "--report", str(tmp_path / "old.html"), "--overwrite"]) == 0
    assert "modelcain_sd, packed" in read(tmp_path / "old.html").text


# Evaluations


def rows():
    common = {"benchmark": "xiph <2k>", "size": (2048, 1080)}
    ours = {"method": "CAIN-SD", "weights": "small", **common}
    return [
        Row(**ours, point="exit 1", psnr=33.5, flops=1.2e12, share=0.38, ssim={"gaussian": 0.9}),
        Row(**ours, point="finders", psnr=34.25, flops=1.6e12, share=0.51, milliseconds={"cpu": 950.0}),
        Row(method="CAIN", psnr=34.5, flops=3.133e12, source="CAIN-SD, Table 1", **common),
        Row(benchmark="vid4-y", method="bicubic", psnr=23.78),
    ]


def test_the_page_of_rows_and_samples(tmp_path):
    small, large = texture(20, 30), texture(80, 120)
    samples = [
        evaluation.Sample(f"clip {n}", {"input": small, "dynamic": large}, CELLS, 0.2 + n / 10, {"dynamic": 30.0 + n})
        for n in range(3)
    ]
    evaluation.write(tmp_path / "page.html", rows(), samples, "Scores", legends=report.block_legends())
    found = read(tmp_path / "page.html")
    heads = [head for head in ("PSNR, dB", "SSIM, gaussian", "GFLOPs", "cpu, ms", "source") if head in found.text]
    assert len(heads) == 5
    assert "memory, MiB" not in found.text
    assert "CAIN-SD, finders34.251,600.051.0950.0measured" in found.text
    assert "CAIN34.503,133.0CAIN-SD, Table 1" in found.text
    assert "xiph <2k>: accuracy against compute" in found.text
    assert "vid4-y: accuracy" not in found.text
    assert len(found.all("img")) == 6
    assert "dynamic, PSNR31.00 dB" in found.text
    assert len(found.all("input", type="radio")) == 3
    assert {decode(image["src"]).shape for image in found.all("img")} == {(80, 120, 3)}
    evaluation.write(tmp_path / "page.html", rows(), [evaluation.Sample("one", {"truth": large})])
    assert len(read(tmp_path / "page.html").all("img")) == 1


def test_what_was_made_dynamically_stands_right_at_first():
    picture = texture(8, 8)
    layers = dict.fromkeys(("frame before", "averaged", "dense", "dynamic", "truth"), picture)
    assert evaluation.viewer([evaluation.Sample("one", layers)]).sides == {"left": "frame before", "right": "dynamic"}
    assert evaluation.viewer([evaluation.Sample("one", {"input": picture, "truth": picture})]).sides["right"] == "truth"
