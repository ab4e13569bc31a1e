"""Every example in a docstring runs and gives what it says; functions of arrays name their axes; errors are named."""

import ast
import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import identiface_audit

ROOT = Path(__file__).resolve().parents[1]
MODULES = [m.name for m in pkgutil.walk_packages(identiface_audit.__path__, "identiface_audit.") if not m.name.endswith(("__main__", "_modidx"))]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, extraglobs={"np": np})
    assert not failed


def public_functions():
    "(name, node, docstring without its example) of every exported function."
    for path in sorted((ROOT / "identiface_audit").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lists = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"]
        exported = set(ast.literal_eval(lists[0])) if lists else set()
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name in exported:
                yield f"{path.stem}.{node.name}", node, (ast.get_docstring(node) or "").split(">>>")[0]


def test_functions_of_arrays_say_their_shapes():
    silent = []
    for name, node, text in public_functions():
        kinds = [ast.unparse(a.annotation) for a in (*node.args.args, *node.args.kwonlyargs, node.args.vararg) if a and a.annotation]
        arrays = any("ndarray" in k or "ArrayLike" in k for k in [*kinds, ast.unparse(node.returns)])
        if arrays and not re.search(r"\([\w. *+]*,[\w ,.*+]*\)", text):
            silent.append(name)
    assert not silent, "which axes? " + ", ".join(silent)


def test_functions_say_what_they_raise():
    silent = []
    for name, node, text in public_functions():
        caught = {ast.unparse(h.type) for n in ast.walk(node) if isinstance(n, ast.Try) for h in n.handlers if h.type}
        raised = {ast.unparse(n.exc.func) for n in ast.walk(node) if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)}
        silent += [f"{name}: {r}" for r in sorted(raised - caught) if r.endswith("Error") and r not in text]
    assert not silent, "\n".join(silent)
