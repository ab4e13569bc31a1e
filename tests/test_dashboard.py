"""A published dashboard under attack: a real server on loopback, one attack a test. The list stands in nbs/tutorials/40_publish_a_dashboard.ipynb."""

import contextlib
import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from browser import ROOT, chromium, find_chromium, free_port, variant, watch

pytest.importorskip("voila")
needs_browser = pytest.mark.skipif(not find_chromium(), reason="needs Chromium or Chrome")
VERSIONS = {"jupyter.widget.control": "1.0.0", "jupyter.widget": "2.1.0"}  # protocols
SECRET = "a-secret-of-the-environment"


class Server:
    "`identiface-audit serve` in a process of its own."

    def __init__(self, folder, home, base, ini):
        self.port, self.base, self.home = free_port(), base, home
        home.mkdir()
        (home / "my.ini").write_text(f"[dashboard]\n{ini}")
        command = [sys.executable, "-m", "identiface_audit", "serve", folder, "--port", self.port, "--base-url", base, "--settings", home / "my.ini"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(home), "SECRET_TOKEN": SECRET}
        self.log = home / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(list(map(str, command)), env=environment, stdout=log, stderr=log)
        until(lambda: self.get("voila/static/voila.js")[0] == 200 and self.kernels(), 60)
        self.site = next(home.glob("identiface-*")) / "site"

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}{self.base}"

    def get(self, path="", method="GET", timeout=60, **headers):
        "(status, body, final address); `path` goes out as it stands."
        try:
            request = urllib.request.Request(self.address + path, method=method, headers=headers, data=b"{}" if method == "POST" else None)
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read().decode(errors="replace"), answer.url
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace"), error.url
        except OSError:
            return 0, "", ""

    def kernels(self):
        found = []
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "ipykernel_launcher" in " ".join(child.cmdline()):
                        found.append(child)
        return found

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.2)
    return bool(true())


class Visitor:
    "A page that is open, seen from below: kernel and websocket, without a browser."

    def __init__(self, server, query=""):
        from tornado.ioloop import IOLoop

        self.server, self.loop = server, IOLoop(make_current=False)
        self.status, self.page, _ = server.get(query)
        found = re.search(r'"kernelId": "([0-9a-f-]{36})"', self.page)
        self.kernel = found and found[1]
        self.seen, self.socket, self.next, self.ended = [], None, None, False

    def __enter__(self):
        self.connect()
        return self

    def __exit__(self, *_):
        if self.socket:
            self.run(self._close)
        self.server.get(f"voila/api/shutdown/{self.kernel}", "POST")
        self.loop.close(all_fds=False)

    def run(self, act):
        import asyncio

        asyncio.set_event_loop(self.loop.asyncio_loop)
        return self.loop.run_sync(act)

    def connect(self, protocol=("v1.kernel.websocket.jupyter.org",), **headers):
        from tornado.httpclient import HTTPRequest
        from tornado.websocket import websocket_connect

        address = f"{self.server.address.replace('http', 'ws', 1)}api/kernels/{self.kernel}/channels"
        request = HTTPRequest(address, headers=headers)
        self.socket = self.run(lambda: websocket_connect(request, max_message_size=2**28, subprotocols=list(protocol) or None))

    def send(self, kind, content, channel="shell"):
        from jupyter_server.services.kernels.connection.base import serialize_msg_to_ws_v1

        header = {"msg_id": uuid.uuid4().hex, "username": "", "session": "s", "msg_type": kind, "version": "5.3", "date": "2030-01-01T00:00:00Z"}
        about = {"version": VERSIONS.get(isinstance(content, dict) and content.get("target_name"), "")}
        message = {"header": header, "parent_header": {}, "metadata": about, "content": content}
        raw = bytes(serialize_msg_to_ws_v1(message, channel, lambda part: json.dumps(part).encode()))
        self.run(lambda: self.socket.write_message(raw, binary=True))
        return header["msg_id"]

    async def _close(self):
        self.socket.close()

    async def _read(self):
        return self.socket.read_message()  # waits on even where `listen` gave up

    def listen(self, done=lambda m: False, seconds=3):
        "Messages until one is `done` or nothing came for `seconds`."
        from datetime import timedelta

        from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1
        from tornado.gen import TimeoutError as Late
        from tornado.gen import with_timeout

        out = []
        while True:
            try:
                self.next = self.next or self.run(self._read)
                raw = self.run(lambda: with_timeout(timedelta(seconds=seconds), self.next))
            except Late:
                return out
            self.next = None
            if raw is None:
                self.ended = True
                return out
            header, parent, about, content, *buffers = deserialize_msg_from_ws_v1(raw)[1]
            message = {"header": json.loads(header), "parent_header": json.loads(parent), "content": json.loads(content), "buffers": buffers}
            out.append(message)
            self.seen.append(message)
            if done(message):
                return out

    def ask(self, kind, content, seconds=20):
        "Send, and listen until a `kernel_info_request` that follows is answered: what came before belongs to the question."
        self.send(kind, content)
        last = self.send("kernel_info_request", {})
        return self.listen(lambda m: m["content"].get("execution_state") == "idle" and m["parent_header"].get("msg_id") == last, seconds)

    def widgets(self):
        "{model id: state} of everything that the page holds, as any visitor can read it."
        comm = uuid.uuid4().hex
        self.send("comm_open", {"comm_id": comm, "target_name": "jupyter.widget.control", "data": {}})
        answer = self.ask("comm_msg", {"comm_id": comm, "data": {"method": "request_states"}})
        return next(m["content"]["data"]["states"] for m in answer if m["content"].get("data", {}).get("method") == "update_states")

    def set(self, model, **state):
        return self.ask("comm_msg", {"comm_id": model, "data": {"method": "update", "state": state, "buffer_paths": []}})

    def custom(self, model, content):
        return self.ask("comm_msg", {"comm_id": model, "data": {"method": "custom", "content": content}})

    def find(self, name, **wanted):
        return next(k for k, v in self.widgets().items() if v["model_name"] == name and all(v["state"].get(a) == b for a, b in wanted.items()))

    def open_audit(self, which=0):
        "One audit, with its viewers and grid."
        if which:
            self.set(self.find("DropdownModel", description="Audit"), index=which)
        self.set(self.find("ToggleButtonsModel"), index=1)


