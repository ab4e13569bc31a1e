"""The site that `make docs` builds: every page of the sidebar, every link and picture, nothing asked of another host."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
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


def test_every_page_of_the_sidebar_is_built_and_says_why(pages, site):
    def listed(items):
        for item in items:
            yield from listed(item["contents"]) if isinstance(item, dict) else [item]

    sidebar = yaml.safe_load((ROOT / "_quarto.yml").read_text())["website"]["sidebar"]["contents"]
    for item in listed(sidebar):
        page = pages[site / item.replace(".ipynb", ".html")]
        cells = json.loads((ROOT / "nbs" / item).read_text())["cells"]
        why = re.findall("[A-Za-z]{4,}", re.sub(r"\]\([^)]*\)", "]", "".join(cells[1]["source"])))[:8]
        shown = re.findall("[A-Za-z]{4,}", page.find("article").text)
        assert any(shown[k : k + len(why)] == why for k in range(len(shown))), f"{item}: its first paragraph is not on its page"


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
