"""One training step on the device, pure: `(state, batch, key) -> (state, metrics)`, ready for every plan.

What a step computes follows from the stage's kind and stands in `LOSSES`, one function each (those of the upscaling
networks come from `train.upscaling`):

    (model, stage, params, batch, key, variant) -> (loss, metrics)

Losses and metrics are means in which every element of a batch weighs the same (logarithms are taken of each image, then
averaged), so that the mean over parts of equal size is that of the whole batch.

Axes: B frames or crops, P side of a crop, N patches, G groups, K choices.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from jaxdyn import flops, losses, routing
from jaxdyn.data import crops
from jaxdyn.models import cain, cain_sd
from jaxdyn.models.carn import CARNM
from jaxdyn.models.pwcnet import PWCNet
from jaxdyn.ops import resample
from train import parallel, reconstruction, stages, table, upscaling
from train.settings import Precision

DRAWN = ("depth", "scale", "finders")
"""Kinds of stages whose elements each draw random numbers; in the others a step draws once for all."""


@struct.dataclass
class State:
    """What a step changes: parameters, their running mean, the optimizer's moments, the number of steps done."""

    params: chex.ArrayTree
    mean: chex.ArrayTree
    moments: chex.ArrayTree
    step: chex.Array


class Variant(NamedTuple):
    """What of a step is compiled in: the exits it trains, the scale it works at, the frames whose pictures it makes."""

    exits: tuple[int, ...] = ()
    scale: int = 1
    keep: tuple[int, int] | None = None


def variant_at(stage: stages.Stage, step: int, num_group: int) -> Variant:
    """Which variant a step is, by its number."""
    if stage.kind == "upscale":
        return Variant((), stage.scale_at(step))
    if stage.kind in ("teacher", "gates"):
        return Variant(keep=stage.keep_at(step))
    return Variant(stage.exits_at(step, num_group), stage.scale_at(step)) if stage.kind == "exits" else Variant()


def optimizer_of(stage: stages.Stage, params: chex.ArrayTree) -> optax.GradientTransformation:
    """Adam after clipping by the norm of what trains; warm-up, then half a cosine; each parameter's own factor.

    What is frozen has no moments and takes no part in the norm.
    """
    factors = stages.factors(params, stage.trains)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        stage.learning_rate,
        min(stage.warm_up, stage.num_step // 4),
        stage.num_step,
        stage.learning_rate * stage.final,
    )
    trained = optax.chain(
        optax.clip_by_global_norm(stage.clip),
        optax.scale_by_adam(b2=stage.beta2),
        optax.scale_by_learning_rate(schedule),
    )
    parts = jax.tree.map(lambda factor: "trained" if factor > 0 else "frozen", factors)
    return optax.chain(
        optax.partition({"trained": trained, "frozen": optax.set_to_zero()}, parts), _scale_each(factors)
    )


def start(stage: stages.Stage, params: chex.ArrayTree) -> State:
    """The state before the first step; the parameters are copied, so that a step may reuse the state's memory."""
    params, mean = (jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params) for _ in range(2))
    return State(params, mean, optimizer_of(stage, params).init(params), jnp.zeros((), jnp.int32))


