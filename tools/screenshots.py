"""Pictures of every viewer for the docs, drawn faces only: python tools/screenshots.py [--demo DIR] [NAME ...]

Without --demo the demo audit is made first. Each viewer runs in Voila and is looked at by a real Chromium.
"""

import argparse
import io
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import chromium, large_audit, notebook, variant, voila, watch  # noqa: E402
from PIL import Image  # noqa: E402

WIDE, TALL, PHONE = {"width": 1280, "height": 760}, {"width": 1280, "height": 1130}, {"width": 390, "height": 1700}
OPEN = "from identiface_audit.audit import Audit\nimport IPython.display as d\naudit = Audit({audit!r})\n"


def viewer(module, name, arguments="", then=""):
    return f"from identiface_audit.widgets.{module} import {name}\nit = {name}(audit{arguments})\n{then}\nd.display(it)"


APP = "it = audit.widget()\n{}\nd.display(it)"
CLICK = "it.border.guard(lambda: it.viewers['Bias'].table._handle_custom_msg({'type': 'click', 'row': 3, 'column': 'hit_FEMALE'}, []))()"
SHOTS = {  # name: (audit, source, viewport, theme)
    "grid": ("demo", viewer("grid", "FaceGrid", then="it.active = 5"), WIDE, "light"),
    "grid_large": ("large", viewer("grid", "FaceGrid", ", cell=56, height=640"), WIDE, "light"),
    "grid_dark": ("demo", viewer("grid", "FaceGrid", then="it.layers = ['faces', 'landmarks', 'kept', 'polygons']; it.selected = [1, 2, 9]"), WIDE, "dark"),
    "faces": ("demo", viewer("faces_viewer", "FacesViewer", then="it.by.value = 'gender and race'"), WIDE, "light"),
    "predictions": ("demo", viewer("predictions_viewer", "PredictionsViewer"), WIDE, "light"),
    "saliency": ("demo", viewer("saliency_viewer", "SaliencyViewer", then="it.percentile.value = 80"), TALL, "light"),
    "methods": ("demo", "from identiface_audit.synthetic import demo_model\n" + viewer("saliency_viewer", "SaliencyViewer", ", model=demo_model()", "it.compare.click()"), TALL, "light"),
    "regions_viewer": ("demo", viewer("regions_viewer", "RegionsViewer"), TALL, "light"),
    "bias": ("demo", viewer("bias_viewer", "BiasViewer"), TALL, "light"),
    "validity": ("demo", viewer("validity_viewer", "ValidityViewer"), WIDE, "light"),
    "app": ("demo", APP.format("it.show('Bias')\n" + CLICK), TALL, "light"),
    "app_dark": ("demo", APP.format("it.show('Predictions')"), WIDE, "dark"),
    "app_run": ("demo", APP.format("it.show('Faces'); it.tabs.selected_index = 6; it.run.faces.value = 'faces'; it.run.model.value = 'my_model.keras'; it.run.out.value = 'audit'"), WIDE, "light"),
    "app_phone": ("demo", APP.format("it.show('Bias')"), PHONE, "light"),
    "app_large": ("large", APP.format("it.show('Saliency')"), TALL, "light"),
    "check_one_face": ("one", APP.format("it.show('Bias')"), WIDE, "light"),
    "check_no_mistakes": ("right", APP.format("it.show('Bias')"), WIDE, "light"),
    "check_long_names": ("long", APP.format("it.show('Predictions'); it.viewers['Predictions'].by.value = 'gender and race'; it.grid.active = 1"), WIDE, "light"),
    "check_empty_filter": ("demo", APP.format("it.show('Predictions'); it.choice.filter = {'ages': (18, 18), 'gender': 'MALE', 'outcome': 'misclassified', 'quality': 'copies'}"), WIDE, "light"),
}


def audits(demo, folder, wanted):
    "The audits that the pictures need."
    import pyarrow as pa

    from identiface_audit.audit import Audit

    faces = Audit(demo).faces(["true_gender", "predicted_gender"])
    right = (faces["true_gender"] == faces["predicted_gender"]).to_numpy().nonzero()[0].tolist()

    def renamed(table):
        paths = [f"a folder with a rather long name/{'and another one/' * 4}{p}" if i else p for i, p in enumerate(table["image_path"].to_pylist())]
        races = [f"{r} (as the participants of the survey described themselves)" for r in table["race"].to_pylist()]
        for name, values in (("image_path", paths), ("race", races)):
            table = table.set_column(table.column_names.index(name), name, pa.array(values))
        return table

    make = {
        "one": lambda: variant(demo, folder / "one", [2]),
        "right": lambda: variant(demo, folder / "right", right),
        "long": lambda: variant(demo, folder / "long", list(range(len(faces))), renamed),
        "large": lambda: large_audit(demo, folder / "large"),
    }
    return {"demo": Path(demo)} | {name: make[name]() for name in make if name in wanted}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--demo", help="folder of `identiface-audit demo`")
    arguments.add_argument("--out", default=ROOT / "nbs" / "images" / "widgets", type=Path)
    arguments.add_argument("names", nargs="*", default=[name for name in SHOTS if not name.startswith("check_")])
    args = arguments.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        demo = Path(args.demo or Path(temporary) / "demo").resolve()
        if not args.demo:
            subprocess.run([sys.executable, "-m", "identiface_audit", "demo", "--out", demo], check=True, cwd=ROOT)
        (Path(temporary) / "pages").mkdir()
        found = audits(demo / "audit", Path(temporary), {SHOTS[name][0] for name in args.names})
        with voila(Path(temporary) / "pages", tracebacks=True) as address, chromium() as browser:
            for name in args.names:
                audit, source, viewport, theme = SHOTS[name]
                shoot(browser, address, Path(temporary) / "pages", name, OPEN.format(audit=str(found[audit])) + source, viewport, theme, args.out)


def shoot(browser, address, folder, name, source, viewport, theme, out):
    page = browser.new_page(viewport=viewport, color_scheme=theme)
    outside, errors = watch(page)
    page.goto(f"{address}/voila/render/{notebook(folder / f'{name}.ipynb', source)}?theme={theme}")
    page.wait_for_selector(".idf-grid, .idf-table, .idf-viewer", timeout=120_000)
    page.wait_for_function("[...document.querySelectorAll('.idf-grid')].every(g => g.dataset.drawn > 0 || !g.querySelector('.idf-cell'))", timeout=120_000)
    if name == "methods":
        page.wait_for_function("document.querySelectorAll('.idf-grid').length > 3", timeout=180_000)
    page.wait_for_timeout(2500)
    height = page.evaluate("Math.ceil(Math.max(...[...document.querySelectorAll('.idf-viewer, .idf-grid')].map(e => e.getBoundingClientRect().bottom)) + 16)")
    clip = {"x": 0, "y": 0, "width": viewport["width"], "height": min(height, viewport["height"])}
    Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB").save(out / f"{name}.webp", quality=86, method=6)
    print(name, *(["asked outside:", *outside] if outside else []), *(["errors:", *errors] if errors else []), flush=True)
    page.close()


if __name__ == "__main__":
    main()
