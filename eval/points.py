"""Rows by name: the operating points that some weights have, and the baselines.

interpolation   averaging; of a CAIN-SD or a CAIN: dense; of a CAIN-SD: finders, exit3 (at scale 1), exit3/2 (at
                scale 1/2), exits (every exit at scale 1), budget60% (a share of the dense FLOPs)
upscaling       bicubic; of a SkipVSR or a BasicVSR: dense; of a SkipVSR: gates (at the weights' own threshold),
                alpha0.94, budget60%, and with half of the blocks, whatever the gates say, uniform, shallow, deep
                (Table 4); of a CARN-M, frame by frame: x4, x2x2 (twice x2)
"""

from collections.abc import Sequence

from eval import interpolating, upscaling
from eval.methods import Label, Method, Weights
from eval.protocols import Task
from jaxdyn.errors import UserError


def build(
    task: Task, weights: Sequence[Weights], rows: Sequence[str] | None = None, length: int | None = None
) -> list[Method]:
    """The methods of the rows that are asked for, in their order.

    Args:
      task: "interpolate" or "upscale".
      weights: whose operating points; a name that several have gives a row of each.
      rows: names, see above; None: what is usual for the weights.
      length: upscaling: frames that a network sees at once, `Protocol.length`.

    Raises:
      UserError: a network for another task, a name that none of the weights has, a budget that is no share.
    """
    table = interpolating.Table(weights) if task == "interpolate" else upscaling.Table(weights, length)
    names = list(dict.fromkeys(table.usual() if rows is None else rows))
    found: dict[Label, Method] = {}
    for name in names:
        methods = table.methods(name)
        if not methods:
            raise UserError(f"row (={name!r}) is not one that there is here; there are {', '.join(table.known())}.")
        for method in methods:
            found.setdefault(method.label, method)
    return list(found.values())
