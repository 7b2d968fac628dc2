"""The folder in which a machine keeps from one run to the next what is dear to find out again.

    FOLDER/MACHINE/compiled/    programs that XLA compiled: JAX's own persistent cache
    FOLDER/MACHINE/traced/      programs before they are compiled (`jaxdyn.programs`)
    FOLDER/MACHINE/choices/     which execution wins for a size (`jaxdyn.choices`)

It can be deleted at any time. Programs are loaded from it and run: nobody else may be able to write it.
"""

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from jaxdyn import machine

VARIABLE = "JAXDYN_CACHE_DIR"
JAX_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
MAX_BYTES = 2**30
"""Of compiled programs; beyond it those that were not used for longest go."""


class CacheError(Exception):
    """Why a folder is not used, in one line that names it and the remedy."""


def folder_of(named: str | os.PathLike | None = None, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the cache is: the folder named, or that of JAXDYN_CACHE_DIR, or "jaxdyn" in the user's cache directory.

    Args:
      named: by the user, or None.
      environment: variables; XDG_CACHE_HOME counts if it is an absolute path, as its standard says.

    Raises:
      CacheError: the user has no home.
    """
    if chosen := named or environment.get(VARIABLE):
        return Path(chosen).expanduser()
    base = environment.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "jaxdyn"
    try:
        return Path.home() / ".cache" / "jaxdyn"
    except RuntimeError:
        raise CacheError(f"there is no home folder to keep a cache in; name one by --cache or {VARIABLE}") from None


def prepare(named: str | os.PathLike | None = None) -> Path:
    """This machine's part of the cache, made if it is not there, for its owner alone.

    Raises:
      CacheError: it cannot be made or written, or others can write it.
    """
    folder = folder_of(named)
    part = folder / machine.name()
    try:
        for path in (folder, part):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(path)
    except OSError as error:
        raise CacheError(f"{folder}: cannot be made ({error.strerror}); name another folder by --cache") from None
    if not os.access(part, os.R_OK | os.W_OK | os.X_OK):
        raise CacheError(f"{part}: cannot be written; name another folder by --cache")
    return part


def keep_compiled(part: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Has JAX keep what it compiles from now on, and take from there what it has compiled before.

    Call it before the first compilation: JAX decides then. Its own variables win: JAX_COMPILATION_CACHE_DIR names
    another folder, or none if it is empty.

    Args:
      part: of `prepare`.
      environment: variables.
    """
    import jax

    settings = {
        "jax_persistent_cache_min_compile_time_secs": 0.0,  # small programs are many, and each costs as a start does
        "jax_compilation_cache_max_size": MAX_BYTES,
    }
    if JAX_VARIABLE in environment:
        return
    for name, value in settings.items():
        if name.upper() not in environment:
            jax.config.update(name, value)
    jax.config.update("jax_compilation_cache_dir", str(part / "compiled"))


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file aside and renames it: it is there whole or not at all.

    Raises:
      OSError: its folder cannot be made or written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def _check_owner(path: Path) -> None:
    """Refuses a folder from which somebody else's programs could be loaded."""
    if not hasattr(os, "getuid"):
        return
    status = path.stat()
    if status.st_uid not in (os.getuid(), 0):
        raise CacheError(f"{path}: belongs to another user; name a folder of your own by --cache")
    if status.st_mode & stat.S_IWOTH:
        raise CacheError(f"{path}: can be written by everyone; `chmod o-w {path}`, or name another folder by --cache")
