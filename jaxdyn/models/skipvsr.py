"""SkipVSR, "Adaptive Patch Routing for Video Super-Resolution with Inter-Frame Mask": BasicVSR in which a gate decides,
for each patch and each residual block, whether the block runs at all.

The gate of block m sees how much the block's input differs from what it was at the frame visited before, at the same
place (Eq. 5); its mean over the patch goes through one linear layer and a sigmoid (Eq. 6): the confidence, compared
with a threshold alpha (Eq. 9). A block that does not run hands its input on (Eq. 4). One threshold is one number at run
time, so that one checkpoint and one compilation serve all of them; 0 runs every block.

The decisions are a value, a `BlockRoute`; `masked` or `packed` execution (see `jaxdyn.routing`) consumes it, and both
give the same picture. Where no features arrive (first frame of a direction, start of a shot), there is nothing to
compare with, and every block runs.

Two tilings, a field of the network:

- "patches" is the paper's: the clip is cut into patches of 48 px every 46; each is a video of its own with motion and
  borders of its own, and the large patches are merged by ramps. `Differs:` nothing is dropped at the right and bottom.
- "frame": motion, warping and features live on the whole frame, and only the residual blocks are gated by tiles. A tile
  is computed from its own pixels and the two around it that its convolutions see, so the result equals the masked
  whole frame exactly: no seams, and motion that sees further than 48 px. `Differs:` from the paper, for that reason.

Where a block runs on most tiles, their halos are more work than the tiles that it skips: packed execution then runs the
block on the whole picture, keeps what was chosen and counts all of it (`SkipVSR.is_whole`).

Axes: B clips, T frames, H and W of a small frame; n_h, n_w grid of tiles, N = n_h n_w; p, q sides of a picture that
travels by itself (the frame, or a patch), n of them in a clip (1 or N); F features, M blocks, L targets.
"""

import functools
import itertools
import math
from typing import Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxdyn import routing
from jaxdyn.models import basicvsr
from jaxdyn.models.basicvsr import DIRECTIONS, SCALE, BasicVSR, Motion
from jaxdyn.ops import conv, patches
from jaxdyn.types import BlockRoute

HALO = 2
"""Pixels around a tile that a residual block sees: two 3 x 3 convolutions."""


