"""Sample pictures and routing histograms of a stage, for TensorBoard.

A hook looks at the first example of a batch: (model, parameters, batch) -> values by name, pictures uint8 [H, W, 3],
numbers [n]. Which hooks a kind of stage has stands in `HOOKS`.
"""

import functools
from typing import Any

import chex
import cv2
import jax
import numpy as np

from jaxdyn import maps
from jaxdyn.data import crops, sequences
from jaxdyn.interpolator import route_of
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.models.carn import CARNM
from jaxdyn.models.pwcnet import PWCNet
from jaxdyn.models.spynet import SpyNet
from jaxdyn.ops import resample
from train import upscaling


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(model: Any, options: tuple[tuple[str, Any], ...], params: chex.ArrayTree, arguments: tuple, more: dict):
    return model.apply({"params": params}, *arguments, **dict(options), **more)


def exits(model, params, batch) -> dict[str, np.ndarray]:
    """A crop: exit 0, the last exit, the truth."""
    batch = first(batch)
    images = _apply(model, (("method", "exits"),), params, (crops.stack_of(batch),), {})
    return {"exit 0, last exit, truth": beside(images[0][0], images[-1][0], crops.target_of(batch)[0])}


def routed(model, params, batch) -> dict[str, np.ndarray]:
    """A frame: what the finders chose over it, and the output beside the truth."""
    batch = first(batch)
    frames = [np.float32(batch[name]) / 255 for name in ("frame0", "frame1", "target")]
    motion = (batch["flow01"], batch["flow10"]) if "flow01" in batch else None
    output, aux = _apply(model, (("execution", "packed"),), params, (*frames[:2], motion), {})
    return {"output, truth": beside(output[0], frames[2][0]), **_route(model, aux["route"], output[0])}


def routed_at_full_scale(model, params, batch) -> dict[str, np.ndarray]:
    """Likewise before ScaleNet has learnt."""
    return routed(model.clone(fixed_scale=0), params, batch)


def found(model, params, batch) -> dict[str, np.ndarray]:
    """An entry of the table of errors: what the finders choose."""
    height, width = batch["frame_size"].shape[1:3]
    batch = first({name: value for name, value in batch.items() if name != "frame_size"})
    motion = None if model.motion == "difference" else (batch["flow01"], batch["flow10"])
    grid = model.grid(height, width)
    options = (("grid", grid), ("method", "find"))
    logits = _apply(model, options, params, (batch["small0"], batch["small1"], motion), {})
    route = route_of(model, *jax.device_get((logits["scale_logits"], logits["depth_logits"])))
    return _route(model, route, cv2.resize(np.asarray(batch["small0"][0]), (width, height)))


def flow(model, params, batch) -> dict[str, np.ndarray]:
    """A frame, the flow that was found, the true one: colour is direction, its strength the length."""
    batch = first(batch)
    is_itself = isinstance(model, PWCNet | SpyNet)
    network = model if is_itself else PWCNet() if isinstance(model, CainSD) else SpyNet()
    own = params if is_itself else params["flow"]
    motion, _ = _apply(network, (), own, (batch["frame0"], batch["frame1"]), {})
    true = batch["flow01"][0]
    largest = np.linalg.norm(true, axis=-1).max() + 1e-6
    return {"frame, flow, truth": beside(batch["frame0"][0], *(wheel(f, largest) for f in (motion[0], true)))}


def enlarged(model, params, batch) -> dict[str, np.ndarray]:
    """A crop made twice as large by CARN-M: bilinear, output, truth."""
    target = first(batch)["target"]
    small = np.clip(resample.imresize(target, 1 / 2), 0, 1)
    network, own = (CARNM(), params["carn_m"]) if isinstance(model, CainSD) else (model, params)
    large, _ = _apply(network, (("scale", 2),), own, (small,), {})
    return {"bilinear, output, truth": beside(_larger(small[0], target.shape[1:3]), large[0], target[0])}


def upscaled(model, params, batch) -> dict[str, np.ndarray]:
    """The middle frame of a sequence by the static network: bilinear, output, truth."""
    network, own = upscaling.dense(model, params)
    return _sequence(network, own, first(batch), ())[0]


def gated(model, params, batch) -> dict[str, np.ndarray]:
    """Likewise with the gates at the network's own threshold, which blocks ran, and the scores they decide by."""
    batch = first({name: value for name, value in batch.items() if name != "teacher"})
    shown, aux, clip = _sequence(model, params, batch, (("execution", "packed"),))
    blocks, middle = np.asarray(aux["route"].blocks[0]), clip.shape[1] // 2  # [2, T, M, n_h, n_w]
    shown["map"] = maps.draw_blocks(clip[0, middle], blocks[:, middle], model.grid(*clip.shape[2:4]))
    executed = blocks.mean(axis=2, dtype=np.float64).ravel()
    return {**shown, "executed": executed, "scores": np.asarray(aux["scores"]).ravel()}


HOOKS = {
    "exits": (exits,),
    "depth": (routed_at_full_scale,),
    "scale": (routed,),
    "finders": (found,),
    "flow": (flow,),
    "spynet": (flow,),
    "upscale": (enlarged,),
    "teacher": (upscaled,),
    "gates": (gated,),
}


# Parts


def first(batch: dict) -> dict:
    """The first example of a batch, its axis kept."""
    return jax.tree.map(lambda value: value[:1] if np.ndim(value) else value, batch)


def beside(*images: chex.Array) -> np.ndarray:
    """Images [H, W, 3] in [0, 1] side by side, uint8."""
    row = np.concatenate([np.asarray(image, np.float32) for image in images], axis=1)
    return np.rint(np.clip(row, 0, 1) * 255).astype(np.uint8)


def wheel(motion: chex.Array, largest: float) -> np.ndarray:
    """A picture of a flow [H, W, 2] px: hue is its direction, saturation its length in parts of `largest`."""
    x, y = np.moveaxis(np.asarray(motion, np.float32), -1, 0)
    hue = np.degrees(np.arctan2(y, x)) % 360
    strength = np.clip(np.hypot(x, y) / largest, 0, 1)
    return cv2.cvtColor(np.stack([hue, strength, np.ones_like(hue)], axis=-1).astype(np.float32), cv2.COLOR_HSV2RGB)


def _route(model, route, frame) -> dict[str, np.ndarray]:
    frame = np.clip(np.asarray(frame, np.float32), 0, 1)
    picture = maps.draw(frame, route, model.num_group, model.patch, model.stride)
    return {"map": picture, **{name: np.asarray(getattr(route, name)).ravel() for name in ("scale", "depth")}}


def _sequence(model, params, batch, options):
    clip, target = np.asarray(sequences.clip_of(batch)), sequences.target_of(batch)
    large, aux = _apply(model, options, params, (clip,), {"motion": sequences.motion_of(batch)})
    middle = clip.shape[1] // 2
    small = _larger(clip[0, middle], target.shape[2:4])
    shown = {"bilinear, output, truth": beside(small, large[0, middle], target[0, middle])}
    return shown, aux, np.clip(clip, 0, 1)


def _larger(image, size) -> np.ndarray:
    return cv2.resize(np.asarray(image), size[::-1], interpolation=cv2.INTER_LINEAR)