def make_step(
    model: Any,
    stage: stages.Stage,
    axis_name: str | None = None,
    accumulate: int = 1,
    precision: Precision = "float32",
) -> Callable:
    """The step of a stage: (state, batch, key, variant) -> (state, metrics), to be jitted with `variant` static.

    Args:
      model: the network, such as `CainSD` or `SkipVSR`.
      stage: whose step.
      axis_name: of `pmap`, over which gradients and metrics are averaged.
      accumulate: parts that a batch is computed in, one after the other, to need less memory. Their mean gradient is
        the batch's, but for the random numbers of `DRAWN`, which each part draws for itself.
      precision: what convolutions multiply in. With "bfloat16" the loss is that of parameters rounded to it, while the
        parameters themselves, what lies between convolutions, losses and gradients stay float32.

    Raises:
      ValueError: an unknown precision, or a batch that cannot be cut into so many parts.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision (={precision!r}) must be one of {', '.join(get_args(Precision))}")
    if accumulate < 1 or stage.batch % accumulate:
        raise ValueError(
            f"stage {stage.name}: batch (={stage.batch}) must be divisible by accumulate (={accumulate}, at least 1); "
            "change one of them"
        )
    compute = functools.partial(loss_of_trained, model, stage)
    is_drawn = stage.kind in DRAWN

    def of_part(params, batch, key, variant):
        def loss_of(params):
            if precision == "float32":
                return compute(params, batch, key, variant)
            teacher = {name: rounded(part) for name, part in batch.items() if name == "teacher"}
            return compute(rounded(params), {**batch, **teacher}, key, variant)

        (loss, metrics), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
        return gradient, loss, metrics

    def step(state: State, batch: dict, key: chex.PRNGKey, variant: Variant = Variant()) -> tuple[State, dict]:  # noqa: B008
        if axis_name is not None and is_drawn:
            key = jax.random.fold_in(key, lax.axis_index(axis_name))
        if accumulate == 1:
            gradient, loss, metrics = of_part(state.params, batch, key, variant)
        else:
            part = lambda batch, key: of_part(state.params, batch, key, variant)  # noqa: E731
            gradient, loss, metrics = mean_of_parts(part, batch, key, accumulate, is_drawn)
        if axis_name is not None:
            gradient, loss, metrics = lax.pmean((gradient, loss, metrics), axis_name)
        update, moments = optimizer_of(stage, state.params).update(gradient, state.moments, state.params)
        params = optax.apply_updates(state.params, update)
        # In this form the mean of a frozen parameter is that parameter to the bit, however it is compiled.
        mean = jax.tree.map(lambda old, new: old + (1 - stage.ema) * (new - old), state.mean, params)
        metrics = {"loss": loss, "gradient": norm(gradient), **metrics}
        return State(params, mean, moments, state.step + 1), metrics

    return step


def rounded(params: chex.ArrayTree) -> chex.ArrayTree:
    """Parameters as bfloat16, in which convolutions then multiply; what is not floating stays."""
    is_float = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)  # noqa: E731
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) if is_float(leaf) else leaf, params)


def mean_of_parts(
    compute: Callable[[dict, chex.PRNGKey], chex.ArrayTree],
    batch: dict,
    key: chex.PRNGKey,
    num_part: int,
    is_drawn: bool = False,
) -> chex.ArrayTree:
    """The mean of what is computed of each part of a batch, one part at a time.

    Args:
      compute: (part of the batch, key) -> tree of arrays.
      batch: arrays [B, ...]; entries of `parallel.WHOLE` go to every part.
      key: of the step.
      num_part: A. Part a takes elements a, A + a, 2 A + a ..., so that a batch that is spread over devices stays where
        it is.
      is_drawn: whether each part gets a key of its own.

    Raises:
      ValueError: B is not a multiple of A.
    """

    def cut(leaf):  # [B, ...] -> [A, B / A, ...]
        if leaf.shape[0] % num_part:
            raise ValueError(
                f"a batch of {leaf.shape[0]} on a device cannot be accumulated in {num_part} equal parts; change the "
                "stage's batch, accumulate, or the number of devices"
            )
        return jnp.moveaxis(jnp.reshape(leaf, (-1, num_part, *leaf.shape[1:])), 1, 0)

    whole = {name: part for name, part in batch.items() if name in parallel.WHOLE}
    parts = jax.tree.map(cut, {name: part for name, part in batch.items() if name not in whole})

    def add(total, given):
        number, part = given
        found = compute({**part, **whole}, jax.random.fold_in(key, number) if is_drawn else key)
        return jax.tree.map(jnp.add, total, found), None

    first = jax.tree.map(lambda leaf: leaf[0], parts)
    nothing = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(compute, {**first, **whole}, key)
    )
    total, _ = lax.scan(add, nothing, (jnp.arange(num_part), parts))
    return jax.tree.map(lambda leaf: leaf / num_part, total)


# What is minimised


def loss_of_trained(model, stage, params, batch, key, variant):
    """What the stage minimises, a function of what trains: frozen parameters are constants, and their gradients zeros
    that take no computing."""
    factors = stages.factors(params, stage.trains)
    params = jax.tree.map(lambda leaf, factor: leaf if factor > 0 else lax.stop_gradient(leaf), params, factors)
    return LOSSES[stage.kind](model, stage, params, batch, key, variant)


def norm(tree: chex.ArrayTree) -> chex.Array:
    """The Euclidean norm of all numbers of a tree."""
    return jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(tree)))


def gain(output: chex.Array, before: chex.Array, target: chex.Array) -> chex.Array:
    """By how many dB an output is nearer to the target than what was there before, mean over images."""
    error, error_before = (
        jnp.square(image - target).mean(axis=tuple(range(1, image.ndim))) + 1e-6 for image in (output, before)
    )
    return 10 * jnp.log10(error_before / error).mean()


def exits_loss(model, stage, params, batch, key, variant):
    """Stage 1, L_r alone: every exit in turn, the last one always. Batch: of `crops.Crops.sample`."""
    del key
    error = reconstruction.ERRORS[stage.error]
    stack, target = crops.stack_of(batch), crops.target_of(batch)
    last = model.num_group
    if variant.scale == 1:
        images = model.apply({"params": params}, stack, method="exits")
        outputs = {level: images[level] for level in variant.exits}  # what is not used is not computed
        before = images[0]
    else:
        upscale = None if model.is_aligned else table.carn_m(params)
        at = functools.partial(cain_sd.compute_patches, params["cain"], upscale, stack, variant.scale)
        outputs = {level: at(functools.partial(_to_exit, params["cain"]["body"], level)) for level in variant.exits}
        before = (stack[..., :3] + stack[..., 3:6]) / 2
    loss = sum(error(image, target) * (1.0 if level == last else stage.exit_weight) for level, image in outputs.items())
    return loss, {"gain": gain(outputs[last], before, target)}


def depth_loss(model, stage, params, batch, key, variant):
    """Stage 2: DepthNet and the interpolation network at the full scale, Eq. 13 with Eq. 14. Batch: whole frames.

    `Differs:` the paper counts CARN-M among what trains here; at the full scale it is the identity, and gets no
    gradient.
    """
    del variant
    return _routed_loss(model.clone(fixed_scale=0), stage, params, batch, key)


def scale_loss(model, stage, params, batch, key, variant):
    """Stage 3: ScaleNet, the interpolation network and CARN-M; DepthNet decides, frozen by the table. Batch: whole
    frames."""
    del variant
    return _routed_loss(model, stage, params, batch, key)


def finders_loss(model, stage, params, batch, key, variant):
    """Both finders on a table of what each choice costs in error: Eq. 13 without running the network.

    `Differs:` the interpolation network is frozen, so the squared error of every patch for every scale and exit is
    computed once (see `train.table`) and the masks select from it. Batch: small0, small1 [B, h, w, 3], flow01, flow10
    [B, h', w', 2], errors [B, n_h, n_w, 3, K_d] with an axis for exit 0 if there is one; height and width of the
    frame are those of the model's grid.
    """
    del variant
    errors = batch["errors"]
    grid = model.grid(*_frame_size(batch))
    motion = None if model.motion == "difference" else (batch["flow01"], batch["flow10"])
    found = model.apply({"params": params}, batch["small0"], batch["small1"], motion, grid, method="find")
    depth_key, scale_key = jax.random.split(key)
    shape, num_choice = errors.shape[:3], errors.shape[3:]
    fixed_scale, fixed_depth = model.fixed_choices
    scale_mask = _chosen(found["scale_logits"], fixed_scale, (*shape, num_choice[0]), scale_key)
    depth_mask = _chosen(found["depth_logits"], fixed_depth, (*shape, num_choice[1]), depth_key)
    chosen = jnp.einsum("bpqsd,bpqs,bpqd->bpq", errors, scale_mask, depth_mask)  # [B, n_h, n_w]
    error = reconstruction.of_squared(chosen.mean(axis=(1, 2)))
    cost, per_pixel = resource(model, stage, scale_mask, depth_mask, grid)
    masks = {"scale": scale_mask, "depth": depth_mask}
    finders = [name for name in masks if found[f"{name}_logits"] is not None]
    entropy = sum(_entropy(found[f"{name}_logits"]) for name in finders)
    of_choices = shares({name: mask for name, mask in masks.items() if name in finders})
    metrics = {"error": error, "cost": cost, "flops": per_pixel, "entropy": entropy, **of_choices}
    return error + cost - stage.entropy * entropy, metrics


def _chosen(logits: chex.Array | None, fixed: int | None, shape: tuple[int, ...], key: chex.PRNGKey) -> chex.Array:
    """One-hot choices [B, n_h, n_w, K], drawn by a finder's scores or, where it is fixed, the same everywhere."""
    return jnp.broadcast_to(jax.nn.one_hot(fixed, shape[-1]), shape) if logits is None else routing.sample(logits, key)


