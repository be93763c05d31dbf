"use strict";
// Memory over time and addresses over time of one trace: zoom, pan, read values, hide policies. No library, no network.

const LETTERS = "abcdefghijklmnopqrstuvwxyz", OUTLIER = 4, SEEN = 1.35; // as the plots have them
const KIB = 1024, UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

function sizeText(bytes) {
  let unit = 0, value = Math.abs(bytes);
  while (unit < UNITS.length - 1 && Number(value.toFixed(unit ? 1 : 0)) >= KIB) { value /= KIB; unit += 1; }
  return (bytes < 0 ? "-" : "") + value.toFixed(unit ? 1 : 0) + " " + UNITS[unit];
}

/** Sizes and counts at an axis: no more digits than the step between them asks for. */
const sizeTick = (bytes) => sizeText(bytes).replace(".0 ", " ");
function countTick(value, step) {
  const [scale, unit] = step >= 1e5 && value ? [1e6, " M"] : step >= 100 && value ? [1e3, " k"] : [1, ""];
  return (value / scale).toLocaleString("en-US", { maximumFractionDigits: 1 }) + unit;
}

const countText = (value) => Math.round(value).toLocaleString("en-US");
const percentText = (share) => (100 * share).toFixed(1) + " %";

const MEASURES = {
  reserved: { title: "reserved", text: sizeText, of: (p, i) => p.reserved[i] },
  allocated: { title: "allocated", text: sizeText, of: (p, i) => p.allocated[i] },
  live: { title: "live (requested)", text: sizeText, of: (p, i) => p.live[i] },
  free: { title: "free, in holes", text: sizeText, of: (p, i) => p.free[i] },
  largest: { title: "largest hole", text: sizeText, of: (p, i) => p.largest[i] },
  holes: { title: "holes", text: countText, of: (p, i) => p.holes[i] },
  external: { title: "external fragmentation", text: percentText, of: (p, i) => (p.free[i] ? 1 - p.largest[i] / p.free[i] : p.free.length ? 0 : undefined) },
};

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function summed(steps) {
  let total = 0;
  return Float64Array.from(steps, (step) => (total += step));
}

async function load(section) {
  const data = JSON.parse(new TextDecoder().decode(await unpack(section.querySelector(".data").textContent)));
  for (const policy of data.policies) {
    for (const name of data.columns) policy[name] = summed(policy[name]);
    policy.shown = true;
    policy.letter = LETTERS[data.policies.indexOf(policy)] ?? "";
  }
  return data;
}

/** The last sample at or before an event. */
function sampleAt(events, event) {
  let low = 0, high = events.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (events[middle] <= event) low = middle; else high = middle - 1;
  }
  return low;
}

function niceStep(span, most) {
  const rough = span / most, scale = 10 ** Math.floor(Math.log10(rough || 1));
  return [1, 2, 5, 10].map((k) => k * scale).find((step) => step >= rough);
}

function sizeStep(span, most) {
  let scale = 1;
  while (span / scale >= KIB) scale *= KIB;
  return Math.max(1, niceStep(span / scale, most) * scale);
}

