// A table that sorts in the browser and whose numbers can be clicked. One plain ES module; asks nothing of any other host.
const NS = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  // JupyterLab and Notebook give keys to their own commands first, unless the element in focus says this
  if (["BUTTON", "INPUT", "SELECT"].includes(element.tagName) || element.tabIndex >= 0) element.setAttribute("data-lm-suppress-shortcuts", "true");
  element.append(...children);
  return element;
}

/** What a cell is sorted by: numbers before text, nothing last. */
const key = cell => (cell !== null && typeof cell === "object" ? cell.v : cell);

/** Row numbers in the order of a column; what has no value stands at the end either way. */
export function sorted(rows, column, descending) {
  const order = rows.map((_, i) => i);
  if (column === null) return order;
  return order.sort((a, b) => {
    const [x, y] = [key(rows[a][column]), key(rows[b][column])];
    if (x == null || y == null) return (x == null) - (y == null) || a - b;
    const way = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return (descending ? -way : way) || a - b;
  });
}

/** A dot with its interval on the axis `domain`. */
function interval(cell, [low, high]) {
  const svg = document.createElementNS(NS, "svg"), at = v => 2 + (96 * (Math.min(high, Math.max(low, v)) - low)) / (high - low);
  const add = (tag, attributes) => {
    const e = document.createElementNS(NS, tag);
    for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
    svg.append(e);
  };
  svg.setAttribute("viewBox", "0 0 100 14");
  svg.setAttribute("class", "idf-interval");
  svg.setAttribute("aria-hidden", "true");
  add("line", { x1: 2, x2: 98, y1: 7, y2: 7, class: "idf-axis" });
  if (low < 0 && high > 0) add("line", { x1: at(0), x2: at(0), y1: 1, y2: 13, class: "idf-zero" });
  if (cell.low != null) add("line", { x1: at(cell.low), x2: at(cell.high), y1: 7, y2: 7, class: "idf-whisker" });
  if (cell.v != null) add("circle", { cx: at(cell.v), cy: 7, r: 3.4 });
  return svg;
}

function render({ model, el, signal }) {
  const off = signal ? null : new AbortController(), live = { signal: signal || off.signal };
  const root = make("div", { class: "idf-table" });
  el.append(root);
  let sort = model.get("sort");

  function fill(cell, column, i, name) {
    const whole = cell !== null && typeof cell === "object" ? cell : { v: cell };
    const text = whole.text ?? (whole.v == null ? "–" : String(whole.v));
    const td = make(column.head ? "th" : "td", { scope: column.head && "row", class: column.kind === "text" ? "idf-text" : "idf-right", title: whole.title });
    if (whole.swatch) td.append(make("i", { class: "idf-swatch", style: `background:${whole.swatch}` }));
    if (whole.shade != null) td.style.background = `color-mix(in srgb, var(--idf-brand) ${Math.round(55 * whole.shade)}%, transparent)`;
    const press = (key, shown, label) => make("button", { type: "button", class: "idf-number-button", text: shown, "data-row": i, "data-column": key, "aria-label": `${name}, ${label}: ${shown}. Show the faces`, "aria-pressed": String(model.get("pressed") === `${i}:${key}`) });
    if (whole.counts) {
      const parts = whole.counts.flatMap(c => [" of ", c.click ? press(c.key, c.text, c.label) : make("span", { text: c.text })]).slice(1);
      td.append(make("div", {}, ...parts), make("span", { text }));
    } else if (whole.click) td.append(press(column.key, text, column.label));
    else if (text || column.kind !== "range") td.append(make("span", { text, style: text.includes("\n") && "white-space:pre-line" }));
    if (column.domain && whole.v != null) td.append(interval(whole, column.domain));
    if (column.stack) td.classList.add("idf-stack");
    if (column.head && text.length < 28) td.style.whiteSpace = "nowrap";
    return td;
  }

  function draw() {
    const columns = model.get("columns"), rows = model.get("rows"), index = columns.findIndex(c => c.key === sort[0]);
    const head = make("tr", {}, ...columns.map((column, i) => {
      const way = i === index ? (sort[1] ? "descending" : "ascending") : "none";
      const inside = model.get("sortable") ? make("button", { type: "button", class: "idf-sort", "data-sort": column.key, title: column.help }, column.label, make("span", { class: "idf-arrow", "aria-hidden": "true", text: { none: "", ascending: " ▲", descending: " ▼" }[way] })) : make("span", { title: column.help, text: column.label });
      return make("th", { scope: "col", "aria-sort": model.get("sortable") && way, class: column.kind === "text" ? "idf-text" : "idf-right" }, inside);
    }));
    const heads = columns.findIndex(c => c.head);
    const body = sorted(rows.map(r => columns.map(c => r[c.key] ?? null)), index < 0 ? null : index, sort[1]).map(i => {
      const name = heads < 0 ? `row ${i + 1}` : (rows[i][columns[heads].key]?.text ?? key(rows[i][columns[heads].key]));
      return make("tr", {}, ...columns.map(c => fill(rows[i][c.key] ?? null, c, i, name)));
    });
    const focus = document.activeElement?.closest?.(".idf-table") === root ? document.activeElement.dataset : null;
    const scroll = root.firstChild?.scrollLeft, top = root.firstChild?.scrollTop;
    const none = body.length ? [] : [make("tr", {}, make("td", { class: "idf-none", colspan: columns.length, text: model.get("empty") }))];
    const table = make("table", {}, make("caption", { text: model.get("caption") }), make("thead", {}, head), make("tbody", {}, ...body, ...none));
    root.replaceChildren(make("div", { class: "idf-around", tabindex: "0", role: "region", "aria-label": model.get("caption"), style: model.get("height") ? `max-height:${model.get("height")}px` : "" }, table));
    if (model.get("note")) root.append(make("p", { class: "idf-note", text: model.get("note") }));
    if (scroll || top) Object.assign(root.firstChild, { scrollLeft: scroll, scrollTop: top });
    if (focus?.sort) root.querySelector(`[data-sort="${CSS.escape(focus.sort)}"]`)?.focus();
    else if (focus?.row) root.querySelector(`[data-row="${focus.row}"][data-column="${CSS.escape(focus.column)}"]`)?.focus();
    root.dataset.drawn = (+root.dataset.drawn || 0) + 1;
  }

  root.addEventListener("click", event => {
    const button = event.target.closest("button");
    if (button?.dataset.sort) {
      const column = model.get("columns").find(c => c.key === button.dataset.sort), first = column.kind !== "text";
      sort = sort[0] !== column.key ? [column.key, first] : sort[1] === first ? [column.key, !first] : ["", false];
      model.set("sort", sort);
      model.save_changes();
      draw();
    } else if (button?.dataset.row) model.send({ type: "click", row: +button.dataset.row, column: button.dataset.column });
  }, live);

  const redraw = () => ((sort = model.get("sort")), draw());
  let queued = false;
  const later = () => {
    if (queued) return;
    queued = true;
    queueMicrotask(() => ((queued = false), redraw()));
  };
  const traits = ["columns", "rows", "caption", "note", "pressed", "empty", "sort"];
  for (const name of traits) model.on(`change:${name}`, later);
  for (const still of document.querySelectorAll(`.idf-still-${model.get("uid")}`)) (still.closest(".jp-OutputArea-child") || still).style.display = "none";
  draw();
  return () => {
    for (const name of traits) model.off(`change:${name}`, later);
    off?.abort();
  };
}

export default { render };
