"""The widgets in a real Chromium: the modules alone with a fake model, each viewer in Voilà, the grid in JupyterLab and Notebook 7."""

import contextlib
import re
import shutil

import numpy as np
import pytest
from browser import ROOT, chromium, find_chromium, lab, notebook, voila, watch

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no chromium, chromium-browser or google-chrome is installed"),
]
STATIC = ROOT / "identiface_audit" / "static"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser):
    "A page that must ask nothing of another host and must raise nothing."
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    outside, errors = watch(page)
    yield page
    page.close()
    assert not outside
    assert not [e for e in errors if "favicon" not in e]


# --- the modules alone

MODEL = """
window.Model = class {
  constructor(state, answer) { Object.assign(this, { state, answer, heard: {}, saved: [], sent: [] }); }
  get(k) { return this.state[k]; }
  set(k, v) { this.state[k] = v; (this.heard["change:" + k] || []).forEach(f => f()); }
  save_changes() { this.saved.push(structuredClone(this.state.selected ?? this.state.sort)); }
  on(k, f) { (this.heard[k] ??= []).push(f); }
  off(k, f) { this.heard[k] = (this.heard[k] || []).filter(g => g !== f); }
  send(m) { this.sent.push(m); if (this.answer) setTimeout(() => this.answer(this, m), 5); }
  reply(m, buffers) { (this.heard["msg:custom"] || []).forEach(f => f(m, buffers)); }
};
window.frames2 = () => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)));
"""
GRID = """async ([source, n, silent]) => {
  window.grid = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const picture = async row => {
    const c = new OffscreenCanvas(8, 8), x = c.getContext("2d");
    x.fillStyle = `rgb(${row % 2 ? 200 : 40}, 120, 60)`; x.fillRect(0, 0, 8, 8);
    return new Uint8Array(await (await c.convertToBlob({ type: "image/jpeg", quality: 1 })).arrayBuffer());
  };
  const answer = async (model, m) => {
    if (m.type === "faces" && m.parts === "boxes") return model.reply({ type: "faces", id: m.id, rows: m.rows, faces: m.rows.map(() => ({ boxes: [[0, 0, 2, 2, "lips"]], around: [], regions: [] })) }, []);
    const rows = m.type === "face" ? [m.row] : m.rows, jpegs = await Promise.all(rows.map(picture));
    let start = 0;
    const faces = rows.map((row, i) => {
      const face = { boxes: [], around: [[1, 1, 3, 3, "lips"]], regions: ["lips"], caption: `row ${row}`, brief: `${row}`, name: `<b>${row}</b>.jpg`, wrong: row % 3 === 0, facts: [["true", "FEMALE"]], said: `face ${row}`, start, length: jpegs[i].length, reason: "", drops: [["lips", 1.5], ["nose", -0.5]] };
      start += jpegs[i].length;
      return face;
    });
    const whole = new Uint8Array(start);
    jpegs.forEach((j, i) => whole.set(j, faces[i].start));
    const heat = new Uint8Array(rows.length * 16).map((_, k) => (k % 16) * 17), points = new Int16Array(rows.length * 6).map((_, k) => [1, 1, 3, 1, 2, 3][k % 6] * 2048);
    const reply = { type: m.type, id: m.id, rows, shape: [4, 4], points: [["lips", 3]] };
    model.reply(m.type === "face" ? { ...reply, row: m.row, face: faces[0] } : { ...reply, faces }, [whole, heat, points].map(a => new DataView(a.buffer)));
  };
  const lut = new Uint8Array(768).map((_, k) => (k % 3 === 0 ? 255 : 0));
  window.model = new Model({ order: new DataView(new Int32Array(n).map((_, k) => k).buffer), selected: [], active: -1, layers: ["faces"], opacity: 1, threshold: 0, colormap: "red", cell: 96, height: 400,
    label: "Faces", notice: "", empty: "Nobody.", luts: new DataView(lut.buffer), lut_names: ["red"], colours: { lips: "#e6c700" }, input_shape: [4, 4], toolbar: true, poster: new DataView(new ArrayBuffer(0)) }, silent ? null : answer);
  const el = document.querySelector("#root");
  window.stop = grid.default.render({ model, el });
  if (n && !silent) while (!document.querySelector(".idf-caption")?.textContent) await frames2();
}"""
PIXEL = """([row, x, y]) => {
  const c = [...document.querySelectorAll(".idf-cell")].find(e => e.getAttribute("aria-label") === `face ${row}`).querySelector("canvas");
  return [...c.getContext("2d").getImageData(x * c.width, y * c.height, 1, 1).data];
}"""


