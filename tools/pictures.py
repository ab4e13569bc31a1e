"""Make the pictures of README and docs from an audit of the demo: python tools/pictures.py DEMO_DIR. Drawn faces only."""

import sys
from pathlib import Path

from identiface_audit.audit import Audit
from identiface_audit.images import decode, read_bytes
from identiface_audit.plots import confusion_matrix, image_grid, region_shares
from identiface_audit.report import example_faces

ROOT = Path(__file__).resolve().parents[1] / "nbs" / "images"


def main(demo: str) -> None:
    audit = Audit(Path(demo) / "audit")
    faces = audit.faces(["image_path", "true_gender", "predicted_gender", "landmark_boxes"])
    pictures, titles, heat, boxes = example_faces(audit, 5)
    first = [decode(read_bytes(Path(audit.summary["faces_folder"]) / p)) for p in faces["image_path"][:5]]
    height, width, _ = audit.summary["model"]["input_shape"]
    sides = {"min_x": width, "max_x": width, "min_y": height, "max_y": height}
    large = [[{k: b[k] * 200 // v for k, v in sides.items()} | {"label": b["label"]} for b in row] for row in faces["landmark_boxes"][:5]]
    made = {
        "regions": image_grid(first, boxes=large),
        "mistakes": image_grid(pictures, titles, heatmaps=heat, boxes=boxes),
        "confusion": confusion_matrix(faces["true_gender"], faces["predicted_gender"], audit.summary["model"]["class_names"]),
        "shares": region_shares(audit.summary["regions"]),
    }
    ROOT.mkdir(exist_ok=True)
    for name, figure in made.items():
        figure.savefig(ROOT / f"{name}.png", dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main(sys.argv[1])
