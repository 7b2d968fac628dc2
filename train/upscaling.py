"""What the stages of the upscaling networks minimise: the teacher (BasicVSR), the gates (SkipVSR), and SpyNet.

One function for each kind of stage, as in `train.step`:

    (model, stage, params, batch, key, variant) -> (loss, metrics)

Axes: B sequences, T frames, s side of a small crop; p, q sides of what travels by itself (the crop, or a patch), n of
them in a crop; n_h, n_w tiles; M blocks, L of them targets; F features. The axis of length 2 is the direction, 0
backward, 1 forward. Equations are SkipVSR's.
"""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdyn import losses, routing
from jaxdyn.data import sequences
from jaxdyn.models import basicvsr, skipvsr
from jaxdyn.models.basicvsr import BasicVSR
from jaxdyn.models.skipvsr import SkipVSR
from jaxdyn.models.spynet import SpyNet
from jaxdyn.ops import patches, resample
from jaxdyn.types import BlockRoute
from train import reconstruction, stages
from train.reconstruction import FLOOR


def teacher_loss(model, stage, params, batch, key, variant):
    """BasicVSR, every block of every frame: the stage's error (Eq. 12). Batch: of `sequences.Windows.sample`.

    A SkipVSR is trained as the BasicVSR of its fields, which shares its parameters; its gates get no gradient.
    """
    del key
    clip, target = sequences.clip_of(batch), sequences.target_of(batch)
    network, own = dense(model, params)
    large, _ = network.apply({"params": own}, clip, motion=sequences.motion_of(batch), keep=variant.keep)
    clip, target = kept(clip, variant.keep), kept(target, variant.keep)
    return reconstruction.ERRORS[stage.error](large, target), quality(large, clip, target)


def gates_loss(model, stage, params, batch, key, variant):
    """SkipVSR against its teacher: L = L_rec + lambda_1 L_mask + lambda_2 L_error (Eq. 13).

    L_rec is the stage's error (Eq. 12), L_mask the squared difference of predicted and true confidence (Eq. 8), L_error
    that of the attention maps of student and teacher (Eq. 11). All are means. The threshold is drawn anew each step,
    so that one network serves all; with a `policy` of Table 4, a fixed half of the blocks runs whatever the scores are.
    Confidences by PSNR are compared in the frames that are upscaled, others in all of them.
    Batch: of `sequences.Windows.sample`, and "teacher", the parameters of the teacher.
    """
    clip, target = sequences.clip_of(batch), sequences.target_of(batch)
    motion = sequences.motion_of(batch)
    run = functools.partial(model.apply, execution="masked", motion=motion, keep=variant.keep)
    teacher = lax.stop_gradient(run({"params": batch["teacher"]}, clip, 0.0))
    features = teacher[1]["features"]
    threshold = draw_threshold(stage, key)
    route = None if stage.policy == "gates" else policy_route(model, stage.policy, clip)
    large, aux = run({"params": params}, clip, threshold, route, teacher=features)
    clip, target = kept(clip, variant.keep), kept(target, variant.keep)

    num_frame = features.shape[2]
    is_of_pictures = stage.confidence.startswith("psnr")
    known = variant.keep if variant.keep and is_of_pictures else (0, num_frame)
    results = [(picture, _in_time(found, known)) for picture, found in ((large, aux), teacher)]
    confidence = lax.stop_gradient(
        CONFIDENCES[stage.confidence](model, (params, batch["teacher"]), results, clip, target)
    )
    scores = results[0][1]["scores"]
    scores, confidence = (
        compared(jnp.broadcast_to(values, scores.shape), known[0], num_frame) for values in (scores, confidence)
    )
    rec = reconstruction.ERRORS[stage.error](large, target)
    mask = jnp.square(scores - confidence).mean()
    error = jnp.square(losses.attention_map(aux["features"]) - losses.attention_map(features)).mean()
    metrics = {
        "rec": rec,
        "mask": mask,
        "error": error,
        "executed": aux["route"].blocks.mean(dtype=jnp.float32),
        "score": scores.mean(),
        "confidence": confidence.mean(),
        **quality(large, clip, target),
    }
    return rec + stage.lambda_1 * mask + stage.lambda_2 * error, metrics