/** What both canvases share: a window into events and into a second scale, moved by wheel, drag and keys. */
class View {
  constructor(canvas, across, up, redraw, read) {
    Object.assign(this, { canvas, full: { across, up }, redraw, read, cursor: null });
    this.reset();
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.at(event), event.shiftKey); }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => { this.drag = { x: event.offsetX, y: event.offsetY, across: [...this.across], up: [...this.up] }; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointerup", () => { this.drag = null; });
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerleave", () => { this.cursor = null; this.redraw(); });
    canvas.addEventListener("dblclick", () => { this.reset(); this.redraw(); });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }
  get box() { return { left: 64, top: 8, right: this.canvas.clientWidth - 8, low: this.canvas.clientHeight - 24 }; }
  reset() { this.across = [...this.full.across]; this.up = [...this.full.up]; this.mark(); }
  mark() {
    const names = ["from", "to", "low", "top"], values = [...this.across, ...this.up];
    names.forEach((name, i) => { this.canvas.dataset[name] = String(values[i]); });
  }
  x(value) { const b = this.box; return b.left + (value - this.across[0]) / (this.across[1] - this.across[0]) * (b.right - b.left); }
  y(value) { const b = this.box; return b.low - (value - this.up[0]) / (this.up[1] - this.up[0]) * (b.low - b.top); }
  at(event) {
    const b = this.box;
    return [
      this.across[0] + (event.offsetX - b.left) / (b.right - b.left) * (this.across[1] - this.across[0]),
      this.up[0] + (b.low - event.offsetY) / (b.low - b.top) * (this.up[1] - this.up[0]),
    ];
  }
  zoom(factor, centre, upToo) {
    this.across = zoomed(this.across, factor, centre[0], this.full.across, 1);
    if (upToo) this.up = zoomed(this.up, factor, centre[1], this.full.up, 1e-6);
    this.mark(); this.redraw();
  }
  move(event) {
    if (this.drag) {
      const b = this.box, d = this.drag;
      this.across = shifted(d.across, (d.x - event.offsetX) / (b.right - b.left), this.full.across);
      this.up = shifted(d.up, (event.offsetY - d.y) / (b.low - b.top), this.full.up);
      this.mark();
    }
    this.cursor = this.at(event);
    this.redraw();
  }
  key(event) {
    const [from, to] = this.across, step = (to - from) / 100, upStep = (this.up[1] - this.up[0]) / 100;
    this.cursor ||= [(from + to) / 2, (this.up[0] + this.up[1]) / 2];
    const keys = {
      ArrowLeft: () => { this.cursor[0] -= step; }, ArrowRight: () => { this.cursor[0] += step; },
      ArrowUp: () => { this.cursor[1] += upStep; }, ArrowDown: () => { this.cursor[1] -= upStep; },
      "+": () => this.zoom(0.8, this.cursor, event.shiftKey && event.altKey), "=": () => this.zoom(0.8, this.cursor, false), "-": () => this.zoom(1.25, this.cursor, false),
      Home: () => this.reset(),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
    this.cursor[0] = Math.min(Math.max(this.cursor[0], this.across[0]), this.across[1]);
    this.cursor[1] = Math.min(Math.max(this.cursor[1], this.up[0]), this.up[1]);
    this.redraw();
  }
  paint(draw) {
    const canvas = this.canvas, ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "11px system-ui, sans-serif";
    draw(pen, getComputedStyle(canvas));
  }
}

function zoomed(range, factor, centre, full, least) {
  const span = Math.min(Math.max((range[1] - range[0]) * factor, least), full[1] - full[0]);
  const share = (centre - range[0]) / (range[1] - range[0] || 1);
  return shifted([centre - share * span, centre - share * span + span], 0, full);
}

function shifted(range, share, full) {
  const span = range[1] - range[0];
  const from = Math.min(Math.max(range[0] + share * span, full[0]), Math.max(full[0], full[1] - span));
  return [from, from + span];
}

function scales(pen, style, view, text, stepOf, lines = true) {
  const b = view.box, ink = style.getPropertyValue("--faint"), rule = style.getPropertyValue("--rule");
  pen.fillStyle = ink; pen.strokeStyle = rule; pen.lineWidth = 1;
  pen.textAlign = "right"; pen.textBaseline = "middle";
  const up = stepOf(view.up[1] - view.up[0], 5);
  for (let value = Math.ceil(view.up[0] / up) * up; value <= view.up[1]; value += up) {
    const y = Math.round(view.y(value)) + 0.5;
    pen.beginPath(); pen.moveTo(lines ? b.left : b.left - 4, y); pen.lineTo(lines ? b.right : b.left, y); pen.stroke();
    pen.fillText(text(value), b.left - 6, y);
  }
  pen.textAlign = "center"; pen.textBaseline = "top";
  const across = Math.max(1, niceStep(view.across[1] - view.across[0], Math.max(2, Math.floor((b.right - b.left) / 90))));
  for (let value = Math.ceil(view.across[0] / across) * across; value <= view.across[1]; value += across) {
    pen.fillText(countTick(value, across), Math.min(Math.max(view.x(value), b.left + 12), b.right - 24), b.low + 6);
  }
}

function crosshair(pen, style, view, x) {
  const b = view.box;
  pen.strokeStyle = style.getPropertyValue("--faint");
  pen.beginPath(); pen.moveTo(x, b.top); pen.lineTo(x, b.low); pen.stroke();
}