def open_grid(page, n=1000, silent=False):
    css = "".join((STATIC / name).read_text() for name in ("theme.css", "grid.css"))
    page.set_content(f"<style>{css}</style><div id=root style='width:800px'></div><script>{MODEL}</script>")
    page.evaluate(GRID, [(STATIC / "grid.js").read_text(), n, silent])


def test_only_visible_faces_exist_and_are_asked_for(page):
    open_grid(page, 23_708)
    page.wait_for_timeout(300)
    assert page.locator(".idf-cell:visible").count() < 60
    asked = page.evaluate("model.sent.flatMap(m => m.rows)")
    assert len(asked) == len(set(asked)) < 60
    page.evaluate("document.querySelector('.idf-scroll').scrollTop = 1e6")
    page.wait_for_timeout(400)
    last = page.locator(".idf-cell[aria-posinset='23708']")
    assert last.get_attribute("aria-setsize") == "23708" and last.locator(".idf-caption").inner_text() == "row 23707"
    assert page.locator(".idf-cell").count() < 80, "cells are used again"


def test_pictures_heat_and_boxes_are_painted_and_sliders_need_no_kernel(page):
    open_grid(page, 30)
    page.wait_for_timeout(200)
    assert np.abs(np.array(page.evaluate(PIXEL, [1, 0.9, 0.9]))[:3] - [200, 120, 60]).max() < 12
    before = page.evaluate("model.sent.length")
    page.evaluate("model.set('layers', ['faces', 'heat']); frames2()")
    assert np.abs(np.array(page.evaluate(PIXEL, [1, 0.95, 0.95]))[:3] - [255, 0, 0]).max() < 12, "the hottest corner is red"
    slider = page.locator("input[data-trait=threshold]")
    slider.evaluate("e => { e.value = 1; e.dispatchEvent(new Event('input')); }")
    page.evaluate("frames2()")
    assert np.abs(np.array(page.evaluate(PIXEL, [1, 0.5, 0.5]))[:3] - [200, 120, 60]).max() < 12, "below the threshold the face is bare"
    slider.evaluate("e => { e.value = 0; e.dispatchEvent(new Event('input')); }")
    page.locator("input[data-trait=opacity]").evaluate("e => { e.value = 0.5; e.dispatchEvent(new Event('input')); }")
    page.evaluate("frames2()")
    assert np.abs(np.array(page.evaluate(PIXEL, [1, 0.95, 0.95]))[:3] - [228, 60, 30]).max() < 14
    page.evaluate("model.set('layers', ['faces', 'kept']); frames2()")
    assert np.abs(np.array(page.evaluate(PIXEL, [1, 0.25, 0.5]))[:3] - [230, 199, 0]).max() < 60, "the kept region in its colour"
    assert page.evaluate("model.sent.length") == before and page.evaluate("model.saved.length") == 0


def test_boxes_that_changed_are_fetched_alone(page):
    open_grid(page, 30)
    page.evaluate("model.set('layers', ['faces', 'activation']); model.reply({ type: 'stale' }, []); new Promise(r => setTimeout(r, 200))")
    sent = page.evaluate("model.sent")
    assert sent[-1]["parts"] == "boxes" and sorted(sent[-1]["rows"]) == list(range(len(sent[-1]["rows"])))
    assert np.abs(np.array(page.evaluate(PIXEL, [1, 0.5, 0.25]))[:3] - [230, 199, 0]).max() < 60


def test_keys_move_select_magnify_and_close(page):
    open_grid(page, 1000)
    box = page.locator(".idf-scroll")
    box.focus()
    across = page.evaluate("Math.floor((document.querySelector('.idf-scroll').clientWidth + 6) / 110)")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert page.evaluate("model.get('selected')") == [1]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert page.evaluate("model.get('selected')") == [1, 1 + across]
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("model.get('selected')") == [1 + across, 2 + across]
    page.keyboard.press("End")
    active = box.get_attribute("aria-activedescendant")
    assert page.locator(f"[id='{active}']").get_attribute("aria-posinset") == "1000"
    page.keyboard.press("Home")
    page.keyboard.press("PageDown")
    assert page.evaluate("document.querySelector('.idf-scroll').scrollTop") > 0
    page.keyboard.press("Control+a")
    assert page.evaluate("model.get('selected').length") == 1000
    page.keyboard.press("Enter")
    page.wait_for_selector(".idf-bars")
    assert "lips" in page.locator(".idf-bars").inner_text() and "1.50" in page.locator(".idf-bars").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".idf-big").is_hidden()
    page.keyboard.press("Escape")
    assert page.evaluate("model.get('selected')") == []