def words(messages):
    return json.dumps(messages, default=lambda v: bytes(v).decode("latin1") if isinstance(v, (bytes, memoryview)) else str(v))


@pytest.fixture(scope="module")
def audits(done, tmp_path_factory):
    "Three finished audits: one, half of it, and one whose shards are gone."
    folder = tmp_path_factory.mktemp("published") / "audits"
    shutil.copytree(done.folder, folder / "a")
    variant(done.folder, folder / "b", list(range(0, 60, 2)))
    shutil.copytree(done.folder, folder / "c")
    for part in (folder / "c" / "faces").iterdir():
        part.write_bytes(b"no parquet")
    return folder


@pytest.fixture(scope="module")
def server(audits, tmp_path_factory):
    "Behind a base path, three visitors, blurred faces."
    server = Server(audits, tmp_path_factory.mktemp("s") / "t", "/audits/", "max_visitors = 3\nshow_faces = blur\ntitle = Trial & error\n")
    yield server
    server.stop()
    assert not list(server.home.glob("identiface-*")), "the private folder stayed"


@pytest.fixture(scope="module")
def brief(audits, tmp_path_factory):
    "Whatever is idle for five seconds ends; no face is shown."
    server = Server(audits, tmp_path_factory.mktemp("s") / "t", "/", "cull_minutes = 0.09\nshow_faces = no\n")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def visitor(server):
    with Visitor(server) as visitor:
        yield visitor


