"""The summary is made of counts that add up: any split, any order, any number of faces, in the same memory."""

import json
import os
import pickle
import subprocess
import sys
import time
from functools import partial, reduce
from operator import add
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from identiface_audit import tally as stage
from identiface_audit.attention import Moments
from identiface_audit.fairness import fairness, notebook_scores
from identiface_audit.findings import merge
from identiface_audit.regional_gap import Fill, misleading_region
from identiface_audit.regions import REGION_SETS
from identiface_audit.settings import load_settings
from identiface_audit.slices import error_slices
from identiface_audit.store import Store, plain
from identiface_audit.summary import summarize
from identiface_audit.tally import REST, Basis, Sample, counted_columns, slice_features, tally

ROOT = Path(__file__).resolve().parents[1]
NAMES, SETTINGS, GENDERS = list(REGION_SETS["eight"]), load_settings(), np.array(["FEMALE", "MALE"])
R = len(NAMES)
RACES = np.array(["Asian", "Black", "Indian", "Others", "White", None], object)


def drawn(n, seed, races=RACES):
    "The counted columns of n invented faces: lips mislead the model for women more than for men, and dark pictures mislead it for everybody."
    rng = np.random.default_rng(seed)
    true, dark, seen = rng.integers(0, 2, n), rng.random(n, np.float32), rng.random(n) > 0.02
    wrong = rng.random(n) < np.where(true == 0, 0.12, 0.05) + 0.1 * (dark < 0.2)
    by = np.where(rng.random(n) < 0.5, 3, rng.integers(0, R + 2, n))
    drop = rng.normal(1, 1, (n, R + 2)).astype(np.float32)
    drop[wrong, by[wrong]] = -6
    predicted = np.where(wrong, 1 - true, true)
    without = np.where(wrong[:, None] & (by[:, None] == np.arange(R + 2)), true[:, None], predicted[:, None])
    kept, lead = (rng.random((n, R)) < 0.15) & seen[:, None], np.where(wrong, -4, 4) + rng.normal(0, 0.3, n)
    boxes = np.concatenate([[0], np.cumsum(rng.integers(0, 3, n))]).astype(np.int32)
    hexadecimal = pa.array(np.frombuffer(rng.bytes(32 * n).hex().encode(), "S64").astype(str), pa.string())

    def words(codes, of):
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(of, pa.string())).cast(pa.string())

    def lists(values, kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind), R + 2, mask=pa.array(~seen))

    columns = {
        "sha256": hexadecimal,
        "duplicate_of": pa.array(np.where(rng.random(n) < 0.01, "a.jpg", None), pa.string()),
        "true_gender": words(true, GENDERS),
        "predicted_gender": words(predicted, GENDERS),
        "race": words(rng.integers(0, len(races), n), races),
        "age": pa.array(rng.integers(1, 90, n), pa.int16(), mask=rng.random(n) < 0.03),
        "faces_found": pa.array(np.where(seen, 1 + (rng.random(n) < 0.02), 0), pa.int16()),
        "map_empty": pa.array(rng.random(n) < 0.01),
        "activation_boxes": pa.ListArray.from_arrays(boxes, pa.array(np.ones(boxes[-1], np.int8))),
        "attention": lists(rng.random((n, R + 2)).astype(np.float32), pa.float32()),
        "brightness": pa.array(dark),
        "sharpness": pa.array(rng.random(n, np.float32)),
        "face_size": pa.array(rng.random(n, np.float32), mask=~seen),
        "lead": pa.array(lead.astype(np.float32)),
        "occlusion_lead_drop": lists(drop, pa.float32()),
        "occlusion_predicted": lists(without.astype(np.int8), pa.int8()),
    }
    table = pa.table(columns | {f"region_{name}": pa.array(kept[:, i], mask=~seen) for i, name in enumerate(NAMES)})
    assert set(table.column_names) == set(counted_columns(SETTINGS, NAMES))
    return table


def summary_of(tables, **changes):
    "The summary of shards that lie in memory."

    def over(store, shard_size, columns, task, merge):
        return reduce(merge, (task(rows.select(columns)) for rows in tables))

    none = pd.DataFrame(columns=["image_path", "reason"])
    return plain(summarize(None, SETTINGS.replace(**changes), NAMES, {"map_methods": [SETTINGS.method]}, "faces", none, over=over))


def pieces(table, cuts):
    edges = [0, *sorted(cuts), len(table)]
    return [table.slice(a, b - a) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def same(a, b, rtol=1e-9):
    "Equal words and whole numbers; other numbers within rounding."
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k], rtol) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y, rtol) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return np.isclose(a, b, rtol=rtol, atol=1e-12)
    return a == b


