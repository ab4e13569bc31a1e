"""Audits of very many faces: opened, filtered, counted and exported without being read whole."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from browser import ROOT
from processes import until

from identiface_audit.audit import Audit, audit
from identiface_audit.exports import write_csv
from identiface_audit.index import FaceIndex, write_index
from identiface_audit.settings import load_settings
from identiface_audit.store import Store
from identiface_audit.widgets import grid as grid_module
from identiface_audit.widgets import live
from identiface_audit.widgets.app import AuditApp
from identiface_audit.widgets.bias_viewer import BiasViewer
from identiface_audit.widgets.faces_viewer import FacesViewer
from identiface_audit.widgets.grid import FaceGrid
from identiface_audit.widgets.predictions_viewer import PredictionsViewer
from identiface_audit.widgets.regions_viewer import RegionsViewer


def many(done, folder, n, size=256, kinds=40):
    "A finished audit of `n` faces that repeats those of `done`: `kinds` different shards of `size` faces, each under many names."
    store, rng, whole = Store(folder), np.random.default_rng(0), done.store.table().combine_chunks()
    rows = whole.column_names.index("age")
    ages = whole["age"].to_pylist()
    age = pa.array([None if a == ages[0] else a for a in ages], pa.int16())  # some are not known
    whole = whole.set_column(rows, "age", age)
    for i, start in enumerate(range(0, n, size)):
        if i < kinds or start + size > n:
            store.write(i, whole.take(pa.array(rng.integers(0, len(whole), min(size, n - start)))), done.store.meta(0))
        else:
            os.link(store.part(i % kinds), store.part(i))
    write_index(store)
    store.write_summary(done.summary | {"n_faces": n}, pd.DataFrame(columns=["image_path", "reason"]))
    return Audit(folder)


@pytest.fixture(scope="module")
def large(done, tmp_path_factory):
    return many(done, tmp_path_factory.mktemp("large") / "audit", 20_000)


@pytest.fixture(scope="module")
def rows(large):
    "What pandas makes of all shards."
    table = large.store.table(["image_path", "true_gender", "predicted_gender", "race", "age", "faces_found", "map_empty", "duplicate_of", "region_lips"]).to_pandas()
    return table.assign(wrong=table["true_gender"] != table["predicted_gender"])


def said(widget):
    out = []
    widget.send = lambda message, buffers=None: out.append(message)
    return out


def test_opening_and_filtering_read_no_shard_but_those_of_the_page(large, tmp_path):
    shutil.copytree(large.folder, tmp_path / "a")
    for i in range(79):
        if i not in (0, 50):
            Store(tmp_path / "a").part(i).unlink()
            Store(tmp_path / "a").part(i).write_bytes(b"whoever reads this fails")
    app = AuditApp(tmp_path / "a", faces="hide", run=False)
    for title in ("Faces", "Predictions", "Bias"):
        app.show(title)
        assert not app.viewers[title].border.message.value
    app.viewers["Faces"].outcome.value = "misclassified"
    assert len(app.grid.rows) == large.index["wrong"].sum() > 0
    out = said(app.grid)
    for rows in (range(50 * 256, 50 * 256 + 20), range(51 * 256, 51 * 256 + 20)):
        app.grid._handle_custom_msg({"type": "faces", "rows": list(rows), "side": 64, "parts": "all"}, [])
    assert len(out[0]["faces"]) == 20 and "shard is damaged" in out[1]["failed"]


def test_the_shards_of_a_page_are_the_only_ones_asked_for(large, monkeypatch):
    read, original = [], Store.read
    monkeypatch.setattr(Store, "read", lambda self, i, columns=None: (read.append((self.folder.name, i)), original(self, i, columns))[1])
    opened = Audit(large.folder)
    grid = FaceGrid(opened, faces="hide")
    assert {i for name, i in read} == {0} and not [1 for name, _ in read if name == "index"], "twelve faces for the still picture"
    read.clear()
    grid.pages.answer(range(10_000, 10_020), 64)
    assert {i for _, i in read} == {10_000 // 256}


FILTERS = [
    ({"gender": "FEMALE"}, lambda r: r["true_gender"] == "FEMALE"),
    ({"outcome": "misclassified"}, lambda r: r["wrong"]),
    ({"outcome": "recognised", "race": "Asian"}, lambda r: ~r["wrong"] & (r["race"] == "Asian")),
    ({"ages": (0, 40)}, lambda r: r["age"].le(40)),
    ({"ages": (18, 29), "gender": "MALE", "outcome": "misclassified"}, lambda r: r["age"].between(18, 29) & (r["true_gender"] == "MALE") & r["wrong"]),
    ({"quality": "without landmarks"}, lambda r: r["faces_found"] == 0),
    ({"quality": "with landmarks"}, lambda r: r["faces_found"] > 0),
    ({"quality": "several faces"}, lambda r: r["faces_found"] > 1),
    ({"quality": "copies"}, lambda r: r["duplicate_of"].notna()),
    ({"quality": "empty map"}, lambda r: r["map_empty"]),
    ({"race": "nobody"}, lambda r: r["race"] == "nobody"),
]


@pytest.mark.parametrize(("chosen", "want"), FILTERS, ids=[str(f[0]) for f in FILTERS])
def test_filters_and_random_pages_are_those_of_pandas(large, rows, chosen, want):
    viewer, rng = FacesViewer(large), np.random.default_rng(1)
    viewer.choice.filter = chosen
    wanted = np.flatnonzero(want(rows))
    assert np.array_equal(viewer.grid.rows, wanted) and viewer.choice.rows.dtype == np.int32
    for start in rng.integers(0, max(1, len(wanted) - 20), 3):
        page = wanted[start : start + 20]
        names = [face["name"] for face in viewer.grid.pages.answer(page, 64)[0]["faces"]] if len(page) else []
        assert names == rows["image_path"][page].tolist()


def test_counts_are_those_of_pandas(large, rows):
    faces, predictions, bias = FacesViewer(large), PredictionsViewer(large), BiasViewer(large)
    faces.by.value = predictions.by.value = "gender and race"
    named = rows["true_gender"] + " & " + rows["race"].fillna("unknown")
    for viewer, table, keep in ((faces, faces.counts, rows.index >= 0), (predictions, predictions.rates, rows["age"].le(40).to_numpy())):
        if not keep.all():
            viewer.choice.filter = {"ages": (0, 40)}
        want = rows[keep].groupby(named[keep]).agg(n=("wrong", "size"), wrong=("wrong", "sum"))
        assert {r["group"]: (r["faces"]["v"], r["wrong"]["v"]) for r in table.rows} == {k: (v.n, v.wrong) for k, v in want.iterrows()}
    crossed = pd.crosstab(rows["true_gender"], rows["predicted_gender"])
    predictions.choice.filter = {}
    assert {(r["true"], c): r[c]["v"] for r in predictions.matrix.rows for c in ("FEMALE", "MALE")} == crossed.stack().to_dict()
    bias.choice.filter = {"race": "White"}
    seen = rows[(rows["race"] == "White") & rows["wrong"] & (rows["faces_found"] > 0)]
    lips = next(r for r in bias.table.rows if r["region"]["v"] == "lips")
    for group in ("FEMALE", "MALE"):
        mine = seen[seen["true_gender"] == group]
        assert [c["v"] for c in lips[f"p_{group}"]["counts"]] == [mine["region_lips"].fillna(False).sum(), len(mine)]


def test_without_an_index_and_with_an_old_one_the_shards_are_read(large, done, tmp_path):
    shutil.copytree(done.folder, tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "index")
    plain = Audit(tmp_path / "a")
    shutil.copytree(large.folder / "index", tmp_path / "a" / "index")
    for found in (plain, Audit(tmp_path / "a")):
        assert len(found.index) == 60 and found.index.shard_rows.tolist() == [25, 25, 10] and found.column_names == done.column_names
        for name in ("true_gender", "race", "age_band", "age", "wrong", "seen", "copy", "score_MALE", "region_lips"):
            assert np.array_equal(np.asarray(found.index[name]), np.asarray(done.index[name])), name
    assert set(done.index.columns) == set(done.store.read(0).column_names)


def test_an_audit_writes_its_index_and_writes_it_again(faces, tmp_path):
    from identiface_audit.synthetic import demo_model

    found = []
    for percentile in (90, 30):
        made = audit(faces, demo_model(), tmp_path / "a", settings=load_settings(preset="notebook", shard_size=25, percentile=percentile), limit=30)
        assert len(FaceIndex(made.store, 30)) == 30 and (made.folder / "index" / "faces" / "part-00000.parquet").exists()
        whole = made.faces(["region_nose"])["region_nose"].fillna(False).to_numpy(bool)
        assert np.array_equal(made.index["region_nose"], whole)
        found.append(whole)
    assert not np.array_equal(*found), "the second run placed the maps again"


def test_the_browser_has_the_numbers_of_one_section(large, monkeypatch):
    monkeypatch.setattr(grid_module, "SECTION", 5000)
    grid = FaceGrid(large, faces="hide")
    out = said(grid)
    for position, start, n in ((0, 0, 5000), (12_345, 10_000, 5000), (10**9, 15_000, 5000), (-5, 0, 5000)):
        grid._handle_custom_msg({"type": "section", "position": position}, [])
        assert (grid.start, grid.total, len(grid.order)) == (start, 20_000, 4 * n)
        assert np.frombuffer(grid.order, "<i4")[0] == start
    grid.rows = np.arange(0, 20_000, 3)
    assert (grid.start, grid.total) == (0, 6667)
    grid._handle_custom_msg({"type": "section", "position": 6000}, [])
    assert np.frombuffer(grid.order, "<i4").tolist() == list(range(15_000, 20_000, 3))
    for question in ({"type": "section"}, {"type": "section", "position": "x"}):
        grid._handle_custom_msg(question, [])
        assert "cannot be shown" in out.pop()["failed"]


def test_live_thresholds_place_a_sample_and_say_so(large, monkeypatch):
    monkeypatch.setattr(live, "MOST", 300)
    monkeypatch.setattr(live, "CHUNK", 250)
    monkeypatch.setattr(live, "_FIRST", 100)
    viewer = RegionsViewer(large)
    end = time.monotonic() + 60
    while "follow" in viewer.state.value and time.monotonic() < end:
        time.sleep(0.05)
    whole = int((large.index["wrong"] & large.index["seen"]).sum())
    assert viewer.state.value == f"300 of {whole:,} misclassified faces with landmarks, drawn at random"
    counts = viewer.table.rows[0]["p_FEMALE"]["counts"]
    assert sum(viewer.table.rows[0][f"p_{g}"]["counts"][1]["v"] for g in viewer.groups) == 300
    viewer.table._handle_custom_msg({"type": "click", "row": 0, "column": "hit_FEMALE"}, [])
    shown = viewer.grid.rows
    assert len(shown) == counts[0]["v"] and (np.diff(shown) > 0).all() and "of those drawn" in viewer.grid.notice
    assert large.index["region_left_eye"][shown].all(), "at the audit's own settings the columns are the audit's"


def test_a_table_of_faces_is_written_piece_by_piece(large, rows, tmp_path, monkeypatch):
    import identiface_audit.exports as exports

    monkeypatch.setattr(exports, "_PIECE", 1500)
    text = write_csv(large, tmp_path / "all.csv").read_text()
    found = pd.read_csv(tmp_path / "all.csv")
    assert found["image_path"].tolist() == rows["image_path"].tolist() and text.count("image_path") == 1
    oldest = f"{rows['age'].max():.0f}"
    assert np.array_equal(found["age"], rows["age"], equal_nan=True) and f",{oldest}," in text and f",{oldest}.0," not in text
    some = np.flatnonzero(rows["wrong"])
    few = pd.read_csv(write_csv(large, tmp_path / "some.csv", some, named=False))
    assert few["race"].fillna("").tolist() == rows["race"][some].fillna("").tolist() and not {"image_path", "sha256"} & set(few)


def test_a_long_table_is_written_in_a_thread_and_can_be_stopped(large, tmp_path, monkeypatch):
    import identiface_audit.exports as exports
    import identiface_audit.widgets.app as app_module

    shutil.copytree(large.folder, tmp_path / "a")
    monkeypatch.setattr(app_module, "SECTION", 1000)
    monkeypatch.setattr(exports, "_PIECE", 200)
    app = AuditApp(tmp_path / "a", faces="hide")
    export = app.tabs.children[-1].children[1]

    export.table.click()
    until(lambda: "of 20,000 faces" in export.link.value)
    assert export.table.description == "Stop"
    export.table.click()
    until(lambda: "was stopped at" in app.border.message.value)
    assert not list((tmp_path / "a").glob("*.csv.*"))
    assert not (tmp_path / "a" / "faces.csv").exists() and export.table.description == "Faces (CSV)"
    app.choice.filter = {"outcome": "misclassified"}
    export.table.click()
    until(lambda: "download=" in export.link.value)
    assert not app.border.message.value
    assert len(pd.read_csv(tmp_path / "a" / "faces.csv")) == large.index["wrong"].sum()


CHILD = """
import json, sys, time
began = time.perf_counter()
def lap(told):
    global began
    told.append(round(time.perf_counter() - began, 2))
    began = time.perf_counter()
