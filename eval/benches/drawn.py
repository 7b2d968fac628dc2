"""A clip that the project draws, as a file: what whole jobs are timed on where no clip is given."""

from pathlib import Path

import av
import numpy as np

from jaxdyn import bench

RATE = 24


def write_clip(path: Path, width: int, height: int, number: int) -> Path:
    """Frames of the demo's first shot as H.264, at any size; gives the path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "16", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index, frame in enumerate(bench.drawn(width, height, number)):
            codes = np.rint(np.clip(frame, 0, 1) * 255).astype(np.uint8)
            picture = av.VideoFrame.from_ndarray(codes, format="rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path