def test_a_visitor_sends_no_code(visitor, tmp_path):
    trap = tmp_path / "trap"
    for channel in ("shell", "control"):
        for kind in ("execute_request", "complete_request", "inspect_request", "history_request", "debug_request", "input_reply", "create_subshell_request"):
            code = {"code": f"open({str(trap)!r}, 'w')", "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "cursor_pos": 0}
            visitor.send(kind, code, channel)
    kinds = {m["header"]["msg_type"] for m in visitor.ask("kernel_info_request", {})}
    assert kinds <= {"status", "kernel_info_reply"}, kinds
    assert not trap.exists()


def test_a_visitor_makes_no_widget_and_uploads_nothing(visitor):
    state = {"_model_name": "FileUploadModel", "_model_module": "@jupyter-widgets/controls", "_model_module_version": "2.0.0"}
    state |= {"_view_name": "FileUploadView", "_view_module": "@jupyter-widgets/controls", "_view_module_version": "2.0.0"}
    visitor.ask("comm_open", {"comm_id": "mine", "target_name": "jupyter.widget", "data": {"state": state, "buffer_paths": []}})
    held = visitor.widgets()
    assert "mine" not in held and not any("Upload" in w["model_name"] for w in held.values())


def test_hostile_values_are_checked_and_no_traceback_or_path_leaves(server, visitor, audits):
    visitor.open_audit()
    for model, widget in visitor.widgets().items():
        for trait in ("value", "index", "selected_index", "order", "selected", "cell", "rows", "max", "children", "_options_labels"):
            if trait in widget["state"]:
                for value in (10**9, "../../etc/passwd", [10**9], None):
                    visitor.send("comm_msg", {"comm_id": model, "data": {"method": "update", "state": {trait: value}, "buffer_paths": []}})
        for content in () if widget["model_name"] in ("LayoutModel", "HTMLStyleModel", "DescriptionStyleModel") else ({"type": "click", "row": 10**6, "column": "x"}, {"type": "click"}, {"type": "faces", "rows": [10**9], "side": "x", "parts": []}, {"event": "click"}, 7):
            visitor.send("comm_msg", {"comm_id": model, "data": {"method": "custom", "content": content}})
    visitor.ask("comm_msg", {"comm_id": "no such", "data": {}}, 60)
    told = words(visitor.seen)
    _clean(told, server, audits)
    assert not [m for m in visitor.seen if m["header"]["msg_type"] in ("error", "stream")]
    assert not [p for k in server.kernels() for p in k.children(recursive=True)], "a disabled button started a process"


def _clean(text, server, audits):
    for leak in ("Traceback", str(audits), str(server.home), str(ROOT), "site-packages", ".parquet", SECRET):
        assert leak not in text, f"{leak!r} leaked: …{text[max(0, text.find(leak) - 200) : text.find(leak) + 100]}"


def test_a_damaged_audit_says_so_without_a_path(server, visitor, audits):
    with Visitor(server) as visitor:
        visitor.open_audit(2)
        said = words(list(visitor.widgets().values()))
        assert "This did not work" in said or "cannot be shown" in said
        _clean(words(visitor.seen), server, audits)


NOTHING = "api/contents api/contents/audits.ipynb api/sessions api/kernels api/kernelspecs api/terminals api/config/notebook api/status api/me tree lab terminals/1 "
NOTHING += "notebooks/audits.ipynb edit/dashboard.json files/dashboard.json nbconvert/html/audits.ipynb voila/tree voila/render/other.ipynb voila/api/contents other.ipynb "
NOTHING += "voila/files/dashboard.json voila/files/audits.ipynb voila/files/voila.json voila/files/face.png voila/files/.hidden.png voila/files/FACE.PNG metrics login"


@pytest.mark.parametrize("path", NOTHING.split())
def test_nothing_but_the_page(server, path):
    for name in ("face.png", ".hidden.png", "other.ipynb"):
        shutil.copy(server.site / "audits.ipynb", server.site / name)
    before = {k.pid for k in server.kernels()}
    status, body, _ = server.get(path)
    assert status in (403, 404, 405) or (path == "login" and "audits" not in body), (status, body[:300])
    assert not {"audits.ipynb", "cells"} & set(re.findall(r"[\w.]+", body)), body[:300]
    assert {k.pid for k in server.kernels()} <= before


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["api/kernels", "api/contents/x", "api/sessions", "api/terminals", ""])
def test_nothing_can_be_written(server, path, method):
    assert server.get(path, method)[0] in (403, 404, 405)