def equal(a, b):
    "Two tallies: counts exactly, moments within rounding."
    assert list(a) == list(b)
    for key in a:
        if isinstance(a[key], Moments):
            assert (a[key].n == b[key].n).all()
            assert np.allclose(a[key].mean, b[key].mean, rtol=1e-12) and np.allclose(a[key].squares, b[key].squares, rtol=1e-10)
        else:
            assert np.array_equal(a[key], b[key]) if isinstance(a[key], np.ndarray) else a[key] == b[key], key


WHOLE = drawn(3000, 0)


@pytest.fixture(scope="module")
def basis():
    return Basis.of(Sample.of(WHOLE), SETTINGS, NAMES)


@examples(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 3000), max_size=8), order=st.randoms(use_true_random=False))
def test_tallies_of_any_split_in_any_order_add_up_to_the_whole(basis, cuts, order):
    parts = [tally(rows, basis) for rows in pieces(WHOLE, cuts)]
    order.shuffle(parts)
    equal(reduce(merge, parts), tally(WHOLE, basis))


def test_counts_are_those_of_the_rows_themselves():
    "Against each number counted again from the rows, by the plainest means."
    found, rows = summary_of(pieces(WHOLE, [700, 701])), WHOLE.to_pandas()
    wrong, there = rows["true_gender"] != rows["predicted_gender"], rows["faces_found"] > 0
    flags = rows[[f"region_{name}" for name in NAMES]].fillna(False).to_numpy(bool)
    steps = {"read": rows["age"].size * [True], "landmarks": there, "map": ~rows["map_empty"]}
    steps |= {"box": rows["activation_boxes"].map(len) > 0, "region": flags.any(1)}
    for gender, counts in found["coverage"].items():
        assert counts == {name: int((rows["true_gender"] == gender)[step].sum()) for name, step in steps.items()}
    assert found["n_faces"] == 3000 and found["n_misclassified"] == wrong.sum() and found["n_duplicates"] == rows["duplicate_of"].notna().sum()
    assert found["n_without_landmarks"] == (~there).sum() and found["n_several_faces"] == (rows["faces_found"] == 2).sum()
    true, predicted = rows["true_gender"].to_numpy(str), rows["predicted_gender"].to_numpy(str)
    assert same(found["notebook"], plain(notebook_scores(true, predicted, flags, NAMES)), 0)
    assert same(found["fairness"], plain(fairness(true, predicted, rows["race"], rows["age"], SETTINGS.classes)), 0)
    drop = np.array([np.full(R + 2, np.nan) if v is None else v for v in rows["occlusion_lead_drop"]])
    without = np.array([np.full(R + 2, -1) if v is None else v for v in rows["occlusion_predicted"]])
    looked = np.array([np.full(R + 2, np.nan) if v is None else v for v in rows["attention"]])
    by = misleading_region(drop, rows["lead"].to_numpy(), true, predicted)
    for r, name in enumerate([*NAMES, "background", "other_face"]):
        for g in GENDERS:
            of = (there & (true == g)).to_numpy()
            saved = of & wrong & (GENDERS[without[:, r]] == true)
            assert found["regional_gap"][name]["rescued"][g]["numerator"] == saved.sum()
            assert found["regional_gap"][name]["misled"][g]["numerator"] == (of & wrong & (by == r)).sum()
            mean = found["attention"][name][g]["misclassified"]
            assert mean["value"] == pytest.approx(looked[of & wrong, r].astype(float).mean()) and mean["n"] == (of & wrong).sum()
            if r < R:
                assert found["regions"][name][g]["numerator"] == (of & wrong & flags[:, r]).sum()
    features = slice_features(WHOLE, tuple(RACES[:-1]), looked, NAMES)
    assert same(found["slices"], plain(error_slices(features, wrong.to_numpy())), 0)
    assert found["slices"]["worst"] and found["verdict"]["biased_regions"][0] == "lips" and found["warnings"] == []


def test_summary_does_not_depend_on_the_shards():
    "All but the tree of slices, whose halves go by position: that one only on how the shards are cut."
    whole = summary_of([WHOLE])
    assert same(summary_of(pieces(WHOLE, range(37, 3000, 37))), whole)
    turned = summary_of(pieces(WHOLE, [1000, 2000])[::-1])
    assert same({k: v for k, v in turned.items() if k != "slices"}, {k: v for k, v in whole.items() if k != "slices"})


