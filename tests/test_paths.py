"""Paths as text and as `Path`: both are what Python users give to public functions."""

import ast
import importlib
import inspect
import os
import re
import typing
from pathlib import Path

import pytest
from support.files import ROOT

import dualsr_jax

PLACES = {"path", "output", "weights", "half_weights", "source", "folder", "workdir", "data_dir"}
# What serves the commands alone.
OF_COMMANDS = {"dualsr_jax.commands", "dualsr_jax.disk", "dualsr_jax.prediction.batch"}


def public():
    """What the package offers, what docs/api.md lists, what commands have or import, by name.

    Besides functions, classes that they take are public.
    """
    found = {("dualsr_jax", name) for name in dualsr_jax.__all__}
    for kind, name in re.findall(r"auto(\w+):: ([\w.]+)", (ROOT / "docs" / "api.md").read_text()):
        found |= of_module(name) if kind == "module" else {tuple(name.rsplit(".", 1))}
    for file in (ROOT / "dualsr_jax").glob("*.py"):
        if "\nCOMMAND = Command(" not in file.read_text():
            continue
        found |= of_module(f"dualsr_jax.{file.stem}")
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("dualsr_jax."):
                found |= {(node.module, alias.name) for alias in node.names}
    things = [
        getattr(importlib.import_module(module), name, None)
        for module, name in sorted(found)
        if module not in OF_COMMANDS
    ]
    functions = dict(pair for thing in things for pair in callables(thing))
    for function in [*functions.values()]:
        for taken in set().union(*map(leaves, parameters(function).values())):
            if getattr(taken, "__module__", "").startswith("dualsr_jax."):
                functions.update(callables(taken))
    return functions


def of_module(name):
    members = vars(importlib.import_module(name)).items()
    return {(name, key) for key, value in members if getattr(value, "__module__", "") == name}


def callables(thing):
    if inspect.isclass(thing):
        yield thing.__qualname__, thing.__init__
        for name, member in vars(thing).items():
            function = getattr(member, "__func__", member)
            if not name.startswith("_") and inspect.isfunction(function):
                yield f"{thing.__qualname__}.{name}", function
    elif inspect.isfunction(thing) and not thing.__name__.startswith("_"):
        yield thing.__qualname__, thing


def leaves(annotation):
    """The types of which an annotation is made."""
    inner = annotation if isinstance(annotation, list) else typing.get_args(annotation)
    inner = [a for a in inner if a is not Ellipsis]
    of_paths = typing.get_origin(annotation) is os.PathLike
    return {Path} if of_paths else set().union(*map(leaves, inner)) if inner else {annotation}


def parameters(function):
    hints = typing.get_type_hints(function)
    return {name: hint for name, hint in hints.items() if name != "return"}


def refused(function):
    """The parameters for paths that take text alone, or `Path` alone; and the number for paths."""
    types = {name: leaves(hint) for name, hint in parameters(function).items()}
    of_paths = {name: t for name, t in types.items() if Path in t or (name in PLACES and str in t)}
    return [name for name, t in of_paths.items() if not {str, Path} <= t], len(of_paths)


def test_public_functions_take_paths_and_text():
    """mypy, which every change must pass, checks that functions do with it what the type says."""
    found = {name: refused(function) for name, function in public().items()}
    assert not {name: wrong for name, (wrong, _) in found.items() if wrong}
    with_paths = {name for name, (_, count) in found.items() if count}
    assert {"open_cube", "PredictOptions", "convert", "compare", "prepare", "train"} <= with_paths


@pytest.mark.parametrize("hint", [Path, str, Path | None, list[tuple[Path, int]]])
def test_a_parameter_for_one_kind_is_found(hint):
    def function(path, key=None):
        pass

    function.__annotations__ = {"path": hint, "key": str | None, "return": Path}
    assert refused(function) == (["path"], 1)
    function.__annotations__["path"] = hint | str | os.PathLike[str]
    assert refused(function) == ([], 1)
