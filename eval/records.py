"""The record that every table, curve and page is a view of: one method at one operating point on one benchmark."""

import dataclasses

MEASURED = "measured"
"""`Row.source` of figures that were measured here; any other source is a citation."""


@dataclasses.dataclass(frozen=True)
class Row:
    """Scores and costs of one operating point. None, or an empty mapping: not known, or not asked for.

    Attributes:
      benchmark: name of the protocol (`eval.protocols`), or the paper's own words for a published figure.
      method: "CAIN-SD", "bicubic".
      point: the operating point: "dense", "finders", "exit 3", "alpha 0.94", "budget 60%"; "" where there is but one.
      weights: name or file; "" where none are needed.
      psnr: dB, mean over frames or clips as the protocol says.
      ssim: by window: "gaussian", "uniform", "volume".
      size: (W, H) of the input frames that the costs are of, in pixels.
      flops: executed FLOPs of one made frame, 2 for each multiply-add, everything included; mean over the frames.
      multiply_adds: executed multiply-adds, counted on their own.
      share: `flops` as a share of the dense network's.
      parameters: of all networks that take part.
      milliseconds: of one made frame by platform, "cpu" or "gpu"; medians.
      dense_milliseconds: the dense network's in the same interleaved run.
      peak_memory: bytes, of the process or the device.
      source: `MEASURED`, or where the figures were published: "CAIN-SD, Table 1".
      num_frame: frames that were scored.
      clips: PSNR of each clip, dB.
      clips_ssim: SSIM of each clip, with the protocol's first window.
      counts: what routing did: executed patches or blocks by name, such as {"scale 1": 12, "exit 3": 4}.
      protocol: `Protocol.sentence` of the benchmark, so that figures never travel without it; "" for published ones.
      notes: what a reader should know of these figures, one sentence each.
    """

    benchmark: str
    method: str
    point: str = ""
    weights: str = ""
    psnr: float | None = None
    ssim: dict[str, float] = dataclasses.field(default_factory=dict)
    size: tuple[int, int] | None = None
    flops: float | None = None
    multiply_adds: float | None = None
    share: float | None = None
    parameters: int | None = None
    milliseconds: dict[str, float] = dataclasses.field(default_factory=dict)
    dense_milliseconds: dict[str, float] = dataclasses.field(default_factory=dict)
    peak_memory: int | None = None
    source: str = MEASURED
    num_frame: int = 0
    clips: dict[str, float] = dataclasses.field(default_factory=dict)
    clips_ssim: dict[str, float] = dataclasses.field(default_factory=dict)
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    protocol: str = ""
    notes: tuple[str, ...] = ()
