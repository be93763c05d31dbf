// The explorer of blocks: a rectangle for each block; the wheel zooms, a drag moves, a double click shows all.
// Blocks are sorted by area, so those that are large enough to be seen at a zoom are the first ones, and only they are drawn, over
// an image of how much of each cell is in use.
"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("map"), info = document.getElementById("info"), head = document.getElementById("head");
const pen = canvas.getContext("2d", { alpha: false });
const MOST_DRAWN = 20000; // blocks in one frame
const LEAST_PIXELS = 0.5; // area from which on a block is drawn
const COLOURS = DATA.tags.map((tag, i) => (i ? `hsl(${Math.round((i * 222.5) % 360)} 60% ${52 + ((i * 7) % 20)}%)` : "#9a9a9a"));
let shown = null, view = null, frames = 0, drawn = 0, waiting = false;

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

async function prepare(one) {
  const raw = new Uint8Array(await unpacked(one.data)), n = one.count, m = 5 * n, all = new Uint32Array(m);
  for (let i = 0; i < m; i++) all[i] = raw[i] | (raw[m + i] << 8) | (raw[2 * m + i] << 16) | (raw[3 * m + i] << 24);
  const start = new Float64Array(n), area = new Float64Array(n), order = new Uint32Array(n);
  for (let i = 0, sum = 0; i < n; i++) {
    start[i] = sum += all[i];
    area[i] = all[n + i] * all[3 * n + i];
    order[i] = i;
  }
  order.sort((i, k) => area[k] - area[i]);
  const column = (from) => Float64Array.from(order, (i) => all[from * n + i]);
  one.blocks = { start: Float64Array.from(order, (i) => start[i]), life: column(1), low: column(2), size: column(3), tag: Uint32Array.from(order, (i) => all[4 * n + i]), area: Float64Array.from(order, (i) => area[i]) };
  const [columns, rows] = DATA.cells, share = new Uint8Array(await unpacked(one.cells));
  const picture = new ImageData(columns, rows);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) {
      const tone = 255 - 0.3 * share[r * columns + c], to = 4 * ((rows - 1 - r) * columns + c);
      picture.data.set([tone, tone, tone, 255], to);
    }
  one.picture = document.createElement("canvas");
  [one.picture.width, one.picture.height] = [columns, rows];
  one.picture.getContext("2d").putImageData(picture, 0, 0);
}

async function load(name) {
  const one = DATA.layouts[name];
  if (!one.blocks) await prepare(one);
  shown = one;
  view = { x: 0, w: DATA.events, y: 0, h: one.height };
  for (const button of head.querySelectorAll("button")) button.className = button.textContent === name ? "on" : "";
  draw();
  say("");
}

function draw() {
  waiting = false;
  const { width, height } = canvas, b = shown.blocks, sx = width / view.w, sy = height / view.h;
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  const least = LEAST_PIXELS / (sx * sy), right = view.x + view.w, top = view.y + view.h;
  pen.imageSmoothingEnabled = false;
  if (shown.rest || (shown.count && b.area[shown.count - 1] < least))
    pen.drawImage(shown.picture, -view.x * sx, height - (shown.height - view.y) * sy, DATA.events * sx, shown.height * sy);
  let last = -1;
  drawn = 0;
  for (let i = 0; i < shown.count && drawn < MOST_DRAWN && b.area[i] >= least; i++) {
    const x = b.start[i], y = b.low[i];
    if (x > right || y > top || x + b.life[i] < view.x || y + b.size[i] < view.y) continue;
    if (b.tag[i] !== last) pen.fillStyle = COLOURS[(last = b.tag[i])];
    const h = b.size[i] * sy;
    pen.fillRect((x - view.x) * sx, height - (y - view.y) * sy - h, Math.max(b.life[i] * sx, 1), Math.max(h - (h > 4 ? 1 : 0), 1));
    drawn++;
  }
  frames++;
}
function redraw() {
  if (!waiting) requestAnimationFrame(draw);
  waiting = true;
}

function bytes(n) {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 1024]]) if (n >= size) return `${(n / size).toFixed(1)} ${unit}`;
  return `${n} B`;
}
function place(event) {
  const box = canvas.getBoundingClientRect();
  return [view.x + ((event.clientX - box.left) / box.width) * view.w, view.y + (1 - (event.clientY - box.top) / box.height) * view.h];
}
function blockAt(x, y) {
  const b = shown.blocks;
  for (let i = 0; i < shown.count; i++) if (y >= b.low[i] && y < b.low[i] + b.size[i] && x >= b.start[i] && x < b.start[i] + b.life[i]) return i;
  return -1;
}
function trueAddress(low) {
  let at = shown.cuts[0];
  for (const cut of shown.cuts) if (cut[0] <= low) at = cut;
  return (low - at[0] + at[1]) * DATA.granule;
}
function say(text) {
  const more = shown.rest ? `; ${shown.rest.toLocaleString("en")} smaller blocks are the grey below them` : "";
  info.textContent = text || `${shown.count.toLocaleString("en")} blocks${more}. Wheel: zoom; drag: move; double click: all. Ranges that no block uses are cut out.`;
}
function hover(event) {
  const [x, y] = place(event), i = blockAt(x, y), b = shown.blocks;
  if (i < 0) return say("");
  const until = b.start[i] + b.life[i], ends = until >= DATA.events ? "never freed" : `freed at ${until.toLocaleString("en")}`;
  const tag = DATA.tags[b.tag[i]] || "no call site";
  say(`${bytes(b.size[i] * DATA.granule)}  ${tag}\naddress 0x${trueAddress(b.low[i]).toString(16)}, allocated at event ${b.start[i].toLocaleString("en")}, ${ends}`);
}
let held = null;
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const [x, y] = place(event), by = Math.exp(event.deltaY * 0.002);
  view = { x: x - (x - view.x) * by, w: view.w * by, y: y - (y - view.y) * by, h: view.h * by };
  redraw();
}, { passive: false });
canvas.addEventListener("mousedown", (event) => { held = place(event); });
window.addEventListener("mouseup", () => { held = null; });
canvas.addEventListener("mousemove", (event) => {
  if (!held) return hover(event);
  const [x, y] = place(event);
  view.x += held[0] - x;
  view.y += held[1] - y;
  redraw();
});
canvas.addEventListener("dblclick", () => {
  view = { x: 0, w: DATA.events, y: 0, h: shown.height };
  redraw();
});
function fit() {
  canvas.width = window.innerWidth;
  canvas.height = Math.max(window.innerHeight - 110, 200);
  if (shown) draw();
}
window.addEventListener("resize", fit);
head.append(`${DATA.title}: address upwards, events to the right, a colour for each call site `);
for (const name of Object.keys(DATA.layouts)) {
  const button = document.createElement("button");
  button.textContent = name;
  button.addEventListener("click", () => load(name));
  head.append(button, " ");
}
fit();
load(Object.keys(DATA.layouts)[0]).then(() => requestAnimationFrame(() => {
  performance.mark("shown");
  document.body.dataset.ready = "1";
}));
