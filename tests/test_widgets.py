"""The Python side of the widgets: what is sent, what is counted, what becomes of failures."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from browser import ROOT, variant
from PIL import Image

from identiface_audit.audit import Audit
from identiface_audit.regions import region_set
from identiface_audit.settings import N_LANDMARKS, load_settings
from identiface_audit.shards import array_of, place
from identiface_audit.widgets.app import VIEWERS, AuditApp
from identiface_audit.widgets.bias_viewer import BiasViewer
from identiface_audit.widgets.faces_viewer import FacesViewer
from identiface_audit.widgets.grid import FaceGrid
from identiface_audit.widgets.job import Job
from identiface_audit.widgets.live import Live
from identiface_audit.widgets.pages import FacePages, thumbnail
from identiface_audit.widgets.predictions_viewer import PredictionsViewer
from identiface_audit.widgets.regions_viewer import RegionsViewer
from identiface_audit.widgets.saliency_viewer import SaliencyViewer
from identiface_audit.widgets.validity_viewer import ValidityViewer


def click(table, row, key):
    table._handle_custom_msg({"type": "click", "row": row, "column": key}, [])


def sent(widget):
    "What `widget` sends from now on: [(message, buffers)]."
    out = []
    widget.send = lambda message, buffers=None: out.append((message, buffers or []))
    return out


# --- reading single rows


@pytest.mark.parametrize("rows", [[], [0], [59, 3, 3, 30, 24, 25]])
def test_rows_are_read_in_the_order_asked_for(done, rows):
    whole = done.store.table(["image_path", "heatmap"])
    some = done.take(rows, ["image_path", "heatmap"])
    assert some["image_path"].to_pylist() == [whole["image_path"][i].as_py() for i in rows]
    shape = done.summary["model"]["input_shape"][:2]
    assert np.array_equal(array_of(some, "heatmap", shape), done.array("heatmap")[rows])


def test_only_the_shards_that_hold_them_are_read(done, monkeypatch):
    read, original = [], done.store.read
    monkeypatch.setattr(done.store, "read", lambda i, columns=None: read.append(i) or original(i, columns))
    done.take([30, 26, 49], ["age"])
    assert read == [1]


def test_a_row_that_is_not_there_is_an_index_error(done):
    with pytest.raises(IndexError, match="from 0 to 59"):
        done.take([60], ["age"])


# --- what a grid sends


def unpack(message, pictures, i):
    face = message["faces"][i]
    return np.asarray(Image.open(io.BytesIO(pictures[face["start"] : face["start"] + face["length"]])))


def test_an_answer_holds_pictures_maps_boxes_and_points(done):
    message, (pictures, heat, points) = FacePages(done).answer([7, 2], 96)
    rows = done.take([7, 2], ["image_path", "heatmap", "landmarks", "activation_boxes", "landmark_boxes", "regions"])
    assert unpack(message, pictures, 0).shape == (96, 96, 3)
    shape = done.summary["model"]["input_shape"][:2]
    assert np.array_equal(np.frombuffer(heat, np.uint8).reshape(2, *shape), array_of(rows, "heatmap", shape))
    for i, face in enumerate(message["faces"]):
        assert [b[:4] for b in face["boxes"]] == [[b[s] for s in ("min_x", "min_y", "max_x", "max_y")] for b in rows["activation_boxes"][i].as_py()]
        assert face["regions"] == rows["regions"][i].as_py() and face["name"] == rows["image_path"][i].as_py()
        assert len(face["around"]) == 8
    found = np.frombuffer(points, "<i2").reshape(2, -1, 2) / 8192
    index = [i for indices in region_set("eight").values() for i in indices]
    assert np.allclose(found, array_of(rows, "landmarks", (N_LANDMARKS, 2))[:, index], atol=1e-3)
    json.dumps(message)


def test_boxes_of_other_settings_are_those_of_the_stage(done):
    settings = load_settings(preset="notebook", percentile=75, min_overlap=0.05)
    rows = [3, 8, 40]
    table = done.take(rows, ["cam", "landmarks"])
    cams, points = array_of(table, "cam", done.summary["model"]["cam_shape"]), array_of(table, "landmarks", (N_LANDMARKS, 2))
    placed = place(cams, points, region_set("eight"), settings, *done.summary["model"]["input_shape"][:2])
    faces = FacePages(done, settings=settings).boxes(rows)
    assert [len(f["boxes"]) for f in faces] == np.bincount(placed["face"], minlength=3).tolist()
    assert [b[:4] for f in faces for b in f["boxes"]] == placed["boxes"].tolist()
    same = FacePages(done, settings=load_settings(preset="notebook")).boxes(rows)
    assert same == FacePages(done).boxes(rows), "with the audit's own settings nothing changes"


def test_a_face_whose_file_is_gone_says_so(done, tmp_path):
    gone = Audit(done.folder)
    gone.summary = gone.summary | {"faces_folder": str(tmp_path / "nowhere")}
    message, (pictures, heat, _) = FacePages(gone).answer([0], 96)
    assert message["faces"][0]["reason"] == "file vanished" and not pictures and heat


def test_blurred_faces_hold_twelve_pixels_a_side_and_no_name(done):
    from identiface_audit.images import decode, read_bytes

    message, (pictures, _, _) = FacePages(done, "blur").answer([0], 200)
    path = done.take([0], ["image_path"])["image_path"][0].as_py()
    assert path not in json.dumps(message)
    seen, whole = unpack(message, pictures, 0).astype(float), decode(read_bytes(f"{done.summary['faces_folder']}/{path}"))
    small = np.asarray(Image.fromarray(whole).resize((12, 12), Image.Resampling.BOX).resize((200, 200), Image.Resampling.BILINEAR), float)
    assert np.abs(seen - small).mean() < 4


def test_a_hidden_face_has_neither_bytes_nor_name(done):
    message, (pictures, _, _) = FacePages(done, "hide").answer([0, 1], 96)
    assert pictures == b"" and ".jpg" not in json.dumps(message)


def test_a_large_picture_is_made_small():
    assert len(thumbnail(np.zeros((3000, 2000, 3), np.uint8), 96)) < 3000


@pytest.mark.parametrize(
    "question", [{"type": "faces", "rows": [10**6], "side": 96, "parts": "all"}, {"type": "faces"}, {"type": "face", "row": "x"}, {"type": "?"}]
)
def test_questions_that_make_no_sense_do_no_harm(done, question):
    grid = FaceGrid(done)
    out = sent(grid)
    grid._handle_custom_msg(question, [])
    assert all("cannot be shown" in message["failed"] and "Traceback" not in message["failed"] for message, _ in out)
    assert len(out) == (question["type"] != "?")


def test_a_grid_of_nothing_and_of_one(done):
    assert FaceGrid(done, []).poster == b"" and FaceGrid(done, [5]).rows.tolist() == [5]
    grid = FaceGrid(done)
    grid.rows = [4, 2]
    assert np.frombuffer(grid.order, "<i4").tolist() == [4, 2]


def test_columns_of_later_audits_are_shown_and_their_absence_is_not_missed(done, tmp_path):
    def add(table):
        import pyarrow as pa

        return table.append_column("occlusion_drop", pa.array([[0.5, -0.1, None]] * len(table), pa.list_(pa.float32())))

    old, new = FacePages(done), FacePages(Audit(variant(done.folder, tmp_path / "a", [0, 1], add)))
    assert "drops" not in old.answer([0], 64)[0]["faces"][0]
    assert [d[0] for d in new.answer([0], 64)[0]["faces"][0]["drops"]] == ["left_eye", "right_eye"]


# --- live thresholds


@pytest.mark.parametrize(
    "options",
    [{}, {"percentile": 60}, {"threshold": "li"}, {"distance": "cityblock", "min_overlap": 0.5}, {"overlap": "union", "min_overlap": 0.1}, {"rule": "mass"}],
)
def test_live_equals_the_stage_on_every_rule(done, options):
    settings, regions = load_settings(preset="notebook", **options), region_set("eight")
    live = Live(done, range(60), regions)
    live.columns(load_settings(preset="notebook", percentile=50))  # what is kept from before must not leak
    placed = place(done.array("cam"), done.array("landmarks"), regions, settings, *done.summary["model"]["input_shape"][:2])
    assert np.array_equal(live.columns(settings), placed["columns"])


def test_the_live_table_at_the_audits_settings_is_the_audits(done):
    live, saved = RegionsViewer(done).table.rows, BiasViewer(done).table.rows
    assert [r["p_FEMALE"]["counts"] for r in live] == [r["p_FEMALE"]["counts"] for r in saved]


def test_a_slider_moves_table_and_boxes_and_goes_back(done):
    viewer = SaliencyViewer(done)
    before, out = viewer.table.rows, sent(viewer.grid)
    viewer.percentile.value = 40
    assert viewer.table.rows != before and out[-1][0] == {"type": "stale"} and viewer.grid.pages.settings.percentile == 40
    viewer.back.click()
    assert viewer.table.rows == before and viewer.grid.pages.settings is None and viewer.back.disabled


def test_what_does_not_fit_in_the_first_chunk_follows(done, monkeypatch):
    import identiface_audit.widgets.live as live

    viewer = RegionsViewer(done)
    whole = viewer.table.rows
    monkeypatch.setattr(live, "CHUNK", 3)
    viewer.refresh()
    for _ in range(100):
        if "follow" not in viewer.state.value:
            break
        time.sleep(0.05)
    assert viewer.table.rows == whole


# --- numbers and the faces behind them


def test_every_number_has_as_many_faces_behind_it(done):
    viewers = [FacesViewer(done), PredictionsViewer(done), BiasViewer(done), RegionsViewer(done)]
    tables = [(v, table) for v in viewers for table in (getattr(v, n, None) for n in ("counts", "matrix", "rates", "table")) if table]
    checked = 0
    for viewer, table in tables:
        for i, row in enumerate(table.rows):
            cells = [(k, c) for k, c in row.items() if isinstance(c, dict)]
            cells += [(part["key"], part) for _, c in cells for part in c.get("counts", ())]
            for key, cell in cells:
                if cell.get("click"):
                    click(table, i, key)
                    assert len(viewer.grid.rows) == cell["v"] and table.pressed == f"{i}:{key}", (type(viewer), key)
                    click(table, i, key)
                    assert len(viewer.grid.rows) == 60 and not table.pressed
                    checked += 1
    assert checked > 25


def test_a_cell_of_the_matrix_shows_its_mistakes(done):
    viewer = PredictionsViewer(done)
    click(viewer.matrix, 0, "MALE")
    rows = done.faces(["true_gender", "predicted_gender"])
    want = np.flatnonzero((rows["true_gender"] == "FEMALE") & (rows["predicted_gender"] == "MALE"))
    assert viewer.grid.rows.tolist() == want.tolist() and "taken for MALE" in viewer.grid.notice


def test_bias_of_filtered_faces_is_counted_anew(done):
    viewer = BiasViewer(done)
    viewer.choice.filter = {"race": "White"}
    rows = done.faces(["true_gender", "predicted_gender", "race", "faces_found"])
    n = ((rows["race"] == "White") & (rows["true_gender"] == "FEMALE") & (rows["predicted_gender"] == "MALE") & (rows["faces_found"] > 0)).sum()
    assert viewer.table.rows[0]["p_FEMALE"]["counts"][1]["v"] == n


# --- the application


def test_the_application_links_its_viewers(done):
    app = done.widget()
    for viewer in VIEWERS:
        app.show(viewer.title)
        assert not app.viewers[viewer.title].border.message.value
    app.grid.selected = [1, 2]
    assert app.choice.selected == [1, 2]
    app.viewers["Faces"].gender.value = "FEMALE"
    assert set(done.faces(["true_gender"])["true_gender"][app.grid.rows]) == {"FEMALE"}
    assert sum(r["faces"]["v"] for r in app.viewers["Predictions"].rates.rows) == len(app.grid.rows)
    click(app.viewers["Predictions"].matrix, 0, "MALE")
    assert "taken for" in app.shown.value
    app.everything.click()
    assert len(app.grid.rows) == 60 and app.viewers["Faces"].gender.value == "all"


def test_viewers_need_neither_tensorflow_nor_mediapipe(done):
    source = f"""
