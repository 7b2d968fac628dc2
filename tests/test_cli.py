"""Tests of `jaxdyn.cli`: exit codes, one-line errors, what is printed."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from jaxdyn import cli
from jaxdyn.errors import UserError
from jaxdyn.version import __version__
from tests.clips import Average, pan, read_clip, write_clip

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def average(monkeypatch):
    """Every command gets an interpolator that averages; no weights are read."""
    model = Average()
    monkeypatch.setattr(cli, "load_interpolator", lambda arguments: model)
    return model


@pytest.fixture
def source(tmp_path):
    return write_clip(tmp_path / "in.mp4", pan(5), has_sound=True)


def refused(capsys, *arguments):
    """Runs a command that must end with exit code 2 and one line; gives the line."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stopped:  # argparse's way
        code = stopped.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("jaxdyn: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_version_and_help_answer_without_jax(tmp_path):
    program = (
        "import sys, time; began = time.perf_counter(); from jaxdyn import cli\n"
        "try: cli.main([{argument!r}])\n"
        "except SystemExit as stopped: assert stopped.code == 0\n"
        "slow = {{'jax', 'av', 'cv2', 'numpy', 'rich'}} & set(sys.modules)\n"
        "assert not slow, slow\n"
        "assert time.perf_counter() - began < 0.3"
    )
    for argument, expected in [("--version", f"jaxdyn {__version__}"), ("--help", "examples:")]:
        done = subprocess.run(
            [sys.executable, "-c", program.format(argument=argument)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert expected in done.stdout


def test_interpolate(tmp_path, source, average, capsys):
    assert cli.main(["interpolate", str(source), str(tmp_path / "out.mp4")]) == 0
    out, err = capsys.readouterr()
    assert len(read_clip(tmp_path / "out.mp4").frames) == 9
    assert out.startswith(
        f"{tmp_path / 'out.mp4'}: 5 frames in, 9 out (5 shown, 4 made, no cuts, no repeated frames), 25.0%"
    )
    assert out.count("\n") == 1
    assert err == ""


def test_options_reach_the_job(tmp_path, source, average, capsys):
    target = tmp_path / "out.mkv"
    command = ["interpolate", str(source), str(target), "--fps", "59.94", "--start", "0.04", "--end", "0:00.16"]
    assert cli.main([*command, "--codec", "ffv1", "--maps", str(tmp_path / "maps"), "--resume"]) == 0
    clip = read_clip(target)
    assert clip.codec == "ffv1"
    assert len(clip.frames) == 8  # 0.12 s at 60000/1001
    assert "note: no maps: this network takes the same path everywhere" in capsys.readouterr().err


def test_demo(tmp_path, average, capsys):
    assert cli.main(["demo", str(tmp_path / "out.mp4")]) == 0
    assert (
        "24 frames in, 47 out (24 shown, 21 made, 1 held at 1 cut, 1 copied at 1 repeated frame)"
        in capsys.readouterr().out
    )
    assert "exists; add --overwrite" in refused(capsys, "demo", tmp_path / "out.mp4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.mp4", "out.mp4"], "nothing.mp4: no such file or folder; check the path."),
        (["text.mp4", "out.mp4"], "text.mp4: cannot be opened as a video"),
        (["empty", "out.mp4"], "empty: holds no image; give a folder of .png or .jpg files."),
        (["in.mp4", "in.mp4", "--overwrite"], "in.mp4: is the input; give the output another name."),
        (["in.mp4", "old.mp4"], "old.mp4: exists; add --overwrite to replace it, or choose another name."),
        (["in.mp4", "nowhere/out.mp4"], "nowhere/out.mp4: its folder nowhere does not exist; make it first."),
        (["in.mp4", "out.xyz"], "out.xyz: unknown kind of video"),
        (["in.mp4", "out.mp4", "--factor", "3"], "--factor 3: must be 2, 4 or 8, powers of two"),
        (["in.mp4", "out.mp4", "--factor", "two"], "argument --factor: invalid int value: 'two'"),
        (["in.mp4", "out.mp4", "--factor", "2", "--fps", "60"], "not allowed with argument"),
        (["in.mp4", "out.mp4", "--fps", "0"], "'0' must be over 0"),
        (["in.mp4", "out.mp4", "--fps", "fast"], "'fast' is not a rate such as 60, 59.94 or 60000/1001"),
        (["in.mp4", "out.mp4", "--start", "noon"], "'noon' is not a time such as 12.5 or 1:02:03.5"),
        (["in.mp4", "out.mp4", "--start", "5"], "in.mp4: holds no frame in the part asked for"),
        (["in.mp4", "out.mp4", "--device", "tpu"], "'tpu' is no device; write cpu, gpu or gpu:1"),
        (["in.mp4", "out.webm", "--codec", "h264"], "--codec h264: .webm is written with vp9, av1 here"),
        (["in.mp4", "out.webm"], "its aac sound cannot be copied into .webm; name the output .mkv."),
        (["in.mp4"], "the following arguments are required: OUT"),
        (["in.mp4", "out.mp4", "--maps", "in.mp4/maps"], "--maps in.mp4/maps: cannot be made"),
    ],
)
def test_wrong_input_is_refused_in_one_line(tmp_path, source, average, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("not a video")
    Path("old.mp4").write_text("precious")
    Path("empty").mkdir()
    before = sorted(Path().iterdir())
    assert message in refused(capsys, "interpolate", *arguments)
    assert sorted(Path().iterdir()) == before
    assert Path("old.mp4").read_text() == "precious"


def test_an_unknown_command_and_none(capsys):
    assert "invalid choice: 'upscle'" in refused(capsys, "upscle")
    assert "required: COMMAND" in refused(capsys)


def test_a_clip_that_breaks_midway(tmp_path, average, capsys):
    clip = write_clip(tmp_path / "broken.mp4", pan(100), container_options={"movflags": "faststart"})
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 6 // 10])
    message = refused(capsys, "interpolate", clip, tmp_path / "out.mp4")
    assert "breaks at" in message
    assert "--keep-partial keeps what is whole" in message
    assert cli.main(["interpolate", str(clip), str(tmp_path / "out.mp4"), "--keep-partial"]) == 0
    assert "note: kept what is whole" in capsys.readouterr().err


def test_a_full_disk_is_one_line(tmp_path, source, average, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jaxdyn.encode.join_video", full)
    assert "could not be written (No space left on device)" in refused(
        capsys, "interpolate", source, tmp_path / "out.mp4"
    )


def test_ctrl_c_is_130_and_leaves_nothing(tmp_path, source, average, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(average, "middle", stop)
    assert cli.main(["interpolate", str(source), str(tmp_path / "out.mp4")]) == 130
    assert capsys.readouterr().err == "jaxdyn: stopped\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


def test_a_real_ctrl_c(tmp_path, source):
    """SIGINT to a process at work, while its threads decode and encode."""
    program = (
        "import signal, sys, threading; from jaxdyn import cli; from tests.clips import Average\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job is started with it ignored
        "class Slow(Average):\n"
        "    def middle(self, a, b):\n"
        "        if self.calls == 2: print('at work', flush=True); threading.Event().wait(60)\n"
        "        return super().middle(a, b)\n"
        "cli.load_interpolator = lambda arguments: Slow()\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "interpolate", str(source), str(tmp_path / "out.mp4")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "at work\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert (process.returncode, err) == (130, "jaxdyn: stopped\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


def test_missing_weights(tmp_path, source, capsys):
    message = refused(
        capsys, "interpolate", source, tmp_path / "out.mp4", "--weights", tmp_path / "nothing.safetensors"
    )
    assert "nothing.safetensors: no such weights file" in message
    (tmp_path / "text.safetensors").write_text("hello")
    message = refused(capsys, "interpolate", source, tmp_path / "out.mp4", "--weights", tmp_path / "text.safetensors")
    assert "not a weights file" in message


@pytest.fixture
def small_cain():
    from jaxdyn import models

    return with_weights(models.build("cain", num_feat=8, num_group=1, num_block=1, reduction=4))


def with_weights(model):
    """A network with small random weights, without running it."""
    import jax

    from jaxdyn import pretrained

    random = np.random.default_rng(0)
    shapes = pretrained.parameter_shapes(model)
    return model, {"params": jax.tree.map(lambda leaf: random.normal(0, 0.01, leaf.shape).astype(np.float32), shapes)}


def test_a_plain_cain_runs_densely(tmp_path, source, small_cain, capsys):
    from jaxdyn import pretrained

    pretrained.save(tmp_path / "cain.safetensors", *small_cain, card={})
    command = ["interpolate", str(source), str(tmp_path / "out.mp4"), "--weights", str(tmp_path / "cain.safetensors")]
    assert cli.main([*command, "--device", "cpu"]) == 0
    assert "5 frames in, 9 out" in (out := capsys.readouterr().out)
    assert "100.0% of the dense FLOPs" in out


def test_nan_weights_and_weights_of_another_network(tmp_path, source, small_cain, capsys):
    from safetensors.numpy import load_file, save_file

    from jaxdyn import models, pretrained

    path = tmp_path / "nan.safetensors"
    pretrained.save(path, *small_cain, card={})
    metadata = {"jaxdyn": json.dumps(pretrained.read_metadata(path))}
    arrays = load_file(path)
    next(iter(arrays.values()))[...] = np.nan
    save_file(arrays, path, metadata=metadata)
    assert "holds NaN or infinity; use another file" in refused(
        capsys, "interpolate", source, tmp_path / "out.mp4", "--weights", path
    )
    pretrained.save(tmp_path / "carn.safetensors", *with_weights(models.build("carn_m")), card={})
    message = refused(capsys, "interpolate", source, tmp_path / "out.mp4", "--weights", tmp_path / "carn.safetensors")
    assert "makes no middle frames" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["carn.safetensors", "in.mp4", "nan.safetensors"]


def test_no_such_device(tmp_path, source, capsys):
    import jax

    assert cli.choose_device(None, jax) is None
    assert cli.choose_device("cpu", jax) == jax.devices("cpu")[0]
    if jax.default_backend() == "cpu":
        message = refused(capsys, "interpolate", source, tmp_path / "out.mp4", "--device", "gpu")
        assert "--device gpu: JAX sees none here" in message
    with pytest.raises(UserError, match=r"--device cpu:99: there are \d+, counted from cpu:0"):
        cli.choose_device("cpu:99", jax)


def test_flops(monkeypatch, capsys):
    stage = {"name": "head", "flops": 2e9, "multiply_adds": 1e9, "times": 2}
    values = {
        "model": "cain",
        "size": [64, 48],
        "flops": 4e9,
        "multiply_adds": 2e9,
        "parameters": 1234,
        "stages": [stage],
    }
    asked = []
    monkeypatch.setattr("jaxdyn.flops.describe", lambda *arguments: asked.append(arguments) or values)
    monkeypatch.setenv("JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS", "cpu"))
    assert cli.main(["flops", "--model", "cain", "--size", "64x48", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == values
    assert asked == [("cain", 64, 48)]
    assert cli.main(["flops", "--model", "cain", "--size", "64x48"]) == 0
    out = capsys.readouterr().out
    assert "cain at 64x48, 1,234 parameters" in out
    assert out.splitlines()[-1].split() == ["in", "all", "4.00", "2.00"]
    assert "is no size; write WIDTHxHEIGHT" in refused(capsys, "flops", "--model", "cain", "--size", "64")
    assert "is no size" in refused(capsys, "flops", "--model", "cain", "--size", "0x48")


def test_flops_of_an_unknown_network(capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS", "cpu"))
    assert "cian" in refused(capsys, "flops", "--model", "cian", "--size", "64x48")


def test_convert(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("jaxdyn.convert.convert_files", lambda *arguments: asked.append(arguments) or ["one", "two"])
    assert cli.main(["convert", "cain", "a.pth", "b.pth", "out.safetensors"]) == 0
    assert capsys.readouterr().out == "one\ntwo\n"
    assert asked == [("cain", ["a.pth", "b.pth"], "out.safetensors")]


def test_convert_refuses_in_one_line(tmp_path, capsys):
    message = refused(capsys, "convert", "cain", tmp_path / "nothing.pth", tmp_path / "out.safetensors")
    assert "nothing.pth" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60", Fraction(60)),
        ("60000/1001", Fraction(60000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("23.976", Fraction(24000, 1001)),
        ("12.5", Fraction(25, 2)),
        ("119.88", Fraction(120000, 1001)),
    ],
)
def test_rates(text, rate):
    assert cli.parse_rate(text) == rate


@pytest.mark.parametrize(("text", "seconds"), [("12.5", 12.5), ("2:03.5", 123.5), ("1:02:03", 3723), ("0", 0)])
def test_times(text, seconds):
    assert cli.parse_time(text) == seconds