/** Curves of a measure, a value holding until the next sample. */
function chart(section, data, others) {
  const canvas = section.querySelector(".chart"), reading = section.querySelector(".chart-values");
  const choice = section.querySelector("select.measure");
  const measure = () => MEASURES[choice.value];
  const peak = (policy) => policy.event.reduce((most, _, i) => Math.max(most, measure().of(policy, i) ?? 0), 0);

  /** The highest of the policies shown; one far above the others would flatten them, and goes out of sight. */
  function highest() {
    const peaks = data.policies.filter((p) => p.shown).map(peak).filter((value) => value > 0).sort((one, other) => one - other);
    const middle = peaks[(peaks.length - 1) >> 1] ?? 1, most = peaks.findLast((value) => value <= OUTLIER * middle) ?? 1;
    return choice.value === "reserved" && data.capacity && data.capacity < SEEN * most ? Math.max(most, data.capacity) : most;
  }

  const view = new View(canvas, [0, Math.max(1, data.last)], [0, 1.04 * highest()], draw);
  function rescale() { view.full.up = [0, 1.04 * highest()]; view.up = [...view.full.up]; view.mark(); draw(); }
  choice.addEventListener("change", rescale);
  section.addEventListener("policies", rescale);

  /** A policy's letter on its curve, for eyes and printers that do not tell the colours apart. */
  function letter(pen, style, policy, at, count) {
    const event = view.across[0] + (at + 0.5) / count * (view.across[1] - view.across[0]);
    if (!policy.event.length || event < policy.event[0] || event > policy.event[policy.event.length - 1]) return;
    const b = view.box, value = measure().of(policy, sampleAt(policy.event, event));
    if (value === undefined || value < view.up[0] || value > view.up[1]) return;
    const x = view.x(event), y = Math.max(b.top + 7, Math.min(b.low - 7, view.y(value)));
    pen.fillStyle = style.getPropertyValue("--paper"); pen.fillRect(x - 6, y - 7, 12, 14);
    pen.fillStyle = style.getPropertyValue("--ink"); pen.textAlign = "center"; pen.textBaseline = "middle";
    pen.fillText(policy.letter, x, y);
  }

  function curve(pen, style, policy) {
    const { event } = policy, of = measure().of;
    pen.strokeStyle = inkOf(policy.colour, style); pen.lineWidth = 1.6; pen.setLineDash(policy.dashes);
    pen.beginPath();
    const first = Math.max(0, sampleAt(event, view.across[0]));
    let y = view.y(of(policy, first));
    pen.moveTo(view.x(event[first]), y);
    for (let i = first + 1; i < event.length && event[i - 1] <= view.across[1]; i += 1) {
      const x = view.x(event[i]);
      pen.lineTo(x, y);
      y = view.y(of(policy, i));
      pen.lineTo(x, y);
    }
    pen.stroke(); pen.setLineDash([]);
    if (policy.oom !== null) {
      const x = view.x(policy.oom);
      pen.lineWidth = 2;
      pen.beginPath(); pen.moveTo(x - 4, y - 4); pen.lineTo(x + 4, y + 4); pen.moveTo(x - 4, y + 4); pen.lineTo(x + 4, y - 4); pen.stroke();
    }
  }

  function draw() {
    view.paint((pen, style) => {
      const b = view.box;
      scales(pen, style, view, measure().text === sizeText ? sizeTick : measure().text, measure().text === sizeText ? sizeStep : niceStep);
      pen.save();
      pen.beginPath(); pen.rect(b.left, b.top, b.right - b.left, b.low - b.top); pen.clip();
      if (data.capacity && choice.value === "reserved") {
        pen.strokeStyle = style.getPropertyValue("--alarm"); pen.setLineDash([6, 4]);
        pen.beginPath(); pen.moveTo(b.left, view.y(data.capacity)); pen.lineTo(b.right, view.y(data.capacity)); pen.stroke(); pen.setLineDash([]);
      }
      const shown = data.policies.filter((policy) => policy.shown);
      for (const policy of [...shown].reverse()) curve(pen, style, policy);
      shown.forEach((policy, at) => letter(pen, style, policy, at, shown.length));
      if (view.cursor) crosshair(pen, style, view, view.x(view.cursor[0]));
      pen.restore();
    });
    tell();
  }

  function tell() {
    if (!view.cursor) {
      const above = data.policies.filter((p) => p.shown && peak(p) > view.full.up[1]).map((p) => p.label);
      const note = above.length ? ` Above the scale: ${above.join(", ")}; hide the others to see ${above.length > 1 ? "them" : "it"}.` : "";
      reading.replaceChildren(`Point at the chart, or give it the focus and use the arrow keys.${note}`);
      return;
    }
    const event = Math.max(0, Math.round(view.cursor[0]));
    const list = document.createElement("ul");
    for (const policy of data.policies) {
      if (!policy.shown) continue;
      const i = sampleAt(policy.event, event), value = measure().of(policy, i), item = document.createElement("li");
      item.dataset.policy = policy.label; item.dataset.event = String(policy.event[i]); item.dataset.value = String(value);
      const exact = measure().text === sizeText ? ` (${countText(value)} B)` : "";
      item.textContent = `${policy.letter} ${policy.label}: ` + (value === undefined ? "not known" : measure().text(value) + exact);
      item.style.setProperty("--colour", policy.colour);
      list.append(item);
    }
    reading.replaceChildren(`${measure().title} at event ${countText(event)} (last sample before it)`, list);
  }
  others.push(draw);
  return view;
}