import sys
from identiface_audit.audit import Audit
from identiface_audit.widgets.app import VIEWERS
app = Audit({str(done.folder)!r}).widget()
for v in VIEWERS:
    app.show(v.title)
app.viewers["Saliency"].percentile.value = 50
print(*(m for m in ("tensorflow", "keras", "mediapipe") if m in sys.modules))
"""
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.strip() == ""


def test_an_unexpected_error_is_one_line_and_a_record_in_the_log(done, caplog, monkeypatch):
    viewer = PredictionsViewer(done)
    monkeypatch.setattr(viewer, "_rates", lambda: 1 / 0)
    viewer.by.value = "race"
    assert "division by zero (ZeroDivisionError)" in viewer.border.message.value and "Traceback" not in viewer.border.message.value
    assert caplog.records[-1].exc_info
    monkeypatch.undo()
    viewer.by.value = "gender"
    assert not viewer.border.message.value


def test_strange_audits_are_shown(done, tmp_path):
    rows = done.faces(["true_gender", "predicted_gender"])
    right = np.flatnonzero(rows["true_gender"] == rows["predicted_gender"]).tolist()
    for name, chosen in (("one", [0]), ("right", right)):
        app = Audit(variant(done.folder, tmp_path / name, chosen)).widget()
        for viewer in VIEWERS:
            app.show(viewer.title)
            assert not app.viewers[viewer.title].border.message.value, viewer
        app.viewers["Saliency"].percentile.value = 50
        assert {r["verdict"] for r in app.viewers["Bias"].table.rows} <= {"not estimable", "no evidence"}


def test_a_damaged_shard_is_one_line(done, tmp_path):
    folder = variant(done.folder, tmp_path / "a", list(range(60)))
    app = Audit(folder).widget()
    app.show("Saliency")
    part = folder / "faces" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:2000])
    out = sent(app.grid)
    app.grid._handle_custom_msg({"type": "faces", "rows": [0], "side": 64, "parts": "all"}, [])
    assert "shard is damaged" in out[0][0]["failed"]
    app.viewers["Saliency"]._chunks.clear()
    app.viewers["Saliency"].percentile.value = 50
    assert "shard is damaged" in app.viewers["Saliency"].border.message.value


def test_displaying_puts_down_a_picture_for_places_where_nothing_runs(done, monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **_: shown.append(data))
    done._ipython_display_()
    still, live = shown
    assert Image.open(io.BytesIO(base64.b64decode(still["image/jpeg"]))).size == (600, 200) and "60 faces" in still["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in live
    shown.clear()
    BiasViewer(done).table._ipython_display_()
    assert "<table>" in shown[0]["text/html"]


def test_results_of_a_validation_are_shown_or_their_absence_said(done, tmp_path):
    said = [t.empty for t in ValidityViewer(done).panel.children[1:] if not getattr(t, "rows", True)]
    assert any("validate --model" in text for text in said)
    results = tmp_path / "validation.json"
    results.write_text(json.dumps({"methods": {"gradcam++": {"top_1": {"value": 0.22, "interval": [0.1, 0.4]}}}, "runs": 200}))
    viewer = ValidityViewer(done, results=results)
    assert any("top 1" in t.rows[0] for t in viewer.panel.children[1:] if getattr(t, "rows", None))
    results.write_text("{")
    assert "cannot be read" in ValidityViewer(done, results=results).border.message.value


# --- running


def wait_for(condition, seconds=90):
    for _ in range(int(seconds * 10)):
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_an_audit_is_run_cancelled_and_resumed(faces, tmp_path, monkeypatch):
    from identiface_audit.synthetic import demo_model

    app = AuditApp()
    panel = app.run
    panel.go.click()
    assert "Say first where faces and model and audit are" in app.border.message.value
    panel.faces.value, panel.model.value, panel.out.value = str(faces), str(demo_model()), str(tmp_path / "audit")
    panel.go.click()
    assert not app.border.message.value and panel.go.disabled and not panel.stop.disabled
    assert wait_for(lambda: panel.bar.max > 1), panel.line.value
    panel.stop.click()
    assert wait_for(lambda: not panel._job.running, 30)
    if "Done" not in panel.line.value:
        assert "what is finished is kept" in panel.line.value
        panel.go.click()
    assert wait_for(lambda: "Faces" in getattr(app, "viewers", ())), (panel.line.value, app.border.message.value)
    assert app.audit.summary["n_faces"] == 60


def test_what_cannot_run_is_said_in_one_line(tmp_path):
    app = AuditApp()
    panel = app.run
    panel.faces.value, panel.model.value, panel.out.value = str(tmp_path / "none"), str(tmp_path / "m.keras"), str(tmp_path / "out")
    panel.go.click()
    assert wait_for(lambda: app.border.message.value)
    assert "m.keras" in app.border.message.value and "Traceback" not in app.border.message.value and not panel.go.disabled


@pytest.mark.skipif(os.name != "posix", reason="kills by a POSIX signal")
def test_a_job_that_dies_is_said_to_have_died(faces, tmp_path):
    from identiface_audit.synthetic import demo_model

    told = []
    call = {"faces": str(faces), "model": str(demo_model()), "out": str(tmp_path / "a"), "preset": None, "limit": None, "options": {}}
    job = Job("audit", call, told.append)
    assert wait_for(lambda: told)
    os.kill(job._process.pid, signal.SIGKILL)
    job.wait(30)
    assert told[-1]["how"] == "failed" and "exit code -9" in told[-1]["text"]


def test_a_job_ends_with_its_parent(faces, tmp_path):
    source = f"""
import os
from identiface_audit.synthetic import demo_model
from identiface_audit.widgets.job import Job
call = dict(faces={str(faces)!r}, model=str(demo_model()), out={str(tmp_path / "a")!r}, preset=None, limit=None, options={{}})
print(Job("audit", call, lambda m: None)._process.pid, flush=True)
os._exit(0)
"""
    pid = int(subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=ROOT).stdout)

    def gone():
        try:
            state = open(f"/proc/{pid}/stat").read().split(") ")[1][0] if os.path.exists("/proc/self/stat") else ""
            os.kill(pid, 0)
            return state == "Z"
        except OSError:
            return True

    assert wait_for(gone, 40)


def test_faces_are_exported_as_they_are_chosen(done, tmp_path):
    import pandas as pd

    app = Audit(variant(done.folder, tmp_path / "a", list(range(60)))).widget(faces="hide")
    app.choice.selected = [3, 5]
    export = app.tabs.children[-1].children[1]
    export.csv()
    table = pd.read_csv(app.audit.folder / "faces.csv")
    assert len(table) == 2 and "image_path" not in table and 'download="faces.csv"' in export.link.value