def spynet_loss(model, stage, params, batch, key, variant):
    """SpyNet on exact motion: the sum over levels of the mean distance to the true flow, in pixels of each level.

    Batch: frame0, frame1 [B, H, W, 3], flow01 [B, H, W, 2].
    """
    del stage, key, variant
    network, own = (model, params) if isinstance(model, SpyNet) else (SpyNet(), params["flow"])
    flow, aux = network.apply({"params": own}, batch["frame0"], batch["frame1"])
    height, width = flow.shape[1:3]
    finest = aux["flows"][-1].shape[1:3]
    true = resample.resize_bilinear(batch["flow01"], finest) * jnp.array([finest[1] / width, finest[0] / height])
    loss = 0.0
    for found in reversed(aux["flows"]):
        ratio = true.shape[1] // found.shape[1]  # 1, then 2 from level to level
        true = true.reshape(-1, found.shape[1], ratio, found.shape[2], ratio, 2).mean(axis=(2, 4)) / ratio
        loss = loss + distance(found, true)
    return loss, {"distance": distance(flow, batch["flow01"])}


LOSSES = {"teacher": teacher_loss, "gates": gates_loss, "spynet": spynet_loss}


# What a block's confidence should be, [B, 2, T, M, n_h, n_w], or with axes of 1 where it is the same for all; by PSNR,
# T are the frames that are upscaled:
#     (model, (params, teacher's), ((large, aux), teacher's), clip, target) -> S


def feature_interval(model, params, results, clip, target):
    """S = 1 - tanh ||h_m^S - h_target^T|| (Eq. 7), as the network gives it."""
    del model, params, clip, target
    return results[0][1]["confidence"]


def feature(model, params, results, clip, target):
    """S = 1 - tanh ||H_N^S - H_N^O||^2, of the last block (Eq. 16); squares are means over channels and pixels."""
    del params, target
    last, last_of_teacher = (aux["features"][:, :, :, -1] for _, aux in results)  # [B n, 2, T, p, q, F]
    squared = jnp.square(last - last_of_teacher).mean(-1)
    return 1 - jnp.tanh(of_tiles(model, squared, clip))[:, :, :, None]


def psnr(model, params, results, clip, target):
    """S = 1 - tanh (PSNR_N^S - PSNR_N^O)^2, in dB, of each tile of the large frame (Eq. 14)."""
    del params
    grid = model.grid(*clip.shape[2:4])
    gap = _psnr_gap([large for large, _ in results], target, lambda error: by_tile(error, grid))
    return 1 - jnp.tanh(gap)[:, None, :, None]


def psnr_interval(model, params, results, clip, target):
    """S = 1 - tanh (PSNR_i^S - PSNR_i^O)^2, in dB, of pictures made of the features of each target block (Eq. 15).

    Both directions' features are taken at the same block, and block m gets the value of the next target.
    """
    grid = model.grid(*clip.shape[2:4])
    pictures, wanted = cut(model, clip, grid), cut(model, target, skipvsr.enlarged(grid))  # [B n, T, p, q, 3], 4 p, 4 q
    both = [jnp.moveaxis(aux["features"], 3, 0) for _, aux in results]  # [L, B n, 2, T, p, q, F] each

    def gap(features):
        made = [_upsampled(own, pictures, at_block) for own, at_block in zip(params, features, strict=True)]
        return _psnr_gap(made, wanted, lambda error: of_tiles(model, error, clip))

    gaps = jnp.moveaxis(lax.map(gap, both), 0, 2)  # [B, T, L, n_h, n_w]
    which = np.searchsorted(model.targets, np.arange(1, model.num_block + 1))  # each block's target
    return 1 - jnp.tanh(gaps[:, None, :, which])


CONFIDENCES = {
    "feature interval": feature_interval,
    "feature": feature,
    "psnr": psnr,
    "psnr interval": psnr_interval,
}


def _psnr_gap(pictures, target, pool) -> chex.Array:
    """Squared difference of two pictures' PSNR in each tile: 2 x [..., h, w, 3] -> [..., n_h, n_w], dB^2."""
    errors = [pool(jnp.square(picture - target).mean(-1)) for picture in pictures]
    first, second = (10 * jnp.log10(error + FLOOR) for error in errors)
    return jnp.square(first - second)


def _upsampled(params, pictures, features) -> chex.Array:
    """Large pictures of features [B n, 2, T, p, q, F], frame by frame: [B n, T, 4p, 4q, 3]."""
    frames = (jnp.moveaxis(pictures, 1, 0), jnp.moveaxis(features, 2, 0))
    run = lambda frame: basicvsr.upsample(params, frame[0], frame[1][:, 0], frame[1][:, 1])  # noqa: E731
    return jnp.moveaxis(lax.map(run, frames), 0, 1)


def _in_time(aux: dict, known: tuple[int, int]) -> dict:
    """What a network found in frames (first, last): [B, 2, T, ...] -> [B, 2, K, ...]."""
    first, last = known
    return {name: aux[name][:, :, first:last] for name in ("scores", "features", "confidence") if name in aux}


# Parts


