// Two charts of all treatments: makespan against peak, and the makespan of every run.

const CLOSE = 13; // Labels nearer to each other than this many pixels would overlap.

function widthOf(node) {
  return Math.max(node.clientWidth, 280);
}

function drawScatter(view) {
  const { data, state } = view;
  const node = view.nodes.scatter;
  const all = data.treatments.filter((one) => one.makespan[1] !== null && one.peak[1] !== null);
  node.replaceChildren();
  if (!all.length) {
    element("p", { class: "missing" }, node, "No treatment has a makespan and a peak.");
    return;
  }
  const width = widthOf(node);
  const [height, left, top] = [380, 52, 26];
  const [right, bottom] = [width - 14, height - 40];
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" }, node);
  svg.setAttribute("aria-label", "Makespan against peak memory of every treatment");
  const x = makeScale(all.flatMap((one) => one.makespan.slice(1)), left, right, { pad: 0.05 });
  const ends = all.flatMap((one) => [one.peak[1], one.peak[2]]);
  const y = makeScale(ends, bottom, top, { pad: 0.08 });
  drawHorizontalAxis(svg, x, { top, bottom, right, title: "makespan s" });
  drawVerticalAxis(svg, y, { left, right, top, title: "peak MiB" });
  const visible = new Set(view.visible().map((one) => one.place));
  // What lies below is drawn first: all others, the front, what is picked.
  const rank = (one) => (view.isPicked(one) ? 2 : one.front ? 1 : 0);
  const order = [...all].sort((first, second) => rank(first) - rank(second));
  const places = [];
  for (const one of order) {
    const [px, py] = [x(one.makespan[1]), y(one.peak[1])];
    const group = make("g", { class: "treatment", "data-place": one.place }, svg);
    if (!visible.has(one.place)) group.classList.add("filtered");
    if (one.front) group.classList.add("front");
    if (view.isPicked(one)) group.classList.add("picked");
    make("line", { x1: x(one.makespan[2]), x2: x(one.makespan[3]), y1: py, y2: py, class: "bar" }, group);
    const upper = one.peak[2] === null ? top : y(one.peak[2]);
    const open = one.peak[2] === null ? "bar open" : "bar";
    make("line", { x1: px, x2: px, y1: py, y2: upper, class: open }, group);
    const level = view.levelOf(one);
    const mark = { d: markShape(level, one.front ? 5.5 : 4.5), class: markClass(level) };
    make("path", { ...mark, transform: `translate(${px} ${py})` }, group);
    listen(view, group, one, () => describeTreatment(one));
    places.push({ one, px, py, isNamed: visible.has(one.place) && (one.front || view.isPicked(one)) });
  }
  labelPoints(svg, places, { left, right, top, bottom });
  chooseByDragging(view, svg, width, places);
}

// A rectangle drawn around points filters by them.
function chooseByDragging(view, svg, width, places) {
  const chosen = make("rect", { class: "chosen", width: 0, height: 0 }, svg);
  let from = null;
  const corners = (event) => {
    const to = pixelOf(svg, width, event);
    return [0, 1].map((axis) => [Math.min(from[axis], to[axis]), Math.max(from[axis], to[axis])]);
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch") return;
    from = pixelOf(svg, width, event);
  });
  svg.addEventListener("pointermove", (event) => {
    if (from === null || !event.buttons) return;
    const [[x1, x2], [y1, y2]] = corners(event);
    for (const [name, value] of Object.entries({ x: x1, y: y1, width: x2 - x1, height: y2 - y1 })) {
      chosen.setAttribute(name, value);
    }
  });
  svg.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [[x1, x2], [y1, y2]] = corners(event);
    from = null;
    chosen.setAttribute("width", 0);
    if (x2 - x1 < 5 || y2 - y1 < 5) return;
    const inside = places.filter(({ px, py }) => px >= x1 && px <= x2 && py >= y1 && py <= y2);
    view.filter(() => (view.state.chosen = new Set(inside.map(({ one }) => one.place))));
  });
}

// Labels go where they hide no point and no other label; one that fits nowhere is left out.
function labelPoints(svg, places, { left, right, top, bottom }) {
  const taken = places.map(({ px, py }) => ({ x1: px - 5, x2: px + 5, y1: py - 5, y2: py + 5 }));
  for (const { one, px, py, isNamed } of [...places].reverse()) {
    if (!isNamed) continue;
    const wide = one.id.length * 6.6 + 4;
    const spots = [];
    for (const shift of [0, -CLOSE, CLOSE, -2 * CLOSE, 2 * CLOSE, -3 * CLOSE, 3 * CLOSE]) {
      spots.push({ x: px + 9, y: py + shift, anchor: "start" });
      spots.push({ x: px - 9, y: py + shift, anchor: "end" });
    }
    for (const spot of spots) {
      const x1 = spot.anchor === "start" ? spot.x : spot.x - wide;
      const box = { x1, x2: x1 + wide, y1: spot.y - 6, y2: spot.y + 6 };
      const inside = box.x1 >= left && box.x2 <= right && box.y1 >= top - 6 && box.y2 <= bottom + 4;
      const free = taken.every(
        (other) => box.x2 < other.x1 || box.x1 > other.x2 || box.y2 < other.y1 || box.y1 > other.y2,
      );
      if (!inside || !free) continue;
      taken.push(box);
      if (Math.abs(spot.y - py) > CLOSE) {
        make("line", { x1: px, y1: py, x2: spot.x, y2: spot.y, class: "leader" }, svg);
      }
      const place = { x: spot.x, y: spot.y + 4, "text-anchor": spot.anchor, class: "name" };
      make("text", place, svg, one.id);
      break;
    }
  }
}

