"""Networks, one a file. Every one is applied as `model.apply(variables, ...) -> (output, aux)`, aux holding named
intermediates."""

import numpy as np
from flax import linen as nn


def build(name: str, **overrides) -> nn.Module:
    """A network of the published size, or with some of its fields changed: `build("cain", num_block=4)`.

    Args:
      name: "pwcnet", "spynet", "carn_m", "cain", "cain_sd", "basicvsr" or "skipvsr".
      **overrides: fields of the module.

    Raises:
      ValueError: an unknown name; the message lists the known ones.
      TypeError: an unknown field.
    """
    known = modules()
    if name not in known:
        raise ValueError(f"network (={name!r}) must be one of {', '.join(sorted(known))}")
    return known[name](**overrides)


def modules() -> dict[str, type[nn.Module]]:
    """Name and class of every network."""
    from jaxdyn.models.basicvsr import BasicVSR
    from jaxdyn.models.cain import CAIN
    from jaxdyn.models.cain_sd import CainSD
    from jaxdyn.models.carn import CARNM
    from jaxdyn.models.pwcnet import PWCNet
    from jaxdyn.models.skipvsr import SkipVSR
    from jaxdyn.models.spynet import SpyNet

    return {
        "pwcnet": PWCNet,
        "spynet": SpyNet,
        "carn_m": CARNM,
        "cain": CAIN,
        "cain_sd": CainSD,
        "basicvsr": BasicVSR,
        "skipvsr": SkipVSR,
    }


def example_arguments(model: nn.Module) -> tuple:
    """Inputs that a network can be initialised with, of small size and all zero: `model.init(key, *arguments)`."""
    from jaxdyn.models.basicvsr import BasicVSR
    from jaxdyn.models.carn import CARNM

    image, flow = np.zeros((1, 64, 64, 3), np.float32), np.zeros((1, 64, 64, 2), np.float32)
    if isinstance(model, BasicVSR):  # SkipVSR too
        return (np.zeros((1, 1, 8, 8, 3), np.float32),)
    if isinstance(model, CARNM):
        return (image,)
    if getattr(model, "motion", None) == "dis":
        return image, image, (flow, flow)
    return image, image
