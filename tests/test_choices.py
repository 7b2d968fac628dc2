"""Choices that `jaxdyn bench` keeps, and the jobs that use them."""

import dataclasses
import json

import jax
import pytest

from jaxdyn import bench, cache, choices, cli, interpolator, models, pretrained, upscaler
from jaxdyn.choices import Choice
from tests.clips import Average, pan, write_clip

DENSE = Choice("dense", (4, 2, 1), 0.8, packed_milliseconds=130.0, dense_milliseconds=100.0)
PACKED = Choice("packed", (8, 4, 2), 0.2, packed_milliseconds=50.0, dense_milliseconds=100.0)


@pytest.fixture
def model():
    return models.build("cain_sd", num_feat=8, motion="dis", chunks=(2, 1, 1))


@pytest.fixture
def key(model):
    return choices.key_of("interpolate", (64, 48), model)


def test_what_was_kept_is_read(tmp_path, key):
    assert choices.read(tmp_path, key) is None
    path = choices.write(tmp_path, key, PACKED)
    assert path.name.startswith("interpolate-64x48-")
    assert choices.read(tmp_path, key) == PACKED
    choices.write(tmp_path, key, DENSE)
    assert choices.read(tmp_path, key) == DENSE
    assert [child.name for child in path.parent.iterdir()] == [path.name]
    assert json.loads(path.read_text())["key"]["network"] == "CainSD motion=dis num_feat=8"


def test_a_choice_holds_for_nothing_else(tmp_path, model, key):
    choices.write(tmp_path, key, PACKED)
    others = [
        choices.key_of("upscale", (64, 48), model),
        choices.key_of("interpolate", (48, 64), model),
        choices.key_of("interpolate", (64, 48), model.clone(num_block=3)),
        *(dataclasses.replace(key, **{name: "other"}) for name in ("device", "machine", "versions")),
    ]
    assert [choices.read(tmp_path, other) for other in others] == [None] * len(others)
    assert choices.key_of("interpolate", (64, 48), model.clone(chunks=(8, 8, 8))) == key  # what it chooses


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text[: len(text) // 2], "damaged and ignored"),
        (lambda text: "[]", "damaged and ignored"),
        (lambda text: text.replace('"dense"', '"sparse"'), "must be one of packed, dense"),
        (lambda text: text.replace("130.0", "NaN"), "packed_milliseconds .* must be over 0"),
        (lambda text: text.replace("130.0", '"fast"'), "damaged and ignored"),
        (lambda text: text.replace("64x48", "64x49"), "kept for something else"),
        (lambda text: text.replace('"share"', '"part"'), "damaged and ignored"),
    ],
)
def test_a_damaged_file_is_told(tmp_path, key, damage, reason):
    path = choices.write(tmp_path, key, DENSE)
    path.write_text(damage(path.read_text()))
    with pytest.raises(cache.CacheError, match=reason) as caught:
        choices.read(tmp_path, key)
    assert str(path) in str(caught.value)
    assert "`jaxdyn bench` writes it anew" in str(caught.value)


class Prepared(Average):
    """It averages, and has no program to load."""

    def prepare(self, height, width):
        pass


class Seen:
    """What a job made its model with; the model itself averages."""

    def __init__(self):
        self.execution = self.chunks = None

    def __call__(self, model, variables, execution, device, programs):
        self.execution, self.chunks = execution, model.chunks
        return Prepared()


@pytest.fixture
def job(tmp_path, monkeypatch, model):
    """(run `jaxdyn interpolate` with options -> printed, errors; what the model was made with; keep a choice)."""
    seen = Seen()
    monkeypatch.setattr(pretrained, "load", lambda name: (model, {}))
    monkeypatch.setattr(interpolator, "Interpolator", seen)
    monkeypatch.setenv("JAXDYN_CACHE_DIR", str(tmp_path / "cache"))
    source, target = write_clip(tmp_path / "in.mp4", pan(3, 48, 64)), tmp_path / "out.mp4"

    def run(capsys, *options):
        assert cli.main(["interpolate", str(source), str(target), "--overwrite", *options]) == 0
        return capsys.readouterr()

    def keep(choice, size=(64, 48)):
        return choices.write(cache.prepare(), choices.key_of("interpolate", size, model), choice)

    return run, seen, keep


def test_without_a_choice_execution_is_packed(job, capsys):
    run, seen, keep = job
    keep(DENSE, size=(640, 360))  # of another size
    out, err = run(capsys)
    assert (seen.execution, seen.chunks, err) == ("packed", (2, 1, 1), "")
    assert out.rstrip().endswith("s")


def test_a_job_uses_what_won(job, capsys):
    run, seen, keep = job
    keep(PACKED)
    run(capsys)
    assert (seen.execution, seen.chunks) == ("packed", PACKED.together)
    keep(DENSE)
    out, err = run(capsys)
    assert (seen.execution, err) == ("dense", "")
    last = out.rstrip().rpartition("\n")[2]
    assert last.endswith(", dense execution: `jaxdyn bench` found packed 30% slower here at this size")


