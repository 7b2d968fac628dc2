"""Networks, one a file. Every one is applied as `model.apply(variables, ...) -> (output, aux)`, aux holding named
intermediates."""

from flax import linen as nn


def build(name: str, **overrides) -> nn.Module:
    """A network of the published size, or with some of its fields changed: `build("cain", num_block=4)`.

    Args:
      name: "pwcnet", "carn_m", "cain" or "cain_sd".
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
    from jaxdyn.models.cain import CAIN
    from jaxdyn.models.cain_sd import CainSD
    from jaxdyn.models.carn import CARNM
    from jaxdyn.models.pwcnet import PWCNet

    return {"pwcnet": PWCNet, "carn_m": CARNM, "cain": CAIN, "cain_sd": CainSD}
