// Drawing: SVG elements, scales, axes, marks, the box that follows the pointer.

const SVG = document.getElementById("hatches").namespaceURI;

function make(name, attributes = {}, parent = null, text = null) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function element(name, attributes = {}, parent = null, text = null) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

// The counterpart of packed.py: whole numbers, null where one is missing.
function unpack(text) {
  const bytes = atob(text);
  const found = [];
  let before = 0;
  for (let place = 0; place < bytes.length; ) {
    let value = 0;
    let size = 1;
    for (;;) {
      const byte = bytes.charCodeAt(place++);
      value += (byte % 128) * size;
      if (byte < 128) break;
      size *= 128;
    }
    if (value === 0) {
      found.push(null);
      continue;
    }
    value -= 1;
    before += value % 2 ? -(value + 1) / 2 : value / 2;
    found.push(before);
  }
  return found;
}

const SPREAD = 10; // Where values spread over more than this, an axis is logarithmic.

// A scale from values to pixels. A linear one begins at 0, unless `from` says otherwise.
function makeScale(values, start, end, { linear = false, from = 0, pad = 0.04 } = {}) {
  const known = values.filter((value) => value !== null && value > 0);
  const highest = Math.max(...known, -Infinity);
  const lowest = Math.min(...known, Infinity);
  if (!known.length) return lineScale(0, 1, start, end);
  if (linear || highest / lowest <= SPREAD) {
    return lineScale(from, highest + pad * (highest - from), start, end);
  }
  const margin = (highest / lowest) ** pad;
  const [low, high] = [Math.log(lowest / margin), Math.log(highest * margin)];
  const scale = (value) => start + ((Math.log(value) - low) / (high - low)) * (end - start);
  const steps = high - low > Math.log(2000) ? [1] : [1, 2, 5];
  scale.ticks = [];
  for (let power = Math.floor(low / Math.LN10); power <= high / Math.LN10; power++) {
    for (const step of steps) {
      const value = step * 10 ** power;
      if (Math.log(value) >= low && Math.log(value) <= high) scale.ticks.push(value);
    }
  }
  scale.isLog = true;
  return scale;
}

function lineScale(low, high, start, end, apart = 70) {
  const scale = (value) => start + ((value - low) / (high - low)) * (end - start);
  scale.invert = (pixel) => low + ((pixel - start) / (end - start)) * (high - low);
  const wanted = (high - low) / Math.max(2, Math.min(7, Math.abs(end - start) / apart));
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= wanted * 0.999);
  scale.ticks = [];
  for (let count = Math.ceil(low / step - 1e-9); count * step <= high + step * 1e-9; count++) {
    scale.ticks.push(count * step);
  }
  scale.isLog = false;
  return scale;
}

function formatTick(value) {
  return String(Number(value.toPrecision(6)));
}

function drawHorizontalAxis(svg, scale, { top, bottom, title, right }) {
  const group = make("g", { class: "axis" }, svg);
  for (const tick of scale.ticks) {
    const x = scale(tick);
    make("line", { x1: x, x2: x, y1: top, y2: bottom }, group);
    make("text", { x, y: bottom + 14, "text-anchor": "middle" }, group, formatTick(tick));
  }
  const words = title + (scale.isLog ? " (logarithmic)" : "");
  make("text", { x: right, y: bottom + 30, "text-anchor": "end", class: "title" }, group, words);
}

function drawVerticalAxis(svg, scale, { left, right, title, top }) {
  const group = make("g", { class: "axis" }, svg);
  for (const tick of scale.ticks) {
    const y = scale(tick);
    make("line", { x1: left, x2: right, y1: y, y2: y }, group);
    make("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, group, formatTick(tick));
  }
  const words = title + (scale.isLog ? " (logarithmic)" : "");
  make("text", { x: 2, y: top - 8, class: "title" }, group, words);
}

// Levels differ by shape and by colour.
const COLOURS = 8;
const SHAPES = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0z`,
  (r) => `M${-r * 0.9},${-r * 0.9}h${r * 1.8}v${r * 1.8}h${-r * 1.8}z`,
  (r) => `M0,${-r * 1.2}L${r * 1.15},${r * 0.85}H${-r * 1.15}z`,
  (r) => `M0,${-r * 1.3}L${r * 1.3},0L0,${r * 1.3}L${-r * 1.3},0z`,
  (r) => `M0,${r * 1.2}L${r * 1.15},${-r * 0.85}H${-r * 1.15}z`,
];

function markShape(level, radius) {
  return SHAPES[Math.max(level, 0) % SHAPES.length](radius);
}

function markClass(level) {
  return `mark c${Math.max(level, 0) % COLOURS}`;
}

const pointerBox = element("div", { class: "pointer-box", hidden: "" }, document.body);

function showPointerBox(event, lines) {
  pointerBox.replaceChildren();
  lines.filter(Boolean).forEach((line, place) => {
    element(place ? "div" : "strong", {}, pointerBox, line);
  });
  pointerBox.hidden = false;
  const { width, height } = pointerBox.getBoundingClientRect();
  const left = event.clientX + 14 + width > innerWidth ? event.clientX - width - 10 : event.clientX + 14;
  const top = event.clientY + 14 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 14;
  pointerBox.style.left = `${Math.max(left, 2)}px`;
  pointerBox.style.top = `${Math.max(top, 2)}px`;
}

function hidePointerBox() {
  pointerBox.hidden = true;
}

// Where the pointer is, in the units of a drawing of this width.
function pixelOf(svg, width, event) {
  const box = svg.getBoundingClientRect();
  const scale = width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
