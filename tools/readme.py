"""Write README.md from nbs/index.ipynb without Quarto; `--check` only compares."""

import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
HIDE = ("#| hide", "#|hide", "#| echo: false")


def render() -> str:
    nb = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    nb.cells = [c for c in nb.cells if not c.source.startswith(HIDE)]
    nb.metadata["language_info"] = {"name": "python"}
    head = "<!-- Written by tools/readme.py from nbs/index.ipynb; edit the notebook. -->\n\n"
    body, _ = MarkdownExporter(exclude_input_prompt=True, exclude_output_prompt=True).from_notebook_node(nb)
    body = re.sub(r'(\]\(|src="|srcset=")(images|tutorials)/', r"\1nbs/\2/", body)
    body = re.sub(r"<style.*?</style>\n?", "", body, flags=re.DOTALL)  # pandas' own, which no page for reading needs
    body = re.sub(r"\s*\n(\s*\n)+", "\n\n", body)
    return head + "\n".join(o.rstrip() for o in body.strip().splitlines()) + "\n"


if __name__ == "__main__":
    text, target = render(), ROOT / "README.md"
    if "--check" not in sys.argv:
        target.write_text(text)
    elif not target.exists() or target.read_text() != text:
        sys.exit("README.md is stale: run python tools/readme.py")
