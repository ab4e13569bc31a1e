"""The command line as a user meets it: real processes, exit codes, one line on stderr."""

import json
import subprocess
import sys

import pytest

from identiface_audit.cli import main
from identiface_audit.synthetic import demo_model


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "identiface_audit", *map(str, arguments)], capture_output=True, text=True, timeout=240, **options
    )


def test_demo_ends_in_an_audit_with_its_documented_keys(tmp_path):
    ended = run("demo", "--n", 40, "--out", tmp_path)
    assert ended.returncode == 0, ended.stderr
    summary = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert next(iter(summary)) == "schema_version"
    named = "n_faces n_rejected n_without_landmarks n_misclassified settings model versions seconds groups notebook regions overall_bias"
    assert set(named.split()) <= set(summary)
    assert summary["n_faces"] == 40 and "40 faces were audited" in ended.stdout
    assert "Warning" not in ended.stderr and "Traceback" not in ended.stderr and len(ended.stderr.splitlines()) < 5
    page = (tmp_path / "audit" / "report.html").read_text()
    assert "http://" not in page and "https://" not in page and "<script src" not in page
    again = run("demo", "--n", 40, "--out", tmp_path)
    assert again.returncode == 0 and "done already" in again.stderr


BAD = {
    "no such folder": (["--faces", "{tmp}/none"], "no such folder of faces"),
    "a settings file that is not there": (["--settings", "{tmp}/none.ini"], "none.ini"),
    "an unknown preset": (["--preset", "paper"], "preset 'paper'"),
    "a setting that is none": (["--set", "colour=red"], "no such setting"),
    "a setting without =": (["--set", "method"], "NAME=VALUE"),
    "three class names for two outputs": (["--classes", "FEMALE,MALE,OTHER"], "2 outputs, but 3 classes are named"),
    "one class name": (["--classes", "FEMALE"], "two or more different names"),
    "class names without the genders": (["--classes", "A,B"], "lack FEMALE, MALE"),
    "a layer that is not there": (["--set", "map_layer=conv99"], "no layer 'conv99'"),
    "a distance that is none": (["--set", "distance=miles"], "distance 'miles'"),
    "a class to explain that is none": (["--set", "explain=CHILD"], "explain 'CHILD'"),
    "a landmark model that is none": (["--landmarker", __file__], "not the landmark model"),
    "a table that is not there": (["--labels", "{tmp}/none.csv"], "none.csv"),
    "a model that is not there": (["--model", "{tmp}/none.keras"], "no such model file"),
    "a model that is none": (["--model", __file__], "neither a .keras archive, an HDF5 file, a SavedModel folder nor an ONNX file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_3(case, faces, tmp_path, capsys):
    given, words = BAD[case]
    usual = {"--faces": faces, "--model": demo_model(), "--out": tmp_path / "out"}
    usual |= dict(zip(given[::2], given[1::2], strict=True))
    arguments = [str(v).replace("{tmp}", str(tmp_path)) for pair in usual.items() for v in pair]
    assert main(["run", *arguments]) == 3
    line = capsys.readouterr().err.strip()
    assert words in line and len([x for x in line.splitlines() if x.startswith("identiface-audit:")]) == 1
    assert "Traceback" not in line and line.splitlines()[-1].startswith("identiface-audit: ")


@pytest.mark.parametrize(
    ("shape", "units", "words"),
    [((48, 48, 2), 2, "needs (None, height, width, 1 or 3)"), ((48, 48, 1), 5, "5 outputs"), ((100,), 2, "input is (None, 100)")],
)
def test_a_model_of_the_wrong_shape(shape, units, words, faces, tmp_path, capsys):
    import keras
    from keras import layers

    body = [layers.Conv2D(2, 3), layers.Flatten()] if len(shape) == 3 else []
    model = keras.Sequential([keras.Input(shape), *body, layers.Dense(units, activation="softmax")])
    model.save(tmp_path / "wrong.keras")
    assert main(["run", "--faces", str(faces), "--model", str(tmp_path / "wrong.keras"), "--out", str(tmp_path / "out")]) == 3
    line = capsys.readouterr().err
    assert words in line and "wrong.keras" in line


@pytest.mark.parametrize("arguments", [[], ["audit"], ["run"], ["run", "--limit", "0"], ["models"], ["demo", "--n", "x"]])
def test_bad_use_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("usage:")


def test_an_unfinished_audit_has_no_report(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 3
    assert "not a finished audit" in capsys.readouterr().err


def test_import_and_help_load_nothing_heavy():
    code = (
        "import sys, identiface_audit, identiface_audit.cli as c\n"
        "try: c.main(['run', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('tensorflow', 'keras', 'mediapipe', 'pandas', 'matplotlib', 'numpy') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout.splitlines()[-1] == "[]", ended.stdout + ended.stderr


def test_reading_an_audit_needs_neither_tensorflow_nor_mediapipe(done, tmp_path):
    code = (
        "import sys\nfor m in ('tensorflow', 'keras', 'mediapipe'): sys.modules[m] = None\n"
        "from identiface_audit.audit import Audit; from identiface_audit.report import write_report\n"
        "a = Audit(sys.argv[1]); print(len(a.faces()), a.array('heatmap').shape, write_report(a, sys.argv[2]))"
    )
    arguments = [sys.executable, "-c", code, str(done.folder), str(tmp_path / "r.html")]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0 and ended.stdout.startswith("60 (60, 48, 48)"), ended.stderr


def test_a_script_on_standard_input_can_read_faces(faces):
    "Spawned processes import the main script, and this one has no file."
    code = """if True:
        import hashlib, pathlib, sys
        from identiface_audit.workers import FaceReaders, ReadPlan
        folder = pathlib.Path(sys.argv[1])
        name = sorted(p.name for p in folder.glob("*.jpg"))[0]
        with FaceReaders(1) as readers:
            plan = ReadPlan(str(folder), (48, 48, 1), "", 50, 40, 16)
            read = readers.collect(readers.submit(plan, [name], [hashlib.sha256((folder / name).read_bytes()).hexdigest()], [False]))
        print(read.good.tolist(), read.size.tolist())"""
    ended = subprocess.run([sys.executable, "-", faces], input=code, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "[True] [[200, 200]]\n", ended.stderr


def test_a_script_that_calls_at_once_is_told_so(faces, tmp_path):
    "A spawned process imports the script, which would read faces, and spawn, without an end."
    script = tmp_path / "script.py"
    script.write_text("from identiface_audit.workers import *\nwith FaceReaders(1) as r: r.collect(r.submit(ReadPlan('.', (8, 8, 1), '', 1, 1, 1), ['a.jpg'], [''], [False]))\n")
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "LandmarkerError: a landmark worker cannot start: it died (exit code 1)" in ended.stderr.splitlines()[-1]
    assert 'AuditError: an audit in a script must stand under `if __name__ == "__main__":`' in ended.stderr


@pytest.mark.shared
def test_the_command_of_the_issue_on_real_faces(shared, tmp_path):
    "1,000 real faces: accuracy 0.92, nothing on stderr that a user would have to understand."
    ended = run(
        "run", "--faces", shared / "data/utkface", "--model", shared / "models/gender_cnn48.h5",
        "--classes", "FEMALE,MALE", "--out", tmp_path / "out",
    )  # fmt: skip
    assert ended.returncode == 0 and ended.stderr.strip() == "", ended.stderr
    summary = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert summary["n_faces"] == 1000 and round(1 - summary["n_misclassified"] / 1000, 2) == 0.92
