"""The host's loop with a loss without a network: nothing is lost, whatever happens, and people are told."""

import errno
import functools
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from configs import skipvsr as configuration
from jaxdyn import models
from jaxdyn.data import clips
from tests import toy_run
from train import board, checkpoints, drawn, dry_run, feeds, guard, loop, pictures, signals, stages, step, watch

START, STAGE = toy_run.START, toy_run.STAGE
TOY_ROW = {"kind": "exits", "trains": (("w", 1.0),), "num_step": 2, "learning_rate": 0.1, "batch": 4}


@pytest.fixture(autouse=True)
def toy_loss(monkeypatch):
    monkeypatch.setitem(step.LOSSES, "exits", toy_run.loss)


def run(workdir, feed=toy_run.batch, start=START, stage=STAGE, **settings):
    return loop.run(None, stage, start, feed, workdir, **{"save_every": 2, "is_shown": False} | settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The state at the end of a run that nothing disturbs, and its folder."""
    before, step.LOSSES["exits"] = step.LOSSES["exits"], toy_run.loss
    folder = tmp_path_factory.mktemp("whole")
    state = run(folder, log_every=1)
    step.LOSSES["exits"] = before
    return state, folder


def equal(state, other):
    jax.tree.map(np.testing.assert_array_equal, state, other)


def broken_at(last):
    """A feed that is interrupted."""

    def feed(number):
        if number == last:
            raise RuntimeError("broken")
        return toy_run.batch(number)

    return feed


def lines(folder):
    return [json.loads(line) for line in (folder / "toy.jsonl").read_text().splitlines()]


# Nothing is lost


def test_a_resumed_run_ends_as_an_uninterrupted_one(whole, tmp_path):
    with pytest.raises(RuntimeError, match="broken"):
        run(tmp_path, broken_at(5), log_every=1)
    resumed = run(tmp_path, log_every=1)
    assert int(resumed.step) == STAGE.num_step
    equal(whole[0], resumed)
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, STAGE.num_step + 1))
    assert [line["loss"] for line in lines(tmp_path)] == [line["loss"] for line in lines(whole[1])]


def test_a_run_that_is_killed_ends_as_an_uninterrupted_one(whole, tmp_path):
    def start(number, at):
        command = [sys.executable, "-m", "tests.toy_run", str(tmp_path), str(int(number)), str(at)]
        return subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120)

    assert start(signal.SIGKILL, 7).returncode == -signal.SIGKILL
    stopped = start(signal.SIGTERM, 9)
    assert stopped.returncode == 143, stopped.stderr
    assert "SIGTERM came" in stopped.stdout
    assert len(list((tmp_path / "toy").iterdir())) > 0
    equal(whole[0], run(tmp_path))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_and_saves(whole, tmp_path, number, code):
    def hook(model, params, batch):
        del model, params, batch
        os.kill(os.getpid(), number)
        return {}

    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(signals.StoppedError, match=r"toy: SIG\w+ came, the last checkpoint is .*toy/6;") as error:
        run(tmp_path, hooks=[hook], picture_every=5, save_every=100)  # known from the step after on
    assert error.value.code == code
    assert handlers == [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    equal(whole[0], run(tmp_path))


@pytest.mark.parametrize("harm", ["half", "bit", "note", "gone"])
def test_a_torn_checkpoint_is_passed_over(whole, tmp_path, harm, caplog):
    folder = tmp_path / "W"
    shutil.copytree(whole[1], folder)
    torn = folder / "toy" / str(STAGE.num_step)
    note = torn / "note" / "metadata"
    if harm == "half":
        for path in [path for path in torn.rglob("*") if path.is_file()]:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif harm == "bit":  # as if the arrays had changed
        record = json.loads(note.read_text())
        note.write_text(json.dumps({**record, "crc32": record["crc32"] ^ 4}))
    elif harm == "note":
        note.write_text("{")
    else:
        shutil.rmtree(torn / "state")
    with caplog.at_level(logging.WARNING, "train"):
        equal(whole[0], run(folder))
    assert f"checkpoint {torn} is torn" in caplog.text
    assert len(list((folder / "toy.torn").iterdir())) == 1
    assert torn.is_dir()  # written anew


def test_a_checkpoint_that_was_being_written_does_not_count(whole, tmp_path):
    folder = tmp_path / "W"
    shutil.copytree(whole[1], folder)
    (folder / "toy" / str(STAGE.num_step)).rename(folder / "toy" / f"{STAGE.num_step}.orbax-checkpoint-tmp")
    equal(whole[0], run(folder))
    assert checkpoints.Store(folder / "toy", is_read_only=True).steps() == [10, 12]


def test_the_checksum_finds_what_the_reader_does_not(whole):
    state = jax.device_get(whole[0])
    found = checkpoints.checksum(state)
    assert found == checkpoints.checksum(jax.tree.map(jnp.asarray, state))
    changed = jax.tree.map(lambda leaf: leaf + (leaf.shape == ()), state)
    assert found != checkpoints.checksum(changed)


def test_a_full_disk_is_told_in_one_line_and_the_last_checkpoint_is_whole(whole, tmp_path, monkeypatch):
    save = ocp.CheckpointManager.save

    def full(self, number, *arguments, **options):
        if number > 4:
            raise ValueError(f"RESOURCE_EXHAUSTED: {tmp_path}: No space left on device [os_error_code='28']")
        return save(self, number, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full)
        with pytest.raises(checkpoints.DiskFullError, match="the last whole checkpoint is of step 4") as error:
            run(tmp_path)
    assert error.value.errno == errno.ENOSPC
    assert "\n" not in str(error.value)
    equal(whole[0], run(tmp_path))


def test_errors_behind_errors_say_that_the_disk_is_full():
    error = RuntimeError("cannot write")
    error.__cause__ = OSError(errno.ENOSPC, "full")
    assert checkpoints.is_disk_full(error)
    assert not checkpoints.is_disk_full(OSError(errno.EACCES, "denied"))


def test_the_last_and_the_best_checkpoints_are_kept(tmp_path):
    def feed(number):  # the loss is lowest at steps 3 and 4
        return {"x": np.full((4, 3), 0.0 if number in (2, 3) else 1.0, np.float32)}

    stage = stages.Stage("toy", "exits", (("w", 1.0),), num_step=10, learning_rate=1e-9, batch=4)
    start = {"w": np.full(3, 2.0, np.float32)}
    run(tmp_path, feed, start, stage, keep_last=2, keep_best=1)
    assert checkpoints.Store(tmp_path / "toy", is_read_only=True).steps() == [4, 8, 10]
    with pytest.raises(ValueError, match=r"keep last \(=0\)"):
        run(tmp_path, keep_last=0)


def test_a_checkpoint_of_another_run_is_refused(whole, tmp_path):
    with pytest.raises(ValueError, match=r"w has shape \(3,\), the configuration wants \(3, 2\)"):
        run(whole[1], start={"w": jnp.zeros((3, 2))})
    with pytest.raises(ValueError, match="seed is 0, the configuration wants 1"):
        run(whole[1], seed=1)
    shutil.copytree(whole[1] / "toy", tmp_path / "other")
    other = stages.Stage("other", "exits", (("w", 1.0),), num_step=12, learning_rate=0.1, batch=4)
    with pytest.raises(ValueError, match="stage is 'toy', the configuration wants 'other'"):
        run(tmp_path, stage=other)
    mean, number = loop.finished(STAGE, START, whole[1])
    assert number == 12
    np.testing.assert_array_equal(mean["w"], whole[0].mean["w"])
    with pytest.raises(ValueError, match="no checkpoint of stage toy"):
        loop.finished(STAGE, START, tmp_path)


# What is not finite


def spoilt(*bad):
    def feed(number):
        return {"x": np.full((4, 3), np.nan) if number in bad else toy_run.batch(number)["x"]}

    return feed


def test_what_is_not_finite_stops_with_step_stage_and_name(tmp_path):
    with pytest.raises(
        FloatingPointError, match=r"toy: not finite in step 4: loss, gradient; .* batch x, loss, gradient of w;"
    ):
        run(tmp_path, spoilt(3), log_every=5)
    assert checkpoints.Store(tmp_path / "toy", is_read_only=True).steps() == [2]
    with pytest.raises(ValueError, match=r"on_nonfinite \(='go'\)"):
        run(tmp_path, on_nonfinite="go")


def test_a_gradient_that_is_not_finite_is_named(monkeypatch):
    def loss(model, stage, params, batch, key, variant):
        return params["a"].sum() + jnp.sqrt(params["b"]["c"]).sum(), {}

    monkeypatch.setitem(step.LOSSES, "exits", loss)
    params = {"a": jnp.ones(2), "b": {"c": jnp.zeros(2)}}
    found = guard.blame(None, STAGE, params, {}, jax.random.key(0), step.Variant())
    assert found == "gradient of b/c"


def test_a_step_is_skipped_exactly(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "train"):
        told = []
        state = run(tmp_path, spoilt(3, 4), on_nonfinite="skip", max_skipped=2, tell=told.append)
    assert "toy: not finite in step 5: loss, gradient; the step is skipped, 2 of at most 2" in caplog.text
    assert int(state.step) == STAGE.num_step
    assert told[0].skipped == 2
    expected, one = step.start(STAGE, START), jax.jit(step.make_step(None, STAGE), static_argnums=3)
    for number in (0, 1, 2, *range(5, STAGE.num_step)):
        expected, _ = one(expected, toy_run.batch(number), jax.random.key(0), step.Variant())
    np.testing.assert_allclose(state.params["w"], expected.params["w"], rtol=1e-6)
    leaves = jax.tree_util.tree_leaves_with_path(state.moments)
    counts = [int(leaf) for path, leaf in leaves if "count" in jax.tree_util.keystr(path)]
    assert set(counts) == {STAGE.num_step - 2}


def test_only_so_many_steps_are_skipped(tmp_path):
    with pytest.raises(FloatingPointError, match=r"step 7: loss, gradient \(2 steps were skipped before\)"):
        run(tmp_path, spoilt(3, 4, 6), on_nonfinite="skip", max_skipped=2)


# What people look at


def test_a_saturated_gate_warns_once(caplog):
    stage = stages.Stage("gates", "gates", (("", 1.0),), num_step=9, learning_rate=1.0, batch=1)
    watched = watch.Saturation(stage, 3)
    shares = [0.5, 1.0, 1.0, 0.9, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    with caplog.at_level(logging.WARNING, "train"):
        for done, share in enumerate(shares, 1):
            watched.look(done, {"executed": share, "share/depth0": 0.0, "loss": 1.0})
        assert len(caplog.records) == 1
        assert "gates: executed is 0 in each of the last 3 lines of the log, up to step 7" in caplog.text
        for done in range(3):
            watched.look(done, {"share/scale2": 1.0})
        assert len(caplog.records) == 2
        dense = watch.Saturation(stages.Stage("gates", "gates", (("", 1.0),), 9, 1.0, 1, dense=1.0), 1)
        dense.look(1, {"executed": 1.0})
        assert len(caplog.records) == 2


def test_choices_are_shares():
    mask = jnp.eye(3)[jnp.array([[[0, 0], [2, 0]]])]
    found = step.shares({"depth": mask, "scale": mask[..., :1]})
    assert {name: float(value) for name, value in found.items()} == {
        "share/depth0": 0.75,
        "share/depth1": 0.0,
        "share/depth2": 0.25,
    }


def test_logs_and_pictures(tmp_path, capsys):
    seen, told = [], []

    def hook(model, params, batch):
        seen.append(sorted(batch))
        return {"picture": np.zeros((4, 6, 3), np.uint8), "numbers": params["w"]}

    run(tmp_path, hooks=[hook], picture_every=6, log_every=4, tell=told.append, is_shown=True)
    assert seen == [["x"], ["x"]]
    assert [line["step"] for line in lines(tmp_path)] == [4, 8, 12]
    assert all(0 <= line["data_wait"] <= 1 and line["rate"] > 0 for line in lines(tmp_path))
    (events,) = (tmp_path / "tensorboard" / "toy").iterdir()
    content = events.read_bytes()
    assert all(tag in content for tag in (b"data_wait", b"picture", b"numbers", b"IHDR"))
    (summary,) = told
    assert (summary.stage, summary.steps, summary.skipped) == ("toy", 12, 0)
    assert summary.best == min(line["loss"] for line in lines(tmp_path))
    assert summary.checkpoint == tmp_path / "toy" / "12"
    watch.show(told)
    assert "checkpoint" in capsys.readouterr().out


def test_what_cannot_be_shown_is_named(tmp_path):
    log = board.Board(tmp_path, 1)
    with pytest.raises(ValueError, match=r"map has shape \(2, 2\)"):
        log.add(1, {"map": np.zeros((2, 2))})
    log.close()


def test_a_log_is_cut(tmp_path):
    path = tmp_path / "toy.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    watch.cut(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


# Networks, data and costs


def test_own_networks_and_data_train(tmp_path):
    config = stages.filled({"name": "skipvsr", "stages": {"toy": TOY_ROW}})
    own = {"model": "a network", "params": START, "is_shown": False}
    _, params = loop.train(config, tmp_path / "mapping", feeds={"toy": toy_run.batch}, **own)
    _, again = loop.train(config, tmp_path / "function", feeds=lambda stage, params: toy_run.batch, **own)
    equal(params, again)


def test_without_data_drawn_clips_are_trained_on(tmp_path, monkeypatch):
    given = []

    def feed_of(model, stage, params, config, workdir, data):
        given.append(data)
        return toy_run.batch

    monkeypatch.setattr(feeds, "feed_of", feed_of)
    monkeypatch.setattr(drawn, "clips", functools.partial(drawn.clips, num_clip=2, num_frame=2, size=(36, 64)))
    config = stages.filled({"name": "skipvsr", "stages": {"toy": TOY_ROW}})
    loop.train(config, tmp_path, is_shown=False, model="a network", params=START)
    assert given == [tmp_path / "drawn"]
    assert [path.name for path in clips.find(given[0])] == ["scene3", "scene4"]
    assert clips.read(given[0] / "scene3").shape == (2, 36, 64, 3)
    assert dry_run.dataset(given[0])[0] == 2


def test_pictures_of_gates(tmp_path):
    config = configuration.get_config("tiny")
    network = models.build(config.name, **{**config.model, "alpha": 0.3})
    params, stage = feeds.initial(network, 0), stages.of_config(config)[1]
    data = drawn.clips(tmp_path / "drawn", 1, 6, (144, 160))
    batch = feeds.feed_of(network, stage, params, config, tmp_path, data)(0)
    (hook,) = pictures.HOOKS["gates"]
    shown = hook(network, params, batch)
    assert shown["bilinear, output, truth"].shape == (64, 192, 3)
    assert shown["map"].shape == (16, 16, 3)
    np.testing.assert_array_equal(shown["executed"], 1)  # indifferent gates
    assert shown["scores"].ndim == 1


def test_every_kind_of_stage_has_pictures():
    assert set(pictures.HOOKS) == set(step.LOSSES)


def test_a_dry_run_counts(capsys):
    rows = dry_run.rows(configuration.get_config("tiny"))
    assert [row.stage for row in rows] == ["teacher", "gates"]
    assert rows[0].frozen == 18  # two gates of 8 weights and a bias
    assert rows[0].trained + rows[0].frozen == rows[1].trained
    assert all(row.flops > 1e6 and row.memory > 4 * 4 * row.trained for row in rows)
    dry_run.show(rows)
    assert "at least" in capsys.readouterr().out
