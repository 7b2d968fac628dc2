"""The papers' tables from one command: what they count, measure and say, without data and with a little."""

import csv
import dataclasses
import io
import json

import cv2
import numpy as np
import pytest

from configs import cain_sd, skipvsr
from eval import protocols, published
from eval.methods import Weights
from eval.paper import counting, latency, scores, work
from eval.paper.__main__ import main, printed
from eval.paper.declared import SMALL, TABLES, Line, PaperTable
from eval.records import Row
from jaxdyn import flops, models, pretrained
from jaxdyn.errors import UserError

PAIRS = {
    "num_feat": 8,
    "num_block": 1,
    "reduction": 4,
    "patch": 32,
    "stride": 28,
    "router_edge": 16,
    "motion": "difference",
    "chunks": (1, 1, 1),
}
CLIPS = {"num_feat": 8, "num_block": 4, "num_hr": 8, "motion": "dis", "tile": 16, "stride": 14, "parallel": 2}
TINY = {"cain_sd": (PAIRS, (72, 60)), "skipvsr": (CLIPS, (32, 24))}
"""Fields of networks that are counted in no time, and a size, by configuration."""


def arguments(name: str) -> list[str]:
    """A command that counts at the tiny size."""
    fields, (width, height) = TINY[TABLES[name].config]
    return [name, "--size", f"{width}x{height}", "--fields", *(f"{key}={value}" for key, value in fields.items())]


# Declarations


@pytest.mark.parametrize("name", TABLES)
def test_lines_are_of_networks_that_there_are_and_stand_beside_published_rows(name):
    table = TABLES[name]
    module = {"cain_sd": cain_sd, "skipvsr": skipvsr}[table.config]
    for line in table.lines:
        if line.variant:
            config = module.get_config(line.variant)
            models.build(config.name, **{**config.model.to_dict(), **line.fields})
    beside = {(row.method, row.point) for row in printed(table)}
    ours = {(line.method, line.point) for line in table.lines if line.runs not in ("cheapest", "dearest")}
    assert not beside or ours <= beside
    assert all(protocols.named(benchmark) for benchmark in table.benchmarks)


def test_every_published_table_is_of_one_command():
    shown = [row for table in TABLES.values() for row in printed(table)]
    assert {row.source for row in shown} == set(published.load().tables)
    assert {row.source for row in printed(TABLES["skipvsr-fig4"])} == {"SkipVSR, Table 1", "SkipVSR, Table 2"}
    assert len(printed(TABLES["skipvsr-fig4"])) == 1 + 1 + 6  # EDVR-M, BasicVSR, six thresholds


# Commands


@pytest.mark.parametrize("name", TABLES)
def test_every_command_runs_without_data(name, capsys, monkeypatch):
    table = TABLES[name]
    if name in ("cain_sd-4", "cain_sd-inputs"):  # a network for each line, which takes a second to count
        table = dataclasses.replace(table, lines=(table.lines[0], table.lines[-1]))
        monkeypatch.setitem(TABLES, name, table)
    assert main(arguments(name)) == 0
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line in table.lines:
        assert (
            any(line.point in part and "counted" in part for part in lines)
            or line.method == "bicubic"
            or ("Source: counted" in text)
        )
    for row in printed(table):
        assert any(
            row.method in part and row.point in part and f"published: {row.source}" in part for part in lines
        ) or (f"Source: published: {row.source}" in text)
    assert all(f"{protocols.named(benchmark).dataset} --manual_dir" in text for benchmark in table.benchmarks)
    assert f"No weights: {next(line.variant for line in table.lines if line.variant)}" in text