class SkipVSR(BasicVSR):
    """The dynamic network: `(clip, threshold=None, route=None, execution=...) -> (large, aux)`.

    Parameters are BasicVSR's, and `gate_backward`, `gate_forward` {kernel [F], bias []}, one gate for all blocks of a
    direction.

    Attributes:
      num_feat, num_block, num_hr, motion, is_remat: BasicVSR's, see there.
      tiling: "frame" or "patches", see above.
      tile: side of a patch; of a tile at most, in pixels of the small frame.
      stride: distance of patches.
      rule: which scores run, see `routing.gate`.
      interval: every interval-th block is a target of Eq. 7 and 11, the last block always.
      alpha: the threshold where none is given; 0 runs every block.
      parallel: how many tiles run side by side in packed execution.
      whole: the share of a picture's tiles from which on packed execution runs a block on the picture as a whole,
        because its tiles with their halo would take longer. 1: where all of them run; over 1: never.
    """

    tiling: Literal["frame", "patches"] = "frame"
    tile: int = 48
    stride: int = 46
    rule: Literal["above", "below"] = "above"
    interval: int = 6
    alpha: float = 0.0
    parallel: int = 6
    whole: float = 1.0

    def setup(self):
        """BasicVSR's parts and the two gates."""
        super().setup()
        if self.tiling not in ("frame", "patches"):
            raise ValueError(f"tiling (={self.tiling!r}) must be 'frame' or 'patches'")
        if self.rule not in ("above", "below"):
            raise ValueError(f"rule (={self.rule!r}) must be 'above' or 'below'")
        for name, least in (("tile", HALO), ("interval", 1), ("parallel", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} (={getattr(self, name)}) must be at least {least}")
        if not self.whole > 0:
            raise ValueError(f"whole (={self.whole}) must be over 0, the share of tiles")
        self.gates = {name: self.param(f"gate_{name}", _gate, self.num_feat) for name in DIRECTIONS}

    def grid(self, height: int, width: int) -> patches.Grid:
        """Where the tiles of a small frame lie; with tiling "frame", the last ones may reach beyond it."""
        if self.tiling == "patches":
            return patches.grid(height, width, self.tile, self.stride)
        counts = [math.ceil(side / self.tile) for side in (height, width)]
        sides = [math.ceil(side / count) for side, count in zip((height, width), counts, strict=True)]
        rows, columns = (tuple(range(0, n * side, side)) for n, side in zip(counts, sides, strict=True))
        return patches.Grid(height, width, rows, columns, tuple(sides))

    def is_whole(self, num_chosen: chex.Numeric, num_tile: int) -> chex.Numeric:
        """Whether packed execution of a block takes the whole picture and not tiles: where `whole` of them run."""
        return (num_chosen > 0) & (num_chosen >= math.ceil(self.whole * num_tile))

    @property
    def targets(self) -> tuple[int, ...]:
        """The numbers, from 1, of the blocks that are targets."""
        return tuple(sorted({*range(self.interval, self.num_block + 1, self.interval), self.num_block}))

    def __call__(
        self,
        clip: chex.Array,
        threshold: float | chex.Array | None = None,
        route: BlockRoute | None = None,
        execution: Literal["masked", "packed"] = "masked",
        *,
        starts: chex.Array | None = None,
        motion: Motion | None = None,
        keep: tuple[int, int] | None = None,
        is_padding: chex.Array | None = None,
        teacher: chex.Array | None = None,
    ) -> tuple[chex.Array, dict]:
        """Upscale a clip: [B, T, H, W, 3] -> [B, K, 4 H, 4 W, 3].

        Args:
          clip: frames, float in [0, 1].
          threshold: alpha of Eq. 9, 0 to 1; None: the network's own.
          route: executed as given; None: the gates decide.
          execution: "masked" (differentiable) or "packed" (only what the Route selects).
          starts, motion, keep, is_padding: as in BasicVSR.
          teacher: `aux["features"]` of the original network, for `aux["confidence"]`; masked execution only.

        Returns:
          The kept frames, and aux: `route`; `scores` [B, 2, T, M, n_h, n_w], the predicted confidence S^ of Eq. 6, 0
            where no features arrive or a frame was not visited; `motion`. Of masked execution also `features` [B, 2, T,
            L, H, W, F], what the target blocks gave (with patches [B N, 2, T, L, p, q, F]), and with `teacher`
            `confidence` [B, 2, T, M, n_h, n_w], S of Eq. 7.

        Raises:
          ValueError: what does not fit the clip, an unknown execution, a teacher in packed execution.
        """
        keep = basicvsr.check_clip(clip, starts, motion, keep, is_padding)
        threshold = self.alpha if threshold is None else threshold
        if execution not in ("masked", "packed"):
            raise ValueError(f"execution (={execution!r}) must be 'masked' or 'packed'")
        if teacher is not None and execution == "packed":
            raise ValueError("a teacher was given, but confidence is for training: use execution='masked'")
        if self.is_initializing():
            return self._touch_all_parts(clip), {}
        batch, time, height, width, _ = clip.shape
        grid = self.grid(height, width)
        if route is not None:
            route = BlockRoute.of(route)
            route.check((batch, 2, time, self.num_block, *grid.shape))
        if teacher is not None:
            num, size = (1, (height, width)) if self.tiling == "frame" else (math.prod(grid.shape), grid.patch)
            wanted = (batch * num, 2, time, len(self.targets), *size, self.num_feat)
            if tuple(teacher.shape) != wanted:
                raise ValueError(
                    f"teacher has shape {tuple(teacher.shape)}, expected {wanted}, as aux['features'] has it"
                )

        pictures = self._cut(clip, grid)  # [B n, T, p, q, 3]
        if motion is None and self.motion == "spynet":
            motion = self.find_motion(pictures, None, is_padding)  # 2 x [B n, T - 1, p, q, 2]
        else:
            motion = tuple(self._cut(flow, grid) for flow in self.find_motion(clip, motion, is_padding))
        travel = self._masked if execution == "masked" else self._packed
        features, found = travel(clip, pictures, motion, starts, threshold, route, keep, grid, is_padding, teacher)
        large = basicvsr.upsample_all(self.tail, pictures, *features, keep, self.is_remat, is_padding)
        return self._merge(large, grid), {**found, "motion": motion}

    # Masked: everything is computed, masks select

    def _masked(self, clip, pictures, motion, starts, threshold, route, keep, grid, is_padding, teacher):
        """Both directions: features 2 x [K, B n, p, q, F], and what was found on the way."""
        batch, per_clip = clip.shape[0], pictures.shape[0] // clip.shape[0]
        fresh = basicvsr.first_frames(clip, starts)  # 2 x [T, B]
        features, found = [], []
        for side, name in enumerate(DIRECTIONS):
            extras = {"is_new": fresh[side]}
            if route is not None:
                extras["runs"] = jnp.moveaxis(route.blocks[:, side], 1, 0)  # [T, B, M, n_h, n_w]
            if teacher is not None:
                extras["teacher"] = jnp.moveaxis(teacher[:, side], 1, 0)  # [T, B n, L, p, q, F]
            one_frame = functools.partial(self._masked_frame, name, threshold, grid, batch)
            reference = jnp.zeros(
                (self.num_block, *pictures.shape[:1], *pictures.shape[2:4], self.num_feat), clip.dtype
            )
            travelled, notes = basicvsr.propagate(
                name,
                pictures,
                motion,
                jnp.repeat(fresh[side], per_clip, axis=1),
                keep,
                self.num_feat,
                one_frame,
                extras,
                reference,
                is_padding,
            )
            features.append(travelled)
            found.append(jax.tree.map(lambda leaf, side=side: _at_frames(leaf, side, keep, clip.shape[1]), notes))
        notes = jax.tree.map(lambda *sides: jnp.stack(sides, axis=1), *found)  # [B, 2, T, ...]
        runs = notes.pop("runs")
        return features, {"route": BlockRoute(runs), **notes}

    def _masked_frame(self, name, threshold, grid, batch, state, frame):
        """One frame, all blocks: ((features [B n, p, q, F], references [M, B n, p, q, F]), frame) -> the same, and
        notes."""
        params, gate = getattr(self, name), self.gates[name]
        arriving, reference = state
        x = basicvsr.head(params["head"], frame["image"], basicvsr.arrive(arriving, frame))
        extra = frame["extra"]
        is_new = extra["is_new"][:, None, None]  # [B, 1, 1]
        blocks = {"body": params["body"], "before": reference, "number": jnp.arange(self.num_block)}
        if "runs" in extra:
            blocks["runs"] = jnp.moveaxis(extra["runs"], 1, 0)  # [M, B, n_h, n_w]
        which = np.searchsorted(self.targets, np.arange(1, self.num_block + 1))  # each block's target, 0 to L - 1
        if "teacher" in extra:
            blocks["target"] = jnp.asarray(which)

        def one_block(x, block):
            changed = jnp.abs(x - block["before"])  # Eq. 5
            mean = self._pool(lax.stop_gradient(changed), grid, batch)  # [B, n_h, n_w, F]
            scores = score(gate, (mean * gate["kernel"]).sum(-1))  # [B, n_h, n_w]
            scores = jnp.where(is_new, 0.0, scores)
            runs = block["runs"] if "runs" in block else routing.gate(scores, threshold, self.rule) | is_new
            body = jax.tree.map(lambda leaf: leaf[None], block["body"])
            after = basicvsr.residual_block(body, 0, x)
            after = jnp.where(self._spread(runs, grid, x.shape), after, x)  # Eq. 4
            notes = {"scores": scores, "runs": runs}
            if "teacher" in extra:
                target = jnp.take(extra["teacher"], block["target"], axis=1)  # [B n, p, q, F]
                squared = jnp.square(lax.stop_gradient(after - target)).mean(-1, keepdims=True)
                distance = jnp.sqrt(self._pool(squared, grid, batch)[..., 0])
                notes["confidence"] = 1 - jnp.tanh(distance)  # Eq. 7
            return after, (lax.stop_gradient(x), after, notes)

        one_block = jax.checkpoint(one_block) if self.is_remat else one_block
        x, (reference, after, notes) = lax.scan(one_block, x, blocks)
        notes = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), notes)  # [B, M, n_h, n_w]
        notes["features"] = jnp.moveaxis(after[np.array(self.targets) - 1], 0, 1)  # [B n, L, p, q, F]
        return (x, reference), notes

    def _pool(self, x: chex.Array, grid: patches.Grid, batch: int) -> chex.Array:
        """Mean over the pixels of each tile: [B n, p, q, C] -> [B, n_h, n_w, C]."""
        if self.tiling == "patches":
            return x.mean(axis=(1, 2)).reshape(batch, *grid.shape, -1)
        (n_h, n_w), (h, w) = grid.shape, grid.patch
        x = jnp.pad(x, ((0, 0), (0, n_h * h - x.shape[1]), (0, n_w * w - x.shape[2]), (0, 0)))
        total = x.reshape(batch, n_h, h, n_w, w, -1).sum(axis=(2, 4))
        return total / _tiles(grid, self.tiling).area.reshape(n_h, n_w, 1)

    def _spread(self, runs: chex.Array, grid: patches.Grid, shape: tuple[int, ...]) -> chex.Array:
        """Each pixel's decision: [B, n_h, n_w] -> [B n, p, q, 1]."""
        if self.tiling == "patches":
            return runs.reshape(-1, 1, 1, 1)
        (h, w), (_, height, width, _) = grid.patch, shape
        return jnp.repeat(jnp.repeat(runs, h, axis=1), w, axis=2)[:, :height, :width, None]

    # Packed: only what the Route selects

    def _packed(self, clip, pictures, motion, starts, threshold, route, keep, grid, is_padding, teacher):
        """The same as `_masked`, clip by clip."""
        del teacher
        batch, time = clip.shape[:2]
        per_clip = pictures.shape[0] // batch

        def one_clip(given):
            features, found = [], []
            for side, name in enumerate(DIRECTIONS):
                extras = {"is_new": given["fresh"][side]}
                if "blocks" in given:
                    extras["runs"] = given["blocks"][side]  # [T, M, n_h, n_w]
                one_frame = functools.partial(self._packed_frame, name, threshold, grid)
                store = routing.tile_store(self.num_block + 1, _tiles(grid, self.tiling), self.num_feat, clip.dtype)
                travelled, notes = basicvsr.propagate(
                    name,
                    given["pictures"],
                    given["motion"],
                    jnp.repeat(given["fresh"][side][:, None], per_clip, axis=1),
                    keep,
                    self.num_feat,
                    one_frame,
                    extras,
                    store,
                    is_padding,
                )
                features.append(travelled)
                notes = jax.tree.map(lambda leaf: leaf[:, None], notes)
                found.append(jax.tree.map(lambda leaf, side=side: _at_frames(leaf, side, keep, time)[0], notes))
            return features, jax.tree.map(lambda *sides: jnp.stack(sides), *found)

        apart = lambda x: x.reshape(batch, per_clip, *x.shape[1:])  # noqa: E731
        given = {"pictures": apart(pictures), "motion": jax.tree.map(apart, motion)}
        given["fresh"] = jnp.stack(basicvsr.first_frames(clip, starts)).transpose(2, 0, 1)  # [B, 2, T]
        if route is not None:
            given["blocks"] = route.blocks
        if batch == 1:
            result = jax.tree.map(lambda leaf: leaf[None], one_clip(jax.tree.map(lambda leaf: leaf[0], given)))
        else:
            result = lax.map(one_clip, given)
        features, notes = result  # features 2 x [B, K, n, p, q, F]
        together = lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])  # noqa: E731
        return [together(x) for x in features], {"route": BlockRoute(notes["runs"]), "scores": notes["scores"]}

    def _packed_frame(self, name, threshold, grid, state, frame):
        """One frame, chosen tiles: ((features [n, p, q, F], store), frame) -> the same, and notes.

        Layer m of the store is h_m, layer 0 what goes into the first block.
        """
        params, gate = getattr(self, name), self.gates[name]
        tiles = _tiles(grid, self.tiling)
        area = jnp.asarray(np.append(tiles.area, 1.0))
        arriving, store = state
        x = basicvsr.head(params["head"], frame["image"], basicvsr.arrive(arriving, frame))
        is_new = frame["extra"]["is_new"]

        def compare(after, before, tile):
            return score_of_tile(gate, after, before, area[tile])

        store, scores = routing.enter_tiles(self._to_canvas(x, grid), compare, store, tiles)

        def one_block(number, state):
            store, scores, notes = state
            found = jnp.where(is_new, 0.0, scores)
            if "runs" in frame["extra"]:
                runs = frame["extra"]["runs"][number].reshape(-1)
            else:
                runs = routing.gate(found, threshold, self.rule) | is_new
            step = functools.partial(block_on_tiles, basicvsr.block_at(params["body"], number))
            now = {"scores": found, "runs": runs}
            notes = jax.tree.map(lambda all_, one: all_.at[number].set(one), notes, now)
            whole = None
            if self.whole <= 1:
                whole = routing.Whole(
                    functools.partial(self._block_on_all, params["body"], number, grid),
                    self.is_whole(runs.sum(), tiles.num),
                )
            made = routing.packed_tiles(step, compare, store, number, runs, scores, tiles, self.parallel, whole)
            return *made, notes

        shape = (self.num_block, tiles.num)
        notes = {"scores": jnp.zeros(shape, scores.dtype), "runs": jnp.zeros(shape, bool)}
        store, _, notes = lax.fori_loop(0, self.num_block, one_block, (store, scores, notes))
        notes = jax.tree.map(lambda leaf: leaf.reshape(-1, *grid.shape), notes)  # [M, n_h, n_w]
        return (self._of_canvas(store.layer(-1, tiles), grid), store), notes

    def _block_on_all(self, body: chex.ArrayTree, number: chex.Array, grid: patches.Grid, x: chex.Array) -> chex.Array:
        """A residual block on a canvas, the whole of it."""
        if self.tiling == "patches":
            return self._to_canvas(basicvsr.residual_block(body, number, self._of_canvas(x, grid)), grid)
        return block_on_canvas(basicvsr.block_at(body, number), x, (grid.height, grid.width))

    def _to_canvas(self, x: chex.Array, grid: patches.Grid) -> chex.Array:
        """What travels as a canvas, see `routing.Tiles`: the frame, or patches one below the other; [n, p, q, F]."""
        if self.tiling == "patches":
            return x.reshape(-1, *x.shape[2:])
        height, width = _tiles(grid, self.tiling).canvas
        return jnp.pad(x[0], ((0, height - grid.height), (0, width - grid.width), (0, 0)))

    def _of_canvas(self, canvas: chex.Array, grid: patches.Grid) -> chex.Array:
        """What travels, [n, p, q, F]."""
        if self.tiling == "patches":
            return canvas.reshape(-1, *grid.patch, canvas.shape[-1])
        return canvas[None, : grid.height, : grid.width]

    # Patches

    def _cut(self, clip: chex.Array, grid: patches.Grid) -> chex.Array:
        """What travels by itself: [B, T, H, W, C] -> [B n, T, p, q, C]."""
        if self.tiling == "frame":
            return clip
        batch, time, height, width, channels = clip.shape
        pieces = patches.split(clip.reshape(batch * time, height, width, channels), grid)
        num = math.prod(grid.shape)  # the motion of one frame has no elements: no size may be left to be inferred
        pieces = pieces.reshape(batch, time, num, *grid.patch, channels)
        return jnp.moveaxis(pieces, 1, 2).reshape(batch * num, time, *grid.patch, channels)

    def _merge(self, large: chex.Array, grid: patches.Grid) -> chex.Array:
        """[B n, K, 4 p, 4 q, 3] -> [B, K, 4 H, 4 W, 3]."""
        if self.tiling == "frame":
            return large
        where = enlarged(grid)
        num = large.shape[1]
        pieces = jnp.moveaxis(large.reshape(-1, math.prod(grid.shape), *large.shape[1:]), 2, 1)  # [B, K, N, ...]
        merged = patches.merge(pieces.reshape(-1, *grid.shape, *large.shape[2:]), where)
        return merged.reshape(-1, num, *merged.shape[1:])