/** The address map of one policy, coloured by use, tag or age. */
async function map(section, data, others) {
  const canvas = section.querySelector(".map"), reading = section.querySelector(".map-values");
  const choice = section.querySelector("select.mapped"), paint = section.querySelector("select.painted");
  if (!canvas) return null;
  const legend = section.querySelector(".legend"), grids = new Map();
  let policy = null, grid = null, view = null;

  async function cellsOf(label) {
    const found = {};
    for (const blob of section.querySelectorAll(`.grid[data-policy="${CSS.escape(label)}"]`)) found[blob.dataset.kind] = await unpack(blob.textContent);
    return found;
  }

  async function choose() {
    const chosen = data.policies.find((p) => p.label === choice.value);
    if (!grids.has(chosen.label)) grids.set(chosen.label, await cellsOf(chosen.label));
    policy = chosen;
    grid = { ...policy.grid, ...grids.get(policy.label) };
    const top = grid.rows * grid.rowBytes;
    if (!view) view = new View(canvas, [0, Math.max(1, data.last)], [0, top], draw);
    view.full.up = [0, top];
    view.reset();
    draw();
  }

  /** The region that holds a row: its first row, and the address of that. */
  const regionOf = (row) => grid.regions.findLast(([first]) => first <= row);
  const addressOf = (place) => { const [row, address] = regionOf(Math.min(grid.rows - 1, Math.max(0, Math.floor(place / grid.rowBytes)))); return address + place - row * grid.rowBytes; };
  const kind = () => (grid[paint.value] ? paint.value : "share");

  function draw() {
    if (!grid) return;
    canvas.dataset.painted = kind();
    view.paint((pen, style) => {
      const b = view.box;
      pen.imageSmoothingEnabled = false;
      pen.save();
      pen.beginPath(); pen.rect(b.left, b.top, b.right - b.left, b.low - b.top); pen.clip();
      const left = view.x(0), right = view.x(Math.max(1, data.last)), top = view.y(grid.rows * grid.rowBytes), low = view.y(0);
      pen.drawImage(picture(style), left, top, right - left, low - top);
      for (const [row] of grid.regions.slice(1)) {
        const y = view.y(row * grid.rowBytes);
        pen.strokeStyle = style.getPropertyValue("--alarm"); pen.setLineDash([6, 4]);
        pen.beginPath(); pen.moveTo(b.left, y); pen.lineTo(b.right, y); pen.stroke(); pen.setLineDash([]);
      }
      if (view.cursor) crosshair(pen, style, view, view.x(view.cursor[0]));
      pen.restore();
      scales(pen, style, view, (place) => sizeTick(addressOf(place)), sizeStep, false);
    });
    explain();
    tell();
  }

  /** The colour of a cell that is in use, and how much of it shows. */
  function colouring(style) {
    const [full, ...others] = [policy.colour, ...data.tagColours, ...data.ageColours].map((colour) => rgb(inkOf(colour, style)));
    const tags = others.slice(0, data.tagColours.length), ages = others.slice(data.tagColours.length), [young, old] = data.ages;
    if (kind() === "tag") return (at) => [tags[grid.tag[at] ? grid.tag[at] - 1 : tags.length - 1], 1];
    if (kind() === "age") return (at) => [ages[Math.min(ages.length - 1, Math.max(0, Math.floor((grid.age[at] - 1 - young) / (old - young) * ages.length)))], 1];
    return (at) => [full, grid.share[at] / 254];
  }

  function picture(style) {
    const image = new ImageData(grid.columns, grid.rows), hole = rgb(style.getPropertyValue("--hole")), colour = colouring(style);
    grid.regions.forEach(([first], number) => {
      const end = number + 1 < grid.regions.length ? grid.regions[number + 1][0] : grid.rows;
      let most = first;
      for (let column = 0; column < grid.columns; column += 1) {
        for (let row = most; row < end; row += 1) { const share = grid.share[row * grid.columns + column]; if (share > 0 && share < 255) most = row + 1; }
        for (let row = first; row < most; row += 1) {
          const cell = row * grid.columns + column, at = 4 * ((grid.rows - 1 - row) * grid.columns + column);
          if (grid.share[cell] === 255) continue;
          const [full, share] = grid.share[cell] ? colour(cell) : [hole, 1];
          for (let k = 0; k < 3; k += 1) image.data[at + k] = hole[k] + share * (full[k] - hole[k]);
          image.data[at + 3] = 255;
        }
      }
    });
    const sheet = new OffscreenCanvas(grid.columns, grid.rows);
    sheet.getContext("2d").putImageData(image, 0, 0);
    return sheet;
  }

  /** What the colours are. */
  function explain() {
    const entries = [];
    if (kind() === "share") entries.push([policy.colour, "in use"]);
    if (kind() === "tag") [...data.tags, "no tag"].forEach((tag, i) => entries.push([data.tagColours[i], tag]));
    if (kind() === "age") data.ageColours.forEach((colour, i) => entries.push([colour, (i ? "" : "events old: from ") + countText(2 ** (data.ages[0] + i * (data.ages[1] - data.ages[0]) / data.ageColours.length))]));
    entries.push(["var(--hole)", "hole"]);
    if (grid.regions.length > 1) entries.push([null, "dashed: a gap in the addresses, left out"]);
    legend.replaceChildren(...entries.map(([colour, text]) => {
      const item = document.createElement("span"), swatch = document.createElement("span");
      swatch.className = "swatch"; swatch.style.setProperty("--colour", colour);
      if (text === "hole") swatch.style.setProperty("--lighter", "0%");
      item.append(...(colour ? [swatch, " "] : []), text);
      return item;
    }));
  }

  function tell() {
    if (!view.cursor) { reading.textContent = "Point at the map, or give it the focus and use the arrow keys."; return; }
    const [event, place] = view.cursor;
    const row = Math.min(grid.rows - 1, Math.max(0, Math.floor(place / grid.rowBytes)));
    const column = Math.min(grid.columns - 1, Math.max(0, Math.floor(event / Math.max(1, data.last) * grid.columns)));
    const at = row * grid.columns + column, cell = grid.share[at], from = addressOf(row * grid.rowBytes);
    const parts = [cell === 255 ? "after the end" : `${percentText(cell / 254)} in use`];
    if (cell > 0 && cell < 255 && grid.tag) parts.push(grid.tag[at] ? `mostly ${data.tags[grid.tag[at] - 1]}` : "mostly without a tag");
    if (cell > 0 && cell < 255 && grid.age) parts.push(`about ${countText(2 ** (grid.age[at] - 1))} events old`);
    Object.assign(reading.dataset, { cell: String(cell), row: String(row), column: String(column), tag: String(grid.tag ? grid.tag[at] : 0), age: String(grid.age ? grid.age[at] : 0) });
    reading.textContent = `${policy.label}, event ${countText(event)}, addresses ${sizeText(from)} to ${sizeText(from + grid.rowBytes)}: ${parts.join(", ")}`;
  }
  choice.addEventListener("change", choose);
  paint.addEventListener("change", draw);
  others.push(draw);
  await choose();
  return view;
}