def test_forms(capsys, tmp_path):
    name = "skipvsr-6"
    assert main([*arguments(name), "--format", "json", "--out", str(tmp_path / "rows.json")]) == 0
    out, errors = capsys.readouterr()
    assert out == ""
    assert "Not measured: reds4" in errors
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["source"] for row in rows] == ["measured", "SkipVSR, Table 6"] * 3
    assert main([*arguments(name), "--format", "csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["multiply_adds"] for line in lines[1::2]] == ["338500000000.0"] * 3
    assert main([*arguments(name), "--format", "latex"]) == 0
    text = capsys.readouterr().out
    assert r"\toprule" in text
    assert "\n% Not measured: reds4" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors: no such weights file"),
        (["--weights", "cain_sd"], "--weights cain_sd: no line of this table is measured with it; name the variant"),
        (["--weights", "published-bd=skipvsr"], "of published, published-skip-uniform."),
        (["--protocol", "vid5"], "protocol (='vid5') is not known; did you mean"),
        (["--fields", "num_feats=8"], "--fields: SkipVSR.__init__() got an unexpected keyword argument 'num_feats'"),
        (["--fields", "interval=0"], "--fields: interval (=0) must be at least 1"),
        (["--out", "nowhere/table.md"], "nowhere/table.md: its folder is not there"),
    ],
)
def test_wrong_input_is_one_line(options, message, capsys, monkeypatch):
    lines = (Line("SkipVSR", "alpha 0", "published"), Line("SkipVSR", "uniform skip", "published-skip-uniform"))
    monkeypatch.setitem(TABLES, "skipvsr-3", dataclasses.replace(TABLES["skipvsr-3"], lines=lines))
    assert main(["skipvsr-3", *options]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert message in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "1280"], "'1280' must be WIDTHxHEIGHT in pixels"),
        (["--timing", "0"], "'0' must be a whole number, at least 1"),
        (["--frames", "few"], "'few' must be a whole number"),
        (["--format", "html"], "invalid choice: 'html'"),
    ],
)
def test_wrong_options_are_refused(options, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["cain_sd-1", *options])
    assert message in capsys.readouterr().err


# Costs


def lines_of(name: str, *points: str) -> PaperTable:
    """A table with some of its lines."""
    table = TABLES[name]
    return dataclasses.replace(table, lines=tuple(line for line in table.lines if line.point in points))


def test_dense_networks_cost_what_the_papers_print():
    (wide, _) = counting.counted(lines_of("cain_sd-1", "dense"))
    (high,) = counting.counted(lines_of("cain_sd-2", "dense"))
    assert (wide.size, high.size) == ((2048, 1080), (1280, 720))
    assert wide.flops == pytest.approx(3.133e12, rel=0.01)
    assert high.flops == pytest.approx(1.305e12, rel=0.01)
    assert wide.multiply_adds == pytest.approx(wide.flops / 2, rel=0.002)
    assert wide.parameters == 42_780_432
    basic, flows = counting.counted(dataclasses.replace(lines_of("skipvsr-2", "dense"), benchmarks=("reds4",)))
    assert basic.multiply_adds == pytest.approx(338.5e9, rel=0.003)
    assert basic.parameters == pytest.approx(4.9e6, rel=0.02)
    assert (flows.method, flows.point) == ("SpyNet", "both flows")
    assert flows.multiply_adds == pytest.approx(39.3e9, rel=0.003)
    assert flows.parameters == 1_440_300


def test_thresholds_cost_what_their_share_of_the_blocks_does():
    table = dataclasses.replace(TABLES["skipvsr-2"], benchmarks=("reds4",))
    rows = [row for row in counting.counted(table) if row.method == "SkipVSR"]
    printed_rows = [row for row in printed(table) if row.method == "SkipVSR"]
    assert [row.point for row in rows] == [row.point for row in printed_rows]
    for row, other in zip(rows, printed_rows, strict=True):
        assert row.multiply_adds == pytest.approx(other.multiply_adds, rel=0.003)
        assert row.share == pytest.approx(other.share, abs=0.003)
    parts = [work.blocks_of(row.multiply_adds) for row in printed_rows[1:]]
    np.testing.assert_allclose(parts, [0.95, 0.843, 0.71, 0.525, 0.245], atol=0.001)
    assert work.blocks_of(1e9) == 0
    halves = work.counted(models.build("skipvsr", **CLIPS), SMALL, 0.5).cost
    whole, none = (work.counted(models.build("skipvsr", **CLIPS), SMALL, part).cost for part in (1.0, 0.0))
    assert halves.flops == pytest.approx((whole.flops + none.flops) / 2)
    with pytest.raises(ValueError, match=r"part .=1.5. of the blocks must be between 0 and 1"):
        work.counted(models.build("skipvsr", **CLIPS), SMALL, 1.5)


def test_a_route_comes_near_to_a_share():
    model, size = models.build("cain_sd", **PAIRS), TINY["cain_sd"][1]
    cheapest, dearest = work.cain_sd(model, size, 0.0), work.cain_sd(model, size, float("inf"))
    table = flops.patch_costs(model, *size[::-1])[:, 1:]
    assert (table[cheapest.route.scale, cheapest.route.depth - 1] == table.min()).all()
    assert (table[dearest.route.scale, dearest.route.depth - 1] == table.max()).all()
    low, high = (one.cost.share(one.dense) for one in (cheapest, dearest))
    previous = low
    for part in (0.1, 0.4, 0.7, 0.9):
        wanted = low + part * (high - low)
        found = work.cain_sd(model, size, wanted)
        share = found.cost.share(found.dense)
        assert previous <= share <= high
        assert abs(share - wanted) < 0.1 * (high - low)
        previous = share
    with pytest.raises(ValueError, match="must be at least 0"):
        work.cain_sd(model, size, -0.1)