def _entropy(logits: chex.Array) -> chex.Array:
    """-sum_k pi_k log pi_k, mean over patches: [..., K] -> scalar."""
    return -(jax.nn.softmax(logits) * jax.nn.log_softmax(logits)).sum(-1).mean()


def shares(masks: dict[str, chex.Array]) -> dict[str, chex.Array]:
    """Of patches that get a choice, by the finder's name and the choice: masks [B, n_h, n_w, K]."""
    means = {name: mask.mean(axis=(0, 1, 2)) for name, mask in masks.items()}
    return {f"share/{name}{k}": mean[k] for name, mean in means.items() for k in range(len(mean)) if len(mean) > 1}


def resource(model, stage, scale_mask, depth_mask, grid) -> tuple[chex.Array, chex.Array]:
    """What Eq. 13 adds to the error, R with Eq. 14, and the plain R of Eq. 11 and 12 in FLOPs a pixel of the frame.

        R = 1 / (H W) sum_p |p| R_p
        R_p = lambda_s sum_i m_i C(i, d) + lambda_d sum_j m_j C(s, j)     (Eq. 14)
        R_p = sum_i sum_j m_i m_j C(i, j)                                 (Eq. 11)

    |p| C is the count of `flops.patch_costs`; d and s, what the other finder chose, are constants here. Both weights
    stand in Eq. 14, so the lambda of Eq. 13 is 1.

    Args:
      model, stage: lambda_s and lambda_d are the stage's.
      scale_mask, depth_mask: [B, n_h, n_w, 3] and [B, n_h, n_w, K_d], one-hot.
      grid: of the frame.

    Returns:
      Two scalars, means over frames; the second carries no gradient.
    """
    costs = flops.patch_costs(model, grid.height, grid.width)[:, model.first_exit :]  # [3, K_d]
    costs = jnp.asarray(costs / (grid.height * grid.width), jnp.float32)
    fixed_scale, fixed_depth = lax.stop_gradient(scale_mask), lax.stop_gradient(depth_mask)
    of_frame = lambda scale, depth: jnp.einsum("bpqs,sd,bpqd->b", scale, costs, depth).mean()  # noqa: E731
    cost = stage.lambda_s * of_frame(scale_mask, fixed_depth) + stage.lambda_d * of_frame(fixed_scale, depth_mask)
    return cost, of_frame(fixed_scale, fixed_depth)


