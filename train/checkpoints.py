"""Checkpoints of a stage: written in the background, whole or not at all; the last whole one is where a run goes on.

A checkpoint holds the state's arrays and a note: to which run it belongs, where in the data it stands, and a checksum
of the arrays, because a flipped bit on a disk is found by nobody else.
"""

import contextlib
import dataclasses
import errno
import logging
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxdyn import errors
from train import stages

LOG = logging.getLogger(__name__)
POLICIES = ocp.checkpoint_managers


@dataclasses.dataclass(frozen=True)
class Keep:
    """Which checkpoints stay.

    Attributes:
      last: how many of the last ones.
      best: how many of those with the lowest loss since the checkpoint before.
    """

    last: int = 2
    best: int = 0

    def __post_init__(self):
        if self.last < 1 or self.best < 0:
            raise ValueError(f"keep last (={self.last}) at least 1 checkpoint, and best (={self.best}) at least 0")


@dataclasses.dataclass(frozen=True)
class Note:
    """What a checkpoint says about its run; the first four must fit the run that goes on from it.

    Attributes:
      stage: its name.
      seed: of data and random numbers.
      key: words of the key from which each step's is derived.
      position: the next step's number, which is also where in the data it stands, because a feed depends on that alone.
      seconds: of training until here, over all runs.
      best, best_step: the lowest loss that was logged, and when.
      last: the loss that was logged last.
    """

    stage: str
    seed: int
    key: tuple[int, ...]
    position: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    last: float | None = None

    @classmethod
    def of(cls, stage: str, seed: int, position: int = 0) -> "Note":
        """The note of a run that has spent no time yet."""
        return cls(stage, seed, tuple(np.asarray(jax.random.key_data(jax.random.key(seed))).tolist()), position)


class DiskFullError(OSError):
    """No space is left for a checkpoint or a log: one line that says where, and what is safe."""


class MissingError(errors.UserError, ValueError):
    """A stage that was to be trained before, and was not."""


class TornError(Exception):
    """A checkpoint whose arrays are not those that were saved."""