@pytest.mark.parametrize("options", [["--budget", "60%"], ["--maps", "maps"]])
def test_what_needs_a_route_stays_packed(job, capsys, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    run, seen, keep = job
    keep(DENSE)
    out, _ = run(capsys, *options)
    assert (seen.execution, seen.chunks) == ("packed", DENSE.together)
    assert "jaxdyn bench" not in out


def test_an_execution_that_was_asked_for_stays(job, capsys):
    run, seen, keep = job
    keep(DENSE)
    run(capsys, "--execution", "packed")
    assert (seen.execution, seen.chunks) == ("packed", (2, 1, 1))


def test_a_damaged_choice_is_a_note(job, capsys):
    run, seen, keep = job
    path = keep(DENSE)
    path.write_text("{")
    _, err = run(capsys)
    assert seen.execution == "packed"
    assert err.startswith(f"note: {path}: damaged and ignored")
    assert err.count("\n") == 1


def test_a_cache_that_cannot_be_written_is_a_note(job, capsys, tmp_path):
    run, seen, _ = job
    (tmp_path / "file").write_text("")
    out, err = run(capsys, "--cache", str(tmp_path / "file"))
    assert seen.execution == "packed"
    assert err.startswith(f"note: {tmp_path / 'file'}: cannot be made")
    assert "3 frames in, 5 out" in out


def test_an_upscaler_gets_its_tiles_together(tmp_path, monkeypatch):
    network, made = models.build("skipvsr", num_feat=4, motion="dis"), {}
    monkeypatch.setattr(pretrained, "load", lambda name: (network, {}))
    monkeypatch.setattr(upscaler, "Upscaler", lambda model, variables, **options: made.update(options) or Prepared())
    monkeypatch.setenv("JAXDYN_CACHE_DIR", str(tmp_path))
    choice = dataclasses.replace(PACKED, together=(8,))
    choices.write(cache.prepare(), choices.key_of("upscale", (64, 48), network), choice)

    def parallel(*options):
        arguments = cli.make_parser().parse_args(["upscale", "in.mp4", "out.mp4", *options])
        arguments.source_size = (64, 48)
        cli.load_upscaler(arguments)
        return made["execution"], made["parallel"]

    assert parallel() == ("packed", 8)
    assert parallel("--parallel", "3") == ("packed", 3)
    assert parallel("--execution", "packed") == ("packed", None)


@pytest.fixture
def measured(monkeypatch, model):
    """`jaxdyn bench` times nothing and finds that dense execution wins; what it was asked is noted."""
    asked = []

    def choose(job, network, variables, frames, rounds, device):
        asked.append((job, network, [part.shape for part in frames], rounds))
        return bench.Result((bench.Timing("dense", 100.0), bench.Timing("packed", 130.0)), DENSE)

    monkeypatch.setattr(pretrained, "load", lambda name: (model, {}))
    monkeypatch.setattr(bench, "choose", choose)
    return asked


def test_the_command_measures_and_keeps(tmp_path, capsys, model, key, measured):
    command = ["bench", "--size", "64x48", "--rounds", "2", "--cache", str(tmp_path)]
    assert cli.main(command) == 0
    out, err = capsys.readouterr()
    assert measured == [("interpolate", model, [(2, 48, 64, 3)], 2)]
    assert choices.read(cache.prepare(tmp_path), key) == DENSE
    assert "0.77 times as fast: dense execution is used for 64x48 from now on\nkept in " in out
    assert err == ""
    assert cli.main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["choice"] == {**dataclasses.asdict(DENSE), "together": list(DENSE.together)}
    assert told["timings"][1] == {"name": "packed", "milliseconds": 130.0}
    assert told["device"] == jax.devices()[0].device_kind


def test_the_command_takes_frames_of_a_clip(tmp_path, capsys, measured):
    source = write_clip(tmp_path / "in.mp4", pan(5, 48, 64))
    assert cli.main(["bench", str(source), "--cache", str(tmp_path / "cache")]) == 0
    shapes = measured[0][2]
    assert 1 <= len(shapes) <= bench.NUM_PAIR
    assert set(shapes) == {(2, 48, 64, 3)}
    assert "interpolate, 64x48: CainSD" in capsys.readouterr().out
    assert cli.main(["bench", str(source), "--size", "64x48"]) == 2
    assert "have their own size; leave one of the two out." in capsys.readouterr().err


def test_the_command_without_a_cache_says_so(tmp_path, capsys, measured):
    (tmp_path / "file").write_text("")
    assert cli.main(["bench", "--size", "64x48", "--cache", str(tmp_path / "file")]) == 0
    out, err = capsys.readouterr()
    assert out.rstrip().endswith("not kept: there is no cache folder")
    assert err.startswith("note: ")
