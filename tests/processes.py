"""The command in a process of its own, as a terminal starts it; what it says, what it leaves, and what it must equal."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from identiface_audit.settings import load_settings
from identiface_audit.store import Store
from identiface_audit.synthetic import demo_model

SHARD = 10  # of 60 faces
KEYS = ("n_faces", "n_rejected", "groups", "notebook", "fairness", "regions", "overall_bias", "verdict", "slices")
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")


def settings(**changes):
    return load_settings(shard_size=SHARD, **changes)


def start(faces, out, cache=None, cluster="", **options):
    "`identiface-audit run` in a session of its own."
    command = [sys.executable, "-m", "identiface_audit", "run", "--faces", faces, "--model", demo_model(), "--out", out, "--no-faces"]
    command += ["--cluster", cluster] if cluster else []
    for name, value in ({"shard_size": SHARD} | options).items():
        command += ["--set", f"{name}={value}"]
    environment = os.environ | ({"IDENTIFACE_CACHE": str(cache)} if cache else {})
    hears = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # a test run in the background ignores Ctrl-C, and so would this
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([str(c) for c in command], env=environment, start_new_session=True, **hears, **pipes)


def finish(process, code=0):
    "Wait for its end; what it said, which is no traceback."
    said = process.communicate(timeout=300)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said and "Exception" not in said, said
    return said


def session(process):
    "Ids of the living processes that the command started, its own among them."
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
            if int(sid) == process.pid and state != "Z":
                found.append(int(stat.parent.name))
    return found


def until(condition, seconds=120):
    "Wait for `condition()`."
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.01)


def until_written(process, out, shards):
    "Wait until an audit has written so many shards, or is over."
    until(lambda: len(Store(out).parts()) >= shards or process.poll() is not None)


def stamps(out):
    "{shard: when it was written}."
    return {p.name: p.stat().st_mtime_ns for p in Store(out).parts()}


def assert_same(audit_a, audit_b):
    "Row for row and column for column the same, maps and landmarks included; nothing temporary is left."
    assert audit_a.store.table().equals(audit_b.store.table())
    assert [audit_a.summary[k] for k in KEYS] == [audit_b.summary[k] for k in KEYS]
    assert audit_a.rejected.equals(audit_b.rejected)
    if audit_a.store.here:
        assert not list(audit_a.folder.rglob("*.tmp"))
