"""The page itself: one file that a browser opens by itself, written whole or not at all."""

import base64
import hashlib
import importlib.resources
import os
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path

from jaxdyn.errors import UserError
from jaxdyn.report.sections import Section, paragraph
from jaxdyn.version import __version__

SUFFIXES = (".html", ".htm")


def write(path: str | os.PathLike, title: str, sections: Sequence[Section], subtitle: str = "") -> None:
    """Writes a page.

    Args:
      path: of the file; its folder must exist. What is there is replaced.
      title: of the page.
      sections: from top to bottom.
      subtitle: one sentence under the title.

    Raises:
      OSError: a place that cannot be written; what was there stays.
    """
    path = Path(path)
    content = render(title, sections, subtitle).encode("utf-8", "replace")
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def render(title: str, sections: Sequence[Section], subtitle: str = "") -> str:
    """The page as text. Its policy lets it fetch nothing and run no script but its own."""
    style, script = (_resource(f"page.{kind}") for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    body = "\n".join(section.html() for section in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="jaxdyn {__version__}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>{paragraph(subtitle, "subtitle")}</header>
<main>
{body}
</main>
<footer>jaxdyn {__version__}</footer>
<script>{script}</script>
</body>
</html>
"""


def check_path(
    path: str | os.PathLike | None, overwrite: bool = False, others: Sequence[str | os.PathLike] = ()
) -> None:
    """Refuses, before any work, a page that cannot or must not be written.

    Args:
      path: of the page; None = there is none.
      overwrite: whether a page that is there may be replaced.
      others: files that the page must not be.

    Raises:
      UserError: no name of a page, a folder that is not there or cannot be written, a file that is there.
    """
    if path is None:
        return
    path = Path(path)
    subject = f"--report {path}"
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{subject}: is no name of a page; let it end with .html.")
    if not path.parent.is_dir():
        raise UserError(f"{subject}: its folder {path.parent} does not exist; make it first.")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{subject}: its folder {path.parent} cannot be written; choose another one.")
    if path.is_dir() or path.resolve() in {Path(other).resolve() for other in others}:
        raise UserError(f"{subject}: is something else already; give the page another name.")
    if path.exists() and not overwrite:
        raise UserError(f"{subject}: exists; add --overwrite to replace it, or choose another name.")


def _resource(name: str) -> str:
    return (importlib.resources.files("jaxdyn.report") / name).read_text(encoding="utf-8")
