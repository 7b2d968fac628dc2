"""Frames of a benchmark to look at on the page of an evaluation: given, dense, dynamic and true ones, with their maps.

Of up to 8 clips, spread over the benchmark: the first triplet of each, or the middle one of its first frames.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from eval.evaluate import Interpolation, Upscaling
from eval.methods import Weights
from eval.report import Sample
from eval.samples import Clip, Samples
from jaxdyn import maps, metrics, report
from jaxdyn.interpolator import Interpolator
from jaxdyn.models.basicvsr import SCALE, BasicVSR
from jaxdyn.models.cain_sd import CainSD
from jaxdyn.models.skipvsr import SkipVSR
from jaxdyn.upscaler import Upscaler

NUM_CLIP = 8
NUM_FRAME = 9
"""Frames of a clip that an upscaler sees, to show the one in the middle."""


def of_benchmark(samples: Samples, weights: Sequence[Weights]) -> tuple[list[Sample], list[report.Legend]]:
    """Samples of the first network that can do the task, and what the colours of their maps mean; none without one."""
    wanted = (CainSD,) if samples.protocol.task == "interpolate" else (SkipVSR, BasicVSR)
    able = next((one for kind in wanted for one in weights if isinstance(one.model, kind)), None)
    if able is None:
        return [], []
    step = max(1, -(-len(samples.clips) // NUM_CLIP))
    make = interpolated if samples.protocol.task == "interpolate" else enlarged
    legends = report.scale_legends(able.model.num_group) if isinstance(able.model, CainSD) else report.block_legends()
    return list(make(samples, samples.clips[::step], able)), list(legends)


def interpolated(samples: Samples, clips: Sequence[Clip], weights: Weights) -> Iterator[Sample]:
    """The middle frame of each clip's first triplet, as the finders have it and as the dense network has it."""
    routed = Interpolator(weights.model, weights.variables)
    dense, model = routed.densely(), weights.model
    for clip in clips:
        triplet = next(Interpolation(samples.protocol).triplets(clip), None)
        if triplet is None:
            continue
        height, width = triplet.truth.shape[:2]
        made = routed.middle(triplet.first, triplet.last)
        layers = {
            "frame before": triplet.first,
            "averaged": (triplet.first + triplet.last) / 2,
            "dense": dense.middle(triplet.first, triplet.last).frame,
            "dynamic": made.frame,
            "truth": triplet.truth,
        }
        cells = maps.route_cells(height, width, made.route, model.num_group, model.patch, model.stride)
        share = made.cost.share(routed.dense_cost(height, width))
        yield Sample(clip.name, layers, cells, share, _scores(samples, layers, "frame before"))


def enlarged(samples: Samples, clips: Sequence[Clip], weights: Weights) -> Iterator[Sample]:
    """The frame in the middle of each clip's first ones, as the gates have it and as the dense network has it."""
    routed = Upscaler(weights.model, weights.variables)
    static = Upscaler(weights.model, weights.variables, execution="dense")
    for clip in clips:
        seen = list(itertools.islice(Upscaling(samples.protocol).frames(clip), NUM_FRAME))
        if not seen:
            continue
        at, small = len(seen) // 2, np.stack([small for _, small in seen])
        window = (small.astype(np.float32) / 255, np.arange(len(small)) == 0, (at, at + 1))
        [dense], [made] = static.window(*window), routed.window(*window)
        layers = {"input": small[at], "dense": dense.frame, "dynamic": made.frame, "truth": seen[at][0]}
        height, width = small.shape[1:3]
        cells = ()
        if made.blocks is not None:
            cells = maps.block_cells(made.blocks, routed.model.grid(height, width), SCALE)
        else:
            del layers["dynamic"]
        share = made.cost.share(routed.dense_cost(height, width))
        yield Sample(f"{clip.name}, frame {at + 1}", layers, cells, share, _scores(samples, layers, "input"))


def _scores(samples: Samples, layers: dict[str, np.ndarray], given: str) -> dict[str, float]:
    """PSNR of what was made, by layer, as the protocol has it."""
    how, truth = samples.protocol, layers["truth"]
    return {
        name: float(metrics.psnr(image, truth, channel=how.channel, border=how.border))
        for name, image in layers.items()
        if name not in (given, "truth")
    }
