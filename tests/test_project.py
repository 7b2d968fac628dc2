"""The documents say what is true: the file map, the commands, the version; and the library stands by itself."""

import argparse
import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

from jaxdyn import cli
from jaxdyn.version import __version__

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("jaxdyn", "train", "eval", "configs")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def commands() -> dict[str, argparse.ArgumentParser]:
    """Name and parser of every command of the console script."""
    actions = cli.make_parser()._actions
    return next(dict(action.choices) for action in actions if isinstance(action, argparse._SubParsersAction))


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_file_map_names_every_file_and_no_other(folder):
    table = re.search(rf"^\| {folder}/ \|.*?(?=\n\n)", README, re.MULTILINE | re.DOTALL)[0]
    named = set(re.findall(r"^\| `(\S+\.py)` \|", table, re.MULTILINE))
    assert named == {path.relative_to(ROOT / folder).as_posix() for path in sources(folder)}


def test_the_readme_names_the_commands_that_there_are():
    headings = set(re.findall(r"^### `jaxdyn (\w+)", README, re.MULTILINE))
    assert headings == set(commands())
    assert set(re.findall(r"\bjaxdyn (interpolate|demo|flops|convert|upscale|bench)\b", README)) == headings
    printed = cli.make_parser().format_help()
    assert all(re.search(rf"^ +{name}( |$)", printed, re.MULTILINE) for name in headings)


@pytest.mark.parametrize("name", ["interpolate", "upscale"])
def test_the_readme_names_the_options(name):
    options = {option for option in commands()[name]._option_string_actions if option.startswith("--")}
    section = re.search(rf"^### `jaxdyn {name} .*?(?=^### )", README, re.MULTILINE | re.DOTALL)[0]
    assert set(re.findall(r"`(--[a-z-]+)", section)) == options - {"--help"}


def test_the_console_script_is_the_command_line():
    with (ROOT / "pyproject.toml").open("rb") as file:
        module, _, function = tomllib.load(file)["project"]["scripts"]["jaxdyn"].partition(":")
    assert getattr(importlib.import_module(module), function) is cli.main


def test_the_changelog_begins_with_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[([^\]]+)\]", changelog, re.MULTILINE)[1] == __version__


def test_the_library_imports_neither_training_nor_measuring():
    for path in sources("jaxdyn"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            packages = {name.partition(".")[0] for name in names}
            assert not packages & {"train", "eval", "configs"}, f"{path}, line {node.lineno}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_public_has_a_docstring(folder):
    bare = []
    for path in sources(folder):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not tree.body or ast.get_docstring(tree), f"{path} has no docstring"
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                bare += [] if ast.get_docstring(node) else [f"{path}: {node.name}"]
    assert not bare
