// A grid of faces of which only the visible ones exist. One plain ES module; asks nothing of any other host.
const GAP = 6, CAPTION = 18, EDGE = 4; // pixels
const BATCH = 20; // faces in one question to the kernel
const KEPT = 1600; // faces kept in memory, the longest unused go first
const PATIENCE = 6000; // milliseconds before a silent kernel is spoken of
const LAYERS = { faces: "Faces", heat: "Heat", activation: "Activation boxes", landmarks: "Region boxes", kept: "Kept regions", polygons: "Polygons" };

const bytes = view => (view ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array());
const integers = view => new Int32Array(bytes(view).slice().buffer);
const words = name => String(name).replaceAll("_", " ");

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  // JupyterLab and Notebook give keys to their own commands first, unless the element in focus says this
  if (["BUTTON", "INPUT", "SELECT"].includes(element.tagName) || element.tabIndex >= 0) element.setAttribute("data-lm-suppress-shortcuts", "true");
  element.append(...children);
  return element;
}

/** Convex hull of points [[x, y], ...] (monotone chain). */
export function hull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const turn = (o, a, b) => (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
  const half = list => {
    const chain = [];
    for (const p of list) {
      while (chain.length > 1 && turn(chain.at(-2), chain.at(-1), p) <= 0) chain.pop();
      chain.push(p);
    }
    return chain.slice(0, -1);
  };
  return sorted.length < 3 ? sorted : [...half(sorted), ...half(sorted.reverse())];
}

/** 256 pixels (ABGR, little-endian): values below `cut` are clear. */
export function palette(lut, offset, cut) {
  const table = new Uint32Array(256);
  for (let v = Math.max(1, Math.ceil(cut)); v < 256; v++) {
    const k = offset + 3 * v;
    table[v] = (0xff000000 | (lut[k + 2] << 16) | (lut[k + 1] << 8) | lut[k]) >>> 0;
  }
  return table;
}

/** Draws one face with its layers on a square canvas of `side` pixels. */
function painter() {
  const scratch = document.createElement("canvas");
  let image = null;
  return function draw(context, face, side, look) {
    context.clearRect(0, 0, side, side);
    const ratio = face.bitmap ? face.bitmap.width / face.bitmap.height : face.ratio || 1;
    const w = ratio >= 1 ? side : side * ratio, h = ratio >= 1 ? side / ratio : side;
    const x = (side - w) / 2, y = (side - h) / 2;
    if (look.layers.has("faces")) {
      if (face.bitmap) context.drawImage(face.bitmap, x, y, w, h);
      else {
        context.fillStyle = look.ground;
        context.fillRect(x, y, w, h);
      }
    }
    if (look.layers.has("heat") && face.heat) {
      const [rows, columns] = face.shape;
      if (!image || image.width !== columns || image.height !== rows) {
        [scratch.width, scratch.height] = [columns, rows];
        image = scratch.getContext("2d").createImageData(columns, rows);
      }
      const pixels = new Uint32Array(image.data.buffer), heat = face.heat, table = look.table;
      for (let k = 0; k < heat.length; k++) pixels[k] = table[heat[k]];
      scratch.getContext("2d").putImageData(image, 0, 0);
      context.globalAlpha = look.opacity;
      context.drawImage(scratch, x, y, w, h);
      context.globalAlpha = 1;
    }
    const sx = w / look.width, sy = h / look.height, thin = Math.max(1, side / 170);
    const box = (b, colour, width, dash) => {
      const line = [x + b[0] * sx, y + b[1] * sy, (b[2] - b[0]) * sx, (b[3] - b[1]) * sy];
      context.setLineDash(dash ? [3 * thin, 2 * thin] : []);
      if (!dash) {
        context.strokeStyle = "#000a";
        context.lineWidth = width + 1.5 * thin;
        context.strokeRect(...line);
      }
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(...line);
    };
    const of = name => look.colours[name] || "#ffffff";
    if (look.layers.has("polygons") && face.points) {
      context.setLineDash([]);
      context.lineWidth = thin;
      for (const [name, points] of face.points) {
        context.strokeStyle = of(name);
        context.beginPath();
        hull(points).forEach(([px, py], i) => context[i ? "lineTo" : "moveTo"](x + px * w, y + py * h));
        context.closePath();
        context.stroke();
      }
    }
    const kept = new Set(face.regions);
    if (look.layers.has("landmarks")) for (const b of face.around || []) box(b, of(b[4]), thin, true);
    if (look.layers.has("kept")) for (const b of face.around || []) if (kept.has(b[4])) box(b, of(b[4]), 2 * thin);
    if (look.layers.has("activation")) for (const b of face.boxes || []) box(b, of(b[4]), 1.5 * thin);
    context.setLineDash([]);
    if (look.layers.has("faces") && face.reason) wrapped(context, face.reason, side, look);
  };
}