def test_finders_that_are_fixed_choose_nothing():
    at_scale_1 = work.cain_sd(models.build("cain_sd", **PAIRS, fixed_scale=0), TINY["cain_sd"][1], 0.6)
    to_the_end = work.cain_sd(models.build("cain_sd", **PAIRS, fixed_depth=5), TINY["cain_sd"][1], 0.6)
    assert set(at_scale_1.route.scale.ravel()) == {0}
    assert set(to_the_end.route.depth.ravel()) == {5}


def test_policies_and_parts_run_as_many_blocks_as_they_say():
    model, (width, height) = models.build("skipvsr", **CLIPS, tiling="patches"), TINY["skipvsr"][1]
    half = work.policy(model, (width, height), 3, "deep")
    assert half.route.blocks[:, :, :, :2].all()
    assert not half.route.blocks[:, :, :, 2:].any()
    some = work.skipvsr(model, (width, height), 3, 0.3)
    assert some.route.blocks.mean() == pytest.approx(0.3, abs=0.02)
    assert len(np.unique(some.route.blocks.sum(axis=3))) > 1  # tiles differ
    assert not work.skipvsr(model, (width, height), 3, 0.0).route.blocks.any()
    assert some.cost.flops < half.cost.flops < work.skipvsr(model, (width, height), 3, 1.0).cost.flops


# Times


@pytest.mark.parametrize(("name", "points"), [("cain_sd-2", ("dense", "finders")), ("skipvsr-4", ("uniform skip",))])
def test_times_are_of_one_run_with_the_dense_network(name, points):
    table = lines_of(name, *points)
    table = dataclasses.replace(table, lines=(table.lines[0], *table.lines[3:]))  # of CAIN-S, -D and -SD the last
    fields, size = TINY[table.config]
    rows = counting.timed(table, 2, 2, size, fields)
    assert len(rows) == len(table.lines)
    for row in rows:
        assert row.milliseconds["cpu"] > 0
        assert row.dense_milliseconds == rows[0].dense_milliseconds
    if name.startswith("cain"):
        assert rows[0].milliseconds == rows[0].dense_milliseconds  # CAIN is the dense network itself
    assert counting.timed(table, 2, 2, size, fields, {(row.benchmark, row.method, row.point) for row in rows}) == []


def test_times_are_of_works_that_belong_together():
    model, size = models.build("skipvsr", **CLIPS), TINY["skipvsr"][1]
    with pytest.raises(ValueError, match=r"works have the sizes \[\(16, 16\), \(32, 24\)\]"):
        latency.measure([work.dense_basicvsr(model, at) for at in (size, (16, 16))], 1)
    with pytest.raises(ValueError, match="a Route of 3 frames does not fit a clip of 5"):
        latency.measure([work.skipvsr(model, size, 3, 0.5)], 1, 5)