function drawDots(view) {
  const { data } = view;
  const node = view.nodes.dots;
  node.replaceChildren();
  const order = (one) => one.makespan[1] ?? Infinity;
  const shown = view.visible().sort((a, b) => order(a) - order(b) || a.place - b.place);
  if (!shown.length) {
    element("p", { class: "missing" }, node, "No treatment has all that is filtered by.");
    return;
  }
  const width = widthOf(node);
  const longest = Math.max(...shown.map((one) => one.id.length));
  const left = Math.min(longest * 6.7 + 12, width * 0.4);
  const row = shown.length > 40 ? 13 : 18;
  const [top, right] = [8, width - 16];
  const bottom = top + row * shown.length;
  const svg = make("svg", { viewBox: `0 0 ${width} ${bottom + 40}`, role: "img" }, node);
  svg.setAttribute("aria-label", "Makespan of every run, treatments sorted by their median");
  const runs = new Map(shown.map((one) => [one.place, []]));
  for (const run of data.runs) runs.get(run[0])?.push(run);
  const x = makeScale([...runs.values()].flat().map((run) => run[4]), left, right);
  drawHorizontalAxis(svg, x, { top, bottom, right, title: "makespan s" });
  shown.forEach((one, place) => {
    const y = top + row * (place + 0.5);
    const group = make("g", { class: "treatment", "data-place": one.place }, svg);
    if (view.isPicked(one)) group.classList.add("picked", one.place === view.state.first ? "first" : "second");
    make("rect", { x: 0, width, y: y - row / 2, height: row, class: "row" }, group);
    const name = make("text", { x: left - 8, y: y + 4, "text-anchor": "end", class: "name" }, group);
    name.textContent = fit(one.id, (left - 10) / 6.7);
    const own = runs.get(one.place);
    const failed = own.filter((run) => run[4] === null).length;
    const level = view.levelOf(one);
    if (one.makespan[1] !== null) {
      const middle = x(one.makespan[1]);
      make("line", { x1: middle, x2: middle, y1: y - row * 0.42, y2: y + row * 0.42, class: "median" }, group);
    }
    for (const run of own) {
      if (run[4] === null) continue;
      const attributes = {
        d: markShape(level, row > 14 ? 4.2 : 3.4),
        class: markClass(level) + (run[6] ? " noisy" : ""),
        transform: `translate(${x(run[4])} ${y})`,
      };
      const mark = make("path", attributes, group);
      listen(view, mark, one, () => [`${one.id}, run ${run[1]}`, ...describeRun(one, run)]);
    }
    if (failed) {
      const all = failed === 1 ? "its run failed" : `all ${failed} runs failed`;
      const words = own.length === failed ? all : `${failed} failed`;
      make("text", { x: right, y: y + 4, "text-anchor": "end", class: "bad" }, group, words);
    }
    listen(view, group, one, () => describeTreatment(one));
  });
}

function fit(text, characters) {
  return text.length <= characters ? text : `${text.slice(0, Math.max(characters - 1, 1))}…`;
}

function describeTreatment(one) {
  return [
    one.id,
    `makespan ${one.makespan[0]} s`,
    one.against[0] === "–" ? "" : one.against[0],
    `peak ${one.peak[0]} MiB${one.unseen ? "; results wait where nothing counts them" : ""}`,
    one.why,
    one.ok < one.n ? `${one.ok} of ${one.n} runs ok` : "",
  ];
}

function describeRun(one, run) {
  return [
    `${run[5]} s, block ${run[2]}`,
    run[6] ? `noisy: ${run[6]}` : "not noisy",
    `its treatment: ${one.makespan[0]} s`,
    one.against[0] === "–" ? "" : one.against[0],
  ];
}

function listen(view, node, one, describe) {
  node.addEventListener("pointermove", (event) => {
    event.stopPropagation();
    showPointerBox(event, describe());
    view.point(one.place);
  });
  node.addEventListener("pointerleave", () => {
    hidePointerBox();
    view.point(null);
  });
  node.addEventListener("click", (event) => {
    event.stopPropagation();
    view.pick(one.place, event.shiftKey);
  });
}
