"""Convolution, one definition, with a gradient that stays fast inside loops.

Axes: B batch, H, W, C channels in, O channels out. Images are [B, H, W, C], kernels [kh, kw, C / groups, O] (HWIO).

Why not `lax.conv_general_dilated` alone? On a CPU, XLA sends the gradients of a convolution inside `scan`, `while` or
`cond` to a path that is 5 to 85 times slower. Here the gradient is written as what is fast everywhere: a convolution
with the reversed kernel for the image, and one matrix product for each kernel tap for the kernel. The forward form is
chosen likewise, for CPUs by `_cpu_form`; figures are GFLOP/s of two cores that reach 200 in a matrix product:

- A 1 x 1 convolution is a matrix product, which takes half the time of XLA's convolution.
- Both cores share a convolution evenly only where rows are long. So images that were padded by reflection lie side by
  side along W, and their columns are padded once more and thrown away.
- Many channels are worth Winograd's transformation, which saves 20 of 36 products: 90x160x192 to 192, 187 and 255; four
  patches of 32x32, 197 and 333 (of the FLOPs of the plain form).
- JAX 0.10 gives most convolutions to YNNPACK, which is slow at small ones; Eigen is not. 34x68x192 to 192: 147 and
  196, 64x64x64 to 64: 106 and 166, 27x162x32 to 32: 93 and 151. From JAX 0.11 on YNNPACK is not the slower one.
- A few channels fill no vector register well. Side by side in cells of two or four columns they are many:
  128x128x16 to 16, the groups of CARN-M, 1.41 ms and 0.76 ms.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator
from typing import Literal

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

Padding = Literal["zero", "reflect", "valid", "sides"]

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

_analysed: contextvars.ContextVar[bool] = contextvars.ContextVar("analysed", default=False)


@contextlib.contextmanager
def analysed() -> Iterator[None]:
    """Within it, convolutions are traced as the papers count them: padding written out, then VALID, groups split.

    For `jaxdyn.flops` only: the numbers are the same, the speed is not.
    """
    token = _analysed.set(True)
    try:
        yield
    finally:
        _analysed.reset(token)


def is_analysed() -> bool:
    """Whether a cost analysis is being traced: loops over layers are then written out, because a loop's body counts
    once."""
    return _analysed.get()


def conv2d(
    x: chex.Array,
    kernel: chex.Array,
    bias: chex.Array | None = None,
    *,
    stride: int = 1,
    padding: Padding = "zero",
    dilation: int = 1,
    groups: int = 1,
) -> chex.Array:
    """Convolve (cross-correlate) images with a kernel: y[p] = sum_d kernel[d] x[stride p + dilation d] + bias.

    Args:
      x: [B, H, W, C].
      kernel: [kh, kw, C / groups, O]; one in bfloat16 multiplies in bfloat16, whatever x is.
      bias: [O], or None.
      stride: step between output samples, in pixels.
      padding: "zero" or "reflect" add dilation (k - 1) / 2 pixels on every side (odd kernels, PyTorch's `padding=k //
        2`); "valid" adds none; "sides" adds zeros to the left and the right only.
      dilation: distance between kernel taps, in pixels.
      groups: the channels are cut into this many independent convolutions. They run one by one, which on a CPU is ten
        times faster than XLA's own grouped form.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), O] of x's type, for "valid" the size that is covered.

    Raises:
      ValueError: channels that do not fit the kernel or the groups, or an unknown padding.
    """
    kh, kw, fan, num_out = kernel.shape
    if x.ndim != 4 or x.shape[-1] != fan * groups:
        raise ValueError(
            f"x (shape {x.shape}) must be [B, H, W, {fan * groups}] "
            f"for a kernel of shape {kernel.shape} and groups={groups}"
        )
    if num_out % groups:
        raise ValueError(f"output channels (={num_out}) must be divisible by groups (={groups})")
    if padding not in ("zero", "reflect", "valid", "sides"):
        raise ValueError(f"padding (={padding!r}) must be 'zero', 'reflect', 'valid' or 'sides'")
    py, px = (0, 0) if padding == "valid" else (dilation * (kh // 2), dilation * (kw // 2))
    if padding == "sides":
        py = 0
    if padding == "reflect":
        x = pad_reflect(x, ((py, py), (px, px)))
        py = px = 0
    if is_analysed() and (py or px):
        x = jnp.pad(x, ((0, 0), (py, py), (px, px), (0, 0)))
        py = px = 0
    pads = ((py, py), (px, px))
    dtype = x.dtype
    if kernel.dtype == jnp.bfloat16:
        x = x.astype(kernel.dtype)
    if groups == 1:
        y = _convolve(x, kernel, pads, stride, dilation)
    else:
        parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
        y = jnp.concatenate([_convolve(part, k, pads, stride, dilation) for part, k in parts], axis=-1)
    y = y.astype(dtype)
    return y if bias is None else y + bias


def pad_reflect(x: chex.Array, pads: tuple[tuple[int, int], tuple[int, int]]) -> chex.Array:
    """Pad H and W by mirroring about the edge pixel (PyTorch's ReflectionPad2d). x: [B, H, W, C].

    `Differs:` where a pad reaches the side, which PyTorch refuses, the edge pixel is repeated: a feature map may be
    one pixel wide.
    """
    for axis, (low, high) in zip((1, 2), pads, strict=True):
        side = x.shape[axis]
        if not (low or high):
            continue
        is_mirrored = max(low, high) < side
        before = [i if is_mirrored else 0 for i in range(low, 0, -1)]
        after = [side - 2 - i if is_mirrored else side - 1 for i in range(high)]
        # Plain slices, because XLA fuses them into what comes next; `jnp.pad` reverses and copies.
        rows = [lax.slice_in_dim(x, i, i + 1, axis=axis) for i in (*before, *after)]
        x = jnp.concatenate([*rows[: len(before)], x, *rows[len(before) :]], axis=axis)
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(x, kernel, pads, stride, dilation):
    """[B, H, W, C] x [kh, kw, C, O] -> [B, H', W', O], zero padding `pads`."""
    return _forward(x, kernel, pads, stride, dilation)


def _forward(x, kernel, pads, stride, dilation):
    """The same without its gradient, in the form that is fast where it runs."""
    plain = functools.partial(_plain, pads=pads, stride=stride, dilation=dilation)
    form = _cpu_form(x, kernel, pads, stride, dilation)
    return plain(x, kernel) if form is None else lax.platform_dependent(x, kernel, cpu=form, default=plain)


def _cpu_form(x, kernel, pads, stride, dilation) -> Callable[[chex.Array, chex.Array], chex.Array] | None:
    """How a convolution runs fastest on a CPU; None: as it is."""
    (kh, kw, fan, num_out), width = kernel.shape, x.shape[2]
    if is_analysed() or stride > 1 or (kh, kw) == (1, 1):
        return None
    if _prefers_winograd(x, kernel, pads, dilation):
        return functools.partial(_winograd, pads=pads)
    crop = dilation * (kh // 2)
    if kh == kw and kh % 2 and width > 2 * crop and not any(map(any, pads)):
        return functools.partial(_side_by_side, crop=crop, dilation=dilation)
    if (kh, kw, dilation) == (3, 3, 1) and pads[1] == (1, 1) and fan <= FULL:
        size = 2 if FULL // 2 <= num_out <= FULL else 4 if num_out <= FULL // 4 else 1
        if size > 1 and width % size == 0:
            return functools.partial(_in_cells, size=size, pads=pads)
    return functools.partial(_by_faster, pads=pads, dilation=dilation) if _prefers_eigen(x, kernel) else None


FULL = 16
"""Channels that fill a vector register."""

IS_YNNPACK_SLOW = jax.__version_info__ < (0, 11)


def _prefers_eigen(x, kernel) -> bool:
    """Whether Eigen is faster than what XLA would take: not for few output channels."""
    return IS_YNNPACK_SLOW and kernel.shape[3] >= 2 * FULL and x.dtype == kernel.dtype == jnp.float32


WINOGRAD_CHANNELS, WINOGRAD_PIXELS = (96, 128), 1024
"""Channels in and out, and pixels, from where on a product over squares is fast, and worth what is moved for it."""


def _prefers_winograd(x, kernel, pads, dilation) -> bool:
    """Whether Winograd's form is faster: many channels out, and not many more in; many pixels."""
    kh, kw, fan, num_out = kernel.shape
    height, width = (side + sum(pad) - 2 for side, pad in zip(x.shape[1:3], pads, strict=True))
    return (
        (kh, kw, dilation) == (3, 3, 1)
        and x.dtype == kernel.dtype == jnp.float32
        and WINOGRAD_CHANNELS[0] <= fan <= 2 * num_out
        and num_out >= WINOGRAD_CHANNELS[1]
        and x.shape[0] * height * width >= WINOGRAD_PIXELS
    )


def _winograd(x, kernel, pads):
    """F(2x2, 3x3) of Lavin and Gray 2016: y = A' [(G g G') * (B' d B)] A, where * is a product of matrices.

    Outputs are made in squares of 2 x 2 out of inputs d of 4 x 4, by 16 products and not 36. Each of the 16 places of
    a square is one product [M, C] x [C, O] over all M squares of all images. Its numbers differ from those of the
    plain form by some units of float32's last place.
    """
    b, height, width, c = x.shape
    num_out = kernel.shape[3]
    ho, wo = height + sum(pads[0]) - 2, width + sum(pads[1]) - 2
    rows, columns = -(-ho // 2), -(-wo // 2)
    more = (2 * rows - ho, 2 * columns - wo)  # of an odd side one more is computed and thrown away
    padded = [(low, high + extra) for (low, high), extra in zip(pads, more, strict=True)]
    x = jnp.pad(x, ((0, 0), *padded, (0, 0))) if any(map(any, padded)) else x

    def squares(line, axis, number):  # B' d: what each of 4 places takes from `number` overlapping stretches of 4
        d = [lax.slice_in_dim(line, i, i + 2 * number - 1, 2, axis) for i in range(4)]
        return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]

    def taps(g):  # G g
        both, middle = (g[0] + g[2]) / 2, g[1] / 2
        return g[0], both + middle, both - middle, g[2]

    def ends(m):  # A' m
        return m[0] + m[1] + m[2], m[1] - m[2] - m[3]

    inside = []
    for line, row in zip(squares(x, 1, rows), taps(kernel), strict=True):
        places = zip(squares(line, 2, columns), taps(row), strict=True)
        inside.append(ends([d.reshape(-1, c) @ g for d, g in places]))
    y = [ends(of_column) for of_column in zip(*inside, strict=True)]  # 2 columns of 2 rows, [M, O] each
    y = [jnp.stack([part.reshape(b, rows, columns, num_out) for part in row], axis=3) for row in zip(*y, strict=True)]
    return jnp.stack(y, axis=2).reshape(b, 2 * rows, 2 * columns, num_out)[:, :ho, :wo]


def _by_faster(x, kernel, pads, dilation):
    """A convolution by the library that is faster at it.

    XLA gives YNNPACK none whose output is larger than its input: for Eigen it is made so, by columns that are thrown
    away.
    """
    reach, (low, high) = dilation * (kernel.shape[1] - 1), pads[1]
    more = max(reach + 1 - low - high, 0) if _prefers_eigen(x, kernel) else 0
    y = _plain(x, kernel, (pads[0], (low, high + more)), 1, dilation)
    return y[:, :, : y.shape[2] - more]


def _side_by_side(x, kernel, crop, dilation):
    """A VALID convolution: images side by side along W, columns padded once more and thrown away."""
    b, height, width, c = x.shape
    row = x if b == 1 else x.transpose(1, 0, 2, 3).reshape(1, height, b * width, c)
    y = _by_faster(row, kernel, ((0, 0), (crop, crop)), dilation)
    y = y.reshape(height - 2 * crop, b, width, -1)[:, :, crop : width - crop]
    return y.transpose(1, 0, 2, 3)


def _in_cells(x, kernel, size, pads):
    """A 3 x 3 convolution whose pixels are cells of `size` columns: [B, H, W, C] -> [B, H', W, O].

    Cell m of the output holds columns size m - 1 to size m + size - 2, so that only two cells are seen for each, m - 1
    and m: size + 2 columns for `size` outputs.
    """
    b, height, width, c = x.shape
    num_out = kernel.shape[3]
    shifts = [((0, 0), (size + column - 2, size - column - 1), (0, 0), (0, 0)) for column in range(size)]
    spread = jnp.stack([jnp.pad(kernel, shift) for shift in shifts], axis=3)  # [3, 2 size, C, size, O]
    spread = spread.reshape(3, 2, size * c, size * num_out)
    y = _plain(x.reshape(b, height, width // size, size * c), spread, (pads[0], (1, 1)), 1, 1)
    return y.reshape(b, y.shape[1], width + size, num_out)[:, :, 1 : width + 1]


def _plain(x, kernel, pads, stride, dilation):
    if kernel.shape[:2] == (1, 1) and stride == 1 and not any(map(any, pads)) and not is_analysed():
        return lax.dot_general(x, kernel[0, 0], (((3,), (0,)), ((), ())))
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, rhs_dilation=(dilation, dilation), dimension_numbers=_DIMENSIONS
    )


def _convolve_forward(x, kernel, pads, stride, dilation):
    return _convolve(x, kernel, pads, stride, dilation), (x, kernel)


def _convolve_backward(pads, stride, dilation, saved, dy):
    """d x: convolution of dy with the reversed kernel, C and O swapped. d kernel: x' dy for each tap, shifted."""
    x, kernel = saved
    kh, kw, num_in, num_out = kernel.shape
    _, ho, wo, _ = dy.shape
    spread = dy
    if stride > 1:  # zeros between the samples; then the rows that no output saw
        spread = lax.pad(dy, jnp.zeros((), dy.dtype), ((0, 0, 0), (0, 0, stride - 1), (0, 0, stride - 1), (0, 0, 0)))
    back = []
    for axis, k in ((1, kh), (2, kw)):
        (low, _), reach = pads[axis - 1], dilation * (k - 1)
        before = reach - low
        back.append((before, x.shape[axis] - spread.shape[axis] + reach - before))
    dx = _forward(spread, kernel[::-1, ::-1].swapaxes(2, 3), tuple(back), 1, dilation)
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    if stride == dilation == 1 and num_out <= FEW:
        return dx, _kernel_gradient_of_few(padded, dy, kh, kw)
    flat = dy.reshape(-1, num_out)
    taps = []
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation, j * dilation
            seen = padded[:, top : top + (ho - 1) * stride + 1 : stride, left : left + (wo - 1) * stride + 1 : stride]
            taps.append(seen.reshape(-1, num_in).T @ flat)
    return dx, jnp.stack(taps).reshape(kernel.shape)


FEW = 8
"""Output channels up to which the kernel's gradient is one product for each kernel row, not for each tap."""


def _kernel_gradient_of_few(padded, dy, kh, kw):
    """d kernel where a product for each tap would be too thin: pixels in one line, dy's shifts in a row side by side.

    padded [B, H', W', C], dy [B, H' - kh + 1, W' - kw + 1, O] -> [kh, kw, C, O]; at 4x192x192x16 to 3 channels 17 ms
    against 100.
    """
    _, _, width, num_in = padded.shape
    num_out = dy.shape[-1]
    line = jnp.pad(padded.reshape(-1, num_in), ((0, (kh - 1) * width + kw - 1), (0, 0)))
    spread = jnp.pad(dy, ((0, 0), (0, kh - 1), (0, kw - 1), (0, 0))).reshape(-1, num_out)
    shifts = [jnp.pad(spread, ((j, kw - 1 - j), (0, 0))) for j in range(kw)]
    beside = jnp.concatenate(shifts, axis=-1)  # [L, kw O]
    rows = [line[i * width : i * width + len(beside)].T @ beside for i in range(kh)]  # [C, kw O] each
    return jnp.stack(rows).reshape(kh, num_in, kw, num_out).swapaxes(1, 2)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def uniform_fan_in(fan_in: int) -> Callable[..., chex.Array]:
    """PyTorch's default for convolutions and linear layers: U(-b, b), b = 1 / sqrt(fan_in), kernel and bias alike."""
    bound = 1.0 / math.sqrt(fan_in)
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class Conv(nn.Module):
    """A convolution with its parameters `kernel` [k, k, C / groups, O] and `bias` [O].

    Attributes:
      features: O.
      kernel_size: k.
      initializer: "torch" (U(+-1 / sqrt(fan_in)), bias alike), "kaiming" (normal, sqrt(2 / fan_in), bias 0) or "zeros".
      stride, padding, dilation, groups: as in `conv2d`.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: Padding = "zero"
    dilation: int = 1
    groups: int = 1
    initializer: Literal["torch", "kaiming", "zeros"] = "torch"

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        """[B, H, W, C] -> [B, H', W', features]."""
        k, fan = self.kernel_size, x.shape[-1] // self.groups
        kernel_init, bias_init = {
            "torch": (uniform_fan_in(k * k * fan), uniform_fan_in(k * k * fan)),
            "kaiming": (nn.initializers.normal(math.sqrt(2.0 / (k * k * fan))), nn.initializers.zeros),
            "zeros": (nn.initializers.zeros, nn.initializers.zeros),
        }[self.initializer]
        kernel = self.param("kernel", kernel_init, (k, k, fan, self.features))
        bias = self.param("bias", bias_init, (self.features,))
        return conv2d(
            x, kernel, bias, stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups
        )