def test_of_very_many_faces_a_section_at_a_time_is_here(page):
    open_grid(page, 1000)
    page.evaluate("""() => {
      const old = model.answer, first = p => 1000 * Math.floor(p / 1000);
      model.answer = (m, q) => {
        if (q.type !== "section") return old(m, q);
        m.state.start = first(q.position), m.state.total = 9_876_543;
        m.set("order", new DataView(new Int32Array(Math.min(1000, 9_876_543 - m.state.start)).map((_, k) => m.state.start + k).buffer));
      };
      model.answer(model, { type: "section", position: 0 });
    }""")
    active = lambda: page.locator(f"[id='{page.locator('.idf-scroll').get_attribute('aria-activedescendant')}']")  # noqa: E731
    where = lambda n: page.wait_for_function("n => document.querySelector('.idf-active')?.getAttribute('aria-posinset') === String(n)", arg=n, timeout=5000)  # noqa: E731
    sections = page.get_by_role("navigation", name="Sections of the faces")
    assert "1 to 1,000 of 9,876,543" in sections.inner_text() and "9,876,543 faces" in page.locator(".idf-status").inner_text()
    page.locator(".idf-scroll").focus()
    page.keyboard.press("End")
    where(9_876_543)
    assert active().get_attribute("aria-setsize") == "9876543" and "9,876,001 to 9,876,543" in sections.inner_text()
    page.keyboard.press("Home")
    where(1)
    page.get_by_label("Go to the face with this number").fill("7654321")
    page.keyboard.press("Enter")
    where(7_654_321)
    page.wait_for_function("document.querySelector('.idf-active .idf-caption').textContent === 'row 7654320'")
    page.get_by_role("button", name="The faces after these").click()
    where(7_655_001)
    page.locator(".idf-scroll").focus()
    page.keyboard.press("ArrowLeft")
    where(7_655_000)
    page.keyboard.press("Space")
    assert page.evaluate("model.get('selected')") == [7_654_999]
    page.get_by_role("button", name="The faces after these").click()
    where(7_655_001)
    assert page.evaluate("model.get('selected')") == [7_654_999] and "1 selected" in page.locator(".idf-status").inner_text()
    assert page.locator(".idf-cell").count() < 80
    open_grid(page, 1000)
    assert page.locator(".idf-sections").is_hidden()


def test_click_drag_and_tooltip(page):
    open_grid(page, 100)
    cell = page.locator(".idf-cell[aria-posinset='3']")
    cell.hover()
    tip = page.locator(".idf-tip")
    assert "<b>2</b>.jpg" in tip.inner_text() and "FEMALE" in tip.inner_text(), "names are text, never markup"
    cell.click()
    assert page.evaluate("model.get('selected')") == [2] and cell.get_attribute("aria-selected") == "true"
    page.locator(".idf-cell[aria-posinset='5']").click(modifiers=["Control"])
    assert page.evaluate("model.get('selected')") == [2, 4]
    page.locator(".idf-cell[aria-posinset='6']").click(modifiers=["Shift"])
    assert page.evaluate("model.get('selected')") == [4, 5]
    one, two = (page.locator(f".idf-cell[aria-posinset='{i}']").bounding_box() for i in (1, 4))
    page.mouse.move(one["x"] + 40, one["y"] + 40)
    page.mouse.down()
    page.mouse.move(two["x"] + 40, two["y"] + 40, steps=8)
    page.mouse.up()
    assert page.evaluate("model.get('selected')") == [0, 1, 2, 3]
    page.get_by_text("Clear selection").click()
    assert page.evaluate("model.get('selected')") == []


def test_a_grid_without_faces_says_so_and_one_face_fits(page):
    open_grid(page, 0)
    assert page.locator(".idf-empty").inner_text() == "Nobody." and "0 faces" in page.locator(".idf-status").inner_text()
    open_grid(page, 1)
    assert "1 face" in page.locator(".idf-status").inner_text() and page.locator(".idf-cell").count() == 1


