"""How quick the widgets are: python benchmarks/widgets.py [--demo DIR]

One audit of 23,708 rows that repeats the demo's, in Voilà, in headless Chromium. Wall-clock figures say what a user sees on this machine as busy as it is;
the figures in CPU time say what the widget itself costs. Load is printed with them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import chromium, large_audit, notebook, voila  # noqa: E402

GRID = """import time
from identiface_audit.audit import Audit
from identiface_audit.widgets.grid import FaceGrid
grid = FaceGrid(Audit({audit!r}))
grid"""
LIVE = """import time
import numpy as np
import ipywidgets as w
from identiface_audit.audit import Audit
from identiface_audit.widgets.saliency_viewer import SaliencyViewer
viewer = SaliencyViewer(Audit({audit!r}))
index = viewer.choice.index
wrong = np.flatnonzero(index["wrong"] & index["seen"])
keep = np.zeros(len(index), bool)
keep[wrong[:1000]] = True
viewer.choice._mask = keep
viewer.refresh()
said = w.Label("")
said.add_class("cost")
inner = viewer.changed
def timed(value):
    cpu, wall = time.thread_time(), time.perf_counter()
    inner(value)
    said.value = f"{{time.thread_time() - cpu}} {{time.perf_counter() - wall}}"
viewer.percentile.unobserve_all("value")
viewer.on(viewer.percentile, timed)
w.VBox([said, viewer])"""

SCROLL = """async seconds => {
  const s = document.querySelector(".idf-scroll"), times = [];
  await new Promise(done => {
    const start = performance.now();
    const step = t => { times.push(t); s.scrollTop += 14; t - start < 1000 * seconds ? requestAnimationFrame(step) : done(); };
    requestAnimationFrame(step);
  });
  const gaps = times.slice(1).map((t, i) => t - times[i]).sort((a, b) => a - b);
  return { fps: (1000 * gaps.length) / gaps.reduce((a, b) => a + b), frames: gaps.length, median_ms: gaps[gaps.length >> 1], p95_ms: gaps[Math.floor(0.95 * gaps.length)] };
}"""
SLIDE = """async moves => {
  const grid = document.querySelector(".idf-grid"), out = { opacity: [], threshold: [], frame: [] };
  for (const trait of ["opacity", "threshold"]) {
    const slider = document.querySelector(`input[data-trait=${trait}]`);
    for (let i = 0; i < moves; i++) {
      slider.value = (i % 20) / 25;
      const start = performance.now();
      slider.dispatchEvent(new Event("input"));
      await new Promise(r => requestAnimationFrame(() => setTimeout(r)));
      out[trait].push(+grid.dataset.ms);
      out.frame.push(performance.now() - start);
    }
  }
  return Object.fromEntries(Object.entries(out).map(([k, v]) => [k, { median_ms: v.sort((a, b) => a - b)[v.length >> 1], p95_ms: v[Math.floor(0.95 * v.length)] }]));
}"""


def cpu(page):
    "A function that gives the seconds of CPU time that the page's main thread has used."
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    return lambda: {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}["TaskDuration"]


def measure(address, folder, audit, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{address}/voila/render/{notebook(folder / 'grid.ipynb', GRID.format(audit=str(audit)))}")
    page.wait_for_selector(".idf-grid", timeout=120_000)
    start = time.perf_counter()
    page.wait_for_function("document.querySelector('.idf-grid').dataset.drawn > 0", polling="raf")
    out = {"first faces after display, s": round(time.perf_counter() - start, 3)}
    page.wait_for_timeout(1500)
    used = cpu(page)
    for k in range(3):
        before, load = used(), os.getloadavg()[0]
        scroll = page.evaluate(SCROLL, 5)
        scroll["cpu_ms_a_frame"] = 1000 * (used() - before) / scroll["frames"]
        out[f"scroll {k + 1}"] = {name: round(v, 2) for name, v in scroll.items()} | {"load": round(load, 1)}
    page.evaluate("document.querySelector('.idf-scroll').scrollTop = 0")
    page.wait_for_timeout(2500)
    before = used()
    out["slider"] = page.evaluate(SLIDE, 60) | {"visible faces": page.locator(".idf-cell:visible").count()}
    out["slider"]["cpu_ms_a_move"] = round(1000 * (used() - before) / 120, 2)
    page.close()
    return out


def live(address, folder, audit, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/voila/render/{notebook(folder / 'live.ipynb', LIVE.format(audit=str(audit)))}")
    page.wait_for_selector(".idf-caption:has-text('%')", timeout=120_000)
    page.wait_for_timeout(3000)
    handle = page.locator(".noUi-handle").first
    handle.focus()
    out = []
    for _ in range(8):
        drawn = page.locator(".idf-table").first.get_attribute("data-drawn")
        start = time.perf_counter()
        handle.press("ArrowLeft")
        page.wait_for_function("n => document.querySelector('.idf-table').dataset.drawn > n", arg=drawn, polling="raf")
        wall = time.perf_counter() - start
        page.wait_for_timeout(600)
        kernel = [float(v) for v in page.locator(".cost").inner_text().split()]
        out.append({"release to table, ms": round(1000 * wall), "kernel, ms of CPU": round(1000 * kernel[0]), "kernel, ms": round(1000 * kernel[1])})
    page.close()
    return out


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--demo", help="folder of `identiface-audit demo`; made where it is not given")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        demo = Path(args.demo or folder / "demo").resolve()
        if not args.demo:
            subprocess.run([sys.executable, "-m", "identiface_audit", "demo", "--out", demo], check=True, cwd=ROOT)
        audit = large_audit(demo / "audit", folder / "large")
        (folder / "pages").mkdir()
        with voila(folder / "pages") as address, chromium() as browser:
            result = measure(address, folder / "pages", audit, browser)
            result["1,000 faces at a new percentile"] = live(address, folder / "pages", audit, browser)
        result["cores"], result["load"] = os.cpu_count(), [round(v, 1) for v in os.getloadavg()]
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