def score(gate: chex.ArrayTree, weighted: chex.Array) -> chex.Array:
    """S^ = sigmoid(W g(Delta) + b) (Eq. 6), of W g(Delta): channels' mean changes, weighed by the gate's kernel."""
    return nn.sigmoid(weighted + gate["bias"])


def score_of_tile(gate: chex.ArrayTree, after: chex.Array, before: chex.Array, area: chex.Numeric) -> chex.Array:
    """Eq. 5 and 6 of one tile, now and before [h, w, F], of which `area` pixels belong to the picture.

    Rows add up as vectors; a sum over all pixels takes five times as long on a CPU.
    """
    rows = [jnp.abs(now - then) for now, then in zip(after, before, strict=True)]
    return score(gate, jnp.dot(sum(rows), gate["kernel"], precision=lax.Precision.HIGHEST).sum() / area)


def block_on_tiles(block: chex.ArrayTree, slab: chex.Array, valid: chex.Array) -> chex.Array:
    """One residual block on slabs side by side: [1, h + 4, W, F], valid [1, h + 4, W, 1] -> [1, h, W, F].

    What lies outside of the picture is zero before each convolution, as zero padding has it.
    """
    y = nn.relu(conv.conv2d(slab, block["conv1"]["kernel"], block["conv1"]["bias"], padding="sides"))
    y = jnp.where(valid[:, 1:-1], y, 0.0)
    y = conv.conv2d(y, block["conv2"]["kernel"], block["conv2"]["bias"], padding="sides")
    return jnp.where(valid[:, 2:-2], slab[:, 2:-2] + y, 0.0)