# Scores


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two clips by the names of Vid4, of two frames."""
    root = tmp_path_factory.mktemp("archive")
    random = np.random.RandomState(0)
    for clip in ("calendar", "walk"):
        (root / clip).mkdir()
        for t in range(2):
            picture = cv2.resize(random.rand(6, 8, 3), (64, 48), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(root / clip / f"{t:04}.png"), np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """A tiny SkipVSR, not trained."""
    config = skipvsr.get_config("tiny")
    model = models.build(config.name, **config.model)
    random = np.random.RandomState(0)
    shapes = pretrained.parameter_shapes(model)
    params = {k: _drawn(v, random) for k, v in shapes.items()}
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    pretrained.save(path, model, {"params": params}, {})
    return path


def _drawn(tree, random):
    return {k: _drawn(v, random) if hasattr(v, "items") else 0.05 * random.randn(*v.shape) for k, v in tree.items()}


def test_lines_are_measured_on_what_is_there(archive, weights_file, capsys):
    options = ["--data", str(archive), "--partial", "--protocol", "vid4-y,reds4", "--weights", str(weights_file)]
    assert main([*arguments("skipvsr-1"), *options, "--format", "json"]) == 0
    out, errors = capsys.readouterr()
    rows = {
        (row["method"], row["benchmark"]): row for row in json.loads(out) if row["psnr"] and row["source"] == "measured"
    }
    assert set(rows) == {("bicubic", "vid4-y, incomplete"), ("SkipVSR", "vid4-y, incomplete")}
    row = rows["SkipVSR", "vid4-y, incomplete"]
    assert (row["point"], row["weights"], row["num_frame"]) == ("alpha 0", "tiny.safetensors", 4)
    assert row["counts"]["block 1"] == row["counts"]["tiles"]
    assert "2 of 4 clips" in row["protocol"]
    assert "Not measured: reds4: " in errors
    assert "vid4-y" not in errors.replace("vid4-y-bd", "")
    assert "No weights: published for BasicVSR (dense). The docstring of configs/skipvsr.py" in errors


def test_how_often_each_block_ran_is_shown(archive, weights_file, capsys, monkeypatch):
    monkeypatch.setitem(
        TABLES, "skipvsr-fig5", dataclasses.replace(TABLES["skipvsr-fig5"], lines=TABLES["skipvsr-2"].lines[1:2])
    )
    options = ["--data", str(archive), "--partial", "--protocol", "vid4-y", "--weights", str(weights_file)]
    assert main([*arguments("skipvsr-fig5"), *options]) == 0
    text = capsys.readouterr().out
    assert "| Block | vid4-y, incomplete, tiny.safetensors, alpha 0 |\n| --- | ---: |\n| block 1 | 100.0 |" in text
    assert "| block 4 | 100.0 |" in text
    assert "SkipVSR, Section 4.2: Figure 5a prints no numbers" in text


def given(network: str, variant: str = "", **fields) -> scores.Given:
    return scores.Given(Weights("some", models.build(network, **fields), {"params": {}}), variant)


def test_weights_measure_the_lines_that_they_are_of():
    def fitting(name, one, benchmark):
        protocol = protocols.named(benchmark)
        return [f"{line.method} {line.point}" for line in TABLES[name].lines if one.fits(line, protocol)]

    assert fitting("cain_sd-2", given("cain"), "reds120-val") == ["CAIN dense"]
    assert fitting("cain_sd-2", given("cain_sd"), "reds120-val") == ["CAIN-SD finders"]
    assert fitting("cain_sd-2", given("cain_sd", fixed_depth=5), "reds120-val") == ["CAIN-S finders"]
    assert fitting("cain_sd-2", given("cain_sd", fixed_scale=0), "reds120-val") == ["CAIN-D finders"]
    assert len(fitting("cain_sd-4", given("cain_sd"), "xiph-2k")) == 4  # patches change when the network is used
    assert fitting("cain_sd-3", given("cain_sd"), "xiph-2k") == ["CAIN-SD lambda_s 5e-9, lambda_d 5e-11"]
    named = given("cain_sd", "published-lambda-5e9-5e12")
    assert fitting("cain_sd-3", named, "xiph-2k") == ["CAIN-SD lambda_s 5e-9, lambda_d 5e-12"]
    assert fitting("skipvsr-1", given("basicvsr"), "reds4") == ["BasicVSR dense"]
    assert fitting("skipvsr-1", given("skipvsr"), "reds4") == ["SkipVSR alpha 0"]
    assert fitting("skipvsr-1", given("skipvsr"), "udm10-y") == []  # blurred frames want a network of their own
    assert fitting("skipvsr-1", given("skipvsr", "published-bd"), "udm10-y") == ["SkipVSR alpha 0"]
    assert fitting("skipvsr-1", given("basicvsr", "published-bd"), "udm10-y") == ["BasicVSR dense"]
    assert fitting("skipvsr-1", given("cain_sd", "published"), "reds4") == []


def test_patches_change_when_a_network_is_used():
    weights = Weights("some", models.build("cain_sd", **PAIRS), {"params": {}})
    models_used = []

    def build(task, weights, rows, length):
        models_used.extend((one.model.patch, row) for one in weights for row in rows)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores.points, "build", build)
        list(scores._plan(TABLES["cain_sd-4"], protocols.named("xiph-2k"), [scores.Given(weights)]))
    assert models_used == [(2**14, "finders"), (512, "finders"), (256, "finders"), (128, "finders")]


def test_a_row_that_no_variant_trains_is_told():
    with pytest.raises(UserError, match=r"of published, published-bd\.$"):
        scores.read(["small=skipvsr"], TABLES["skipvsr-2"], ("reds4", "udm10-y"))


def test_a_record_is_what_was_counted():
    (row,) = counting.counted(lines_of("cain_sd-2", "dense"), (72, 60), PAIRS)
    assert row == Row(
        "reds120-val",
        "CAIN",
        "dense",
        size=(72, 60),
        flops=row.flops,
        multiply_adds=row.multiply_adds,
        share=1.0,
        parameters=row.parameters,
    )
