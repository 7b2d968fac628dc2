"""The `jaxdyn` command. What is slow to import is imported by the command that needs it: `--help` answers at once."""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jaxdyn.arguments import (
    parse_count,
    parse_device,
    parse_rate,
    parse_share,
    parse_size,
    parse_threshold,
    parse_time,
)
from jaxdyn.errors import UserError, one_line
from jaxdyn.version import __version__

WEIGHTS = {"interpolate": "cain_sd", "upscale": "skipvsr"}  # the defaults
SIZES = {"interpolate": (1280, 720), "upscale": (320, 180)}  # of the frames that `bench` draws
NEEDS_ROUTE = ("budget", "threshold", "parallel", "maps", "report")  # options that say something about a Route
BUDGET_HELP = "meet a share of the full network's compute: 0.6 or 60%%"
EPILOG = """\
examples:
  jaxdyn interpolate in.mp4 out.mp4                  twice the frame rate, sound kept
  jaxdyn interpolate in.mp4 out.mp4 --fps 60         any rate
  jaxdyn interpolate long.mkv out.mkv --resume       continues where a stopped run ended
  jaxdyn upscale in.mp4 out.mp4                      four times as wide and as high
  jaxdyn upscale in.mp4 out.mp4 --budget 60%         with that share of the full network's compute
  jaxdyn demo                                        makes a clip of its own and interpolates it
  jaxdyn flops --model cain --size 2048x1080 --json
  jaxdyn bench in.mp4                                finds what is fastest here, for later runs of `interpolate`
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; gives the exit code: 0, 2 for what the user can put right, 130 for Ctrl-C."""
    arguments = make_parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except UserError as error:
        print(f"jaxdyn: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("jaxdyn: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


class Parser(argparse.ArgumentParser):
    """argparse, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        """Exit code 2, as for every other wrong input."""
        self.exit(2, f"jaxdyn: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = Parser(
        prog="jaxdyn",
        description="Video models that spend compute only where the picture needs it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"jaxdyn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = commands.add_parser("interpolate", help="make frames between the frames of a video")
    add_video_options(command, maps="write pictures of every patch's scale and depth")
    rate = command.add_mutually_exclusive_group()
    rate.add_argument("--factor", type=int, help="2, 4 or 8 times as many frames (default 2)")
    rate.add_argument("--fps", type=parse_rate, metavar="R", help="any constant rate instead: 60, 59.94, 60000/1001")
    command.add_argument("--budget", type=parse_share, metavar="S", help=BUDGET_HELP)
    add_model_options(command, WEIGHTS["interpolate"])
    command.set_defaults(run=interpolate)

    command = commands.add_parser("upscale", help="make the frames of a video four times as wide and as high")
    add_video_options(command, maps="write pictures of the share of blocks that ran on every patch")
    amount = command.add_mutually_exclusive_group()
    amount.add_argument(
        "--threshold",
        type=parse_threshold,
        metavar="A",
        help="0 to 1: 0 runs every block, more skips more (default the weights' own)",
    )
    amount.add_argument("--budget", type=parse_share, metavar="S", help=BUDGET_HELP)
    add_model_options(command, WEIGHTS["upscale"])
    command.add_argument("--parallel", type=parse_count, metavar="N", help="how many patches run together")
    command.set_defaults(run=upscale)

    command = commands.add_parser("demo", help="make a moving scene with sound and interpolate it")
    command.add_argument("target", metavar="OUT", nargs="?", default="jaxdyn-demo.mp4", help="default jaxdyn-demo.mp4")
    command.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    add_model_options(command, WEIGHTS["interpolate"])
    command.set_defaults(run=demo)

    command = commands.add_parser("flops", help="what a network costs at a frame size")
    command.add_argument(
        "--model", required=True, metavar="NAME", help="cain, cain_sd, pwcnet, carn_m, spynet, basicvsr, skipvsr"
    )
    command.add_argument("--size", required=True, type=parse_size, metavar="WIDTHxHEIGHT", help="for example 2048x1080")
    command.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    command.set_defaults(run=flops)

    command = commands.add_parser("convert", help="turn published PyTorch weights into weights for --weights")
    command.add_argument("name", metavar="NAME", help="cain, cain_sd, pwcnet, carn_m, spynet, basicvsr, skipvsr")
    command.add_argument("inputs", metavar="IN", nargs="+", help=".pth, .pth.tar, .npz or .safetensors")
    command.add_argument("output", metavar="OUT", help="the weights file to write")
    command.set_defaults(run=convert)

    command = commands.add_parser("bench", help="find which execution is fastest here, for later runs")
    command.add_argument("source", metavar="IN", nargs="?", help="take frames of this video (default: drawn ones)")
    command.add_argument("--job", choices=["interpolate", "upscale"], default="interpolate", help="default interpolate")
    command.add_argument(
        "--size", type=parse_size, metavar="WIDTHxHEIGHT", help="of drawn frames (default 1280x720, upscale 320x180)"
    )
    command.add_argument("--weights", help="a name or a file (default cain_sd, upscale skipvsr)")
    add_machine_options(command)
    command.add_argument(
        "--rounds", type=parse_count, default=3, metavar="N", help="medians are of so many (default 3)"
    )
    command.add_argument("--json", action="store_true", help="one JSON object and nothing else")
    command.set_defaults(run=bench)
    return parser


def add_video_options(command: argparse.ArgumentParser, maps: str) -> None:
    """Paths and options of every command that turns a video into another."""
    command.add_argument("source", metavar="IN", help="a video, or a folder of images")
    command.add_argument("target", metavar="OUT", help="a video (.mp4 .m4v .mov .mkv .webm), or a folder for PNG files")
    command.add_argument("--start", type=parse_time, metavar="T", help="begin at a time: 12.5, 1:02:03.5")
    command.add_argument("--end", type=parse_time, metavar="T", help="end before a time")
    command.add_argument("--source-fps", type=parse_rate, metavar="R", help="rate of an image folder (default 24)")
    command.add_argument(
        "--resume", action="store_true", help="keep whole segments in OUT.parts and continue from them"
    )
    command.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    command.add_argument("--keep-partial", action="store_true", help="of a clip that breaks midway keep what is whole")
    command.add_argument("--maps", metavar="DIR", help=maps)
    command.add_argument("--report", metavar="FILE", help="write a page to look at: frames, costs, every count (.html)")
    command.add_argument("--codec", choices=["h264", "hevc", "vp9", "av1", "ffv1"], help="default h264, in .webm vp9")
    command.add_argument("--crf", type=int, help="quality, lower is better (default h264 17, hevc 20, vp9 and av1 24)")


def add_model_options(command: argparse.ArgumentParser, weights: str) -> None:
    """Options of every command that runs a model."""
    command.add_argument("--weights", default=weights, help=f"a name or a file (default {weights})")
    add_machine_options(command)
    command.add_argument(
        "--execution",
        choices=["packed", "masked", "dense"],
        help="packed computes only what the Route selects, masked everything, dense ignores the Route (default packed, "
        "or what `jaxdyn bench` found for this size)",
    )


def add_machine_options(command: argparse.ArgumentParser) -> None:
    """Options that say where a model runs, and what is kept of it."""
    command.add_argument("--device", metavar="cpu|gpu[:N]", type=parse_device, help="where to compute (default JAX's)")
    command.add_argument(
        "--cache",
        metavar="DIR",
        help="where compiled programs are kept for later runs (default $JAXDYN_CACHE_DIR, ~/.cache/jaxdyn)",
    )


def interpolate(arguments: argparse.Namespace) -> None:
    """`jaxdyn interpolate`."""
    from jaxdyn import pipeline

    check_input(arguments)
    interpolator = load_interpolator(arguments)
    with friendly_os_errors(arguments.target), progress_bar() as progress:
        report = pipeline.interpolate_video(
            arguments.source,
            arguments.target,
            interpolator,
            factor=2 if arguments.factor is None else arguments.factor,
            fps=arguments.fps,
            progress=progress,
            **video_options(arguments),
        )
    tell(report, arguments)


def upscale(arguments: argparse.Namespace) -> None:
    """`jaxdyn upscale`."""
    from jaxdyn import pipeline

    check_input(arguments)
    upscaler = load_upscaler(arguments)
    with friendly_os_errors(arguments.target), progress_bar() as progress:
        report = pipeline.upscale_video(
            arguments.source, arguments.target, upscaler, progress=progress, **video_options(arguments)
        )
    tell(report, arguments)


def check_input(arguments: argparse.Namespace) -> None:
    """What is wrong with the paths is said before the model loads; notes the size of the frames."""
    from jaxdyn import jobs, report

    source = Path(arguments.source)
    jobs.check_paths(source, Path(arguments.target), arguments.overwrite)
    report.check_path(arguments.report, arguments.overwrite, (source, arguments.target))
    known = jobs.open_source(source, arguments.source_fps).properties
    arguments.source_size = (known.width, known.height)


def video_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_video_options` and --budget gave, as `pipeline` names it."""
    return {
        "budget": arguments.budget,
        "start": arguments.start,
        "end": arguments.end,
        "codec": arguments.codec,
        "crf": arguments.crf,
        "resume": arguments.resume,
        "overwrite": arguments.overwrite,
        "keep_partial": arguments.keep_partial,
        "map_folder": arguments.maps,
        "source_fps": arguments.source_fps,
        "settings": describe_model(arguments),
        "report": arguments.report,
    }


def demo(arguments: argparse.Namespace) -> None:
    """`jaxdyn demo`."""
    from jaxdyn import demo as scene

    scene.check_paths(arguments.target, arguments.overwrite)
    interpolator = load_interpolator(arguments)
    with friendly_os_errors(arguments.target), progress_bar() as progress:
        report = scene.run(arguments.target, interpolator, arguments.overwrite, describe_model(arguments), progress)
    tell(report, arguments)


def flops(arguments: argparse.Namespace) -> None:
    """`jaxdyn flops`."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # the cost is the same on every device, by definition
    from jaxdyn import flops as counting

    with friendly_errors(f"--model {arguments.model}"):
        values = counting.describe(arguments.model, *arguments.size)
    if arguments.json:
        print(json.dumps(values))
        return
    print(f"{values['model']} at {arguments.size[0]}x{arguments.size[1]}, {values['parameters']:,} parameters")
    print(f"{'stage':<32}{'times':>8}{'GFLOPs':>14}{'G multiply-adds':>18}")
    for stage in values["stages"]:
        amounts = (stage["flops"] * stage["times"] / 1e9, stage["multiply_adds"] * stage["times"] / 1e9)
        name = stage["name"] + (" (excluded)" if stage.get("excluded") else "")
        print(f"{name:<32}{stage['times']:>8g}{amounts[0]:>14,.2f}{amounts[1]:>18,.2f}")
    print(f"{'in all':<40}{values['flops'] / 1e9:>14,.2f}{values['multiply_adds'] / 1e9:>18,.2f}")


def convert(arguments: argparse.Namespace) -> None:
    """`jaxdyn convert`."""
    from jaxdyn import convert as conversion

    with friendly_errors(f"convert {arguments.name}"):
        for line in conversion.convert_files(arguments.name, arguments.inputs, arguments.output):
            print(line)


def bench(arguments: argparse.Namespace) -> None:
    """`jaxdyn bench`."""
    job = arguments.job
    arguments.weights = arguments.weights or WEIGHTS[job]
    if arguments.source and arguments.size:
        raise UserError(f"--size: frames of {arguments.source} have their own size; leave one of the two out.")
    with loaded_model(arguments) as loaded:
        model, variables, device = loaded
    from jaxdyn import bench as timing
    from jaxdyn import choices

    frames = timing.frames_for(job, arguments.source, arguments.size or SIZES[job])
    result = timing.choose(job, model, variables, frames, arguments.rounds, device)
    key, kept = choices.key_of(job, timing.size_of(frames), model, device), None
    if arguments.cache_part is not None:
        with friendly_os_errors(str(arguments.cache_part)):
            kept = choices.write(arguments.cache_part, key, result.choice)
    if arguments.json:
        print(json.dumps({**dataclasses.asdict(key), **dataclasses.asdict(result), "kept": kept and str(kept)}))
        return
    print("\n".join(timing.lines(key, result, arguments.rounds)))
    print(f"kept in {kept}" if kept else "not kept: there is no cache folder")


def load_interpolator(arguments: argparse.Namespace) -> Any:
    """The interpolation model of --weights on --device.

    Raises:
      UserError: no such weights, damaged ones or of a network that makes no frames; no such device.
    """
    with loaded_model(arguments) as (model, variables, device):
        from jaxdyn.interpolator import Interpolator

        choice = choose_execution(arguments, "interpolate", model, device)
        model = model if choice is None else model.clone(chunks=choice.together)
        interpolator = Interpolator(model, variables, arguments.execution, device, programs_folder(arguments))
        prepare(interpolator, arguments)
        return interpolator


def load_upscaler(arguments: argparse.Namespace) -> Any:
    """The upscaling model of --weights on --device.

    Raises:
      UserError: no such weights, damaged ones or of a network that enlarges no video; no such device.
    """
    with loaded_model(arguments) as (model, variables, device):
        from jaxdyn.upscaler import Upscaler

        choice = choose_execution(arguments, "upscale", model, device)
        parallel = arguments.parallel or (None if choice is None else choice.together[0])
        upscaler = Upscaler(
            model,
            variables,
            threshold=arguments.threshold,
            execution=arguments.execution,
            device=device,
            parallel=parallel,
            programs=programs_folder(arguments),
        )
        prepare(upscaler, arguments)
        return upscaler


def programs_folder(arguments: argparse.Namespace) -> Path | None:
    """Where traced programs are kept; None where there is no cache."""
    return None if arguments.cache_part is None else arguments.cache_part / "traced"


def prepare(model: Any, arguments: argparse.Namespace) -> None:
    """Has the model load its program, if the size of the frames is known and a budget does not change the network."""
    size = getattr(arguments, "source_size", None)
    if size is not None and arguments.budget is None:
        model.prepare(size[1], size[0])


def choose_execution(arguments: argparse.Namespace, job: str, model: Any, device: Any) -> Any:
    """What `jaxdyn bench` found for these frames, or None; sets `arguments.execution`, and the remark of the last line.

    An execution that was asked for stays. Dense execution, where it won, is taken only if no option says something
    about a Route: a budget, a threshold, patches together, maps.
    """
    from jaxdyn import cache, choices

    asked, arguments.execution = arguments.execution, arguments.execution or "packed"
    size = getattr(arguments, "source_size", None)
    if asked is not None or size is None or arguments.cache_part is None:
        return None
    try:
        choice = choices.read(arguments.cache_part, choices.key_of(job, size, model, device))
    except cache.CacheError as error:
        note(error)
        return None
    if choice is None or choice.execution == "packed":
        return choice
    if all(getattr(arguments, option, None) is None for option in NEEDS_ROUTE):
        arguments.execution = "dense"
        arguments.remark = (
            f", dense execution: `jaxdyn bench` found packed {1 / choice.speedup - 1:.0%} slower here at this size"
        )
    return choice


@contextlib.contextmanager
def loaded_model(arguments: argparse.Namespace) -> Iterator[tuple[Any, Any, Any]]:
    """(model, variables, device) of --weights and --device; what goes wrong with them names the option."""
    if arguments.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"  # before JAX is imported: a GPU is left to others
    import jax

    from jaxdyn import cache, machine, pretrained

    machine.return_large_arrays()  # or memory grows with the length of a clip
    try:
        arguments.cache_part = cache.prepare(arguments.cache)
        cache.keep_compiled(arguments.cache_part)
    except cache.CacheError as error:
        arguments.cache_part = None
        note(error)
    device = choose_device(arguments.device, jax)
    with friendly_errors(f"--weights {arguments.weights}"):
        yield *pretrained.load(arguments.weights), device


def choose_device(name: str | None, jax: Any) -> Any:
    """The JAX device of "cpu", "gpu" or "gpu:1"; None = JAX's own choice."""
    if name is None:
        return None
    kind, _, index = name.partition(":")
    try:
        devices = jax.devices(kind)
    except RuntimeError:
        devices = []
    if not devices:
        raise UserError(
            f'--device {name}: JAX sees none here; install "jaxdyn[cuda]" for NVIDIA GPUs, or use --device cpu.'
        )
    if int(index or 0) >= len(devices):
        raise UserError(f"--device {name}: there are {len(devices)}, counted from {kind}:0.")
    return devices[int(index or 0)]


def describe_model(arguments: argparse.Namespace) -> str:
    """What frames depend on besides the video: a resumed run must have the same."""
    weights = arguments.weights
    if os.path.isfile(weights):
        status = os.stat(weights)
        weights = f"{os.path.realpath(weights)} {status.st_size} {status.st_mtime_ns}"
    settings = f"{weights}, {arguments.execution or 'packed'}"
    threshold = getattr(arguments, "threshold", None)
    return settings if threshold is None else f"{settings}, threshold {threshold}"


def tell(report: Any, arguments: argparse.Namespace) -> None:
    """Notes to the screen, the account of every frame as the last line."""
    for line in report.notes:
        note(line)
    print(report.line() + getattr(arguments, "remark", ""))


def note(message: object) -> None:
    """Something that the user should know and that stops nothing."""
    print(f"note: {message}", file=sys.stderr)


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[Any], None] | None]:
    """A bar with rate and time left on a terminal; nothing where there is none."""
    from rich import console, progress

    screen = console.Console(stderr=True)
    if not screen.is_terminal:
        yield None
        return
    columns = [
        progress.TextColumn("{task.completed}/{task.total} frames"),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(elapsed_when_finished=False),
    ]
    with progress.Progress(*columns, console=screen, transient=True, speed_estimate_period=120) as bar:
        task = bar.add_task("", total=None, rate="")

        def update(now: Any) -> None:
            if bar.tasks[0].total is None:  # frames of an earlier run tell nothing about the speed of this one
                bar.reset(task, completed=now.frames_in, total=now.total)
            bar.update(task, completed=now.frames_in, total=now.total)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.2f} frames/s" if speed else "")

        yield update


@contextlib.contextmanager
def friendly_errors(subject: str) -> Iterator[None]:
    """Turns the library's clear errors into one line that names the option."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, LookupError, OSError, ImportError) as error:
        raise UserError(f"{subject}: {one_line(error)}") from error


@contextlib.contextmanager
def friendly_os_errors(target: str) -> Iterator[None]:
    """A full disk and its like, in one line."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{target}: could not be written ({error.strerror or one_line(error)}).") from error


if __name__ == "__main__":
    sys.exit(main())
