"""What `eval.main`, `eval.paper` and `eval.claims` have in common: options as values, and how a command ends."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from rich import console

from jaxdyn.errors import UserError, one_line


def run(make: Callable[[console.Console], str], out: str | None) -> int:
    """Prints the text that `make` gives, or writes it to `out`. Returns the exit code.

    That is 0; 2 for what the user can put right, told in one line on standard error; 130 for Ctrl-C.

    Args:
      make: is given standard error, for its progress and remarks.
      out: a file; None: standard output.
    """
    errors = console.Console(stderr=True)
    try:
        check_out(out)
        text = make(errors)
        if out:
            Path(out).write_text(text, encoding="utf-8")
        else:
            print(text, end="")
    except (UserError, OSError) as error:
        say(errors, [one_line(error)])
        return getattr(error, "exit_code", UserError.exit_code)
    except KeyboardInterrupt:
        say(errors, ["stopped"])
        return 130
    return 0


def say(to: console.Console, lines: Iterable[str]) -> None:
    """Prints lines as they are, not broken."""
    for line in lines:
        to.print(line, markup=False, highlight=False, soft_wrap=True)


def parse_list(text: str) -> list[str]:
    """Names between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_count(text: str) -> int:
    """1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least 1")
    return int(text)


def check_out(path: str | None) -> None:
    """Refuses, before any work, a file in a folder that is not there.

    Raises:
      UserError: so it is.
    """
    if path and not Path(path).absolute().parent.is_dir():
        raise UserError(f"{path}: its folder is not there; name a file in one that is.")
