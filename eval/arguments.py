"""What options of `eval.main` and `eval.paper` say, as values."""

import argparse
from pathlib import Path

from jaxdyn.errors import UserError


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
