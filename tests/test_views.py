"""Figures and the report, looked at as data: what is drawn, what is said, what is escaped."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from browser import chromium, find_chromium, variant, watch

from identiface_audit import plots
from identiface_audit.audit import Audit
from identiface_audit.exports import write_card, write_csv
from identiface_audit.report import example_faces, write_report


@pytest.fixture
def copy(done, tmp_path):
    "A copy of the finished audit whose audit.json a test may change."
    shutil.copytree(done.folder, tmp_path / "audit")

    def change(**changes):
        file = tmp_path / "audit" / "audit.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
        return Audit(tmp_path / "audit")

    return change


def pixels(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def test_a_grid_shows_the_faces_heat_and_boxes_in_their_colours():
    from matplotlib.colors import to_rgb

    grey = np.full((2, 48, 48, 1), 120, np.uint8)
    heat = np.zeros((2, 48, 48))
    heat[1, 10:30, 10:30] = 1
    boxes = [[{"min_x": 5, "min_y": 5, "max_x": 20, "max_y": 20, "label": "lips"}], []]
    plain, full = pixels(plots.image_grid(grey)), pixels(plots.image_grid(grey, heatmaps=heat))
    assert np.abs(plain[..., 0] - plain[..., 2]).max() < 4 and np.abs(full[..., 0] - full[..., 2]).max() > 100
    drawn = pixels(plots.image_grid(grey, ["a", "b"], boxes=boxes))
    lips = np.array(to_rgb(plots.REGION_COLOURS["lips"])) * 255
    assert (np.abs(drawn - lips).sum(-1) < 12).sum() > 50


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_grid_of_any_number_of_faces(n):
    figure = plots.image_grid(np.zeros((n, 48, 48, 3), np.uint8), [f"a rather long title {i}" for i in range(n)])
    assert pixels(figure).min() >= 0


def test_a_confusion_matrix_counts(done):
    rows = done.faces(["true_gender", "predicted_gender"])
    figure = plots.confusion_matrix(rows["true_gender"], rows["predicted_gender"], ["FEMALE", "MALE"])
    texts = [t.get_text() for t in figure.axes[0].texts]
    both = (rows["true_gender"] == "FEMALE") & (rows["predicted_gender"] == "FEMALE")
    assert texts[0].startswith(f"{both.sum()}\n") and sum(int(t.split("\n")[0]) for t in texts) == len(rows)


def test_the_report_stands_alone_and_hides_faces_when_asked(done, tmp_path):
    with_faces = write_report(done, tmp_path / "a.html").read_text()
    without = write_report(done, tmp_path / "b.html", show_faces=False).read_text()
    for page in (with_faces, without):
        assert not re.search(r'<[^>]*(src|href)="(?!data:|#)', page) and not re.search(r"<script[^>]* src|@import|https?://", page)
        assert "recall gap" in page and "Settings" in page
    assert with_faces.count("<script") == 2 and "<script" not in without and "data:image/jpeg" not in without
    assert "Misclassified faces, with map" in with_faces and "Misclassified faces, with map" not in without
    names = done.faces(["image_path"])["image_path"]
    assert not any(n in without for n in names)


def test_the_report_escapes_what_others_wrote(copy):
    model = copy().summary["model"] | {"file": "</script><script>alert(1)</script>.keras"}
    page = write_report(copy(model=model)).read_text()
    assert "<script>alert" not in page and "&lt;script" in page and page.count("</script") == 2


def test_a_hostile_file_name_stays_text_in_the_grid(done, tmp_path):
    faces, name = tmp_path / "faces", "x&lt;!--<script>alert(1)</script>.png".replace("/", "\u2215")
    shutil.copytree(done.summary["faces_folder"], faces)
    shutil.copytree(done.folder, tmp_path / "audit")
    old = done.faces(["image_path"])["image_path"][0]
    shutil.move(faces / old, faces / name)
    audit = Audit(variant(tmp_path / "audit", tmp_path / "named", range(60), lambda t: renamed(t, old, name)))
    audit.summary["faces_folder"] = str(faces)
    page = write_report(audit, tmp_path / "r.html").read_text()
    assert page.count("<script") == 2 and "<!--" not in page and "u003cscript>alert(1)" in page


def renamed(table, old, new):
    import pyarrow as pa

    names = [new if n == old else n for n in table["image_path"].to_pylist()]
    return table.set_column(table.column_names.index("image_path"), "image_path", pa.array(names, table.schema.field("image_path").type))


@pytest.mark.skipif(not find_chromium(), reason="needs Chromium or Chrome")
def test_the_sliders_of_the_report_work_without_a_kernel(done, tmp_path):
    path = write_report(done, tmp_path / "r.html")
    assert path.stat().st_size < 10e6
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        outside, errors = watch(page)
        page.goto(path.as_uri())
        page.wait_for_selector(".idf-cell:not(.idf-wait)")
        shot = lambda: page.locator(".idf-cell canvas").first.evaluate("c => c.toDataURL()")
        before = shot()
        page.locator("[data-trait=opacity]").fill("1")
        page.wait_for_timeout(200)
        assert shot() != before
        page.locator(".idf-cell").first.dblclick()
        page.locator(".idf-big canvas").first.wait_for()
        assert errors == [] and [u for u in outside if not u.startswith("file:")] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_table_and_card(copy, tmp_path):
    import yaml

    audit = copy(model=copy().summary["model"] | {"file": "=cmd|x\n# title.keras"})
    rows = pd.read_csv(write_csv(audit, tmp_path / "f.csv"))
    assert len(rows) == 60 and rows["true_gender"].notna().all() and not {"cam", "landmarks"} & set(rows)
    card = write_card(audit, tmp_path / "card.md").read_text()
    head, body = card.removeprefix("---\n").split("\n---\n", 1)
    result = yaml.safe_load(head)["model-index"][0]["results"][0]
    groups = audit.summary["groups"]
    assert {m["name"]: m["value"] for m in result["metrics"] if m["type"] == "recall"} == {f"recall, {g}": v["recall"]["value"] for g, v in groups.items()}
    assert result["task"]["type"] == "image-classification" and "\n# title" not in body
    assert str(audit.summary["faces_folder"]) not in card
    assert len(body.split("## Bias, risks and limitations")[1]) > 200


def test_faces_that_are_gone_are_left_out(copy, tmp_path):
    gone = copy(faces_folder=str(tmp_path / "nowhere"))
    assert example_faces(gone)[0] == []
    assert write_report(gone).exists()