def dense(model: Any, params: chex.ArrayTree) -> tuple[BasicVSR, chex.ArrayTree]:
    """The static network of a SkipVSR and its parameters; a BasicVSR as it is."""
    if not isinstance(model, BasicVSR):
        raise ValueError(f"model is a {type(model).__name__}, expected a SkipVSR or a BasicVSR")
    if not isinstance(model, SkipVSR):
        return model, params
    fields = ("num_feat", "num_block", "num_hr", "motion", "is_remat")
    network = BasicVSR(**{name: getattr(model, name) for name in fields})
    return network, {name: part for name, part in params.items() if not name.startswith("gate")}


def draw_threshold(stage: stages.Stage, key: chex.PRNGKey) -> chex.Array:
    """Alpha of Eq. 9 for one step: 0, where every block runs, with probability `stage.dense`, else from
    `stage.alphas`, evenly."""
    choice_key, value_key = jax.random.split(key)
    value = jax.random.uniform(value_key, (), minval=stage.alphas[0], maxval=stage.alphas[1])
    return jnp.where(jax.random.uniform(choice_key) < stage.dense, 0.0, value)


def policy_route(model: SkipVSR, policy: str, clip: chex.Array) -> BlockRoute:
    """The half of the blocks that a policy of Table 4 runs, everywhere in a clip [B, T, H, W, 3]."""
    runs = routing.skip_policy(policy, model.num_block)[:, None, None]  # [M, 1, 1]
    shape = (clip.shape[0], 2, clip.shape[1], model.num_block, *model.grid(*clip.shape[2:4]).shape)
    return BlockRoute(jnp.broadcast_to(runs, shape))


def compared(values: chex.Array, first: int, num_frame: int) -> chex.Array:
    """Without the first frame of each direction, which has nothing to be compared with.

    Args:
      values: [B, 2, K, ...], of K frames of a clip of `num_frame`.
      first: which frame is the first of them.

    Returns:
      [B, n, ...], what is left of both directions, backward first.
    """
    backward, forward = values[:, 0, : num_frame - 1 - first], values[:, 1, max(1 - first, 0) :]
    return jnp.concatenate([backward, forward], axis=1)


def kept(clip: chex.Array, keep: tuple[int, int] | None) -> chex.Array:
    """The frames that are upscaled: [B, T, ...] -> [B, K, ...]."""
    return clip if keep is None else clip[:, keep[0] : keep[1]]


def cut(model: SkipVSR, clip: chex.Array, grid: patches.Grid) -> chex.Array:
    """What travels by itself, the frame or each patch of a grid: [B, T, H, W, C] -> [B n, T, p, q, C]."""
    if model.tiling == "frame":
        return clip
    batch, time, *shape = clip.shape
    pieces = patches.split(clip.reshape(batch * time, *shape), grid)  # [B T, n_h, n_w, p, q, C]
    pieces = pieces.reshape(batch, time, -1, *pieces.shape[3:])
    return jnp.moveaxis(pieces, 1, 2).reshape(-1, time, *pieces.shape[3:])


def of_tiles(model: SkipVSR, values: chex.Array, clip: chex.Array) -> chex.Array:
    """Means over tiles, of what travels by itself: [B n, ..., p, q] -> [B, ..., n_h, n_w]."""
    grid = model.grid(*clip.shape[2:4])
    if model.tiling == "frame":
        return by_tile(values, grid)
    means = values.mean(axis=(-2, -1))  # [B N, ...]
    return jnp.moveaxis(means.reshape(clip.shape[0], *grid.shape, *means.shape[1:]), (1, 2), (-2, -1))


def by_tile(values: chex.Array, grid: patches.Grid) -> chex.Array:
    """Means over the tiles of a grid: [..., h, w] -> [..., n_h, n_w]; (h, w) may be a multiple of the grid's frame."""
    rows = patches.area_weights(values.shape[-2], grid.rows, grid.patch[0], grid.height)
    columns = patches.area_weights(values.shape[-1], grid.columns, grid.patch[1], grid.width)
    return jnp.einsum("...hw,ih,jw->...ij", values, rows, columns)


def distance(flow: chex.Array, true: chex.Array) -> chex.Array:
    """Mean distance of two flows [B, H, W, 2], in their own pixels."""
    return jnp.sqrt(jnp.square(flow - true).sum(-1) + 1e-8).mean()


def quality(large: chex.Array, clip: chex.Array, target: chex.Array) -> dict[str, chex.Array]:
    """PSNR of large frames, and what they gain over bilinear ones, mean over frames, dB."""
    decibel = lambda image: -10 * jnp.log10(jnp.square(image - target).mean(axis=(2, 3, 4)) + FLOOR).mean()  # noqa: E731
    before = resample.resize_bilinear(clip, target.shape[2:4])
    return {"psnr": decibel(large), "gain": decibel(large) - decibel(before)}
