// The bias table and the faces of one audit without a kernel: what Python would answer lies beside this file.
import { answering, order, still } from "./alone.js";
import grid from "./grid.js";
import table from "./table.js";

const [data, buffer] = await Promise.all([fetch("live.json").then(r => r.json()), fetch("live.bin").then(r => r.arrayBuffer())]);
const cut = ([start, length]) => new Uint8Array(buffer, start, length);
const all = data.faces.map((_, i) => i), luts = new DataView(cut(data.luts).slice().buffer);
const faces = still({ ...data.grid, order: order(all), luts, poster: null }, answering(data, data.buffers.map(cut)));
const bias = still(data.table, ({ row, column }) => {
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
