"""SD-finder: two small networks that look at motion and difference and say what each patch gets (Section 3.2, CAIN-SD).

Axes: B, h, w sides of the router's images, n_h, n_w the grid of patches, K choices.
"""

import chex
import jax.numpy as jnp
from flax import linen as nn

from jaxdyn.ops import conv, patches


def magnitude(flow01: chex.Array, flow10: chex.Array) -> chex.Array:
    """The larger of two motions at each pixel: F_mag = max(|F_01|, |F_10|) (Eq. 2, CAIN-SD).

    Args:
      flow01, flow10: [B, h, w, 2], in pixels of their own grid.

    Returns:
      [B, h, w, 1], in pixels of that grid.
    """
    squared = jnp.maximum((flow01**2).sum(-1, keepdims=True), (flow10**2).sum(-1, keepdims=True))
    return jnp.sqrt(jnp.maximum(squared, 1e-12))  # no infinite gradient at rest


class Finder(nn.Module):
    """ScaleNet or DepthNet: three convolutions, then the mean over each patch's own area.

    conv3x3 stride 2 (16) - ReLU - conv3x3 stride 2 (32) - ReLU - conv3x3 (K) - pooling. `(maps) -> (logits, aux)`.

    Attributes:
      num_choice: K.
      widths: channels of the first two layers.
    """

    num_choice: int
    widths: tuple[int, int] = (16, 32)

    @nn.compact
    def __call__(self, maps: chex.Array, grid: patches.Grid) -> tuple[chex.Array, dict]:
        """[B, h, w, C] -> [B, n_h, n_w, K]; aux: `cells`, the scores before pooling."""
        x = nn.relu(conv.Conv(self.widths[0], stride=2, name="conv1")(maps))
        x = nn.relu(conv.Conv(self.widths[1], stride=2, name="conv2")(x))  # [B, h / 4, w / 4, 32]
        cells = conv.Conv(self.num_choice, name="conv3")(x)
        _, h, w, _ = cells.shape
        rows = patches.area_weights(h, grid.rows, grid.patch[0], grid.height)  # [n_h, h]
        columns = patches.area_weights(w, grid.columns, grid.patch[1], grid.width)  # [n_w, w]
        logits = jnp.einsum("ph,bhwk,qw->bpqk", rows, cells, columns)
        return logits, {"cells": cells}
