"""Put a small audit into the widgets that live in the docs without a kernel: python tools/live.py AUDIT_DIR. Drawn faces only.

Writes live.json (what the widgets hold) and live.bin (pictures, maps, points) into nbs/live; the front ends there are links to the
package's own. Made from `identiface-audit demo --n 300`.
"""

import json
import sys
from pathlib import Path

import numpy as np

from identiface_audit.audit import Audit
from identiface_audit.widgets.bias_viewer import BiasViewer
from identiface_audit.widgets.grid import STILL, FaceGrid
from identiface_audit.widgets.pages import FacePages

FOLDER = Path(__file__).resolve().parents[1] / "nbs" / "live"
TABLE = "columns rows caption note empty sortable sort pressed height uid".split()


def main(folder: str) -> None:
    audit = Audit(folder)
    message, buffers = FacePages(audit, "show").answer(np.arange(audit.summary["n_faces"]), 64, map_side=16)
    bias = BiasViewer(audit)
    bias.table.uid = "live"
    grid = FaceGrid(audit, [], height=330, cell=72)
    press = {
        (i, c["key"])
        for i, row in enumerate(bias.table.rows)
        for cell in row.values()
        if isinstance(cell, dict)
        for c in cell.get("counts", ())
        if c["click"]
    }
    whole = b""
    places = []
    for part in (*buffers, grid.luts):
        whole += bytes(-len(whole) % 4)
        places.append([len(whole), len(part)])
        whole += part
    data = {
        "grid": {name: getattr(grid, name) for name in STILL},
        "table": {name: getattr(bias.table, name) for name in TABLE},
        "behind": {f"{i}:{key}": bias._behind(i, key) for i, key in sorted(press)},
        "faces": message["faces"], "shape": list(message["shape"]), "points": message["points"], "buffers": places[:3], "luts": places[3],
    }  # fmt: skip
    (FOLDER / "live.json").write_text(json.dumps(data, separators=(",", ":")) + "\n")
    (FOLDER / "live.bin").write_bytes(whole)


if __name__ == "__main__":
    main(sys.argv[1])
