"""The moving picture of the front page: python tools/moving.py DEMO_DIR. A real Chromium works the real application on drawn faces.

Writes nbs/images/app_moving.webp, and nbs/images/app_still.webp for readers who ask for less motion.
"""

import io
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import chromium, notebook, voila, watch  # noqa: E402
from PIL import Image  # noqa: E402

SOURCE = "from identiface_audit.audit import Audit\nit = Audit({audit!r}).widget(run=False)\nit.show('Bias')\nit"
VIEW, SMALL = {"width": 1280, "height": 1010}, (1000, 789)


def main(demo: str) -> None:
    frames, times = [], []
    with tempfile.TemporaryDirectory() as folder, voila(folder) as address, chromium() as browser:
        page = browser.new_page(viewport=VIEW, color_scheme="light")
        outside, errors = watch(page)
        name = notebook(Path(folder) / "app.ipynb", SOURCE.format(audit=str(Path(demo).resolve() / "audit")))
        page.goto(f"{address}/voila/render/{name}")
        page.wait_for_function("[...document.querySelectorAll('.idf-grid')].some(g => g.dataset.drawn > 0)", timeout=120_000)
        page.wait_for_timeout(2500)
        page.add_style_tag(
            content="#hand { position: fixed; z-index: 9; width: 22px; height: 22px; border-radius: 50%; background: #1565c055; border: 2px solid #1565c0; }"
        )
        page.evaluate("document.body.append(Object.assign(document.createElement('div'), { id: 'hand', hidden: true }))")

        def shoot(seconds, wait=500):
            page.wait_for_timeout(wait)
            frames.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB").resize(SMALL, Image.Resampling.LANCZOS))
            times.append(int(1000 * seconds))

        def point(target):
            box = target.bounding_box()
            at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            page.evaluate("([x, y]) => { hand.hidden = false; hand.style.left = `${x - 13}px`; hand.style.top = `${y - 13}px`; }", at)
            shoot(0.7, 100)

        shoot(1.6)
        most = page.locator("button[data-column=hit_FEMALE]")
        counts = [int(most.nth(i).inner_text()) for i in range(most.count())]
        number = most.nth(counts.index(max(counts)))
        point(number)
        number.click()
        shoot(1.6, 1500)
        slider = page.locator("input[data-trait=opacity]").first
        page.evaluate("hand.hidden = true")
        for value in (0.3, 0.15, 0, 0.2, 0.4, 0.6, 0.8, 0.45):
            slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value)
            shoot(0.22 if value else 0.7, 120)
        page.locator(".idf-scroll").first.press("ArrowRight")
        page.locator(".idf-scroll").first.press("Enter")
        shoot(2.2, 1500)
        print(f"{len(frames)} frames, {sum(times) / 1000:.1f} s", *outside, *errors)
    images = ROOT / "nbs" / "images"
    frames[0].save(
        images / "app_moving.webp",
        save_all=True,
        append_images=frames[1:],
        duration=times,
        loop=2,
        quality=62,
        method=6,
        minimize_size=True,
    )
    frames[-1].save(images / "app_still.webp", quality=84, method=6)
    for i, frame in enumerate(frames) if len(sys.argv) > 2 else ():
        frame.save(Path(sys.argv[2]) / f"{i:02}.png")


if __name__ == "__main__":
    main(sys.argv[1])