def flow_loss(model, stage, params, batch, key, variant):
    """PWC-Net on exact motion: sum over levels of the mean distance to the true flow, coarse levels weigh most per
    pixel.

    The levels' raw outputs are in units of 20 px of the full size (PWC-Net, Section 4). Batch: frame0, frame1 [B, H,
    W, 3], flow01 [B, H, W, 2].
    """
    del stage, key, variant
    network, own = _part(model, params, "flow", PWCNet)
    flow, aux = network.apply({"params": own}, batch["frame0"], batch["frame1"])
    loss = 0.0
    for name, weight in LEVEL_WEIGHTS.items():
        raw = aux[name]
        true = resample.resize_bilinear(_shrink(batch["flow01"], raw.shape[1]), raw.shape[1:3]) / 20
        loss = loss + weight * jnp.sqrt(jnp.square(raw - true).sum(-1) + 1e-8).mean()
    distance = jnp.sqrt(jnp.square(flow - batch["flow01"]).sum(-1) + 1e-12).mean()
    return loss, {"distance": distance}


LEVEL_WEIGHTS = {"flow2": 1.0, "flow3": 0.5, "flow4": 0.25, "flow5": 0.15, "flow6": 0.1}


def upscale_loss(model, stage, params, batch, key, variant):
    """CARN-M on MATLAB's bicubic: L1 to the large picture (Ahn et al. 2018). Batch: target [B, P, P, 3] in [0, 1], of
    which the largest part counts that a multiple of the scale measures."""
    del stage, key
    scale = variant.scale
    side = batch["target"].shape[1] // scale * scale
    target = batch["target"][:, :side, :side]
    small = jnp.clip(resample.imresize(target, 1 / scale), 0, 1)
    network, own = _part(model, params, "carn_m", CARNM)
    large = network.apply({"params": own}, small, scale)[0]
    return losses.l1(large, target), {}


