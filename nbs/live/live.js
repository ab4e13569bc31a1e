// The bias table and the faces of one audit without a kernel: what Python would answer lies beside this file.
import grid from "./grid.js";
import table from "./table.js";

const [data, buffer] = await Promise.all([fetch("live.json").then(r => r.json()), fetch("live.bin").then(r => r.arrayBuffer())]);
const cut = ([start, length]) => new Uint8Array(buffer, start, length);
const [pictures, heat, points] = data.buffers.map(cut), n = data.faces.length;
const part = (all, row) => all.subarray((row * all.length) / n, ((row + 1) * all.length) / n);
const join = parts => new Blob(parts).arrayBuffer().then(whole => new DataView(whole));

/** The part of a widget's model that a front end asks for; `send` is answered here. */
function model(state, send) {
  const heard = {};
  return {
    get: name => state[name],
    set(name, value) { state[name] = value; (heard[`change:${name}`] || []).forEach(act => act()); },
    save_changes() {},
    on(name, act) { (heard[name] ??= []).push(act); },
    off() {},
    send: message => send(message, (answer, buffers) => heard["msg:custom"].forEach(act => act(answer, buffers))),
  };
}

const order = rows => new DataView(Int32Array.from(rows).buffer);
const all = data.faces.map((_, i) => i);
const faces = model({ ...data.grid, order: order(all), luts: new DataView(cut(data.luts).slice().buffer), poster: null }, async (asked, answer) => {
  const rows = asked.type === "face" ? [asked.row] : asked.rows;
  let start = 0;
  const images = rows.map(r => pictures.subarray(data.faces[r].start, data.faces[r].start + data.faces[r].length));
  const found = rows.map((r, i) => { const face = { ...data.faces[r], start }; start += images[i].length; return face; });
  const parts = await Promise.all([images, rows.map(r => part(heat, r)), rows.map(r => part(points, r))].map(join));
  answer({ type: asked.type, id: asked.id, rows, faces: found, face: found[0], row: asked.row, shape: data.shape, points: data.points }, parts);
});
const bias = model(data.table, ({ row, column }) => {
  const pressed = `${row}:${column}`, again = bias.get("pressed") === pressed, [words, rows] = data.behind[pressed];
  bias.set("pressed", again ? "" : pressed);
  faces.set("notice", again ? "" : words);
  faces.set("order", order(again ? all : rows));
});

// Inside a page of the site: as dark as that is, and as high as what is shown.
const frame = window.frameElement, body = frame?.ownerDocument.body;
if (frame) {
  const dress = () => { document.documentElement.style.colorScheme = { default: "light", slate: "dark" }[body.dataset.mdColorScheme] || "light dark"; };
  new MutationObserver(dress).observe(body, { attributes: true });
  dress();
  new ResizeObserver(() => { frame.style.height = `${document.body.offsetHeight + 8}px`; }).observe(document.body);
}
table.render({ model: bias, el: document.getElementById("table") });
grid.render({ model: faces, el: document.getElementById("grid") });
