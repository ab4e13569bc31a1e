"""The site that `make docs` builds: every page of the sidebar in a real browser, every link and picture, nothing asked of another host."""

import contextlib
import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from browser import chromium, find_chromium, watch
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site():
    ended = subprocess.run([sys.executable, ROOT / "tools" / "docs.py"], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ROOT / "_docs"


@pytest.fixture(scope="module")
def pages(site):
    found = {p: BeautifulSoup(p.read_text(encoding="utf-8"), "html.parser") for p in site.rglob("*.html")}
    assert len(found) > 20
    return found


def sidebar(items=None):
    "The notebooks of the sidebar, in its order."
    for item in items or yaml.safe_load((ROOT / "_quarto.yml").read_text())["website"]["sidebar"]["contents"]:
        yield from sidebar(item["contents"]) if isinstance(item, dict) else [item]


def words(text):
    return re.findall("[A-Za-z]{4,}", re.sub(r"\]\([^)]*\)", "]", text))


@pytest.fixture(scope="module")
def browser():
    if not find_chromium():
        pytest.skip("no Chromium or Chrome on this machine")
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address(site):
    "Where the built site is served."

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


SEE = """async () => {
  const pictures = [...document.images], rolls = e => e && (getComputedStyle(e).overflowX !== "visible" || rolls(e.parentElement));
  pictures.forEach(i => { i.loading = "eager"; });
  await Promise.all(pictures.map(i => i.decode().catch(() => {})));
  return {
    text: document.querySelector("article").innerText,
    title: document.querySelector("article h1")?.innerText || "",
    broken: pictures.filter(i => !i.naturalWidth).map(i => i.currentSrc),
    wide: document.documentElement.scrollWidth - window.innerWidth,
    widest: [...document.querySelectorAll("article *")].filter(e => e.getBoundingClientRect().right > window.innerWidth + 1 && !rolls(e)).slice(0, 3).map(e => e.outerHTML.slice(0, 80)),
  };
}"""


@pytest.mark.browser
def test_every_page_opens_in_a_browser_as_wide_as_a_phone(browser, address):
    page = browser.new_page(viewport={"width": 360, "height": 760}, reduced_motion="reduce")
    outside, errors = watch(page)
    page.on("response", lambda r: errors.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    faults = []
    for item in sidebar():
        page.goto(f"{address}/{item.replace('.ipynb', '.html')}", wait_until="load")
        seen = page.evaluate(SEE)
        why, shown = words("".join(json.loads((ROOT / "nbs" / item).read_text())["cells"][1]["source"]))[:8], words(seen["text"])
        if not any(shown[k : k + len(why)] == why for k in range(len(shown))):
            faults.append(f"{item}: its first paragraph is not on its page: {' '.join(why)}")
        if not seen["title"]:
            faults.append(f"{item}: no title")
        if seen["wide"] > 0:
            faults.append(f"{item}: {seen['wide']} pixels too wide: {seen['widest']}")
        faults += [f"{item}: broken picture {p}" for p in seen["broken"]]
        faults += [f"{item}: asked outside: {u}" for u in outside] + [f"{item}: {e}" for e in errors]
        outside.clear(), errors.clear()
    page.close()
    assert not faults, "\n".join(faults)


@pytest.mark.browser
def test_widgets_in_a_page_answer_without_a_kernel(browser, address):
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    outside, errors = watch(page)
    page.goto(f"{address}/tutorials/00_ten_minutes.html")
    page.locator("iframe").scroll_into_view_if_needed()
    inside = page.frame_locator("iframe")
    inside.locator(".idf-cell canvas").first.wait_for()
    drawn = "e => [...e.querySelectorAll('canvas')].some(c => c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data[3] > 0)"
    with contextlib.suppress(Exception):
        page.frames[1].wait_for_function("document.querySelector('.idf-grid').dataset.drawn > 0", timeout=10_000)
    grid = inside.locator(".idf-grid")
    assert grid.evaluate(drawn)
    assert "300 faces" in grid.inner_text()

    number = inside.locator("button[data-column=hit_FEMALE]").first
    number.click()
    assert f"left eye: {number.inner_text()} faces" in grid.inner_text() and number.get_attribute("aria-pressed") == "true"
    inside.locator("button[data-sort=p_FEMALE]").click()
    assert "nose" not in inside.locator("tbody tr").last.inner_text() and inside.locator("th[aria-sort=descending]").count() == 1
    pixels = "e => e.querySelector('canvas').getContext('2d').getImageData(0, 0, 40, 40).data.reduce((a, b) => a + b, 0)"
    before = grid.evaluate(pixels)
    inside.locator("input[data-trait=opacity]").evaluate("e => { e.value = 1; e.dispatchEvent(new Event('input')); }")
    page.wait_for_timeout(200)
    assert grid.evaluate(pixels) != before
    inside.locator(".idf-scroll").press("Enter")
    inside.locator(".idf-big:not([hidden])").wait_for()
    assert not outside and not errors
    page.close()


def test_the_house_is_drawn_as_it_is():
    ended = subprocess.run([sys.executable, ROOT / "tools" / "house.py", "--check"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", ["21_command_line", "22_settings"])
def test_pages_that_list_what_the_program_has_are_current(name, tmp_path):
    "Their cells are run again: each help and each table must be what the page shows."
    cells = [c for c in json.loads((ROOT / "nbs" / "tutorials" / f"{name}.ipynb").read_text())["cells"] if c["cell_type"] == "code"]
    wanted = [(i, said(c)) for i, c in enumerate(cells) if "help" in "".join(c["source"]) or "Markdown" in said(c, "output_type") + "".join(c["source"])]
    source = ["import io, contextlib, json", "heard, DISPLAYED = [], []"]
    for cell in cells:
        text = "".join(line for line in cell["source"] if not line.startswith("#|"))
        *body, last = text.split("\n")
        shows = last.startswith("Markdown(")
        skip = not shows and text.startswith("assert run(") and "help" not in text
        source += ["with contextlib.redirect_stdout(io.StringIO()) as out:", "    pass"] if skip else []
        source += [] if skip else [f"out = io.StringIO()\nwith contextlib.redirect_stdout(out):\n    exec({chr(10).join([*body, '' if shows else last])!r}, globals())"]
        source += [f"out.write({last}.data)"] if shows else []
        source += ["heard.append(out.getvalue())"]
    source += [f"json.dump(heard, open({str(tmp_path / 'heard.json')!r}, 'w'))"]
    ended = subprocess.run([sys.executable, "-c", "\n".join(source)], cwd=ROOT / "nbs" / "tutorials", capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert ended.returncode == 0, ended.stderr
    heard = json.loads((tmp_path / "heard.json").read_text())
    stale = [i for i, shown in wanted if shown and shown.split() != heard[i].split()]
    assert len([1 for _, shown in wanted if shown]) > 1 and not stale, f"run the notebook {name}: cells {stale}"


def said(cell, key="text"):
    "What a cell shows, as text."
    parts = [o.get("text") or o.get("data", {}).get("text/markdown", "") for o in cell["outputs"]]
    return "".join("".join(p) for p in parts)


def test_every_page_of_the_sidebar_is_built(pages, site):
    assert not [item for item in sidebar() if site / item.replace(".ipynb", ".html") not in pages]


def test_links_and_pictures_lead_somewhere(pages, site):
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for tag, key in (("a", "href"), ("img", "src"), ("link", "href"), ("script", "src"), ("source", "src")):
            for element in page.find_all(tag):
                target = urlsplit(element.get(key) or "")
                if target.scheme or target.netloc or not (target.path or target.fragment):
                    continue
                file = (path.parent / unquote(target.path)).resolve() if target.path else path
                file = file / "index.html" if file.is_dir() else file
                if not file.exists():
                    broken.append(f"{path.relative_to(site)}: {element.get(key)}")
                elif target.fragment and file in pages and not pages[file].find(id=unquote(target.fragment)):
                    broken.append(f"{path.relative_to(site)}: no such place {element.get(key)}")
    assert not broken, "\n".join(broken)


def test_pictures_have_a_text(pages, site):
    silent = [f"{p.relative_to(site)}: {i.get('src')}" for p, page in pages.items() for i in page.find_all("img") if not i.get("alt")]
    assert not silent, "\n".join(silent)


def test_nothing_is_loaded_from_another_host(pages, site):
    outside = []
    for path, page in pages.items():
        for tag, key in (("img", "src"), ("script", "src"), ("iframe", "src"), ("link", "href")):
            for element in page.find_all(tag):
                if element.get("rel") not in (["canonical"], ["next"], ["prev"]) and urlsplit(element.get(key) or "").netloc:
                    outside.append(f"{path.relative_to(site)}: {element.get(key)}")
    assert not outside, "\n".join(outside)


def test_examples_in_docstrings_are_shown_as_code(pages):
    quoted = [p.name for p, page in pages.items() if page.select("blockquote blockquote blockquote")]
    assert not quoted


def test_no_path_of_a_machine_is_shown(pages):
    home = [os.path.expanduser("~") + "/", str(ROOT)]
    assert not [p.name for p, page in pages.items() if any(h in page.text for h in home)]
