"""The static networks once more, in PyTorch and for inference alone: what ours are timed against.

A twin takes a published checkpoint's tensors by their own names, [B, C, H, W] images in [0, 1], and gives what our
network of the same weights gives. It needs PyTorch (`pip install "jaxdyn[convert]"`), which is imported by the twins'
own modules only.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

TWINS = ("cain", "basicvsr", "spynet")
"""Networks that have a twin."""


def build(name: str, **fields: Any) -> "torch.nn.Module":
    """A twin with PyTorch's own initial weights, ready for inference, channels last.

    Args:
      name: "cain", "basicvsr" or "spynet".
      **fields: `num_feat`, `num_group`, `num_block`, `reduction` of CAIN; `num_feat`, `num_block`, `num_hr` of
        BasicVSR; as in `jaxdyn.models`.

    Raises:
      ValueError: a network without a twin.
      ImportError: PyTorch is not installed.
    """
    if name not in TWINS:
        raise ValueError(f"network (={name!r}) must be one of {', '.join(TWINS)}, which have a twin")
    import torch

    from eval.twins.basicvsr import BasicVSR
    from eval.twins.cain import CAIN
    from eval.twins.spynet import SpyNet

    twin = {"cain": CAIN, "basicvsr": BasicVSR, "spynet": SpyNet}[name](**fields)
    return twin.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def load(twin: "torch.nn.Module", tensors: Mapping[str, Any]) -> None:
    """Gives a twin the tensors of a published checkpoint, by name; all of them, and no other.

    Raises:
      RuntimeError: keys that are missing or left over, or shapes that do not fit; by PyTorch, which names them.
    """
    import torch

    twin.load_state_dict({name: torch.as_tensor(value) for name, value in tensors.items()})
