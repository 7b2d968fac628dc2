"""How a run is kept, computed and told; a configuration has these as fields of the same names."""

import dataclasses
from typing import Any, Literal, get_args

Precision = Literal["float32", "bfloat16"]
"""What convolutions of a step multiply in; parameters are float32 in any case."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What holds for all stages of a run.

    Attributes:
      seed: of data and of the steps' random numbers.
      log_every, save_every, picture_every: steps.
      keep_last, keep_best: see `checkpoints.Keep`.
      on_nonfinite: what happens when a loss, a gradient or another metric is not finite: "stop", with an error that
        names it, or "skip", the step changes nothing.
      max_skipped: how many steps of a stage may be skipped.
      patience: lines of the log in a row of a gate that decides the same for everything, until a warning.
      num_worker: processes that make batches; 0: threads of this one.
      accumulate: parts that a batch is computed in, see `step.make_step`.
      precision: what convolutions multiply in.
      is_shown: whether a progress bar is drawn.
    """

    seed: int = 0
    log_every: int = 50
    save_every: int = 500
    picture_every: int = 500
    keep_last: int = 2
    keep_best: int = 0
    on_nonfinite: Literal["stop", "skip"] = "stop"
    max_skipped: int = 10
    patience: int = 20
    num_worker: int = 0
    accumulate: int = 1
    precision: Precision = "float32"
    is_shown: bool = True

    def __post_init__(self):
        if self.on_nonfinite not in ("stop", "skip"):
            raise ValueError(f"on_nonfinite (={self.on_nonfinite!r}) must be 'stop' or 'skip'")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision (={self.precision!r}) must be one of {', '.join(get_args(Precision))}")
        least = {"log_every": 1, "save_every": 1, "picture_every": 1, "patience": 1, "accumulate": 1, "num_worker": 0}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ValueError(f"{name} (={getattr(self, name)}) must be at least {number}")

    @classmethod
    def of_config(cls, config: Any, **others) -> "Settings":
        """Those of a configuration, and others."""
        names = [field.name for field in dataclasses.fields(cls) if hasattr(config, field.name)]
        return cls(**{name: getattr(config, name) for name in names} | others)
