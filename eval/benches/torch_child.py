"""The other process of a comparison: a PyTorch twin that runs when it is asked to, and sleeps in between.

`python -m eval.benches.torch_child` reads one JSON object a line and answers each with one: first what to build, then
`{"run": MODE}`, answered with `{"seconds": ...}`, or `{"save": PATH, "run": MODE}`, which also keeps the output. What
goes wrong is answered with `{"error": ...}`. PyTorch's own messages go to stderr.
"""

import json
import os
import sys
import time
from typing import Any

import numpy as np

from eval import twins

MODES = ("eager", "compiled")


class Side:
    """A twin in each mode, with the same random weights, and its input.

    Args:
      network: "cain" or "basicvsr".
      fields: of the twin.
      inputs: .npz of arrays [..., H, W, C], in the order of the twin's arguments.
      weights: .npz to write the twin's tensors to.
      precision: "float32" or "bfloat16", of weights and input.
      device: "cpu" or "cuda".
      threads: of PyTorch on the CPU.
      modes: of `MODES`.
    """

    def __init__(
        self,
        network: str,
        fields: dict[str, Any],
        inputs: str,
        weights: str,
        precision: str,
        device: str,
        threads: int,
        modes: list[str],
    ):
        import torch

        from eval.twins import basicvsr, cain, spynet

        self.torch, self.device = torch, device
        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError(f"PyTorch {torch.__version__} sees no CUDA device; install its CUDA build")
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(0)
        dtype = getattr(torch, precision)
        first = twins.build(network, **fields)
        tensors = {name: value.numpy().copy() for name, value in first.state_dict().items()}
        np.savez(weights, **tensors)
        self.twins = {}
        for mode in modes:
            twin = twins.build(network, **fields)
            twins.load(twin, tensors)
            self.twins[mode] = twin.to(device=device, dtype=dtype)
        if (
            "compiled" in self.twins
        ):  # what repeats, not the whole: one short compilation, as fast where blocks dominate
            for module in self.twins["compiled"].modules():
                if isinstance(module, cain.Block | basicvsr.Block | spynet.Level):
                    module.compile()
        self.inputs = []
        with np.load(inputs) as arrays:
            for array in arrays.values():
                image = torch.as_tensor(np.moveaxis(array, -1, -3)).to(device=device, dtype=dtype)
                image = image.contiguous(memory_format=torch.channels_last) if image.ndim == 4 else image.contiguous()
                self.inputs.append(image)

    def run(self, mode: str, save: str | None = None) -> float:
        """Seconds of one forward pass; its output [..., H, W, C] goes to a .npy if a path is given."""
        with self.torch.inference_mode():
            start = time.perf_counter()
            output = self.twins[mode](*self.inputs)
            if self.device == "cuda":
                self.torch.cuda.synchronize()
            spent = time.perf_counter() - start
        if save:
            np.save(save, np.moveaxis(output.float().cpu().numpy(), -3, -1))
        return spent


def main() -> None:
    """Answers until there is nothing more to read."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    side = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if side is None:
                side = Side(**asked)
                answer = {"torch": side.torch.__version__, "threads": side.torch.get_num_threads()}
            else:
                answer = {"seconds": side.run(asked["run"], asked.get("save"))}
        except Exception as error:  # whatever PyTorch raises is the parent's to tell
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
