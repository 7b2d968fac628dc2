"""jaxdyn: video models that spend compute only where the picture needs it.

Words and values:   types (Route, Cost)
Array functions:    ops.conv, ops.resample, ops.warp, ops.patches, ops.shuffle
Networks:           models.build(name), one network a file
Routing:            routing (straight-through sampling, masked and packed execution)
Measures:           flops, metrics, losses
Weights:            load(name), pretrained, convert
Video:              pipeline.interpolate_video, pipeline.upscale_video, interpolator.Interpolator, video, motion
"""

from jaxdyn.version import __version__

__all__ = ["__version__", "load"]


def load(name: str):
    """The network and the weights that come with the package: `load("cain_sd") -> (model, variables)`.

    Args:
      name: "cain_sd", or the path of a weights file made by `jaxdyn convert` or by training.

    Raises:
      FileNotFoundError: neither a shipped network nor a file; the message lists the shipped ones.
    """
    from jaxdyn import pretrained  # JAX is imported on first use, so that `jaxdyn --help` answers at once

    return pretrained.load(name)
