"""Tests of `jaxdyn.parts`."""

import pytest

from jaxdyn.errors import UserError
from jaxdyn.parts import Parts, Record

JOB = {"source": ["in.mp4", 100], "rate": "Multiply(factor=2)"}


def add(parts, text="x"):
    path = parts.path(".nut")
    path.write_text(text)
    parts.add(Record(path, f"{len(parts.records) + 1}/25", {"made": 1}, {"ticks": [0, 1]}))


def interrupted(target, error, num_segments, **options):
    """A job that ends by an error after some segments, with one more begun."""
    with pytest.raises(type(error)), Parts(target, JOB, **options) as parts:  # noqa: PT012
        for _ in range(num_segments):
            add(parts)
        parts.path(".nut").write_text("half")
        raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_job_leaves_its_output_alone(tmp_path):
    target = tmp_path / "out.mp4"
    with Parts(target, JOB) as parts:
        add(parts)
        joined = parts.folder / "joined.mp4"
        joined.write_text("whole")
        parts.finish(joined, target)
    assert names(tmp_path) == ["out.mp4"]
    assert target.read_text() == "whole"


def test_after_a_crash_the_next_run_continues(tmp_path):
    target = tmp_path / "out.mp4"
    parts = Parts(target, JOB)  # never left: as if the process had been killed
    add(parts, "first")
    add(parts, "second")
    parts.path(".nut").write_text("half")
    with Parts(target, JOB, is_resumed=True) as again:
        assert [record.path.read_text() for record in again.records] == ["first", "second"]
        assert again.records[-1].next == "2/25"
        assert again.records[0].counts == {"made": 1}
        assert again.records[0].data == {"ticks": [0, 1]}
        assert names(again.folder) == ["000000.json", "000000.nut", "000001.json", "000001.nut", "job.json"]
        assert again.path(".nut").name == "000002.nut"


def test_a_segment_without_its_record_is_not_whole(tmp_path):
    parts = Parts(tmp_path / "out.mp4", JOB)
    add(parts)
    add(parts)
    (parts.folder / "000000.json").unlink()
    assert Parts(tmp_path / "out.mp4", JOB, is_resumed=True).records == []


def test_segments_that_are_there_are_not_dropped_by_mistake(tmp_path):
    target = tmp_path / "out.mp4"
    add(Parts(target, JOB))
    with pytest.raises(UserError, match=r"out\.mp4\.parts: holds 1 whole segment .*--resume.*--overwrite"):
        Parts(target, JOB)
    assert (tmp_path / "out.mp4.parts" / "000000.nut").exists()
    assert Parts(target, JOB, is_overwriting=True).records == []


def test_segments_of_another_job_are_refused(tmp_path):
    target = tmp_path / "out.mp4"
    add(Parts(target, JOB))
    with pytest.raises(UserError, match=r"made with another rate, weights; repeat the first command"):
        Parts(target, JOB | {"rate": "Multiply(factor=4)", "weights": "other"}, is_resumed=True)


def test_a_folder_of_someone_else_is_not_touched(tmp_path):
    folder = tmp_path / "out.mp4.parts"
    folder.mkdir()
    (folder / "diary.txt").write_text("mine")
    for options in ({}, {"is_resumed": True}, {"is_overwriting": True}):
        with pytest.raises(UserError, match="is in the way, and no run has made it"):
            Parts(tmp_path / "out.mp4", JOB, **options)
    assert (folder / "diary.txt").read_text() == "mine"


def test_ctrl_c_leaves_nothing_unless_resumable(tmp_path):
    target = tmp_path / "out.mp4"
    interrupted(target, KeyboardInterrupt(), 2)
    assert names(tmp_path) == []
    interrupted(target, KeyboardInterrupt(), 2, is_resumed=True)
    assert names(tmp_path / "out.mp4.parts") == ["000000.json", "000000.nut", "000001.json", "000001.nut", "job.json"]


def test_an_error_keeps_whole_segments_and_nothing_else(tmp_path):
    target = tmp_path / "out.mp4"
    interrupted(target, OSError(28, "No space left on device"), 0)
    assert names(tmp_path) == []
    interrupted(target, OSError(28, "No space left on device"), 1)
    assert names(tmp_path / "out.mp4.parts") == ["000000.json", "000000.nut", "job.json"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*choose another output folder"):
        Parts(tmp_path / "file" / "out.mp4", JOB)