def test_without_a_kernel_a_picture_is_shown(browser):
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    page.set_content(f"<div id=root style='width:800px'></div><script>{MODEL}</script>")
    page.evaluate(GRID, [(STATIC / "grid.js").read_text(), 5, True])
    page.evaluate("model.state.poster = new DataView(new Uint8Array([255, 216, 255]).buffer)")
    page.clock.run_for(7000)
    assert "No kernel answers" in page.locator(".idf-alert").inner_text()
    assert page.locator("img.idf-poster").count() == 1
    context.close()


def test_a_face_without_a_picture_says_why(page):
    open_grid(page, 3)
    page.evaluate("""() => {
      const old = model.answer;
      model.answer = (m, q) => old({ reply: (r, b) => m.reply({ ...r, faces: r.faces.map(f => ({ ...f, length: 0, reason: "file vanished" })) }, b) }, q);
      model.set("cell", 200);
    }""")
    page.wait_for_timeout(400)
    colours = page.evaluate(
        """() => { const c = [...document.querySelectorAll(".idf-cell")].find(e => e.getAttribute("aria-label") === "face 1").querySelector("canvas");
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, n = {};
        for (let i = 0; i < d.length; i += 4) n[d.slice(i, i + 3).join()] = (n[d.slice(i, i + 3).join()] || 0) + 1; return n; }"""
    )
    assert max(colours, key=colours.get) == "238,238,238" and colours.get("34,34,34", 0) > 50, "dark words on a light ground"


def test_nothing_is_left_when_a_view_is_taken_away(page):
    open_grid(page, 50)
    assert page.evaluate("stop(), Object.values(model.heard).flat().length") == 0


def test_the_modules_import_nothing():
    for name in ("grid.js", "table.js"):
        source = (STATIC / name).read_text()
        assert not re.search(r"^\s*import\b|\bimport\s*\(|https?://(?!www\.w3\.org)", source, re.M)


TABLE = """async source => {
  const table = (await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })))).default;
  window.model = new Model({ columns: [{ key: "g", label: "group", kind: "text", head: true }, { key: "n", label: "faces", kind: "number" }, { key: "s", label: "share", kind: "number", domain: [0, 1] }],
    rows: [{ g: "b <i>", n: { v: 20, text: "20", click: true }, s: { v: 0.2, low: 0.1, high: 0.3, text: "0.2" } }, { g: "a", n: { v: 3, text: "3", click: true }, s: { v: null, text: "–" } }, { g: "c", n: { v: 100, text: "100" }, s: { v: 0.9, text: "0.9" } }],
    caption: "Groups", note: "", empty: "None.", sortable: true, sort: ["", false], pressed: "", height: 0, uid: "u" });
  table.render({ model, el: document.querySelector("#root") });
}"""


def test_a_table_sorts_here_and_tells_what_was_clicked(page):
    page.set_content(f"<div id=root></div><script>{MODEL}</script>")
    page.evaluate(TABLE, (STATIC / "table.js").read_text())
    column = lambda k: page.locator(f"tbody tr > :nth-child({k})").all_inner_texts()  # noqa: E731
    assert column(1) == ["b <i>", "a", "c"]
    page.get_by_role("button", name="faces", exact=True).click()
    assert column(2) == ["100", "20", "3"], "numbers as numbers, the largest first"
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("faces")
    page.get_by_role("button", name="share").click()
    page.get_by_role("button", name="share").click()
    assert column(1) == ["b <i>", "c", "a"], "what is not estimable stands last either way"
    page.get_by_role("button", name="a, faces: 3. Show the faces").click()
    assert page.evaluate("model.sent.at(-1)") == {"type": "click", "row": 1, "column": "n"}
    assert page.locator("svg circle").count() == 2 and page.get_by_role("table", name="Groups").count() == 1
    page.evaluate("model.set('rows', [])")
    page.get_by_text("None.").wait_for()


# --- in Voilà


@pytest.fixture(scope="module")
def voila_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voila")
    with voila(folder, tracebacks=True) as address:
        yield folder, address


