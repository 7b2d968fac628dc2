"""What options of the command line say, as values: each turns a text into one, or says in a line what was wanted."""

import argparse
from fractions import Fraction


def parse_rate(text: str) -> Fraction:
    """Frames a second: 60, 60000/1001, or 59.94, which is taken as 60000/1001 as broadcast means it."""
    value = _number(text, "a rate such as 60, 59.94 or 60000/1001")
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be over 0")
    whole = round(value * Fraction(1001, 1000))
    broadcast = Fraction(whole * 1000, 1001)
    is_broadcast = "." in text and value.denominator > 1 and abs(value - broadcast) < Fraction(1, 200)
    return broadcast if is_broadcast else value


def parse_time(text: str) -> Fraction:
    """Seconds from 12.5, 2:03.5 or 1:02:03.5."""
    parts = text.split(":")
    if len(parts) > 3:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 12.5 or 1:02:03.5")
    seconds = Fraction(0)
    for part in parts:
        seconds = seconds * 60 + _number(part, "a time such as 12.5 or 1:02:03.5")
    return seconds


def parse_share(text: str) -> float:
    """A share of the dense compute from 0.6 or 60%."""
    number = text.removesuffix("%")
    value = _number(number, "a share such as 0.6 or 60%", text) / (1 if number == text else 100)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be over 0 and at most 1, such as 0.6 or 60%")
    return float(value)


def parse_threshold(text: str) -> float:
    """From 0, which runs every block, to 1, which runs none."""
    value = _number(text, "a threshold from 0 to 1")
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is over 1; a threshold from 0 to 1 is needed")
    return float(value)


def parse_count(text: str) -> int:
    """1 or more."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return int(text)


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from "2048x1080"."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write WIDTHxHEIGHT, for example 2048x1080")
    return int(width), int(height)


def parse_device(text: str) -> str:
    """cpu, gpu or gpu:1."""
    kind, colon, index = text.partition(":")
    if kind not in ("cpu", "gpu") or (colon and not index.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no device; write cpu, gpu or gpu:1")
    return text


def _number(text: str, wanted: str, given: str | None = None) -> Fraction:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{(given or text)!r} is not {wanted}") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"{(given or text)!r} is negative; {wanted} is needed")
    return value