/** Why there is no picture, in the middle of where it would be. */
function wrapped(context, text, side, look) {
  const lines = [], width = side * 0.9, step = Math.max(12, side / 7.5);
  context.font = `600 ${Math.max(10, side / 9)}px system-ui, sans-serif`;
  context.textAlign = "center";
  for (const word of text.split(" ")) {
    const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
    if (lines.length && context.measureText(longer).width <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  const shown = lines.slice(0, 5);
  context.fillStyle = look.ground;
  context.fillRect(0, side / 2 - (shown.length * step) / 2, side, shown.length * step);
  context.fillStyle = look.ink;
  shown.forEach((line, i) => context.fillText(line, side / 2, side / 2 + (i - (shown.length - 1) / 2) * step + step / 3, width));
}

/** Named points of one face from int16 shares times 8192; null where there are none. */
function named(points, sizes) {
  if (points[0] === -32768) return null;
  let at = 0;
  return sizes.map(([name, count]) => {
    const mine = [];
    for (let k = 0; k < count; k++, at += 2) mine.push([points[at] / 8192, points[at + 1] / 8192]);
    return [name, mine];
  });
}

function render({ model, el, signal }) {
  const me = Math.random().toString(36).slice(2), draw = painter();
  const off = signal ? null : new AbortController();
  const live = { signal: signal || off.signal };
  const on = (target, event, act, options = {}) => target.addEventListener(event, act, { ...live, ...options });
  const id = name => `idf-${me}-${name}`;

  // --- what stands on the page
  const status = make("span", { class: "idf-status", role: "status", "aria-live": "polite" });
  const clear = make("button", { class: "idf-button", type: "button", text: "Clear selection", hidden: true });
  const bar = make("div", { class: "idf-bar", role: "group", "aria-label": "How the faces are drawn", hidden: !model.get("toolbar") });
  const alert = make("div", { class: "idf-alert", role: "alert", hidden: true });
  const spacer = make("div", { class: "idf-spacer", role: "presentation" });
  const empty = make("div", { class: "idf-empty", hidden: true });
  const list = make("div", { class: "idf-scroll", role: "listbox", tabindex: "0", "aria-multiselectable": "true", "aria-label": model.get("label"), "aria-describedby": id("keys") }, spacer, empty);
  const keys = make("span", { class: "idf-hidden idf-probe", id: id("keys"), text: "Arrow and page keys move, space selects, shift extends, Enter magnifies, Escape closes." });
  const big = make("section", { class: "idf-big", "aria-label": "One face, magnified", hidden: true });
  const tip = make("div", { class: "idf-tip", role: "tooltip", id: id("tip"), hidden: true });
  const button = (text, label) => make("button", { class: "idf-button", type: "button", "aria-label": label, text });
  const earlier = button("‹", "The faces before these"), later = button("›", "The faces after these"), span = make("span", {});
  const jump = make("input", { type: "number", min: 1, step: 1, "aria-label": "Go to the face with this number" });
  const sections = make("nav", { class: "idf-sections", "aria-label": "Sections of the faces", hidden: true }, earlier, span, later, make("label", {}, "Go to face", jump));
  const root = make("div", { class: "idf-grid" }, bar, make("div", { class: "idf-line" }, status, clear), sections, alert, make("div", { class: "idf-main" }, list, big), tip, keys);
  el.append(root);

  // --- how faces are drawn: everything here acts without the kernel
  const range = (trait, label, low, high, step) => {
    const input = make("input", { type: "range", min: low, max: high, step, "data-trait": trait, "aria-label": label });
    const shown = make("output", {});
    const sync = () => {
      input.value = model.get(trait);
      shown.textContent = trait === "cell" ? `${model.get(trait)} px` : `${Math.round(100 * model.get(trait))} %`;
    };
    on(input, "input", () => model.set(trait, +input.value));
    on(input, "change", () => model.save_changes());
    bar.append(make("label", {}, label, input, shown));
    sync();
    return sync;
  };
  const sync = { opacity: range("opacity", "Heat opacity", 0, 1, 0.01), threshold: range("threshold", "Heat above", 0, 1, 0.01), cell: range("cell", "Size", 48, 224, 8) };
  const map = make("select", { "aria-label": "Colour map", "data-trait": "colormap" }, ...model.get("lut_names").map(name => make("option", { value: name, text: name })));
  on(map, "change", () => (model.set("colormap", map.value), model.save_changes()));
  bar.append(make("label", {}, "Colours", map));
  const ticks = Object.entries(LAYERS).map(([name, label]) => {
    const tick = make("input", { type: "checkbox", "data-layer": name });
    on(tick, "change", () => {
      model.set("layers", Object.keys(LAYERS).filter(n => (n === name ? tick.checked : model.get("layers").includes(n))));
      model.save_changes();
    });
    return [name, tick, make("label", { class: "idf-tick" }, tick, label)];
  });
  bar.append(make("fieldset", { class: "idf-layers" }, make("legend", { class: "idf-hidden", text: "Layers" }), ...ticks.map(t => t[2])));

  // --- state
  let rows = integers(model.get("order")), start = 0, total = 0, look = {}, chosen = new Set(model.get("selected"));
  let columns = 1, side = 96, first = 0, version = 0, at = 0, anchor = null, serial = 0, waiting = null, answered = false, timer = 0;
  const faces = new Map(), cells = new Map(), spare = [];
  let goal = null; // the face, of all, that the next section is asked for
  const count = () => ([start, total] = [model.get("start") || 0, Math.max(rows.length, model.get("total") || 0)]);
  let place = null; // face row -> position, made when needed
  const positionOf = row => (place ??= new Map(Array.from(rows, (r, i) => [r, i]))).get(row);
  const ratio = () => Math.min(2, window.devicePixelRatio || 1);
  const step = () => side + 2 * EDGE + GAP;
  const pitch = () => ({ x: Math.max(step(), rows.length >= columns ? Math.floor((list.clientWidth + GAP) / columns) : 0), y: step() + CAPTION });

  function refresh() {
    const style = getComputedStyle(keys), names = model.get("lut_names"), [height, width] = model.get("input_shape");
    const table = palette(bytes(model.get("luts")), 768 * Math.max(0, names.indexOf(model.get("colormap"))), 255 * model.get("threshold"));
    look = { table, opacity: model.get("opacity"), layers: new Set(model.get("layers")), colours: model.get("colours"), height, width, ink: style.color, ground: style.backgroundColor };
    map.value = model.get("colormap");
    for (const [name, tick] of ticks) tick.checked = look.layers.has(name);
  }

  function paint(cell) {
    const face = faces.get(cell.row);
    cell.element.classList.toggle("idf-wait", !face);
    if (!face) return cell.context.clearRect(0, 0, cell.canvas.width, cell.canvas.height);
    faces.delete(cell.row), faces.set(cell.row, face); // the most recently used stand last
    draw(cell.context, face, cell.canvas.width, look);
    if (cell.told === face.facts) return;
    cell.told = face.facts;
    cell.caption.textContent = side < 84 ? face.brief : face.caption;
    cell.element.classList.toggle("idf-wrong", !!face.wrong);
    cell.element.setAttribute("aria-label", face.said);
  }

  let queued = false;
  function repaint() {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      const start = performance.now();
      refresh();
      for (const cell of cells.values()) paint(cell);
      root.dataset.ms = (performance.now() - start).toFixed(2);
      if (!big.hidden) magnify();
    });
  }

  function newCell() {
    const canvas = make("canvas", { "aria-hidden": "true" }), caption = make("span", { class: "idf-caption", "aria-hidden": "true" });
    const element = make("div", { class: "idf-cell", role: "option" }, canvas, caption);
    list.append(element);
    return { element, canvas, caption, context: canvas.getContext("2d") };
  }

  function layout() {
    const { x, y } = pitch(), seen = list.clientHeight;
    if (!seen) return; // in a hidden tab
    first = Math.floor(list.scrollTop / y);
    const last = Math.min(rows.length, (Math.ceil((list.scrollTop + seen) / y) + 1) * columns), from = Math.max(0, first - 1) * columns;
    for (const [position, cell] of cells) {
      if (position < from || position >= last) {
        cells.delete(position), spare.push(cell);
        cell.element.style.display = "none";
      }
    }
    const pixels = Math.round(side * ratio());
    for (let p = from; p < last; p++) {
      if (cells.has(p)) continue;
      const cell = spare.pop() || newCell(), e = cell.element;
      Object.assign(cell, { position: p, row: rows[p], told: null });
      if (cell.canvas.width !== pixels) cell.canvas.width = cell.canvas.height = pixels;
      e.id = id(p);
      e.style.cssText = `transform:translate(${(p % columns) * x}px,${Math.floor(p / columns) * y}px);width:${side + 2 * EDGE}px`;
      cell.canvas.style.cssText = `width:${side}px;height:${side}px`;
      e.setAttribute("aria-posinset", start + p + 1), e.setAttribute("aria-setsize", total);
      e.setAttribute("aria-label", "not here yet"), e.setAttribute("aria-selected", chosen.has(cell.row));
      e.classList.toggle("idf-active", p === at);
      cell.caption.textContent = "";
      cells.set(p, cell);
      paint(cell);
    }
    ask();
  }

  function measure() {
    side = model.get("cell");
    const width = list.clientWidth;
    if (!width) return;
    refresh(); // colours are known only once the grid stands on the page
    const top = first * columns; // the same face stays on top when the width changes
    columns = Math.max(1, Math.floor((width + GAP) / step()));
    spacer.style.height = `${Math.ceil(rows.length / columns) * pitch().y}px`;
    list.style.maxHeight = `${model.get("height")}px`;
    list.style.height = rows.length ? `${Math.min(model.get("height"), Math.ceil(rows.length / columns) * pitch().y + 2)}px` : "auto";
    empty.hidden = rows.length > 0;
    empty.textContent = model.get("empty");
    for (const cell of cells.values()) spare.push(cell), (cell.element.style.display = "none");
    cells.clear();
    list.scrollTop = Math.floor(top / columns) * pitch().y;
    big.hidden ? layout() : go(at);
  }

  // --- questions to the kernel, one at a time
  const wanted = () => [64, 96, 128, 192, 256, 384, 512].find(s => s >= side * ratio()) || 512;
  function ask() {
    if (waiting || !list.clientHeight) return;
    const order = [...cells.values()].sort((a, b) => Math.abs(a.position - first * columns) - Math.abs(b.position - first * columns));
    const missing = order.filter(c => !(faces.get(c.row)?.size >= wanted())).map(c => c.row);
    const stale = order.filter(c => faces.get(c.row)?.version < version).map(c => c.row);
    const ask = missing.length ? { rows: missing.slice(0, BATCH), side: wanted(), parts: "all" } : { rows: stale, side: 0, parts: "boxes" };
    if (!ask.rows.length) return;
    waiting = { type: "faces", id: `${me}-${++serial}`, version, ...ask };
    model.send(waiting);
    timer = setTimeout(() => {
      waiting = null;
      silent();
    }, PATIENCE);
  }
  function silent() {
    if (answered) return say("The kernel does not answer; what is here stays as it is.");
    const poster = bytes(model.get("poster"));
    if (poster.length && !root.querySelector(".idf-poster")) {
      const url = URL.createObjectURL(new Blob([poster], { type: "image/jpeg" }));
      root.querySelector(".idf-main").prepend(make("img", { class: "idf-poster", src: url, alt: `${model.get("label")}: the first of them, as a picture` }));
      list.hidden = true;
    }
    say("No kernel answers: this is a picture of the first faces.");
  }
  const say = text => ((alert.textContent = text), (alert.hidden = !text));

  async function receive(message, buffers) {
    if (message.type === "stale") return version++, ask();
    if (message.type === "error") return say(message.text);
    if (message.type === "face" && message.id === `${me}-face`) return arrived(message, buffers);
    if (message.type !== "faces" || message.id !== waiting?.id) return;
    const question = waiting;
    clearTimeout(timer);
    if (!answered || !alert.hidden) say(""), root.querySelector(".idf-poster")?.remove(), (list.hidden = false);
    answered = true;
    if (message.failed) {
      waiting = null;
      return say(message.failed);
    }
    const made = await Promise.all(message.faces.map((face, i) => unpack(face, i, message, buffers, question)));
    made.forEach((face, i) => {
      const old = faces.get(message.rows[i]);
      if (face.bitmap !== undefined) old?.bitmap?.close();
      faces.set(message.rows[i], { ...old, ...face });
    });
    for (const key of faces.keys()) {
      if (faces.size <= KEPT) break;
      faces.get(key).bitmap?.close();
      faces.delete(key);
    }
    waiting = null;
    const fresh = new Set(message.rows);
    for (const cell of cells.values()) if (fresh.has(cell.row)) paint(cell);
    root.dataset.drawn = [...cells.values()].filter(c => faces.has(c.row)).length;
    if (!big.hidden && fresh.has(rows[at])) magnify();
    ask();
  }

  async function unpack(face, i, message, buffers, question) {
    const out = { ...face, version: question.version };
    if (question.parts === "boxes") return out;
    const [pictures, heat, points] = buffers.map(bytes);
    out.size = question.side;
    out.bitmap = null;
    if (face.length) {
      const data = pictures.slice(face.start, face.start + face.length);
      try {
        out.bitmap = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
      } catch {
        out.reason = "picture cannot be shown";
      }
    }
    const each = message.shape[0] * message.shape[1], count = 2 * message.points.reduce((sum, [, n]) => sum + n, 0);
    out.shape = message.shape;
    out.heat = heat.slice(i * each, (i + 1) * each);
    out.points = count ? named(new Int16Array(points.slice(2 * i * count, 2 * (i + 1) * count).buffer), message.points) : null;
    return out;
  }

  // --- choosing
  function choose(next) {
    chosen = new Set(next);
    for (const cell of cells.values()) cell.element.setAttribute("aria-selected", chosen.has(cell.row));
    model.set("selected", [...chosen]);
    model.save_changes();
    tell();
  }
  function tell() {
    const n = total, shown = `${n.toLocaleString("en")} ${n === 1 ? "face" : "faces"}`;
    status.textContent = (model.get("notice") ? `${model.get("notice")}: ` : "") + shown + (chosen.size ? `, ${chosen.size.toLocaleString("en")} selected` : "");
    clear.hidden = !chosen.size;
    sections.hidden = total <= rows.length;
    span.textContent = `${(start + 1).toLocaleString("en")} to ${(start + rows.length).toLocaleString("en")} of ${total.toLocaleString("en")}`;
    [earlier.disabled, later.disabled, jump.max] = [!start, start + rows.length >= total, total];
  }
  const between = (a, b) => Array.from(rows.slice(Math.min(a, b), Math.max(a, b) + 1));
  function pick(position, event) {
    const row = rows[position];
    if (event.shiftKey) return choose(between(anchor ?? at, position));
    anchor = position;
    if (event.ctrlKey || event.metaKey || event.pointerType === "touch") return choose(chosen.has(row) ? [...chosen].filter(r => r !== row) : [...chosen, row]);
    choose(chosen.size === 1 && chosen.has(row) ? [] : [row]);
  }
  function go(position) {
    if (!rows.length) return;
    const face = Math.max(0, Math.min(total - 1, start + position));
    if (face < start || face >= start + rows.length) {
      goal = face;
      return model.send({ type: "section", position: face });
    }
    const before = cells.get(at);
    before?.element.classList.remove("idf-active");
    at = Math.max(0, Math.min(rows.length - 1, position));
    const { y } = pitch(), top = Math.floor(at / columns) * y;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + y > list.scrollTop + list.clientHeight) list.scrollTop = top + y - list.clientHeight;
    layout();
    cells.get(at)?.element.classList.add("idf-active");
    list.setAttribute("aria-activedescendant", id(at));
    if (!big.hidden) magnify();
  }

  const moves = { ArrowRight: () => 1, ArrowLeft: () => -1, ArrowDown: () => columns, ArrowUp: () => -columns, PageDown: page, PageUp: () => -page(), Home: () => -start - at, End: () => total };
  function page() {
    return columns * Math.max(1, Math.floor(list.clientHeight / pitch().y));
  }
  on(list, "keydown", event => {
    if (event.key === "Tab" || event.altKey) return;
    event.stopPropagation();
    const from = at;
    if (moves[event.key]) {
      const { key } = event;
      go(at + moves[key]());
      if (event.shiftKey) choose(between((anchor ??= from), at));
      else anchor = null, showTip(cells.get(at));
    } else if (event.key === " ") pick(at, { shiftKey: event.shiftKey, ctrlKey: true });
    else if (event.key === "Enter") open(at);
    else if (event.key === "Escape") big.hidden ? choose([]) : shut();
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) choose(rows);
    else return;
    event.preventDefault();
  });
  on(list, "focus", () => cells.get(at)?.element.classList.add("idf-active"));
  on(clear, "click", () => (choose([]), list.focus()));

  // pointer: click, double click, drag across faces
  const cellAt = event => {
    const element = event.target.closest?.(".idf-cell");
    return element && [...cells.values()].find(c => c.element === element);
  };
  let drag = null;
  on(list, "pointerdown", event => {
    const cell = cellAt(event);
    if (!cell || event.button) return;
    if (event.pointerType === "mouse") drag = { from: cell.position, to: cell.position };
  });
  on(list, "pointermove", event => {
    const cell = cellAt(event);
    if (drag && !event.buttons) drag = null;
    if (drag && cell && cell.position !== drag.to) {
      drag.to = cell.position;
      drag.moved = true;
      hideTip();
      choose(between(drag.from, drag.to));
    } else if (!drag && event.pointerType === "mouse") showTip(cell);
  });
  on(list, "click", event => {
    const cell = cellAt(event), moved = drag?.moved;
    drag = null;
    if (!cell || moved) return;
    const before = at;
    list.focus({ preventScroll: true });
    if (event.shiftKey && anchor === null) anchor = before;
    go(cell.position);
    pick(cell.position, event);
  });
  on(list, "dblclick", event => {
    const cell = cellAt(event);
    if (cell) choose([cell.row]), open(cell.position);
  });
  on(list, "pointerleave", () => hideTip());
  on(list, "blur", () => hideTip());

  // --- tooltip
  const facts = face => make("dl", {}, ...face.facts.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]));
  function showTip(cell) {
    const face = cell && faces.get(cell.row);
    if (!face) return hideTip();
    if (tip.dataset.row !== String(cell.row) || tip.hidden) tip.replaceChildren(make("strong", { text: face.name }), facts(face));
    tip.dataset.row = cell.row;
    tip.hidden = false;
    cell.element.setAttribute("aria-describedby", tip.id);
    const box = cell.element.getBoundingClientRect(), home = root.getBoundingClientRect();
    const left = Math.max(0, Math.min(box.left - home.left, home.width - tip.offsetWidth));
    const below = box.bottom - home.top + 4, above = box.top - home.top - tip.offsetHeight - 4;
    tip.style.cssText = `left:${left}px;top:${box.bottom + tip.offsetHeight + 8 > window.innerHeight && above > 0 ? above : below}px`;
  }
  const hideTip = () => (tip.hidden = true);

  // --- one face, magnified
  let whole = null;
  function open(position) {
    go(position);
    big.hidden = false;
    hideTip();
    magnify();
    measure();
  }
  function shut() {
    big.hidden = true;
    measure();
    go(at);
    list.focus({ preventScroll: true });
  }
  function magnify() {
    const row = rows[at];
    if (row === undefined) return (big.hidden = true);
    if (whole?.row !== row || whole.version !== version) {
      whole = { row, version };
      model.send({ type: "face", id: `${me}-face`, row });
    }
    const face = whole.face || faces.get(row);
    if (face) show(face);
  }
  async function arrived(message, buffers) {
    if (message.row !== whole?.row || big.hidden) return;
    if (message.failed) return say(message.failed);
    whole.face = await unpack(message.face, 0, message, buffers, { version, side: 512, parts: "all" });
    magnify();
  }
  function show(face) {
    const canvas = (name, layers) => {
      const c = make("canvas", { width: 384, height: 384, role: "img", "aria-label": `${name}: ${face.said}` });
      draw(c.getContext("2d"), face, 384, { ...look, layers: new Set(layers) });
      return make("figure", {}, c, make("figcaption", { text: name }));
    };
    const close = make("button", { class: "idf-button", type: "button", "aria-label": "Close the magnified face", text: "Close" });
    on(close, "click", shut);
    const drops = face.drops?.length ? bars(face.drops) : make("p", { class: "idf-note", text: "This audit holds no occlusion drops." });
    big.replaceChildren(
      make("header", {}, make("strong", { text: face.name }), close),
      make("div", { class: "idf-pair" }, canvas("all layers", Object.keys(LAYERS)), canvas("the face alone", ["faces"])),
      facts(face),
      make("h4", { text: "Drop of the class's logit when a region is hidden" }),
      drops,
      legend(),
    );
  }
  function bars(drops) {
    const most = Math.max(1e-9, ...drops.map(([, v]) => Math.abs(v)));
    return make("table", { class: "idf-bars" }, make("tbody", {}, ...drops.map(([name, value]) => {
      const bar = make("span", { class: "idf-amount", style: `width:${(100 * Math.abs(value)) / most}%;background:${look.colours[name] || "#888"};${value < 0 ? "opacity:.45" : ""}` });
      return make("tr", {}, make("th", { scope: "row", text: words(name) }), make("td", {}, bar), make("td", { class: "idf-number", text: value.toFixed(2) }));
    })));
  }
  const legend = () => make("p", { class: "idf-legend", "aria-label": "Colours of the regions" }, ...Object.entries(look.colours).map(([name, colour]) => make("span", {}, make("i", { style: `background:${colour}` }), words(name))));

  // --- the model
  const changed = {
    "change:order": () => {
      rows = integers(model.get("order")), (place = null);
      count();
      at = 0, (anchor = null), (first = 0);
      list.scrollTop = 0;
      const position = goal === null ? -1 : goal - start;
      goal = null;
      if (rows[position] !== undefined) at = position;
      measure(), tell();
      if (rows[position] !== undefined) return go(at);
      list.removeAttribute("aria-activedescendant");
      if (!big.hidden) magnify();
    },
    "change:selected": () => {
      chosen = new Set(model.get("selected"));
      for (const cell of cells.values()) cell.element.setAttribute("aria-selected", chosen.has(cell.row));
      tell();
    },
    "change:active": () => positionOf(model.get("active")) !== undefined && open(positionOf(model.get("active"))),
    "change:cell": () => (sync.cell(), measure()),
    "change:height": measure,
    "change:opacity": () => (sync.opacity(), repaint()),
    "change:threshold": () => (sync.threshold(), repaint()),
    "change:colormap": repaint,
    "change:layers": repaint,
    "change:notice": tell,
    "change:label": () => list.setAttribute("aria-label", model.get("label")),
    "change:empty": () => (empty.textContent = model.get("empty")),
    "msg:custom": receive,
  };
  for (const [name, act] of Object.entries(changed)) model.on(name, act);
  let scrolling = false;
  on(list, "scroll", () => {
    if (scrolling) return;
    scrolling = true;
    hideTip();
    requestAnimationFrame(() => ((scrolling = false), layout()));
  }, { passive: true });
  let known = 0;
  const sized = new ResizeObserver(() => {
    if (list.clientWidth === known && cells.size) return;
    known = list.clientWidth;
    measure();
  });
  sized.observe(list);
  // the picture for places where nothing runs: it ends as this widget's own poster does
  const poster = bytes(model.get("poster")), whole3 = poster.length - (poster.length % 3 || 3);
  const ending = poster.length > 60 && btoa(String.fromCharCode(...poster.slice(whole3 - 48)));
  for (const still of document.querySelectorAll('img[src^="data:image/jpeg"]')) {
    if (ending && still.src.trim().endsWith(ending)) (still.closest(".jp-OutputArea-child") || still).style.display = "none";
  }
  on(earlier, "click", () => go(-1));
  on(later, "click", () => go(rows.length));
  on(jump, "change", () => jump.value && go(Math.round(+jump.value) - 1 - start));
  count(), refresh(), measure(), tell();
  changed["change:active"]();

  return () => {
    for (const [name, act] of Object.entries(changed)) model.off(name, act);
    off?.abort();
    sized.disconnect();
    clearTimeout(timer);
    for (const face of faces.values()) face.bitmap?.close();
    faces.clear();
  };
}

export default { render };
