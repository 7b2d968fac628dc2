"""Names of variants: a base, and suffixes that each change a value or two.

    variant = base {"-" suffix}         published, small-bd, published-lambda-5e8-5e11

Names themselves may hold hyphens; the longest that fits is taken. Suffixes stand in tables, and of each table a variant
takes one at most. A change works on the plain dictionaries of a configuration, before `train.stages.filled`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from train import stages

Change = Callable[[dict[str, Any]], None]


def parse(
    variant: str, bases: Mapping[str, Change], tables: Sequence[Mapping[str, Change]], example: str
) -> tuple[Change, ...]:
    """What makes a variant, in order: the base's change, then the suffixes'.

    Args:
      variant: the name.
      bases: by name.
      tables: of suffixes, by name.
      example: how a variant is written on the command line.

    Raises:
      ValueError: a base or suffix that is not known, with the nearest name; two suffixes of one table.
    """
    changes, known, rest, left = [], bases, variant, list(tables)
    while True:
        name = _longest(rest, known)
        if name is None:
            done = variant[: len(variant) - len(rest)]
            near = stages.did_you_mean(variant, [*bases, *(done + other for other in known if done)])
            raise ValueError(f"variant (={variant!r}) is none of those that {example} is one of; {near}")
        changes.append(known[name])
        if rest == name:
            return tuple(changes)
        rest = rest[len(name) + 1 :]
        for table in tables:
            if name in table and _longest(rest, table):
                raise ValueError(f"variant (={variant!r}) takes two of {', '.join(table)}; leave one out")
        left = [table for table in left if name not in table]
        known = {suffix: change for table in left for suffix, change in table.items()}


def _longest(text: str, names: Mapping[str, Change]) -> str | None:
    """The longest name that the text is, or begins with before a hyphen."""
    return max((n for n in names if text == n or text.startswith(n + "-")), key=len, default=None)


def rows_of(config: dict[str, Any], kinds: Sequence[str], what: str) -> list[dict[str, Any]]:
    """The stages of some kinds, which a change is about.

    Raises:
      ValueError: there are none, so that the change would change nothing.
    """
    found = [row for row in config["stages"].values() if row["kind"] in kinds]
    if not found:
        raise ValueError(f"{what} changes nothing in a curriculum of {', '.join(config['stages'])}; leave it out")
    return found
