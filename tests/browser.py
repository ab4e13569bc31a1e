"""A real browser and real notebook servers for tests, screenshots and benchmarks. Nothing here downloads a browser."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic", "--no-first-run"]
ARGS += ["--disable-component-update", "--disable-sync", "--force-color-profile=srgb"]


def find_chromium():
    "Path of Debian's, Ubuntu's or Google's browser; None where there is none."
    chosen = os.environ.get("IDENTIFACE_CHROMIUM")
    return chosen or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=find_chromium(), args=ARGS)
        yield browser
        browser.close()


def watch(page):
    "(requests that left this machine, error lines of the console), both filled while the page lives."
    outside, errors = [], []
    local = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "about:")
    page.on("request", lambda r: None if r.url.startswith(local) else outside.append(r.url))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    return outside, errors


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def notebook(path, source):
    "A notebook with one code cell; `%%` lines split it into several."
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": part.strip(), "outputs": [], "execution_count": None}
        for i, part in enumerate(source.split("\n%%\n"))
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    Path(path).write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}))
    return Path(path).name


@contextlib.contextmanager
def serve(application, folder, *options, ready="/"):
    "`python -m application` on `folder`; yields its address; ended by its own handle."
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1", "IPYTHONDIR": str(Path(folder) / ".ipython")}
    log = open(Path(folder) / f"{application}.log", "w")
    command = [sys.executable, "-m", application, *[o.format(port=port) for o in options]]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address + ready, timeout=2).close()
                break
            if process.poll() is not None:
                raise RuntimeError(f"{application} did not start: {Path(log.name).read_text()[-2000:]}")
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def voila(folder, tracebacks=False):
    "Voilà over the notebooks of `folder`."
    settings = {
        "Voila": {"tornado_settings": {"disable_check_xsrf": True}},
        "VoilaConfiguration": {"show_tracebacks": tracebacks, "extension_denylist": ["@jupyter-notebook/lab-extension"]},
    }
    (Path(folder) / "voila.json").write_text(json.dumps(settings))
    return serve("voila", folder, "--no-browser", "--port={port}", "--Voila.ip=127.0.0.1", ".", ready="/voila/static/voila.js")


def lab(folder, application="jupyterlab"):
    "JupyterLab (`jupyterlab`) or Notebook 7 (`notebook`) on `folder`, without a token: it listens on this machine only."
    options = ["--no-browser", "--port={port}", "--ip=127.0.0.1", "--IdentityProvider.token=", "--allow-root"]
    options += ["--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True", "--LabApp.news_url=", "--ServerApp.disable_check_xsrf=True"]
    return serve(application, folder, *options, ready="/api")


def large_audit(small, folder, n=23_708):
    "A finished audit of `n` rows that repeats the shards of the finished audit `small`; returns its folder."
    import pyarrow as pa
    import pyarrow.parquet as pq

    small, folder = Path(small), Path(folder)
    (folder / "faces").mkdir(parents=True, exist_ok=True)
    parts = sorted((small / "faces").glob("part-*.parquet"))
    whole = pa.concat_tables([pq.read_table(p, partitioning=None) for p in parts])
    whole = whole.replace_schema_metadata(pq.read_schema(parts[0]).metadata)
    for i, start in enumerate(range(0, n, 256)):
        rows = [(start + k) % len(whole) for k in range(min(256, n - start))]
        pq.write_table(whole.take(rows), folder / "faces" / f"part-{i:05d}.parquet", compression="zstd")
    summary = json.loads((small / "audit.json").read_text())
    wrong = sum(whole["true_gender"][i % len(whole)].as_py() != whole["predicted_gender"][i % len(whole)].as_py() for i in range(n))
    (folder / "audit.json").write_text(json.dumps(summary | {"n_faces": n, "n_misclassified": wrong}))
    shutil.copy(small / "rejected.csv", folder)
    return folder
