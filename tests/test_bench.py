"""The search for the fastest execution, by a clock that is not real; speed itself is never tested."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn import bench, flops, models, upscaler
from jaxdyn.errors import UserError
from jaxdyn.interpolator import Middle
from jaxdyn.types import Cost, Route, Stage
from tests.clips import pan, write_clip


class Clock:
    """Stands still but for what calls let pass."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def __call__(self):
        return self.now

    def work(self, name, *seconds):
        """A call that takes so long; of several the first at first, and so on."""
        left = list(seconds)

        def call():
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


def test_times_are_medians_of_calls_in_turn_and_the_first_stands_apart():
    clock = Clock()
    calls = [clock.work("a", 10, 1, 5, 2), clock.work("b", 20, 7)]
    assert bench.time_interleaved(calls, 3, clock) == ([2, 7], [10, 20])
    assert clock.log == ["a", "b"] * 4


def choose(clock, seconds, dense, axes, start, num_frame=2, rounds=3):
    """`seconds` of a setting's values."""
    packed = lambda setting: clock.work(tuple(setting.values()), 100, seconds(**setting))  # noqa: E731
    return bench._choose(axes, start, packed, clock.work("dense", 100, dense), 0.5, num_frame, rounds, clock)


def test_axes_are_searched_one_by_one_and_the_best_of_them_is_timed_against_dense():
    clock = Clock()
    seconds = lambda a, b, c: 1.0 + abs(a - 4) / 10 + abs(b - 2) / 10 + c / 10  # noqa: E731
    result = choose(clock, seconds, 3.0, {"a": (1, 2, 4), "b": (1, 2, 4)}, {"a": 2, "b": 4, "c": 1})
    assert result.choice.execution == "packed"
    assert result.choice.together == (4, 2, 1)  # (a, b, c); never timed in the search
    assert result.choice.packed_milliseconds == pytest.approx(550)  # of one of two frames
    assert result.choice.dense_milliseconds == pytest.approx(1500)
    assert result.choice.speedup == pytest.approx(3 / 1.1)
    assert [timing.name for timing in result.timings][-2:] == ["dense", "packed, 4, 2, 1 patches together"]
    assert set(clock.log) == {(2, 4, 1), (1, 4, 1), (4, 4, 1), (2, 1, 1), (2, 2, 1), (4, 2, 1), "dense"}


@pytest.mark.parametrize(("dense", "execution"), [(1.0, "packed"), (0.99, "dense")])
def test_dense_execution_wins_only_if_it_is_faster(dense, execution):
    result = choose(Clock(), lambda tiles: 1.0, dense, {"tiles": (4,)}, {"tiles": 4}, num_frame=1)
    assert result.choice.execution == execution
    assert result.choice.together == (4,)


def test_the_interpolator_is_timed_on_the_routes_of_its_finders(monkeypatch):
    clock, model = Clock(), models.build("cain_sd", motion="dis", chunks=(2, 6, 6))
    routes = [  # the most patches that a pair sends to each scale: 4, 1, 0; exit 0 is no work
        Route(np.array([[[0, 0, 0, 1, 2]]]), np.array([[[1, 2, 3, 1, 0]]])),
        Route(np.array([[[0, 0, 0, 0, 2]]]), np.array([[[1, 1, 1, 1, 0]]])),
    ]
    seconds = {"dense": 1.0, (2, 6, 6): 0.9, (4, 6, 6): 0.7}

    class Runner:
        def __init__(self, model, variables, execution="packed", device=None):
            self.work = clock.work(execution, seconds["dense" if execution == "dense" else model.chunks])
            self.variables = variables

        def middle(self, frame0, frame1):
            self.work()
            return Middle(frame0, routes[int(frame1[0, 0, 0])], Cost((Stage("all", 30.0, 0.0),)))

        def dense_cost(self, height, width):
            assert (height, width) == (4, 6)
            return Cost((Stage("all", 100.0, 0.0),))

    monkeypatch.setattr(bench, "Interpolator", Runner)
    pairs = [np.full((2, 4, 6, 3), number, np.float32) for number in (0, 1)]
    result = bench.choose_for_interpolation(model, {}, pairs, rounds=1, clock=clock)
    assert [timing.name for timing in result.timings] == [
        "packed, 2, 6, 6 patches together",
        "packed, 4, 6, 6 patches together",
        "dense",
        "packed, 4, 6, 6 patches together, again",
    ]
    assert result.choice.execution == "packed"
    assert result.choice.together == (4, 6, 6)
    assert result.choice.share == pytest.approx(0.3)
    assert result.choice.packed_milliseconds == pytest.approx(700)  # of one frame, though a call makes two