TRAVERSALS = ["voila/files/../dashboard.json", "voila/files/..%2f..%2f..%2fetc%2fpasswd", "voila/static/../../../../../etc/passwd", "voila/static/%2e%2e/%2e%2e/app.py"]
TRAVERSALS += ["voila/templates/identiface/static/../conf.json", "voila/templates/../../static/x", "voila/labextensions/..%2f..%2f..%2fetc/passwd", "%2e%2e/%2e%2e/etc/passwd"]
TRAVERSALS += ["voila/files//etc/passwd", "voila/api/themes/..%2f..%2f..%2f..%2fetc%2fpasswd", "..%5c..%5cdashboard.json"]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out(server, path):
    before = {k.pid for k in server.kernels()}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", server.base + path)
    answer = connection.getresponse()
    body = answer.read().decode(errors="replace")
    assert answer.status in (302, 400, 403, 404, 500), answer.status
    assert "root:" not in body and "import " not in body and "base_template" not in body and str(server.home) not in body and "Traceback" not in body
    assert {k.pid for k in server.kernels()} <= before


@pytest.mark.parametrize("query", ["?template=classic", "?template=../../../x", "?theme=dark", "?template=nonsense&theme=none"])
def test_the_template_cannot_be_chosen(server, query):
    start = time.monotonic()
    with Visitor(server, query) as visitor:
        assert visitor.status == 200 and "idf-asleep" in visitor.page and 'data-jp-theme-light="true"' in visitor.page
    assert time.monotonic() - start < 30


def test_the_old_protocol_that_hangs_voila_is_refused(server, visitor):
    from tornado.httpclient import HTTPClientError

    mine = visitor.socket
    for protocol in ((), ("v0",)):
        with pytest.raises(HTTPClientError) as refused:
            visitor.connect(protocol)
        assert refused.value.code == 400
    visitor.socket = mine
    assert server.get("voila/static/voila.js", timeout=5)[0] == 200


@pytest.mark.parametrize("raw", [b"\xff" * 8, b"", b"\x06" + bytes(7), (6).to_bytes(8, "little") + b"\xff" * 64, "text"], ids=["counts to 2**64", "empty", "short", "far", "text"])
def test_a_message_that_lies_about_its_parts(server, raw):
    with Visitor(server) as visitor:
        visitor.run(lambda: visitor.socket.write_message(raw, binary=isinstance(raw, bytes)))
        visitor.listen(seconds=1)
        assert server.get("voila/static/voila.js", timeout=5)[0] == 200


def test_another_site_cannot_listen(visitor):
    from tornado.httpclient import HTTPClientError

    mine = visitor.socket
    with pytest.raises(HTTPClientError) as refused:
        visitor.connect(Origin="http://elsewhere.example")
    visitor.socket = mine
    assert refused.value.code == 403
    assert "frame-ancestors 'self'" in urllib.request.urlopen(visitor.server.address + "voila/static/voila.js").headers.get("Content-Security-Policy", "frame-ancestors 'self'")


def test_kernels_know_nothing_of_the_environment_and_hold_no_framework(server, visitor):
    visitor.open_audit()
    for kernel in server.kernels():
        assert SECRET not in kernel.environ().values() and kernel.environ()["HOME"].startswith(str(server.home))
        loaded = Path(f"/proc/{kernel.pid}/maps").read_text() if sys.platform == "linux" else ""
        assert not re.search("tensorflow|mediapipe", loaded)


def test_a_large_message_ends_the_socket_and_not_the_server(server):
    with Visitor(server) as visitor:
        with contextlib.suppress(Exception):
            visitor.send("comm_msg", {"comm_id": "x", "data": "x" * 3_000_000})
        answers = [m for m in visitor.listen(seconds=20) if m["parent_header"].get("session") == "s"]  # the server's own handshake may still come
        assert visitor.ended and not answers
    assert server.get("voila/static/voila.js")[0] == 200


def test_faces_are_blurred_before_they_leave(visitor, audits):
    from PIL import Image

    from identiface_audit.audit import Audit

    visitor.open_audit()
    grid = visitor.find("AnyModel", label="Faces")
    answer = visitor.custom(grid, {"type": "faces", "rows": [0, 1, 2], "side": 4096, "parts": "all", "id": 1})
    message = next(m for m in answer if m["content"].get("data", {}).get("content", {}).get("type") == "faces")
    faces, data = message["content"]["data"]["content"]["faces"], bytes(message["buffers"][0])
    assert len(faces) == 3
    audit = Audit(audits / "a")
    paths = [Path(audit.summary["faces_folder"]) / p for p in audit.faces(["image_path"])["image_path"][:3]]
    for face, path in zip(faces, paths, strict=True):
        picture = Image.open(io.BytesIO(data[face["start"] : face["start"] + face["length"]])).convert("L")
        original = Image.open(path).convert("L").resize(picture.size)
        assert max(picture.size) <= 512
        detail, was = (np.abs(np.diff(np.asarray(p, float), 2)).mean() for p in (picture, original))
        assert detail < was / 4, (detail, was)
        assert face["name"].startswith("face ")
    assert not re.search(r"\d+_[01]_[0-4]_\w+\.(png|jpg)", words(visitor.seen)), "a file name was told"