@pytest.fixture(scope="module")
def show(voila_server, done, browser):
    "Pages by name: one kernel shows all viewers, each below a heading, and says in words what Python knows."
    folder, address = voila_server
    source = f"""
from identiface_audit.audit import Audit
from identiface_audit.widgets.app import VIEWERS, AuditApp
from identiface_audit.widgets.grid import FaceGrid
import ipywidgets as w
audit = Audit({str(done.folder)!r})
shown = {{"FaceGrid": FaceGrid(audit)}} | {{v.__name__: v(audit) for v in VIEWERS}} | {{"AuditApp": audit.widget()}}
for name, it in shown.items():
    grid = it if name == "FaceGrid" else it.grid
    said = w.Label("")
    said.add_class("said")
    def tell(_, said=said, grid=grid, it=it):
        known = getattr(it, "now", None)
        said.value = f"selected {{list(grid.selected)}} rows {{len(grid.rows)}} percentile {{getattr(known, 'percentile', '')}} opacity {{grid.opacity}}"
    grid.observe(tell, ["selected", "order", "opacity"])
    if hasattr(it, "percentile"):
        it.percentile.observe(tell, "value")
    box = w.VBox([said, it])
    box.add_class(f"at-{{name}}")
    display(box)
"""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    outside, errors = watch(page)
    page.goto(f"{address}/voila/render/{notebook(folder / 'all.ipynb', source)}")
    page.wait_for_selector(".at-AuditApp .idf-caption", timeout=90_000)
    yield lambda name: page.locator(f".at-{name}")
    assert not outside and not errors
    page.close()


def said(part, pattern, timeout=10_000):
    with contextlib.suppress(Exception):
        part.page.wait_for_function("([e, p]) => new RegExp(p).test(e.textContent)", arg=[part.locator(".said").element_handle(), pattern], timeout=timeout)
    text = part.locator(".said").inner_text()
    assert re.search(pattern, text), text


def painted(part):
    "Share of coloured pixels in the first face's canvas, by the browser's own pixels."
    part.locator(".idf-cell:not(.idf-wait)").first.wait_for()
    return part.locator(".idf-cell canvas").first.evaluate(
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0; for (let i = 0; i < d.length; i += 4) n += Math.abs(d[i] - d[i + 2]) > 60; return n / (d.length / 4); }"
    )


def test_the_grid_tells_python_what_is_chosen(show):
    part = show("FaceGrid")
    part.scroll_into_view_if_needed()
    part.locator(".idf-cell[aria-posinset='4']").click()
    said(part, r"selected \[3\]")
    one, two = (part.locator(f".idf-cell[aria-posinset='{i}']").bounding_box() for i in (1, 3))
    mouse = part.page.mouse
    mouse.move(one["x"] + 40, one["y"] + 40)
    mouse.down()
    mouse.move(two["x"] + 40, two["y"] + 40, steps=6)
    mouse.up()
    said(part, r"selected \[0, 1, 2\]")
    hot = painted(part)
    slider = part.locator("input[data-trait=opacity]")
    slider.evaluate("e => { e.value = 0; e.dispatchEvent(new Event('input')); }")
    part.page.wait_for_timeout(200)
    assert painted(part) < hot / 2, "the heat is gone from the pixels"
    assert "opacity 0.0" not in part.locator(".said").inner_text(), "and Python was not asked"
    slider.evaluate("e => e.dispatchEvent(new Event('change'))")
    said(part, r"opacity 0\.0")


def test_faces_are_filtered(show):
    part = show("FacesViewer")
    part.locator("select").first.select_option("FEMALE")
    said(part, "rows 30")
    part.get_by_role("button", name=re.compile("FEMALE, misclassified")).click()
    said(part, r"rows \d\b|rows 1\d\b")


def test_a_cell_of_the_matrix_shows_its_faces(show, done):
    part = show("PredictionsViewer")
    rows = done.faces(["true_gender", "predicted_gender"])
    n = int(((rows["true_gender"] == "FEMALE") & (rows["predicted_gender"] == "MALE")).sum())
    part.get_by_role("button", name=re.compile(r"FEMALE, MALE: ")).click()
    said(part, rf"rows {n}\b")
    assert f"{n} face" in part.locator(".idf-status").inner_text() and part.locator("img").count() >= 1


def test_the_percentile_moves_boxes_and_table(show):
    part = show("SaliencyViewer")
    painted(part)
    pixels = "c => c.toDataURL()"
    before, table = part.locator(".idf-cell canvas").first.evaluate(pixels), part.locator(".idf-table").first.inner_text()
    handle = part.locator(".noUi-handle").first
    handle.focus()
    for _ in range(4):
        handle.press("PageDown")
    said(part, r"percentile [1-8]\d\.")
    part.page.wait_for_function("([e, old]) => e.innerText !== old", arg=[part.locator(".idf-table").first.element_handle(), table])
    part.page.wait_for_timeout(500)
    assert part.locator(".idf-cell canvas").first.evaluate(pixels) != before