class Store:
    """One stage's checkpoints; a context.

    Args:
      folder: where they are; each in a folder named by its step.
      keep: which ones stay.
      is_read_only: nothing is written, moved or removed.
    """

    def __init__(self, folder: Path, keep: Keep = Keep(), is_read_only: bool = False):
        policies = [POLICIES.LatestN(keep.last)]
        if keep.best:
            policies.append(POLICIES.BestN(get_metric_fn=lambda metrics: -metrics["loss"], n=keep.best))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=POLICIES.AnyPreservationPolicy(policies),
            create=not is_read_only,
            cleanup_tmp_directories=not is_read_only,
            read_only=is_read_only,
        )
        self.folder, self._is_read_only = Path(folder), is_read_only
        handlers = {"state": ocp.StandardCheckpointHandler(), "note": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            with self.full_disk_told():
                self._manager.close()
        else:
            with contextlib.suppress(Exception):  # the first error says more
                self._manager.close()

    def save(self, state: chex.ArrayTree, note: Note, loss: float) -> None:
        """Begin to write a checkpoint of step `note.position`; returns when the state's memory may be used again.

        Raises:
          DiskFullError: now, or for the checkpoint before.
        """
        host = jax.tree.map(np.array, jax.device_get(state))  # copies, for the next step uses this memory again
        record = {**dataclasses.asdict(note), "crc32": checksum(host)}
        items = ocp.args.Composite(state=ocp.args.StandardSave(host), note=ocp.args.JsonSave(record))
        with self.full_disk_told():
            self._manager.save(note.position, args=items, metrics={"loss": loss}, force=True)

    def wait(self) -> None:
        """Until everything is written."""
        with self.full_disk_told():
            self._manager.wait_until_finished()

    def steps(self) -> list[int]:
        """Steps of the checkpoints that were written to their end."""
        names = (path.name for path in self.folder.iterdir()) if self.folder.is_dir() else ()
        return sorted(int(name) for name in names if name.isdigit())

    def restore(self, like: chex.ArrayTree, wanted: Note | None = None) -> tuple[chex.ArrayTree, Note] | None:
        """The last whole checkpoint; torn ones are passed over with a warning and moved aside.

        Args:
          like: a state of the same shapes, whose parameters are `like.state.params`.
          wanted: the run that is to go on; its position and times do not count. None: any.

        Returns:
          State and note; None: there is no whole checkpoint.

        Raises:
          ValueError: a checkpoint of another run or of other shapes, with what differs.
        """
        for number in reversed(self.steps()):
            try:
                note, crc32 = self._note(number)
                found = _shapes(self._manager.item_metadata(number)["state"].tree["state"]["params"])
            except Exception as error:  # half a file makes its readers raise all kinds
                self._pass_over(number, error)
                continue
            if wanted is not None:
                self._check(note, wanted)
            self._check_shapes(found, _shapes(like.state.params))
            try:
                return self._arrays(number, like, note, crc32), note
            except Exception as error:
                self._pass_over(number, error)
        return None

    @contextlib.contextmanager
    def full_disk_told(self) -> Iterator[None]:
        """Within, an error that says that the disk is full becomes a `DiskFullError`."""
        try:
            yield
        except Exception as error:
            if isinstance(error, DiskFullError) or not is_disk_full(error):
                raise
            with contextlib.suppress(Exception):  # the checkpoint before may still be on its way
                self._manager.wait_until_finished()
            whole = f"the last whole checkpoint is of step {self.steps()[-1]}" if self.steps() else "there is none yet"
            raise DiskFullError(
                errno.ENOSPC,
                f"no space is left for checkpoints and logs; {whole}; free some space and start again, "
                "the run goes on from there",
                str(self.folder),
            ) from None

    def _note(self, number: int) -> tuple[Note, int]:
        record = self._manager.restore(number, args=ocp.args.Composite(note=ocp.args.JsonRestore())).note
        crc32 = record.pop("crc32")
        return Note(**{**record, "key": tuple(record["key"])}), crc32

    def _arrays(self, number: int, like: chex.ArrayTree, note: Note, crc32: int) -> chex.ArrayTree:
        hollow = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(hollow))
        state = self._manager.restore(number, args=items).state
        if checksum(state) != crc32:
            raise TornError(f"its arrays have the checksum {checksum(state):08x}, saved was {crc32:08x}")
        if not number == note.position == int(state.state.step):
            raise TornError(f"its state is of step {state.state.step}, its note says {note.position}")
        return jax.tree.map(jnp.asarray, state)

    def _check(self, note: Note, wanted: Note) -> None:
        for name in ("stage", "seed", "key"):
            found, expected = getattr(note, name), getattr(wanted, name)
            if found != expected:
                raise ValueError(
                    f"checkpoint {self.folder}: {name} is {found!r}, the configuration wants {expected!r}; use another "
                    "--workdir"
                )

    def _check_shapes(self, found: dict, wanted: dict) -> None:
        for path in sorted(found.keys() | wanted.keys()):
            if found.get(path) != wanted.get(path):
                raise ValueError(
                    f"checkpoint {self.folder}: {path} has shape {found.get(path)}, the configuration wants "
                    f"{wanted.get(path)}; use another --workdir"
                )

    def _pass_over(self, number: int, error: Exception) -> None:
        path, aside = self.folder / str(number), self.folder.with_name(f"{self.folder.name}.torn")
        LOG.warning(
            "checkpoint %s is torn (%.200s); passed over for the one before, see %s",
            path,
            errors.one_line(error),
            aside,
        )
        if not self._is_read_only and jax.process_index() == 0:
            aside.mkdir(exist_ok=True)
            path.rename(aside / f"{number}-{time.time_ns()}")
            self._manager.reload()


def checksum(state: chex.ArrayTree) -> int:
    """CRC-32 of all arrays' bytes, in the order of the tree."""
    crc32 = 0
    for leaf in jax.tree.leaves(state):
        crc32 = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data, crc32)
    return crc32


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that no space is left; TensorStore's have no number."""
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
        return True
    before = error.__cause__ or error.__context__
    return before is not None and is_disk_full(before)


def _shapes(tree: chex.ArrayTree) -> dict[str, tuple[int, ...]]:
    """Shape of each leaf by its path."""
    return {stages.path_of(path): tuple(leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