def test_nothing_of_what_travels_is_tied_to_a_process(basis):
    "Another machine gets the task and gives the tally by pickle."
    task, sample = pickle.loads(pickle.dumps((partial(tally, basis=basis), Sample.of)))
    equal(pickle.loads(pickle.dumps(task(WHOLE))), tally(WHOLE, basis))
    assert sample(WHOLE).rows.equals(WHOLE)


@pytest.mark.parametrize(
    "rows",
    [
        drawn(0, 1),
        drawn(1, 1),
        drawn(40, 2, [None]).set_column(5, "age", pa.nulls(40, pa.int16())),
        drawn(200, 3).filter(pc.equal(drawn(200, 3)["faces_found"], 0)),
        drawn(500, 4).filter(pc.equal(drawn(500, 4)["true_gender"], drawn(500, 4)["predicted_gender"])),
        drawn(300, 5).filter(pc.equal(drawn(300, 5)["true_gender"], "MALE")),
    ],
    ids=["no face", "one face", "no race, no age", "no landmarks", "no mistake", "one gender"],
)
def test_little_and_nothing(basis, rows):
    equal(merge(tally(rows, basis), tally(WHOLE, basis)), tally(pa.concat_tables([rows, WHOLE]), basis))
    if len(rows):
        alone = summary_of([rows, rows.slice(0, 0)])
        mistakes = [alone["groups"][g]["misclassified"] for g in GENDERS]
        assert alone["n_faces"] == len(rows) and (alone["overall_bias"]["value"] is None) == (not all(mistakes) or alone["n_without_landmarks"] == len(rows))
        json.dumps(alone, allow_nan=False)


def test_moments_keep_their_digits():
    "A mean of a hundred million with a spread of one: sums of squares would have lost everything."
    rng = np.random.default_rng(0)
    values = 1e8 + rng.normal(0, 1, (50_000, 3))
    values[::7, 1], values[:, 2] = np.nan, np.nan
    parts = [Moments.of(v) for v in np.split(values, np.sort(rng.integers(0, 50_000, 400)))]
    rng.shuffle(parts)
    found = reduce(add, parts)
    assert found.n.tolist() == [50_000, 50_000 - 7143, 0]
    assert np.allclose(found.mean[:2], np.nanmean(values[:, :2], axis=0), rtol=1e-14)
    assert np.allclose(found.squares[:2] / (found.n[:2] - 1), np.nanvar(values[:, :2] - 1e8, axis=0, ddof=1), rtol=1e-6)
    naive = (values[:, 0] ** 2).sum() - values[:, 0].sum() ** 2 / 50_000
    assert abs(naive / 49_999 - values[:, 0].var(ddof=1)) > 1e-3


@pytest.fixture
def small_sample(monkeypatch):
    monkeypatch.setattr(stage, "SAMPLE", 1000)


def test_sample_depends_on_the_pictures_alone(small_sample):
    whole = Sample.of(WHOLE)
    assert 300 < len(whole.rows) <= 1000 and whole.halvings == 2 and pc.all(pc.is_null(whole.rows["duplicate_of"])).as_py()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        shuffled = WHOLE.take(rng.permutation(3000))
        parts = [Sample.of(rows) for rows in pieces(shuffled, rng.integers(0, 3000, 20).tolist())]
        found = reduce(add, parts)
        assert found.halvings == whole.halvings and found.rows.sort_by("sha256").equals(whole.rows.sort_by("sha256"))
    copies = pa.concat_tables([WHOLE.slice(0, 1)] * 5000)
    assert len(Sample.of(copies).rows) <= 1000


def test_sampled_summary_counts_everybody(small_sample):
    "What comes from the sample is near what all faces give; all else is the same, to the last face."
    table = drawn(6000, 6)
    found, again = summary_of(pieces(table, range(500, 6000, 500))), summary_of(pieces(table, [6])[::-1])
    assert same(found, again)
    stage.SAMPLE = 100_000
    exact = summary_of([table])
    learned = {"slices", "regional_gap", "agreement", "verdict", "warnings"}
    assert same({k: v for k, v in found.items() if k not in learned}, {k: v for k, v in exact.items() if k not in learned})
    assert len(found["warnings"]) == 1 and "6,000 faces" in found["warnings"][0] and "sample" in found["warnings"][0]
    for name, gap in exact["regional_gap"].items():
        assert same(found["regional_gap"][name]["rescued"], gap["rescued"]) and same(found["regional_gap"][name]["gap_share"], gap["gap_share"])
        for g in GENDERS:
            apart = found["regional_gap"][name]["misled"][g]["numerator"] - gap["misled"][g]["numerator"]
            assert abs(apart) <= 0.03 * exact["n_misclassified"]  # medians of some seven hundred faces
    assert found["verdict"]["biased_regions"][0] == exact["verdict"]["biased_regions"][0] == "lips"
    assert found["slices"]["worst"] and sum(s["n"] for s in found["slices"]["slices"]) == found["slices"]["n_counted"] > 4500


