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


# Voila's own template asks a CDN for Font Awesome; this one is that template without it.
QUIET = """{%- extends 'voila/templates/lab/index.html.j2' -%}
{% import "spinner.macro.html.j2" as spinner %}
{%- block notebook_css -%}
{{ resources.include_js("static/voila-style.js") }}
{{ spinner.css() }}
{{ super.super() }}
{%- endblock notebook_css -%}
"""


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
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1", "JUPYTER_PATH": str(Path(folder) / "share"), "IPYTHONDIR": str(Path(folder) / ".ipython")}
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
    template = Path(folder) / "share" / "voila" / "templates" / "quiet"
    template.mkdir(parents=True, exist_ok=True)
    (template / "conf.json").write_text('{"base_template": "lab"}')
    (template / "index.html.j2").write_text(QUIET)
    settings = {
        "Voila": {"tornado_settings": {"disable_check_xsrf": True}},
        "VoilaConfiguration": {
            "show_tracebacks": tracebacks,
            "template": "quiet",
            "allow_theme_override": "YES",
            "extension_denylist": ["identiface-audit", "@jupyter-notebook/lab-extension"],
        },
    }
    (Path(folder) / "voila.json").write_text(json.dumps(settings))
    return serve("voila", folder, "--no-browser", "--port={port}", "--Voila.ip=127.0.0.1", ".", ready="/voila/static/voila.js")


def lab(folder, application="jupyterlab"):
    "JupyterLab (`jupyterlab`) or Notebook 7 (`notebook`) on `folder`, without a token: it listens on this machine only."
    options = ["--no-browser", "--port={port}", "--ip=127.0.0.1", "--IdentityProvider.token=", "--allow-root"]
    options += ["--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True", "--LabApp.news_url=", "--ServerApp.disable_check_xsrf=True"]
    return serve(application, folder, *options, ready="/api")


def variant(small, folder, rows, change=None):
    """A finished audit of `rows` of the finished audit `small`, in that order; rows may repeat.

    `change` gets the table and gives another: names, predictions. The summary is made anew by the stage that makes it.
    """
    import pandas as pd
    import pyarrow as pa

    from identiface_audit.audit import Audit
    from identiface_audit.index import write_index
    from identiface_audit.regions import region_set
    from identiface_audit.store import Store
    from identiface_audit.summary import summarize
    from identiface_audit.widgets.live import saved_settings

    old, store = Audit(small), Store(folder)
    whole = old.store.table().combine_chunks()
    whole = change(whole) if change else whole
    (Path(folder) / "faces").mkdir(parents=True)
    for i, start in enumerate(range(0, len(rows), 256)):
        store.write(i, whole.take(pa.array(rows[start : start + 256])), old.store.meta(0))
    s, settings = old.summary, saved_settings(old)
    rejected = pd.DataFrame(columns=["image_path", "reason"])
    summary = summarize(store, settings, list(region_set(settings.region_set)), s["model"], s["faces_folder"], rejected)
    write_index(store)
    store.write_summary(summary | {"seconds": {}}, rejected)
    return Path(folder)


def large_audit(small, folder, n=23_708):
    "A finished audit of `n` rows that repeats those of `small`."
    from identiface_audit.audit import Audit

    known = Audit(small).summary["n_faces"]
    return variant(small, folder, [i % known for i in range(n)])
