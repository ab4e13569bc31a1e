"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import identiface_audit

MODULES = [m.name for m in pkgutil.walk_packages(identiface_audit.__path__, "identiface_audit.") if not m.name.endswith(("__main__", "_modidx"))]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, extraglobs={"np": np})
    assert not failed
