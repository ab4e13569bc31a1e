"""Draw the house: nbs/images/house.svg and flow.svg. `--check` only compares, and holds every module against its floor.

A module may import its own floor and those below. `FLOORS` is the one list of who lives where.
"""

import ast
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {
    "entrances": "cli dashboard visitors",
    "views": "plots tables report exports widgets",
    "the audit": "audit engine cluster crew tasks shards workers store locks index summary tally findings calibration sanity planted validity examples",
    "stages": "faces images framing classifiers model_files keras_files legacy_configs graph_files sandbox graphs keras_graphs frozen_graphs saliency "
    "occlusion attention activation landmarks regions fairness evidence regional_gap slices verdict synthetic",
    "ground": "settings errors batches addresses",
}
SAYS = {
    "entrances": "what people call",
    "views": "draw; compute nothing",
    "the audit": "knows the order, disk, processes",
    "stages": "arrays in, arrays out",
    "ground": "imports nothing here",
}
COLOURS = {"entrances": "#e8eaf6", "views": "#e3f2fd", "the audit": "#e0f2f1", "stages": "#f1f8e9", "ground": "#fff8e1"}
STYLE = "font-family:system-ui,sans-serif;font-size:14px;fill:#1f2933"


def floor_of() -> dict[str, int]:
    "{module: floor}, the ground is 1."
    names = list(FLOORS)[::-1]
    return {module: names.index(floor) + 1 for floor, modules in FLOORS.items() for module in modules.split()}


def modules() -> dict[str, Path]:
    "{name: file}; the modules of widgets/ under one name."
    found = {}
    for path in sorted((ROOT / "identiface_audit").rglob("*.py")):
        if not path.name.startswith("_"):
            found[path.relative_to(ROOT / "identiface_audit").with_suffix("").as_posix()] = path
    return found


def imports(path: Path, inside: bool) -> set[str]:
    "Modules of the package that a file imports at its top (or, with `inside`, within functions)."
    tree, out = ast.parse(path.read_text(encoding="utf-8")), set()
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (id(node) in top) != inside:
            name = (node.module or "").removeprefix("identiface_audit").lstrip(".")
            here = path.parent.name == "widgets" and node.level == 1
            if node.level or (node.module or "").startswith("identiface_audit"):
                names = [name] if name else [a.name for a in node.names]
                out |= {"widgets" if here else n.split(".")[0] for n in names}
    return out


def faults() -> list[str]:
    "Modules without a floor, and imports that go up."
    floors, out = floor_of(), []
    for name, path in modules().items():
        room = name.split("/")[0]
        if room not in floors:
            out.append(f"{name} is on no floor: put it into FLOORS in tools/house.py")
            continue
        out += [f"{name} imports {other}, which is above it" for other in imports(path, False) if floors.get(other, 0) > floors[room]]
    return out


def lent() -> list[tuple[str, str]]:
    "Imports that go up inside a function: (module, module above)."
    floors = floor_of()
    return sorted(
        (name, other)
        for name, path in modules().items()
        for other in imports(path, True)
        if floors.get(other, 0) > floors.get(name.split("/")[0], 9)
    )


def _text(x, y, words, more=""):
    return f'<text x="{x}" y="{y}" {more}>{escape(words)}</text>'


def house() -> str:
    "The floors as an SVG, entrances on top."
    there, y, out = {m.split("/")[0] for m in modules()}, 10, []
    for floor, names in FLOORS.items():
        x, line, chips = 216, 0, []
        for name in (n for n in names.split() if n in there):
            label = "widgets/ (grid, table, one viewer a stage, app)" if name == "widgets" else name
            width = 7.6 * len(label) + 18
            if x + width > 850:
                x, line = 216, line + 1
            chips.append(f'<rect x="{x}" y="{y + 12 + 34 * line}" width="{width:.0f}" height="26" rx="5" fill="#fff" stroke="#90a4ae"/>')
            chips.append(_text(round(x + 9), y + 30 + 34 * line, label, 'font-family="ui-monospace,monospace" font-size="12.5"'))
            x += width + 8
        height = 34 * line + 50
        out += [f'<rect x="10" y="{y}" width="850" height="{height}" rx="8" fill="{COLOURS[floor]}"/>']
        out += [
            _text(24, y + 24, f"{len(FLOORS) - list(FLOORS).index(floor)}  {floor}", 'font-weight="600"'),
            _text(24, y + 41, SAYS[floor], 'font-size="11" fill="#52606d"'),
        ]
        out, y = out + chips, y + height + 8
    out.append(
        _text(435, y + 16, "a module may import its own floor and those below it", 'font-size="12" fill="#52606d" text-anchor="middle"')
    )
    return _svg(870, y + 30, out, "The five floors of the package and the modules on each")


BOXES = {  # name: (column, row, words)
    "faces": (0, 1, "files and labels"),
    "classifiers": (1, 0, "logits"),
    "landmarks": (1, 2, "478 points"),
    "saliency": (2, 0, "maps"),
    "occlusion": (2, 1, "logits, region hidden"),
    "activation": (3, 0, "boxes"),
    "regions": (4, 0, "where the map lies"),
    "regional_gap": (4, 1, "what hiding does"),
    "fairness": (5, 0, "counts by group"),
    "evidence": (5, 1, "intervals, p-values"),
    "verdict": (6, 1, "sentences"),
}
ARROWS = (
    "faces-classifiers faces-landmarks classifiers-saliency classifiers-occlusion landmarks-occlusion saliency-activation activation-regions landmarks-regions "
    "occlusion-regional_gap regions-fairness regions-evidence regional_gap-evidence fairness-verdict evidence-verdict"
)


def flow() -> str:
    "What flows from stage to stage as an SVG."
    at = {name: (12 + 146 * c, 20 + 82 * r) for name, (c, r, _) in BOXES.items()}
    out = [
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#546e7a"/></marker></defs>'
    ]
    for arrow in ARROWS.split():
        (x0, y0), (x1, y1) = (at[n] for n in arrow.split("-"))
        path = f"M{x0 + 122} {y0 + 24} C{x0 + 140} {y0 + 24} {x1 - 18} {y1 + 24} {x1 - 1} {y1 + 24}"
        out.append(f'<path d="{path}" fill="none" stroke="#546e7a" stroke-width="1.4" marker-end="url(#tip)"/>')
    for name, (_, _, words) in BOXES.items():
        x, y = at[name]
        out += [f'<rect x="{x}" y="{y}" width="122" height="48" rx="6" fill="#f1f8e9" stroke="#90a4ae"/>']
        out += [
            _text(x + 61, y + 21, name, 'text-anchor="middle" font-weight="600" font-size="13"'),
            _text(x + 61, y + 38, words, 'text-anchor="middle" font-size="10.5" fill="#52606d"'),
        ]
    return _svg(
        1014,
        258,
        out,
        "Data flow: faces go to classifiers and landmarks; maps and landmarks meet in regions, hidden regions in regional_gap; then fairness, evidence and verdict",
    )


def _svg(width, height, parts, title):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" style="{STYLE}">'
    return "\n".join(
        [head, f"<title>{escape(title)}</title>", f'<rect width="{width}" height="{height}" rx="10" fill="#fff"/>', *parts, "</svg>", ""]
    )


if __name__ == "__main__":
    wrong = faults()
    for name, text in {"house": house(), "flow": flow()}.items():
        target = ROOT / "nbs" / "images" / f"{name}.svg"
        if "--check" not in sys.argv:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            wrong.append(f"{target.name} is stale: run python tools/house.py")
    sys.exit("\n".join(wrong) or 0)