from identiface_audit.audit import Audit
from identiface_audit.widgets.app import AuditApp
told = []
lap([])
audit = Audit(sys.argv[1])
app = AuditApp(audit, faces="hide", run=False)
lap(told)
app.grid.pages.answer(range(20), 96)
lap(told)
app.viewers["Faces"].gender.value = "FEMALE"
app.viewers["Faces"].outcome.value = "misclassified"
app.grid.pages.answer(app.grid.rows[-20:], 96)
lap(told)
app.show("Predictions")
app.show("Bias")
lap(told)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))  # getrusage would count what the parent held
print(json.dumps([told, len(app.grid.rows), int(status["VmHWM"].split()[0]) / 1024]))
"""


def child(folder):
    "([seconds to open, of a page, of a filtered page, of two more tabs], faces that the filter left, peak in megabytes) of a process of its own."
    ended = subprocess.run([sys.executable, "-c", CHILD, str(folder)], capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(ended.stdout)


linux = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the peak of a process from Linux")


@linux
def test_a_million_faces_fit_in_little_memory(done, tmp_path):
    audit = many(done, tmp_path / "a", 1_000_000, size=4096, kinds=4)
    few, most = child(done.folder), child(audit.folder)
    assert most[1] == (audit.index["wrong"] & np.asarray(audit.index["true_gender"] == "FEMALE")).sum() > 0
    assert most[2] - few[2] < 200, (few, most)
    assert sum(most[0]) < 20, most


@linux
@pytest.mark.skipif(not os.environ.get("IDENTIFACE_LARGE"), reason="ten million faces take minutes to make; IDENTIFACE_LARGE=1 runs it")
def test_ten_million_faces_in_forty_thousand_shards(done, tmp_path):
    audit = many(done, tmp_path / "a", 10_000_000)
    few, most = child(done.folder), child(audit.folder)
    print(few, most)
    assert len(audit.store.parts()) == 39_063 and most[2] - few[2] < 800, (few, most)
    assert sum(most[0]) < 40, most