/** A policy's colour on this ground: dark ones are lightened where the ground is dark. */
function inkOf(colour, style) {
  const parts = rgb(colour), paper = rgb(style.getPropertyValue("--paper"));
  return paper[0] > 127 ? colour : `rgb(${[0, 1, 2].map((k) => Math.round(parts[k] + 0.4 * (255 - parts[k]))).join(" ")})`;
}

function rgb(text) {
  const pen = new OffscreenCanvas(1, 1).getContext("2d");
  pen.fillStyle = text.trim(); pen.fillRect(0, 0, 1, 1);
  return pen.getImageData(0, 0, 1, 1).data;
}

async function explore(section) {
  const data = await load(section), redraw = [];
  const all = () => redraw.forEach((draw) => draw());
  const views = [chart(section, data, redraw), await map(section, data, redraw)].filter(Boolean);
  for (const box of section.querySelectorAll("input.shown")) {
    box.addEventListener("change", () => { data.policies.find((p) => p.label === box.value).shown = box.checked; section.dispatchEvent(new Event("policies")); all(); });
  }
  section.querySelectorAll(".views").forEach((bar, i) => {
    const [closer, wider, reset] = bar.querySelectorAll("button"), view = views[i];
    const centre = () => [(view.across[0] + view.across[1]) / 2, (view.up[0] + view.up[1]) / 2];
    closer.addEventListener("click", () => view.zoom(0.5, centre(), i === 1));
    wider.addEventListener("click", () => view.zoom(2, centre(), i === 1));
    reset.addEventListener("click", () => { view.reset(); all(); });
  });
  new ResizeObserver(all).observe(section);
  document.querySelector("#theme").addEventListener("click", all);
  all();
  section.dataset.ready = "yes";
}

const root = document.documentElement;
document.querySelector("#theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}, { capture: true });
document.querySelectorAll(".explorer").forEach(explore);
