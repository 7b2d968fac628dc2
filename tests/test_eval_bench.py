"""The benchmark's own parts: Routes that cost what they should, rows and tables of what was timed, ratios with goals.

Speed itself is never tested.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from configs import cain_sd, skipvsr
from eval.benches import (
    against_torch,
    device,
    everything,
    interpolate,
    routes,
    rows,
    stages,
    startup,
    train,
    upscale,
    whole,
)
from jaxdyn import cli, flops, models, pretrained
from tests.clips import Average, pan, write_clip

ROOT = Path(__file__).resolve().parents[1]
TINY = {"num_feat": 8, "num_group": 1, "num_block": 1, "reduction": 4, "motion": "difference", "chunks": (1, 1, 1)}
TINY |= {"fixed_scale": 0}  # Routes of depth need no CARN-M
TINY_VSR = {"num_feat": 4, "num_block": 2, "num_hr": 4, "motion": "dis", "tile": 8, "parallel": 1}
QUESTION = {
    "fields": {},
    "inputs": "",
    "weights": "",
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
    "modes": [],
}
has_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


@pytest.mark.parametrize("is_mixed", [True, False])
@pytest.mark.parametrize("share", [0.75, 0.5, 0.3])
def test_a_route_costs_the_share_asked_for(is_mixed, share):
    model = models.build("cain_sd", motion="dis")
    route = routes.route_at_share(model, 720, 1280, share, is_mixed)
    dense = flops.dense_cain(model, 720, 1280)
    assert flops.route_cost(model, route, 720, 1280).share(dense) == pytest.approx(share, abs=0.05)
    assert is_mixed == (np.unique(route.scale).size > 1)


def test_rows_follow_from_their_times():
    found = interpolate.measure(48, 40, [0.9], ["depth"], rounds=1, **TINY)
    dense, packed = found
    assert packed.speedup == pytest.approx(dense.seconds / packed.seconds)
    assert packed.efficiency == pytest.approx(packed.speedup * packed.share)
    assert len(rows.table(found).splitlines()) == 4


@pytest.mark.parametrize("share", [0.78, 0.63, 0.43])
@pytest.mark.parametrize("tiling", ["frame", "patches"])
def test_a_route_of_blocks_costs_the_share_asked_for(tiling, share):
    model = models.build("skipvsr", motion="dis", tiling=tiling)
    route = routes.blocks_at_share(model, 2, 180, 320, share)
    assert route.blocks.shape == (1, 2, 2, 30, *model.grid(180, 320).shape)
    cost = flops.block_route_cost(model, route, 180, 320)
    dense = flops.dense_basicvsr(model, 180, 320)
    assert cost.flops / (2 * dense.flops) == pytest.approx(share, abs=0.05)


def test_rows_of_upscaling_follow_from_their_times():
    found = upscale.measure(16, 12, 2, [0.9], ["frame"], 1, has_masked=True, precision="bfloat16", **TINY_VSR)
    dense, packed, masked = found
    assert (dense.share, dense.speedup, dense.efficiency) == (1, 1, None)
    assert packed.speedup == pytest.approx(dense.seconds / packed.seconds)
    assert packed.efficiency == pytest.approx(packed.speedup * packed.share)
    assert packed.share == pytest.approx(packed.gflops / dense.gflops)
    assert packed.gflops_per_second == pytest.approx(packed.gflops / packed.seconds)
    assert masked.share > packed.share
    assert len(rows.table(found).splitlines()) == 5


def test_precision_is_that_of_the_parameters():
    cast = rows.cast({"params": {"kernel": np.ones((2, 2), np.float32)}}, "bfloat16")
    assert cast["params"]["kernel"].dtype == jnp.bfloat16
    with pytest.raises(ValueError, match=r"precision \(='half'\) must be one of float32, bfloat16"):
        rows.cast({}, "half")


def test_a_table_has_the_columns_that_were_measured():
    row = rows.Row("dense", 0.00123, 5, 1, 1, None, 6, 7)
    titles = "| execution | s a frame | GFLOPs | share of dense | times as fast | e | GFLOP/s | compile s |"
    assert rows.table([row]).splitlines() == [
        titles,
        "|---|---|---|---|---|---|---|---|",
        "| dense | 0.001230 | 5 | 100.0% | 1.00 |  | 6 | 7.0 |",
    ]
    more = rows.Row("dense", 1.5, 5, 1, 1, None, 6, 7, of_peak=0.5, peak_bytes=2 * 10**9)
    assert rows.table([more]).splitlines()[0] == f"{titles} of peak | memory GB |"
    assert rows.table([more]).splitlines()[2].endswith("| 50% | 2.00 |")
    assert rows.record(more)["milliseconds"] == 1500


def test_calls_in_turn_say_themselves_how_long_they_took():
    log = []

    def call(name, times):
        return lambda: log.append(name) or times.pop(0)

    found = rows.in_turn({"a": call("a", [3, 1, 2]), "b": call("b", [5, 5, 9])}, 3)
    assert found == {"a": 2, "b": 5}
    assert log == ["a", "b"] * 3


def test_the_rate_of_a_matrix_product_is_the_best_one(monkeypatch):
    monkeypatch.setattr(device, "SIDES", (8, 16, 32))
    spent = iter([1e-3, 4e-3, 1e-3, 1e-3, 1e-3] + [2e-3] * 5 + [0.5] * 5)
    now = [0.0]

    def clock():  # called before and after every product
        clock.number += 1
        if clock.number % 2 == 0:
            now[0] += next(spent)
        return now[0]

    clock.number = 0
    assert device.matmul_rate(clock=clock) == pytest.approx(2 * 16**3 / 2e-3)
    assert next(spent, None) is None  # the last side was the first that took long enough


def test_the_peak_of_a_call_is_what_it_holds():
    small, large = (device.peak_of(lambda number=number: np.ones(number).sum()) for number in (10, 2 * 10**7))
    assert large - small > 1e8


def test_loops_written_out_give_the_same_and_leave_none():
    def both(x, rows):
        total, passed = lax.scan(lambda a, row: (a * 0.5 + row["x"], a), x, {"x": rows}, reverse=True)
        return total, passed, lax.map(jnp.sin, rows), lax.scan(lambda a, _: (a + 1, None), x, None, length=2)[0]

    arguments = jnp.ones(2), jnp.arange(6.0).reshape(3, 2)
    expected, loops = both(*arguments), str(jax.make_jaxpr(both)(*arguments))
    with train.written_out():
        found, written = both(*arguments), str(jax.make_jaxpr(lambda *a: both(*a))(*arguments))
    jax.tree.map(np.testing.assert_allclose, found, expected)
    assert "scan[" in loops
    assert "scan[" not in written


def test_rows_of_a_step_are_compared_with_the_faster_form_without_loops(monkeypatch):
    monkeypatch.setattr(train, "time_interleaved", lambda calls, rounds: ([3.0, 4.0, 2.0], [5.0, 9.0, 7.0]))
    monkeypatch.setattr(train.feeds, "initial", lambda model, seed: {"w": jnp.zeros(1)})
    found = train.measure(8, 8, 2, 1, rounds=1, num_feat=4, num_block=1, num_hr=4)
    assert [row.ratio for row in found] == [1.5, 2, 1]
    assert [row.compile_seconds for row in found] == [2, 5, 5]
    assert len(train.table(found).splitlines()) == 5


def test_without_pytorch_there_is_a_reason(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(against_torch.UnavailableError, match="PyTorch is not installed"):
        against_torch.measure("interpolate", 16, 16)


@has_torch
@pytest.mark.parametrize(
    ("job", "fields"),
    [
        ("interpolate", TINY),
        ("upscale", {"num_feat": 4, "num_block": 2, "tile": 8, "parallel": 1}),
    ],
)
def test_both_sides_compute_the_same(job, fields):
    given = {"rounds": 1, "modes": ["eager"], "pause": 0, "time_": 2}
    theirs, dense, packed = against_torch.measure(job, 75, 66, **given, **fields)
    assert theirs.name.startswith("PyTorch, eager")
    assert theirs.ratio == 1
    assert dense.difference < 1e-4
    assert dense.ratio == pytest.approx(theirs.seconds / dense.seconds)
    assert packed.name == "jaxdyn, packed at 50%"
    assert packed.gflops_per_second * packed.seconds == pytest.approx(
        packed.share * dense.gflops_per_second * dense.seconds
    )
    assert len(against_torch.table([theirs, dense, packed]).splitlines()) == 5


@has_torch
def test_what_the_other_process_cannot_do_is_told():
    with against_torch.child() as ask:
        assert ask({"network": "pwcnet"})["error"].startswith("TypeError: ")
        assert "must be one of cain, basicvsr, spynet" in ask(QUESTION | {"network": "pwcnet"})["error"]


def test_what_did_not_run_stands_below_the_table():
    ran = against_torch.TorchRow("PyTorch, eager 2.9", 1.0, 1.0, 50.0, 1.0, 0.5)
    failed = against_torch.TorchRow("PyTorch, compiled", None, reason="no compiler")
    assert against_torch.table([ran, failed]).splitlines()[-1] == "PyTorch, compiled did not run: no compiler"


def test_starts_are_medians_and_the_first_run_stands_apart(tmp_path, monkeypatch):
    runs = iter(
        [startup.StartRow("", 20.0, 9.0, 12.0), *(startup.StartRow("", 5 + n, 2 + n, 3 + n) for n in (0, 2, 1))]
    )
    monkeypatch.setattr(startup, "_run", lambda job, source, folder: next(runs))
    monkeypatch.setattr(startup.subprocess, "run", lambda *_, **__: None)
    found = startup.measure(["interpolate"], rounds=3, clip="in.mp4")
    assert [row.name for row in found] == [
        "jaxdyn --version",
        "jaxdyn --help",
        "interpolate, first run",
        "interpolate, later runs",
    ]
    assert found[2].computing == 9
    assert (found[3].computing, found[3].frame, found[3].answered) == (3, 4, 6)
    assert "| interpolate, later runs | 3.00 | 4.00 | 6.00 |" in startup.table(found)


def test_a_start_notes_when_it_computes_and_when_there_is_a_frame(tmp_path, monkeypatch):
    class Model(Average):
        def _run(self):
            return None

        def middle(self, frame0, frame1):
            self._run()
            return super().middle(frame0, frame1)

    monkeypatch.setattr(cli, "load_interpolator", lambda arguments: Model())
    source = write_clip(tmp_path / "in.mp4", pan(3))
    marks = tmp_path / "marks.json"
    assert startup.main("interpolate", str(source), str(tmp_path / "out.mp4"), str(marks)) == 0
    noted = json.loads(marks.read_text())
    assert noted["computing"] <= noted["frame"]
    assert isinstance(cli.load_interpolator(None), Model)  # as it was


def test_a_whole_job_is_compared_with_the_calls_that_it_made(tmp_path, monkeypatch):
    models_made = []

    def make(network, variables):
        models_made.append(Average())
        return models_made[0]

    monkeypatch.setattr("jaxdyn.interpolator.Interpolator", make)
    monkeypatch.setattr("jaxdyn.pretrained.load", lambda name: (None, None))
    found = whole.measure("interpolate", rounds=2, clip=str(write_clip(tmp_path / "in.mp4", pan(4))))
    assert found.num_call == 3
    assert models_made[0].calls == 3 * (1 + 2 + 2)  # noted, two jobs, twice alone
    assert found.ratio == pytest.approx(found.job_seconds / found.compute_seconds)
    assert whole.table([found]).splitlines()[2].startswith("| interpolate |")


@pytest.mark.parametrize(
    ("job", "tiny", "inside"),
    [
        ("interpolate", cain_sd, {"motion on the host", "finders", "patches, merging"}),
        ("upscale", skipvsr, {"motion on the host", "warping, gates, upsampling", "residual blocks"}),
    ],
)
def test_stages_of_a_job(job, tiny, inside, tmp_path):
    model = models.build(tiny.__name__.rpartition(".")[2], **tiny.TINY)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), pretrained.parameter_shapes(model))
    pretrained.save(tmp_path / "weights", model, {"params": zeros}, {})
    clip = write_clip(tmp_path / "in.mp4", pan(4))
    found = stages.measure(job, 1, str(clip), str(tmp_path / "weights"))
    names = [row.name.removeprefix(f"{job}: ") for row in found]
    assert names[0] == "reading"
    assert inside < set(names)
    assert names[-2:] == ["whole job", "first run, more"]
    assert found[-2].share == 1
    assert all(row.seconds >= 0 for row in found)
    assert len(stages.table(found).splitlines()) == 2 + len(found)


def test_every_ratio_has_its_goal_and_what_is_missing_its_reason():
    def run(arguments, platform):
        assert "--rounds=2" in arguments
        if platform == "gpu":
            return None, "no GPU"
        if arguments[0] == "torch":
            return None, "no PyTorch"
        if arguments[0] == "startup":
            return [{"name": "jaxdyn --version", "answered": 0.05}, {"name": "later runs", "computing": 4.0}], None
        if arguments[0] == "whole":
            return [{"name": arguments[1], "ratio": 1.05}], None
        names = ["dense CAIN", "packed, depth Route at 75%", "packed, depth Route at 30%"]
        return [{"name": n, "efficiency": e} for n, e in zip(names, (None, 0.96, 0.9), strict=True)], None

    kept = []
    found = everything.measure(
        list(everything.PARTS), ["--rounds=2"], run, lambda found: kept.append(json.dumps(found))
    )
    assert len(kept) == len(everything.PARTS)
    assert json.loads(kept[-1]) == found
    assert list(found["parts"]) == list(everything.PARTS)
    by_part = {name: [r for r in found["ratios"] if r["part"] == name] for name in found["parts"]}
    assert all(by_part.values())
    assert [(r["value"], r["is_reached"]) for r in by_part["interpolate-720p"]] == [(0.96, True), (0.9, False)]
    assert [(r["goal"], r["value"], r["reason"]) for r in by_part["torch-upscale"]] == [
        (1.0, None, "no PyTorch"),
        (1.8, None, "no PyTorch"),
    ]
    assert [r["is_reached"] for r in by_part["startup"]] == [True, False]
    assert by_part["whole-upscale"][0]["is_reached"] is True
    assert {r["reason"] for name in by_part if name.startswith("gpu") for r in by_part[name]} == {"no GPU"}
    printed = everything.table(found["ratios"])
    assert "| interpolate-720p | packed, depth Route at 30%: e | 0.90 | at least 0.95 | no |" in printed
    assert "| not measured: no PyTorch | at least 1 |  |" in printed


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match=r"parts \(=nothing\) must be of interpolate-720p, "):
        everything.measure(["startup", "nothing"])


COMMAND = ["upscale", "--size=16x12", "--frames=1", "--shares=0.9", "--tilings=frame", "--num_feat=4", "--num_block=1"]
COMMAND += ["--tile=8", "--parallel=2", "--rounds=1", "--nopeak"]


def command(*more):
    """What `python -m eval.bench` prints."""
    arguments = [sys.executable, "-m", "eval.bench", *COMMAND, *more]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_prints_a_table_and_writes_its_rows(tmp_path):
    path = tmp_path / "rows.json"
    printed = command("--nomemory", "--json", str(path))
    dense, packed = json.loads(path.read_text())
    assert (dense["name"], packed["name"]) == ("dense BasicVSR", "packed, frame at 90%")
    assert packed["milliseconds"] == pytest.approx(1e3 * packed["seconds"])
    assert "| execution | s a frame |" in printed
    assert "1 frame of 16x12, 2 tiles together, cpu: " in printed


def test_a_child_runs_one_plan_and_says_what_it_took(monkeypatch):
    assert json.loads(command("--only=0"))["peak_bytes"] > 1e8

    def run(arguments, **_):
        is_first = arguments[-1] == "--only=0"
        return subprocess.CompletedProcess(arguments, 0 if is_first else 1, 'noise\n{"peak_bytes": 5}\n')

    monkeypatch.setattr(device.subprocess, "run", run)
    assert device.peaks_in_children(["upscale"], 2) == [5, None]