def block_on_canvas(block: chex.ArrayTree, x: chex.Array, size: tuple[int, int]) -> chex.Array:
    """One residual block on a canvas [H', W', F] of which (H, W) are the frame and the rest is zero, as it stays."""
    inside = np.zeros((*x.shape[:2], 1), bool)
    inside[: size[0], : size[1]] = True
    only = lambda y: y if inside.all() else jnp.where(inside, y, 0.0)  # noqa: E731
    y = only(nn.relu(conv.conv2d(x[None], block["conv1"]["kernel"], block["conv1"]["bias"])))
    return only(x + conv.conv2d(y, block["conv2"]["kernel"], block["conv2"]["bias"]))[0]


def enlarged(grid: patches.Grid) -> patches.Grid:
    """The same grid on the large frame."""
    rows, columns = (tuple(SCALE * start for start in starts) for starts in (grid.rows, grid.columns))
    return patches.Grid(
        SCALE * grid.height, SCALE * grid.width, rows, columns, tuple(SCALE * side for side in grid.patch)
    )


@functools.cache
def _tiles(grid: patches.Grid, tiling: str) -> routing.Tiles:
    """Tiles of the frame, neighbours on all sides; patches have none, as each is a picture of its own."""
    (n_h, n_w), (h, w) = grid.shape, grid.patch
    num = n_h * n_w
    if tiling == "patches":
        neighbours = np.full((num, 3, 3), num)
        neighbours[:, 1, 1] = np.arange(num)
        valid = np.broadcast_to(np.pad(np.ones((h, w), bool), HALO), (num, h + 2 * HALO, w + 2 * HALO))
        return routing.Tiles(neighbours, valid, HALO)
    numbers = np.pad(np.arange(num).reshape(n_h, n_w), 1, constant_values=num)
    spare = (n_h * h - grid.height + HALO, n_w * w - grid.width + HALO)
    inside = np.pad(np.ones((grid.height, grid.width), bool), ((HALO, spare[0]), (HALO, spare[1])))
    places = list(itertools.product(range(n_h), range(n_w)))
    return routing.Tiles(
        np.stack([numbers[i : i + 3, j : j + 3] for i, j in places]),
        np.stack([inside[i * h : (i + 1) * h + 2 * HALO, j * w : (j + 1) * w + 2 * HALO] for i, j in places]),
        HALO,
        n_w,
    )


def _at_frames(leaf: chex.Array, side: int, keep: tuple[int, int], time: int) -> chex.Array:
    """Notes of the frames visited [T', B, ...] at their frames [B, T, ...]; zero where none was visited."""
    missing = (keep[0], 0) if side == 0 else (0, time - keep[1])
    leaf = jnp.pad(leaf, (missing, *[(0, 0)] * (leaf.ndim - 1)))
    return jnp.moveaxis(leaf, 0, 1)


def _gate(key: chex.PRNGKey, num_feat: int) -> dict:
    """Starts undecided: no weight, confidence one half."""
    del key
    return {"kernel": jnp.zeros(num_feat), "bias": jnp.zeros(())}
