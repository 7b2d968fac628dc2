"""The benchmark's own parts: Routes that cost what they should, and a table of what was timed.

Speed itself is never tested.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from eval import bench
from jaxdyn import flops, models


@pytest.mark.parametrize("is_mixed", [True, False])
@pytest.mark.parametrize("share", [0.75, 0.5, 0.3])
def test_a_route_costs_the_share_asked_for(is_mixed, share):
    model = models.build("cain_sd", motion="dis")
    route = bench.route_at_share(model, 720, 1280, share, is_mixed)
    dense = flops.dense_cain(model, 720, 1280)
    assert flops.route_cost(model, route, 720, 1280).share(dense) == pytest.approx(share, abs=0.05)
    assert is_mixed == (np.unique(route.scale).size > 1)


def test_rows_follow_from_their_times():
    rows = bench.interpolate(
        48, 40, [0.9], ["mixed"], rounds=1, num_feat=8, num_group=5, num_block=1, reduction=4, motion="difference"
    )
    dense, packed = rows
    assert packed.speedup == pytest.approx(dense.seconds / packed.seconds)
    assert packed.efficiency == pytest.approx(packed.speedup * packed.share)
    assert len(bench.table(rows).splitlines()) == 4


@pytest.mark.parametrize("share", [0.78, 0.63, 0.43])
@pytest.mark.parametrize("tiling", ["frame", "patches"])
def test_a_route_of_blocks_costs_the_share_asked_for(tiling, share):
    model = models.build("skipvsr", motion="dis", tiling=tiling)
    route = bench.blocks_at_share(model, 2, 180, 320, share)
    assert route.blocks.shape == (1, 2, 2, 30, *model.grid(180, 320).shape)
    cost = flops.block_route_cost(model, route, 180, 320)
    dense = flops.dense_basicvsr(model, 180, 320)
    assert cost.flops / (2 * dense.flops) == pytest.approx(share, abs=0.05)


def test_rows_of_upscaling_follow_from_their_times():
    fields = {"num_feat": 4, "num_block": 2, "num_hr": 4, "motion": "dis", "tile": 8, "parallel": 1}
    rows = bench.upscale(16, 12, 2, [0.9], ["frame"], rounds=1, **fields)
    dense, packed = rows
    assert (dense.share, dense.speedup, dense.efficiency) == (1, 1, None)
    assert packed.speedup == pytest.approx(dense.seconds / packed.seconds)
    assert packed.efficiency == pytest.approx(packed.speedup * packed.share)
    assert packed.share == pytest.approx(packed.gflops / dense.gflops)
    assert packed.gflops_per_second == pytest.approx(packed.gflops / packed.seconds)
    assert len(bench.table(rows).splitlines()) == 4


def test_loops_written_out_give_the_same_and_leave_none():
    def both(x, rows):
        total, passed = lax.scan(lambda a, row: (a * 0.5 + row["x"], a), x, {"x": rows}, reverse=True)
        return total, passed, lax.map(jnp.sin, rows), lax.scan(lambda a, _: (a + 1, None), x, None, length=2)[0]

    arguments = jnp.ones(2), jnp.arange(6.0).reshape(3, 2)
    expected, loops = both(*arguments), str(jax.make_jaxpr(both)(*arguments))
    with bench.written_out():
        found, written = both(*arguments), str(jax.make_jaxpr(lambda *a: both(*a))(*arguments))
    jax.tree.map(np.testing.assert_allclose, found, expected)
    assert "scan[" in loops
    assert "scan[" not in written


def test_rows_of_a_step_are_compared_with_the_faster_form_without_loops(monkeypatch):
    monkeypatch.setattr(bench, "time_interleaved", lambda calls, rounds: ([3.0, 4.0, 2.0], [5.0, 9.0, 7.0]))
    monkeypatch.setattr(bench.feeds, "initial", lambda model, seed: {"w": jnp.zeros(1)})
    rows = bench.train(8, 8, 2, 1, rounds=1, num_feat=4, num_block=1, num_hr=4)
    assert [row.ratio for row in rows] == [1.5, 2, 1]
    assert [row.compile_seconds for row in rows] == [2, 5, 5]
    assert len(bench.step_table(rows).splitlines()) == 5