def test_leaves_are_counted_over_all_who_had_no_say(small_sample):
    sample = Sample.of(WHOLE)
    basis = Basis.of(sample, SETTINGS, NAMES)
    others = WHOLE.filter(pc.invert(pc.less(WHOLE["sha256"], stage._bound(sample.halvings))))
    arrays = stage._arrays(others, SETTINGS, NAMES)
    features = slice_features(others, basis.races, arrays["attention"], NAMES)
    leaf = basis.tree.fitted.apply(matrix(features, basis.tree.levels))
    wrong = arrays["true"] != arrays["predicted"]
    want = [[int(((leaf == node) & (wrong == flag)).sum()) for flag in (False, True)] for node in range(len(basis.unsearched))]
    assert tally(WHOLE, basis)["leaves"].tolist() == want and not basis.unsearched.any()


def matrix(features, levels):
    "Written out once more: one column for each level of a name."
    columns = []
    for name, known in levels.items():
        values = features[name]
        columns += [values.to_numpy(float)] if known is None else [(values.fillna("unknown") == level).to_numpy(float) for level in known]
    return np.stack(columns, axis=1)


def test_races_without_end_are_bounded_and_it_is_said():
    races = np.array([f"label {i}" for i in range(300)], object)
    table = pa.concat_tables([drawn(2000, 7), drawn(600, 8, races)])
    found = summary_of([table])
    groups = found["fairness"]["by_race"]["groups"]
    assert len(groups) == stage.MANY + 2 and {REST, "unknown", *RACES[:-1]} <= set(groups)
    assert sum(g["n"] for g in groups.values()) == 2600
    line = next(line for line in found["warnings"] if line.startswith("race:"))
    labels = len(set(table["race"].to_pylist()) - {None})
    assert f"{labels} labels" in line and f"{groups[REST]['n']:,} faces" in line


def test_fill_is_that_of_the_faces_it_was_taken_from():
    drop, lead = np.random.default_rng(0).normal(0, 1, (200, 4)), np.random.default_rng(1).normal(0, 3, 200)
    true = np.repeat(GENDERS, 100)
    predicted = np.where(lead > 0, true, GENDERS[::-1].repeat(100))
    fill = Fill.of(drop, lead, true, predicted)
    parts = [misleading_region(drop[i : i + 7], lead[i : i + 7], true[i : i + 7], predicted[i : i + 7], fill) for i in range(0, 200, 7)]
    assert np.concatenate(parts).tolist() == misleading_region(drop, lead, true, predicted).tolist()


PEAK = """
import json, sys, time
import pandas as pd
from identiface_audit.regions import REGION_SETS
from identiface_audit.settings import load_settings
from identiface_audit.store import Store
from identiface_audit.summary import summarize

folder, size = sys.argv[1], int(sys.argv[2])
start = time.perf_counter()
none = pd.DataFrame(columns=["image_path", "reason"])
found = summarize(Store(folder), load_settings(shard_size=size), list(REGION_SETS["eight"]), {"map_methods": ["gradcam++"]}, "faces", none)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"n": found["n_faces"], "megabytes": int(peak.split()[1]) / 1024, "seconds": time.perf_counter() - start}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_faces(tmp_path):
    "Shards on disk, a process of its own for each summary. IDENTIFACE_FACES=10000000 makes it ten million faces."
    n = int(os.environ.get("IDENTIFACE_FACES", 600_000))
    size, few, many = n // 40, tmp_path / "few", tmp_path / "many"
    start, told = time.perf_counter(), {}
    for folder in (few, many):
        (folder / "faces").mkdir(parents=True)
    for i in range(40):
        Store(many).write(i, drawn(size, i), {})
        if i < 10:
            os.link(Store(many).part(i), Store(few).part(i))
    made = time.perf_counter() - start
    for folder in (few, many):
        ended = subprocess.run([sys.executable, "-c", PEAK, folder, str(size)], capture_output=True, text=True, cwd=ROOT)
        assert ended.returncode == 0, ended.stderr
        told[folder] = json.loads(ended.stdout)
    print(f"made in {made:.0f} s:", *told.values())
    assert told[few]["n"] == size * 10 and told[many]["n"] == size * 40
    assert told[many]["megabytes"] < 1.25 * told[few]["megabytes"]  # the rows of one table would be twice as much
