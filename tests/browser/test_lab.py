"""The JupyterLab extension: in a real JupyterLab with a real browser, in the wheel, and under Voila."""

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "identiface_audit" / "labextension"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
NEWS = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
HOSTILE = '<img src="http://identiface.invalid/x.png" onerror="window.pwned = 1"><script>window.pwned = 1</script>'


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_committed_extension_is_what_its_source_builds(tmp_path):
    lab = ROOT / "lab"
    if not shutil.which("node") or not shutil.which("jupyter-builder", path=Path(sys.executable).parent):
        pytest.skip("needs Node and jupyter-builder, to build the extension")
    if not (lab / "node_modules").is_dir():
        pytest.skip("needs lab/node_modules: make lab")
    shutil.copytree(lab, tmp_path / "lab", ignore=shutil.ignore_patterns("node_modules"))
    (tmp_path / "lab" / "node_modules").symlink_to(lab / "node_modules")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    made = subprocess.run(["npm", "run", "build"], cwd=tmp_path / "lab", env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    want, have = files(tmp_path / "identiface_audit" / "labextension"), files(BUILT)
    assert sorted(want) == sorted(have) and want == have, "make lab, and commit identiface_audit/labextension"


def test_wheel_brings_the_extension_without_node(tmp_path):
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as z:
        held = {n.partition("/share/jupyter/labextensions/identiface-audit/")[2]: z.read(n) for n in z.namelist() if ".data/data/share/" in n}
        assert not any("node_modules" in n for n in z.namelist())
    assert json.loads(held.pop("install.json"))["packageName"] == "identiface-audit"
    assert held == files(BUILT)
    assert json.loads(held["package.json"])["jupyterlab"]["_build"]["load"] in held


def test_version_is_that_of_the_package():
    from identiface_audit import __version__, _jupyter_labextension_paths

    package = json.loads((BUILT / "package.json").read_text())
    assert package["version"] == __version__
    assert _jupyter_labextension_paths() == [{"src": BUILT.name, "dest": package["name"]}]


@contextlib.contextmanager
def serve(folder, module, *options, ready):
    "`python -m module` on a free port, with the extension as it stands in the source tree; yields its address."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    own = folder / "own"
    (own / "config" / "labconfig").mkdir(parents=True)
    (own / "config" / "labconfig" / "page_config.json").write_text(json.dumps(NEWS))
    (own / "data" / "labextensions").mkdir(parents=True)
    (own / "data" / "labextensions" / "identiface-audit").symlink_to(BUILT)
    places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "run", "IPYTHONDIR": "ipython"}
    places |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {k: str(own / v) for k, v in places.items()} | {"PYTHONPATH": path}
    command = [sys.executable, "-m", module, *(o.format(port=port) for o in options)]
    with open(own / "log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(150):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=5).close()
                break
            assert process.poll() is None, (own / "log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not CHROMIUM:
        pytest.skip("needs a Chromium")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


def watch(page):
    "Requests to other hosts and errors of the console, as they come."
    faults, local = [], ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(local) else faults.append(f"asked {r.url}"))
    own = "Could not restore the debugger state"  # JupyterLab's, where a notebook is closed soon
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" and own not in m.text else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    return faults


@pytest.fixture(scope="module")
def work(tmp_path_factory, done):
    "The folder that JupyterLab shows: a finished audit, and files that are none."
    work = tmp_path_factory.mktemp("lab")
    summary = json.loads((done.folder / "audit.json").read_text())
    (work / "my faces").mkdir()
    (work / "audit.json").write_text(json.dumps(summary))
    (work / "cut.audit.json").write_text(json.dumps(summary)[:500])
    (work / "future.audit.json").write_text(json.dumps(summary | {"schema_version": 999}))
    (work / "other.audit.json").write_text('{"vulnerabilities": []}')
    (work / "incomplete.audit.json").write_text(json.dumps(summary | {"regions": {"nose": 3}}))
    groups = {f"{g}{HOSTILE}": v for g, v in summary["groups"].items()}
    groups["NOBODY"] = {"n": 0, "misclassified": 0, "recall": {"value": None, "interval": [None, None], "n": 0}}
    told = {"verdict": {"sentences": [HOSTILE]}, "warnings": [HOSTILE], "unheard_of": {"key": HOSTILE}, "regions": {}, "coverage": {}, "regional_gap": {}}
    overall = {"overall_bias": {"value": None, "noise_floor": None, "excess": None, "p_value": None}}
    (work / "hostile.audit.json").write_text(json.dumps(summary | told | overall | {"groups": groups, "settings": {HOSTILE: HOSTILE}}))
    return work


@pytest.fixture(scope="module")
def lab(work):
    pytest.importorskip("jupyterlab", reason="needs JupyterLab")
    options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port={port}", "--IdentityProvider.token="]
    options += ["--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
    with serve(work, "jupyterlab", *options, ready="/api") as url:
        yield url


@pytest.fixture(scope="module")
def window(browser, lab):
    "JupyterLab in a page, and what was wrong with it."
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    faults = watch(page)
    page.goto(f"{lab}/lab?reset")
    page.locator(".jp-LauncherCard").first.wait_for(timeout=60_000)
    return page, faults


@pytest.fixture
def open_lab(window, lab):
    "JupyterLab with nothing but the launcher open; a test fails on a request to another host and on an error in the console."
    page, faults = window
    faults.clear()
    page.evaluate("jupyterapp.commands.execute('docmanager:save-all').then(() => jupyterapp.commands.execute('application:close-all'))")
    page.locator(".jp-LauncherCard").first.wait_for()
    page.locator(".jp-DirListing-item").first.wait_for()
    yield page
    assert not faults


def entry(page, name):
    return page.locator(f'.jp-DirListing-item[title^="Name: {name}\\a"]')


def look(page, name):
    "Double-click a file; the viewer that opens."
    entry(page, name).dblclick()
    view = page.locator(".identiface-audit:visible")
    view.locator("> :is(article, p)").wait_for()
    return view


def number(value):
    return "not estimable" if value is None else f"{value + 0.0:.3f}"


def kernels(lab):
    "Those that run; asked again where one is just starting, which Jupyter answers with a 500."
    for patience in (1, 1, 0):
        try:
            with urllib.request.urlopen(f"{lab}/api/kernels") as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 500 or not patience:
                raise
            time.sleep(patience)


def wait_for(check, seconds=30):
    end = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def sources(path):
    return ["".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


def notebook_runs(page, lab, before):
    "A notebook is in front, its kernel started, its first cell run; where AuditApp is there, its last cell shows a widget."
    panel = page.locator(".jp-NotebookPanel:visible")
    panel.locator(".jp-CodeCell").nth(1).wait_for()
    assert wait_for(lambda: len(kernels(lab)) == before + 1)
    panel.locator(".jp-CodeCell").first.get_by_text("[1]:").wait_for(timeout=60_000)
    spec = importlib.util.find_spec("identiface_audit.widgets")
    if spec and hasattr(importlib.import_module("identiface_audit.widgets"), "AuditApp"):
        panel.locator(".jp-CodeCell .jupyter-widgets").first.wait_for(timeout=60_000)


@pytest.mark.browser
def test_launcher_card_opens_a_running_notebook_under_a_free_name(open_lab, lab, work):
    page, before = open_lab, len(kernels(lab))
    card = page.locator(".jp-LauncherCard", has_text="Face audit")
    assert card.locator("img").evaluate("i => i.complete && i.naturalWidth > 0 && i.src.startsWith('data:')")
    card.click()
    notebook_runs(page, lab, before)
    first = work / "Face audit.ipynb"
    assert sources(first) == ["from identiface_audit.widgets import AuditApp", 'AuditApp(folder=".")']
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    mine = first.read_bytes()
    page.evaluate("void jupyterapp.commands.execute('identiface-audit:open')")
    assert wait_for((work / "Face audit 1.ipynb").exists)
    notebook_runs(page, lab, before + 1)
    assert first.read_bytes() == mine, "an existing notebook is never written over"


@pytest.mark.browser
def test_folder_menu_opens_the_notebook_in_that_folder(open_lab, lab, work):
    page, before = open_lab, len(kernels(lab))
    entry(page, "my faces").click(button="right")
    page.locator(".lm-Menu-item", has_text="Audit faces here").click()
    notebook_runs(page, lab, before)
    assert sources(work / "my faces" / "Face audit.ipynb")[1] == 'AuditApp(folder=".")'
    session = page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.path")
    assert session == "my faces/Face audit.ipynb"
    entry(page, "audit.json").click(button="right")
    page.locator(".lm-Menu-item", has_text="Copy Path").wait_for()
    assert not page.locator(".lm-Menu-item", has_text="Audit faces here").count()
    page.keyboard.press("Escape")


@pytest.mark.browser
def test_a_folder_that_is_not_there_is_said(window, open_lab):
    open_lab.evaluate("void jupyterapp.commands.execute('identiface-audit:open', {cwd: 'no such folder'})")
    open_lab.locator(".jp-Dialog", has_text="No audit notebook in “no such folder”").wait_for()
    open_lab.keyboard.press("Escape")
    assert all("404" in fault for fault in window[1]) and len(window[1]) == 1
    window[1].clear()


@pytest.mark.browser
def test_commands_are_in_the_palette(open_lab):
    open_lab.evaluate("jupyterapp.commands.execute('apputils:activate-command-palette')")
    open_lab.locator(".lm-CommandPalette-input").fill("face audit")
    open_lab.locator(".lm-CommandPalette-item", has_text="New Face Audit").wait_for()


@pytest.mark.browser
def test_viewer_shows_the_numbers_without_a_kernel(open_lab, lab, work):
    before, view = len(kernels(lab)), look(open_lab, "audit.json")
    s, text = json.loads((work / "audit.json").read_text()), view.inner_text()
    for group in s["groups"].values():
        low, high = group["recall"]["interval"]
        assert f"{number(group['recall']['value'])}\n{number(low)} to {number(high)}" in text
    table = view.locator("table", has=open_lab.get_by_text("Share of the misclassified faces"))
    for name, region in s["regions"].items():
        row = table.locator("tbody tr", has=open_lab.get_by_role("rowheader", name=name.replace("_", " "), exact=True)).inner_text()
        for group in s["groups"]:
            cell = region[group]
            assert f"{number(cell['probability'])} ({cell['numerator']} of {cell['denominator']})" in row
        assert number(region["difference"]["value"]) in row and row.split()[-1] == number(region["p_holm"]).split()[-1]
    assert number(s["overall_bias"]["noise_floor"]) in text and number(s["overall_bias"]["value"]) in text
    for sentence in s.get("verdict", {}).get("sentences", []):
        assert sentence in text
    for key, title in {"fairness": "Fairness by gender", "regional_gap": "What each region does", "agreement": "name the same region"}.items():
        assert (title in text) == bool(s.get(key))
    view.locator("summary", has_text="versions").click()
    assert s["versions"]["numpy"] in view.inner_text()
    assert len(kernels(lab)) == before


@pytest.mark.browser
def test_tables_sort_by_keyboard_and_say_so(open_lab, work):
    view = look(open_lab, "audit.json")
    regions = json.loads((work / "audit.json").read_text())["regions"]
    values = {name.replace("_", " "): region["FEMALE"]["probability"] for name, region in regions.items()}
    assert len(set(values.values())) > 1, "nothing to sort"
    table = view.locator("table", has=open_lab.get_by_text("Share of the misclassified faces"))
    button = table.get_by_role("button", name="FEMALE", exact=True)
    for order in ("ascending", "descending"):
        button.focus()
        open_lab.keyboard.press("Enter")
        assert table.locator(f"th[aria-sort={order}]").inner_text().startswith("FEMALE")
        shown = [values[name] for name in table.locator("tbody th").all_inner_texts()]
        assert shown == sorted(shown, reverse=order == "descending")


@pytest.mark.browser
def test_what_is_not_estimable_sorts_last_both_ways(open_lab):
    view = look(open_lab, "hostile.audit.json")
    table = view.locator("table", has=open_lab.get_by_text("Recall by group"))
    for _ in range(2):
        table.get_by_role("button", name="Recall").click()
        assert table.locator("tbody th").last.inner_text() == "NOBODY"


@pytest.mark.browser
def test_what_a_file_says_is_text_and_never_markup(open_lab):
    view = look(open_lab, "hostile.audit.json")
    assert HOSTILE in view.inner_text() and view.locator("img, script").count() == 0
    assert open_lab.evaluate("window.pwned") is None
    overall = view.locator("section", has=open_lab.get_by_role("heading", name="Overall bias"))
    assert overall.inner_text().count("not estimable") == 4
    assert view.locator("tr", has_text="NOBODY").inner_text().count("not estimable") == 2


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cut", "This file is damaged"),
        ("future", "schema version 999"),
        ("other", "not a face audit"),
        ("incomplete", "This audit is incomplete"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(open_lab, name, said):
    view = look(open_lab, f"{name}.audit.json")
    assert said in view.inner_text() and "\n" not in view.inner_text().strip()


CONTRAST = """view => {
  const rgb = text => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const back = light(rgb(getComputedStyle(view).backgroundColor));
  const over = node => { const [r, g, b, a = 1] = rgb(getComputedStyle(node).color), base = rgb(getComputedStyle(view).backgroundColor);
    return light([r, g, b].map((v, i) => a * v + (1 - a) * base[i])); };
  return Math.min(...[...view.querySelectorAll('h1, h2, p, li, dt, dd, td div, th, caption, summary')].map(over)
    .map(fore => (Math.max(fore, back) + 0.05) / (Math.min(fore, back) + 0.05)));
}"""


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_text_can_be_read_in_light_and_dark(open_lab, theme):
    view = look(open_lab, "audit.json")
    open_lab.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
    wait_for(lambda: open_lab.locator(f'body[data-jp-theme-name="{theme}"]').count())
    assert view.evaluate(CONTRAST) >= 4.5
    open_lab.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Light' })")


@pytest.mark.browser
@pytest.mark.parametrize("denied", [True, False])
def test_voila_shows_its_page_and_is_free_of_the_extension_once_it_is_denied(tmp_path, browser, denied):
    "Voila has no launcher and no file browser: the extension cannot load there, and the page must do without it."
    pytest.importorskip("voila", reason="needs Voila")
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": "'here I ' + 'am'", "outputs": [], "execution_count": None}
    (tmp_path / "page.ipynb").write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}))
    options = ["page.ipynb", "--no-browser", "--port={port}", "--Voila.ip=127.0.0.1"]
    if denied:
        options.append("--VoilaConfiguration.extension_denylist=['identiface-audit', '@jupyter-notebook/lab-extension']")
    with serve(tmp_path, "voila", *options, ready="/voila/static/voila.js") as url, contextlib.closing(browser.new_page()) as page:
        # Voila's own template asks for a font elsewhere: answered here
        page.route(lambda u: "127.0.0.1" not in u, lambda route: route.fulfill(body="", content_type="text/css"))
        asked, faults = [], watch(page)
        page.on("request", lambda r: asked.append(r.url))
        page.goto(url)
        page.get_by_text("here I am").wait_for(timeout=60_000)
        page.wait_for_load_state("networkidle")
        mine = [u for u in asked if "labextensions/identiface-audit" in u]
        assert bool(mine) != denied
        assert not denied or not [f for f in faults if "asked https://cdn.jsdelivr.net" not in f]