def test_the_upscaler_is_timed_on_a_route_of_its_gates():
    model = models.build("skipvsr", num_feat=4, num_block=2, num_hr=4, motion="dis", tile=16, alpha=0.5, parallel=2)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1, 8, 8, 3)))
    frames = bench.drawn(32, 16, bench.NUM_SETTLED + upscaler.SETTLE)
    result = bench.choose("upscale", model, variables, [frames], rounds=1)
    one = upscaler.Upscaler(model, variables)
    route = bench.settled_route(one, frames)
    assert route.blocks.shape == (1, 2, bench.NUM_SETTLED, 2, 1, 2)
    cost = flops.block_route_cost(one.model, route, 16, 32)
    assert result.choice.share == pytest.approx(cost.flops / (4 * one.dense_cost(16, 32).flops))
    assert [timing.name for timing in result.timings] == [
        "packed, 2 tiles together",
        "dense",
        "packed, 2 tiles together, again",
    ]


def test_a_settled_route_is_that_of_frames_far_from_a_directions_first():
    class Gates:
        def decide(self, frames, starts):
            assert starts.tolist() == [True] + [False] * 7
            number = np.arange(8).reshape(1, 8, 1, 1, 1)
            return np.concatenate([number, 10 + number]), None

    blocks = bench.settled_route(Gates(), np.zeros((8, 4, 4, 3))).blocks
    assert blocks.shape == (1, 2, 4, 1, 1, 1)
    assert blocks.ravel().tolist() == [0, 1, 2, 3, 14, 15, 16, 17]  # backward visits the last frame first


@pytest.mark.parametrize(("job", "network"), [("interpolate", "cain"), ("upscale", "basicvsr")])
def test_a_static_network_has_nothing_to_choose(job, network):
    with pytest.raises(UserError, match="takes the same path everywhere: there is nothing to choose"):
        bench.choose(job, models.build(network), {}, [np.zeros((2, 8, 8, 3))], 1)


def test_drawn_frames_move_and_are_pictures():
    frames = bench.drawn(96, 54, 3)
    assert frames.shape == (3, 54, 96, 3)
    assert frames.dtype == np.float32
    assert 0 <= frames.min() < 0.2
    assert 0.8 < frames.max() <= 1
    assert np.abs(frames[1] - frames[0]).mean() > 0.01


def test_frames_of_a_clip(tmp_path):
    source = write_clip(tmp_path / "in.mp4", pan(10, 48, 64))
    pairs = bench.frames_for("interpolate", source, (1, 1))
    assert [pair.shape for pair in pairs] == [(2, 48, 64, 3)] * bench.NUM_PAIR
    shot = bench.frames_for("upscale", source, (1, 1))
    assert [part.shape for part in shot] == [(8, 48, 64, 3)]
    assert bench.size_of(shot) == (64, 48)
    short = write_clip(tmp_path / "short.mp4", pan(5, 48, 64))
    with pytest.raises(UserError, match="8 frames of one shot are needed"):
        bench.frames_for("upscale", short, (1, 1))
    still = write_clip(tmp_path / "still.mp4", [*pan(1, 48, 64)] * 4)
    with pytest.raises(UserError, match="no two neighbouring frames show motion"):
        bench.frames_for("interpolate", still, (1, 1))
    with pytest.raises(UserError, match="no such file or folder"):
        bench.frames_for("interpolate", tmp_path / "nothing.mp4", (1, 1))