def test_eight_at_once_and_three_places(server, visitor):
    server.get(f"voila/api/shutdown/{visitor.kernel}", "POST")  # the last test that needs it was above
    assert until(lambda: len(server.kernels()) <= 1), "visitors of earlier tests stay"
    with ThreadPoolExecutor(8) as crowd:
        came = list(crowd.map(lambda _: Visitor(server), range(8)))
    assert len(server.kernels()) <= 3
    inside, outside = [v for v in came if v.status == 200], [v for v in came if v.status != 200]
    assert 2 <= len(inside) <= 3 and {v.status for v in outside} == {503}, [v.status for v in came]  # the third place may be warming up in the pool
    assert all("All places are taken" in v.page and v.kernel is None for v in outside)
    for v in inside:
        server.get(f"voila/api/shutdown/{v.kernel}", "POST")
    assert until(lambda: len(server.kernels()) == 1), f"{server.kernels()}: left pages keep their kernels, or the pool was not filled again"
    time.sleep(2)
    start = time.monotonic()
    with Visitor(server) as again:
        assert again.status == 200 and "idf-title" not in again.page.split("<style>")[0]
    assert time.monotonic() - start < 10


def test_the_log_holds_no_kernel_id(server):
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", server.log.read_text())


def test_pages_that_nobody_opens_end_and_no_face_is_sent(brief):
    with Visitor(brief) as visitor:
        visitor.open_audit()
        grid = visitor.find("AnyModel", label="Faces")
        answer = visitor.custom(grid, {"type": "faces", "rows": [0, 1], "side": 512, "parts": "all", "id": 1})
        message = next(m for m in answer if m["content"].get("data", {}).get("content", {}).get("type") == "faces")
        assert [f["length"] for f in message["content"]["data"]["content"]["faces"]] == [0, 0]
        assert b"\xff\xd8\xff" not in bytes(message["buffers"][0]), "a JPEG"
        assert until(lambda: brief.get(f"api/kernels/{visitor.kernel}")[0] == 404, 30), "a connected page that nobody touches stays"
    lost = Visitor(brief)
    assert lost.status == 200
    assert until(lambda: brief.get(f"api/kernels/{lost.kernel}")[0] == 404, 30), "a kernel without a page stays"


@needs_browser
def test_the_page_in_a_browser_behind_a_base_path(server):
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        outside, errors = watch(page)
        page.goto(server.address)
        page.wait_for_selector(".idf-table tbody tr", timeout=30_000)
        assert page.locator(".idf-title").inner_text() == "Trial & error"
        page.get_by_role("button", name="Two audits").click()
        page.get_by_text("Shares and their differences").wait_for()
        page.get_by_role("button", name="One audit").click()
        page.wait_for_selector(".idf-cell:not(.idf-wait)", timeout=30_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert outside == [] and errors == []
        kernel = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
        page.goto("about:blank")
        assert until(lambda: server.get(f"api/kernels/{kernel}")[0] == 404), "the page closed and its kernel stays"


@needs_browser
def test_a_page_whose_kernel_ended_says_so(brief):
    with chromium() as browser:
        page = browser.new_page()
        page.goto(brief.address)
        page.wait_for_selector(".idf-table tbody tr", timeout=30_000)
        assert page.locator("#idf-asleep").is_hidden()
        kernel = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
        brief.get(f"voila/api/shutdown/{kernel}", "POST")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.locator("#idf-asleep").wait_for(state="visible", timeout=5000)


def test_a_port_that_is_taken_and_a_folder_without_audits_are_one_line(audits, tmp_path):
    from identiface_audit.cli import main

    assert main(["serve", str(tmp_path)]) == 3
    assert main(["serve", str(audits), "--show-faces", "maybe"]) == 3
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", str(audits), "--port", str(taken.getsockname()[1])]) != 0