def test_the_rule_moves_the_labels(show):
    part = show("RegionsViewer")
    table = part.locator(".idf-table").first
    before = table.inner_text()
    part.locator("select").first.select_option("mass")
    part.page.wait_for_function("([e, old]) => e.innerText !== old", arg=[table.element_handle(), before])
    assert part.locator(".noUi-target[disabled], [disabled] .noUi-target").count() >= 1, "the mass asks for no overlap"


def test_the_bias_table_sorts_and_shows_the_faces_behind_a_number(show, done):
    part = show("BiasViewer")
    table = part.locator(".idf-table").first
    table.get_by_role("button", name="p after Holm").click()
    assert table.locator("th[aria-sort=descending], th[aria-sort=ascending]").count() == 1
    lips = done.summary["regions"]["nose"]["FEMALE"]
    table.get_by_role("button", name=re.compile("nose, FEMALE misclassified")).click()
    said(part, rf"rows {lips['denominator']}\b")


def test_validity_says_what_was_not_run(show):
    assert "validate --model" in show("ValidityViewer").inner_text()


def test_the_application_holds_one_choice(show):
    part = show("AuditApp")
    part.locator(".idf-faces .idf-cell[aria-posinset='2']").click()
    said(part, r"selected \[1\]")
    part.get_by_role("tab", name="Predictions").click()
    part.get_by_role("button", name=re.compile(r"FEMALE, FEMALE: ")).click()
    said(part, r"selected \[1\] rows (\d+)")
    part.get_by_role("tab", name="Bias").click()
    part.get_by_text("Bias by region").first.wait_for()
    part.get_by_role("button", name="Show all").click()
    said(part, "rows 60")
    part.get_by_role("tab", name="Run").click()
    part.get_by_label("Model").first.fill("nowhere.keras")
    part.get_by_role("button", name=re.compile("^(Run|Resume)$")).click()
    alert = part.get_by_role("alert").filter(has_text="nowhere.keras")
    alert.wait_for(timeout=30_000)
    assert "Traceback" not in part.inner_text()


# --- in JupyterLab and Notebook 7


@pytest.mark.parametrize(("application", "path"), [("jupyterlab", "/lab/tree/"), ("notebook", "/notebooks/")])
def test_the_grid_in(application, path, done, browser, tmp_path):
    source = f"from identiface_audit.audit import Audit\nfrom identiface_audit.widgets.grid import FaceGrid\naudit = Audit({str(done.folder)!r})\n%%\nFaceGrid(audit)"
    name = notebook(tmp_path / "a.ipynb", source)
    with lab(tmp_path, application) as address:
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        outside, errors = watch(page)
        page.goto(f"{address}{path}{name}")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        page.wait_for_function("window.jupyterapp?.commands.hasCommand('notebook:run-all-cells')", timeout=60_000)
        page.wait_for_timeout(1500)
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_selector(".idf-caption:has-text('%')", timeout=60_000)
        still = page.locator(".jp-OutputArea img[src^='data:image/jpeg']")
        assert still.count() == 1 and not still.is_visible(), "the live grid takes its place"
        page.locator(".idf-scroll").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        page.locator(".idf-cell[aria-posinset='2'][aria-selected=true]").wait_for(timeout=5000)
        assert page.locator(".jp-Cell").count() <= 3, "keys of the grid are not the notebook's"
        page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        page.wait_for_timeout(1500)
        shutil.copy(tmp_path / name, tmp_path / "b.ipynb")
        alone = path.replace("/lab/", "/lab/workspaces/other/")  # without the tab that is still open in this one
        page.goto(f"{address}{alone}b.ipynb")  # saved, and its kernel gone
        page.locator(".jp-OutputArea img[src^='data:image/jpeg']").wait_for(timeout=30_000)
        assert page.locator(".idf-grid").count() == 0
        assert not outside
        page.close()
    text = (tmp_path / name).read_text()
    assert "image/jpeg" in text and "widget-view+json" in text
    html = without_kernel(tmp_path / name)
    assert "data:image/jpeg;base64" in html and "Traceback" not in html


def without_kernel(path):
    "The saved notebook as nbconvert shows it."
    import nbformat
    from nbconvert import HTMLExporter

    return HTMLExporter().from_notebook_node(nbformat.read(path, as_version=4))[0]
