"""The folder `OUT.parts/`: whole segments of a job, so that a crash costs one segment and not the work of days.

    job.json        the source (name, size, time of change) and every setting: what the segments belong to
    000000.nut      a whole segment (of an image folder: 000000/, its frames)
    000000.json     its record, written last: a segment without one is not whole

The folder is made when a job starts and removed when its output is in place. What a job leaves when it ends early:

    killed, power lost            everything; the next run says so and asks for --resume or --overwrite
    an error (disk full, ...)     whole segments, if there are any
    Ctrl-C                        whole segments with --resume, nothing without

"""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxdyn.accounting import plural
from jaxdyn.errors import UserError


@dataclasses.dataclass(frozen=True)
class Record:
    """What is known of a whole segment.

    Attributes:
      path: its file or folder.
      next: the time (s, as "numerator/denominator") of the source frame that comes next; None at the end.
      counts: the job's counts for these frames.
      data: what the writer adds.
    """

    path: Path
    next: str | None
    counts: Mapping[str, Any]
    data: Mapping[str, Any]


class Parts:
    """The parts folder of one output, as a context: leaving it without `finish` cleans up.

    Args:
      target: the output.
      job: what the segments depend on, JSON values.
      is_resumed: use whole segments that are there.
      is_overwriting: drop segments that are there.

    Raises:
      UserError: segments are there and nothing says what to do with them, or they belong to another job.
    """

    def __init__(self, target: Path, job: Mapping[str, Any], is_resumed: bool = False, is_overwriting: bool = False):
        self.folder = target.with_name(target.name + ".parts")
        self.is_resumed = is_resumed
        self.records: list[Record] = []
        self.job = json.loads(json.dumps(job))
        if self.folder.exists() and not (self.folder / "job.json").is_file():
            raise UserError(f"{self.folder}: is in the way, and no run has made it; move it or name another output.")
        found = self._read() if self.folder.is_dir() else []
        if found and not is_resumed and not is_overwriting:
            raise UserError(
                f"{self.folder}: holds {plural(len(found), 'whole segment')} of an unfinished run; "
                "add --resume to continue it, or --overwrite to start again."
            )
        if found and is_resumed:
            before = json.loads((self.folder / "job.json").read_text())
            changed = sorted(key for key in {*before, *self.job} if before.get(key) != self.job.get(key))
            if changed:
                raise UserError(
                    f"{self.folder}: was made with another {', '.join(changed)}; "
                    "repeat the first command with --resume, or start again with --overwrite."
                )
            self.records = found
        self._prepare()

    def _prepare(self) -> None:
        keep = {"job.json"}
        for record in self.records:
            keep |= {record.path.name, f"{record.path.stem}.json"}
        try:
            self.folder.mkdir(exist_ok=True)
            for path in self.folder.iterdir():
                if path.name not in keep:
                    _remove(path)
            _write_json(self.folder / "job.json", self.job)
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot be written ({error.strerror}); choose another output folder."
            ) from None

    def _read(self) -> list[Record]:
        records = []
        while (path := self.folder / f"{len(records):06d}.json").is_file():
            values = json.loads(path.read_text())
            records.append(Record(self.folder / values["path"], values["next"], values["counts"], values["data"]))
        return records

    def path(self, suffix: str) -> Path:
        """Where the next segment goes."""
        return self.folder / f"{len(self.records):06d}{suffix}"

    def add(self, record: Record) -> None:
        """Notes that a segment is whole."""
        values = {"path": record.path.name, "next": record.next, "counts": record.counts, "data": record.data}
        _write_json(self.folder / f"{len(self.records):06d}.json", values)
        self.records.append(record)

    def finish(self, joined: Path, target: Path) -> None:
        """Puts the joined output in its place and removes the folder."""
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(joined, target)
        shutil.rmtree(self.folder)

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if not self.folder.is_dir():
            return
        is_stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
        if self.records and (self.is_resumed or (kind is not None and not is_stopped)):
            self._prepare()  # whole segments only
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write_json(path: Path, values: Any) -> None:
    """Written aside, flushed to the disk, then renamed: it is there whole or not at all."""
    aside = path.with_suffix(".tmp")
    with aside.open("w") as file:
        json.dump(values, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
