"""For the documentation only (`doc_procs` in pyproject.toml): examples in docstrings are shown as code, not as quotations."""

import re

_EXAMPLE = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)


def fence_examples(cell):
    "Put the examples in what `show_doc` made of a docstring into a block of code."
    for output in cell.get("outputs", []) if cell.cell_type == "code" else ():
        data = output.get("data", {})
        if "text/markdown" in data:
            text = "".join(data["text/markdown"])
            data["text/markdown"] = _EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
