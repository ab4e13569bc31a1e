// Front ends without a kernel: what Python would answer was written down beforehand.

/** The part of a widget's model that a front end asks for; `send(message, answer)` stands in for Python. */
export function still(state, send) {
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

/** Row numbers as a grid has them. */
export const order = rows => new DataView(Int32Array.from(rows).buffer);

/** Answers a grid's questions from what `FacePages.answer` gave for all its faces: the message and its buffers, as bytes. */
export function answering({ faces, shape, points }, buffers) {
  const [pictures, heat, landmarks] = buffers;
  const part = (all, row) => all.subarray((row * all.length) / faces.length, ((row + 1) * all.length) / faces.length);
  const join = parts => new Blob(parts).arrayBuffer().then(whole => new DataView(whole));
  return async (asked, answer) => {
    const rows = asked.type === "face" ? [asked.row] : asked.rows;
    let start = 0;
    const images = rows.map(r => pictures.subarray(faces[r].start, faces[r].start + faces[r].length));
    const found = rows.map((r, i) => { const face = { ...faces[r], start }; start += images[i].length; return face; });
    const parts = await Promise.all([images, rows.map(r => part(heat, r)), rows.map(r => part(landmarks, r))].map(join));
    answer({ type: asked.type, id: asked.id, rows, faces: found, face: found[0], row: asked.row, shape, points }, parts);
  };
}