LOSSES = {
    "exits": exits_loss,
    "depth": depth_loss,
    "scale": scale_loss,
    "finders": finders_loss,
    "flow": flow_loss,
    "upscale": upscale_loss,
    **upscaling.LOSSES,
}


def _routed_loss(model, stage, params, batch, key):
    """Eq. 13: L_r and R, of whole frames."""
    motion = None if model.motion == "difference" or "flow01" not in batch else (batch["flow01"], batch["flow10"])
    frames = [jnp.asarray(batch[name], jnp.float32) / 255 for name in ("frame0", "frame1", "target")]
    output, aux = model.apply({"params": params}, *frames[:2], motion, execution="masked", rngs={"route": key})
    grid = model.grid(*frames[0].shape[1:3])
    cost, per_pixel = resource(model, stage, aux["scale_mask"], aux["depth_mask"], grid)
    error = reconstruction.ERRORS[stage.error](output, frames[2])
    finders = ("depth",) if stage.kind == "depth" else ("scale", "depth")  # a scale that is fixed is no choice
    return error + cost, {
        **shares({name: aux[f"{name}_mask"] for name in finders}),
        "error": error,
        "cost": cost,
        "flops": per_pixel,
        "gain": gain(output, aux["exit0"], frames[2]),
    }


def _frame_size(batch: dict) -> tuple[int, int]:
    """(H, W), which a batch carries as the shape of an empty array, because the grid is static."""
    return batch["frame_size"].shape[1:3]


def _part(model, params, name, kind):
    """A network that is trained by itself, or as the part of CAIN-SD that it is."""
    return (kind(), params[name]) if isinstance(model, cain_sd.CainSD) else (model, params)


def _to_exit(body, level, first):
    features = first
    for turn in range(level):
        features = cain.residual_group(body, turn, features)
    return features


def _shrink(flow: chex.Array, height: int) -> chex.Array:
    """Mean over squares until about `height` rows are left: [B, H, W, 2] -> [B, h, w, 2]."""
    side = max(1, flow.shape[1] // height)
    b, h, w, c = flow.shape
    cut = flow[:, : h // side * side, : w // side * side]
    return cut.reshape(b, h // side, side, w // side, side, c).mean(axis=(2, 4))


def _scale_each(factors: chex.ArrayTree) -> optax.GradientTransformation:
    """Multiply each update by its own constant."""
    return optax.stateless(lambda updates, _: jax.tree.map(lambda u, f: u * f, updates, factors))
