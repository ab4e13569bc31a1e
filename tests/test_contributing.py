"""CONTRIBUTING.md: its worked examples run as they stand and are short, and its map of the tests names every file."""

import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^### A ([\w ]+)\n(?:(?!^###).)*?```python\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE))


def test_each_kind_of_new_thing_has_an_example():
    assert {"map method", "metric", "viewer", "model format"} <= set(EXAMPLES)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_example_runs_and_is_short(kind, done, tmp_path):
    assert len(EXAMPLES[kind].splitlines()) < 60
    (tmp_path / "identiface-demo").mkdir()
    (tmp_path / "identiface-demo" / "audit").symlink_to(done.folder, target_is_directory=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", EXAMPLES[kind]], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_the_map_of_the_tests_names_every_file():
    part = TEXT.split("## The tests' map")[1].split("## Releases")[0]
    named = re.findall(r"`([\w*/.]+)`", part)
    files = [p.stem for p in (ROOT / "tests").glob("test_*.py")]
    assert not [f for f in files if not any(fnmatch.fnmatch(f, pattern) for pattern in named)]


def test_pictures_and_tools_that_it_names_are_there():
    for path in re.findall(r"`((?:nbs|tests|tools)/[\w/]+\.\w+)`|\]\((nbs/[^)]+)\)", TEXT):
        name = "".join(path)
        assert (ROOT / name).exists() or "NN_" in name, name
