// What happened within a run: tasks on lanes, tasks that wait, memory, on one axis of time.

// How long a task was in each part, in order; `thin` ones leave room for what lies beside them.
const PARTS = [
  { name: "held back", from: "due", to: "submitted", hatch: "held", waits: true },
  { name: "waiting in the queue", from: "submitted", to: "ready", pale: true, waits: true },
  { name: "start of the worker", from: "ready", to: "begun", hatch: "start" },
  { name: "hand-over to the worker", from: "begun", to: "started", hatch: "send" },
  { name: "service", from: "started", to: "finished", solid: true },
  { name: "hand-over of the result", from: "finished", to: "received", hatch: "send" },
];

const LABELS = 132; // Pixels left of the axis of time.

// Unpack what happened; moments are in seconds.
function readRun(packed) {
  const column = (name) => unpack(packed.tasks[name]);
  const seconds = (name) =>
    column(name).map((value) => (value === null ? null : value * packed.tick));
  const columns = Object.fromEntries(
    ["task", "stage", "worker", "attempt", "first", "end"].map((name) => [name, column(name)]),
  );
  for (const name of ["due", "submitted", "started", "finished", "received", "start", "send"]) {
    columns[name] = seconds(name);
  }
  const tasks = columns.task.map((_, place) => {
    const one = Object.fromEntries(
      Object.entries(columns).map(([name, values]) => [name, values[place]]),
    );
    // Where the parts of the waiting time are unknown, all of it counts as waiting.
    one.begun = one.started === null ? null : one.started - (one.send ?? 0);
    one.ready = one.begun === null ? (one.received ?? null) : one.begun - (one.start ?? 0);
    if (one.started !== null && one.finished === null) one.finished = one.received;
    one.error = packed.tasks.ends[one.end];
    return one;
  });
  const memory = Object.fromEntries(
    Object.entries(packed.memory).map(([name, text]) => [name, unpack(text)]),
  );
  memory.began = memory.began.map((value) => value * packed.tick);
  memory.ended = memory.ended.map((value) => value * packed.tick);
  const last = Math.max(packed.makespan, ...tasks.map((one) => one.received ?? 0));
  return { ...packed, tasks, memory, last, lanes: placeOnWorkers(packed, tasks) };
}

// A lane for each worker; where its tasks overlap, as coroutines do, as many as it takes.
function placeOnWorkers(packed, tasks) {
  return packed.stages.map((_, stage) => {
    const lanes = [];
    const own = tasks.filter((one) => one.stage === stage && one.started !== null);
    own.sort((a, b) => a.started - b.started);
    for (const one of own) {
      let lane = lanes.find(
        (other) => other.worker === one.worker && other.end <= one.started + 1e-9,
      );
      if (!lane) lanes.push((lane = { worker: one.worker, end: 0, tasks: [] }));
      lane.tasks.push(one);
      lane.end = one.finished;
    }
    const order = (lane) => lane.worker ?? Infinity;
    return lanes.sort((a, b) => order(a) - order(b) || 0);
  });
}

function placeByTask(run) {
  const own = new Map();
  for (const one of run.tasks) {
    if (!own.has(one.task)) own.set(one.task, []);
    own.get(one.task).push(one);
  }
  const first = (tasks) => Math.min(...tasks.map((one) => one.due ?? one.submitted ?? Infinity));
  return [...own.values()].sort((a, b) => first(a) - first(b)).map((tasks) => ({ tasks }));
}

// Rectangles of one look as one path.
class Boxes {
  constructor(svg, left, right) {
    Object.assign(this, { svg, left, right, paths: new Map() });
  }

  add(look, x1, x2, y, height) {
    if (!(x2 >= this.left && x1 <= this.right)) return;
    const from = Math.max(x1, this.left);
    const whole = Math.min(x2, this.right) - from;
    const wide = Math.max(whole > 4 ? whole - 0.8 : whole, 0.4); // Neighbours stay two.
    const path = this.paths.get(look) ?? [];
    path.push(`M${from.toFixed(2)},${y.toFixed(2)}h${wide.toFixed(2)}v${height}h${-wide.toFixed(2)}z`);
    this.paths.set(look, path);
  }

  draw(looks) {
    for (const look of looks) {
      const path = this.paths.get(look);
      if (path) make("path", { d: path.join(""), class: look }, this.svg);
    }
  }
}

function drawRun(view, node, run, highest) {
  node.replaceChildren();
  const width = widthOf(node);
  const narrow = width < 560;
  const [left, right] = [narrow ? 88 : LABELS, width - 12];
  const [start, end] = view.state.span;
  const x = lineScale(start, end, left, right);
  const groups = listGroups(view, run);
  const count = groups.reduce((sum, group) => sum + group.lanes.length, 0);
  const lane = clamp(Math.floor(360 / count), 2, 17);
  const svg = make("svg", { tabindex: 0, role: "img" }, node);
  svg.setAttribute("aria-label", `Tasks, queues and memory over time. ${HELP}`);
  const back = make("g", {}, svg);
  const boxes = new Boxes(svg, left, right);
  const hits = [];
  let y = 6;
  for (const group of groups) {
    // Two lines of text need room.
    const high = Math.max(group.lanes.length * lane, group.about && !narrow ? 28 : 14);
    drawGroupName(svg, group, { y, high, left, right, lane });
    for (const one of group.lanes) {
      for (const task of one.tasks) addTask(boxes, task, x, y, lane, group.byTask);
      hits.push({ y1: y, y2: y + lane, lane: one, group });
      y += lane;
    }
    y += high - group.lanes.length * lane + 8;
  }
  const lanesEnd = y;
  drawSpans(boxes, run);
  y = drawWaiting(svg, run, { x, y: y + 14, left, right, narrow });
  y = drawMemory(svg, run, { x, y: y + 22, left, right, highest });
  drawHorizontalAxis(back, x, { top: 4, bottom: y, right, title: "seconds since the workflow began" });
  const finish = x(run.makespan);
  if (finish >= left && finish <= right) {
    make("line", { x1: finish, x2: finish, y1: 2, y2: y, class: "finish" }, svg);
  }
  const chosen = make("rect", { class: "chosen", y: 0, height: y, width: 0 }, svg);
  svg.setAttribute("viewBox", `0 0 ${width} ${y + 36}`);
  watchTime(view, svg, { x, left, right, chosen, hits, lanesEnd, run, width });
}

function listGroups(view, run) {
  if (view.state.byTask) return [{ name: "tasks", lanes: placeByTask(run), byTask: true }];
  return run.stages.map((stage, place) => ({
    name: stage.name,
    about: stage.workers,
    lanes: run.lanes[place].length ? run.lanes[place] : [{ tasks: [] }],
    stage: place,
  }));
}

function drawGroupName(svg, group, { y, high, left, right, lane }) {
  const room = Math.floor((left - 24) / 6.6);
  const text = { x: left - 20, "text-anchor": "end" };
  const middle = y + high / 2;
  const twoLines = high >= 26 && group.about;
  const line = middle + (twoLines ? -2 : 4);
  make("text", { ...text, y: line, class: "name" }, svg, fit(group.name, room));
  if (!group.byTask) {
    const place = { x: left - 15, y: line - 8, width: 8, height: 8 };
    make("rect", { ...place, class: `box c${group.stage % COLOURS}` }, svg);
  }
  if (twoLines) make("text", { ...text, y: middle + 11, class: "about" }, svg, fit(group.about, room));
  if (lane >= 6) {
    group.lanes.forEach((_, place) => {
      const at = y + lane * (place + 1) - 0.5;
      make("line", { x1: left, x2: right, y1: at, y2: at, class: "lane" }, svg);
    });
  }
}

function addTask(boxes, task, x, y, lane, byTask) {
  const high = Math.max(lane - (lane > 5 ? 3 : lane > 2 ? 1 : 0), 1);
  const thin = Math.max(high * 0.5, 1);
  for (const part of PARTS) {
    if (part.waits && !byTask) continue;
    const [from, to] = [task[part.from], task[part.to]];
    if (from === null || to === null || to <= from) continue;
    const [x1, x2] = [x(from), x(to)];
    const colour = task.stage % COLOURS;
    if (part.solid) {
      boxes.add(task.error ? `box failed ink${colour}` : `box c${colour}`, x1, x2, y, high);
      if (task.first && lane > 5) boxes.add("box outlined", x1, x2, y, high);
    } else if (part.pale) {
      boxes.add(`box pale c${colour}`, x1, x2, y, high);
    } else {
      const over = part.hatch === "send" ? thin : high;
      boxes.add(`box under ${part.hatch}`, x1, x2, y + (high - over) / 2, over);
      boxes.add(`box hatch ${part.hatch}`, x1, x2, y + (high - over) / 2, over);
    }
  }
}

function drawSpans(boxes, run) {
  const colours = [...Array(COLOURS).keys()];
  boxes.draw([
    ...colours.map((one) => `box pale c${one}`),
    ...["held", "start", "send"].flatMap((one) => [`box under ${one}`, `box hatch ${one}`]),
    ...colours.map((one) => `box c${one}`),
    ...colours.map((one) => `box failed ink${one}`),
    ...(run.tasks.some((one) => !one.first) ? ["box outlined"] : []),
  ]);
}

// How many tasks of a stage are in a state, as steps of time and number.
function countOver(tasks, from, to) {
  const changes = [];
  for (const one of tasks) {
    const [first, last] = [one[from], one[to] ?? one.received];
    if (first === null || last === null || last <= first) continue;
    changes.push([first, 1], [last, -1]);
  }
  changes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const steps = [];
  let number = 0;
  for (const [time, change] of changes) {
    number += change;
    if (steps.length && steps.at(-1)[0] === time) steps.at(-1)[1] = number;
    else steps.push([time, number]);
  }
  return steps;
}

// Some microseconds before a task is taken are no holding back.
function isHeldBack(run, tasks) {
  return tasks.some((one) => one.submitted - (one.due ?? one.submitted) > 0.01 * run.last);
}

function drawWaiting(svg, run, { x, y, left, right, narrow }) {
  const lines = run.stages.flatMap((_, place) => {
    const own = run.tasks.filter((one) => one.stage === place);
    const held = isHeldBack(run, own) ? countOver(own, "due", "submitted") : [];
    return [
      { place, steps: countOver(own, "submitted", "started") },
      { place, steps: held, held: true },
    ];
  });
  const title = lines.some((line) => line.held && line.steps.length)
    ? "tasks that wait in the queue (dashed: that are held back)"
    : "tasks that wait in the queue";
  const deepest = Math.max(1, ...lines.flatMap((line) => line.steps.map((step) => step[1])));
  const bottom = y + (narrow ? 60 : 74);
  const scale = lineScale(0, deepest * 1.05, bottom, y);
  scale.ticks = scale.ticks.filter(Number.isInteger).slice(0, 5);
  drawVerticalAxis(svg, scale, { left, right, top: y, title });
  for (const line of lines) {
    if (line.steps.length) {
      const look = `step ink${line.place % COLOURS}${line.held ? " held" : ""}`;
      make("path", { d: stepPath(line.steps, x, scale, left, right), class: look }, svg);
    }
  }
  return bottom;
}

function stepPath(steps, x, y, left, right) {
  const parts = [];
  let before = y(0);
  for (const [time, value] of steps) {
    const at = clamp(x(time), left, right);
    if (!parts.length) parts.push(`M${at.toFixed(2)},${before.toFixed(2)}`);
    before = y(value);
    parts.push(`H${at.toFixed(2)}V${before.toFixed(2)}`);
  }
  return parts.join("");
}

function drawMemory(svg, run, { x, y, left, right, highest }) {
  const { began, ended, lower, upper, gap } = run.memory;
  const bottom = y + 110;
  const scale = lineScale(0, Math.max(highest, 1) * 1.05, bottom, y, 26);
  drawVerticalAxis(svg, scale, { left, right, top: y, title: "memory of all processes, MiB, between two bounds" });
  if (!began.length) {
    make("text", { x: left + 8, y: y + 40, class: "missing" }, svg, "no readings of memory");
    return bottom;
  }
  let band = [];
  const areas = [];
  const finishBand = () => {
    if (band.length) areas.push(band);
    band = [];
  };
  began.forEach((from, place) => {
    const [x1, x2] = [clamp(x(from), left, right), clamp(x(ended[place]), left, right)];
    if (x2 <= x1) return;
    if (gap[place] || lower[place] === null) {
      finishBand();
      make("rect", { x: x1, width: x2 - x1, y, height: bottom - y, class: "gap" }, svg);
      return;
    }
    band.push([x1, x2, scale(lower[place] / 1024), upper[place] === null ? null : scale(upper[place] / 1024)]);
  });
  finishBand();
  for (const area of areas) {
    const line = (end) => area.map((one) => `${one[0].toFixed(1)},${one[end].toFixed(1)}H${one[1].toFixed(1)}`);
    make("path", { d: `M${line(2).join("L")}`, class: "bound" }, svg);
    if (area.some((one) => one[3] === null)) continue;
    make("path", { d: `M${line(3).join("L")}`, class: "bound" }, svg);
    const back = [...area].reverse().map((one) => `${one[1].toFixed(1)},${one[2].toFixed(1)}H${one[0].toFixed(1)}`);
    make("path", { d: `M${line(3).join("L")}L${back.join("L")}z`, class: "band" }, svg);
  }
  if (upper.every((value) => value === null)) {
    make("text", { x: left + 8, y: y + 12, class: "missing" }, svg, "lower bound alone: no upper one is known");
  }
  return bottom;
}

const HELP = "Drag to zoom, Ctrl and the wheel too; a double click resets. Keys: + and − zoom, arrows move, 0 resets.";

function watchTime(view, svg, { x, left, right, chosen, hits, lanesEnd, run, width }) {
  const pixel = (event) => pixelOf(svg, width, event);
  let from = null;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch") return;
    [from] = pixel(event);
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    const [at, y] = pixel(event);
    if (from !== null) {
      const [low, high] = [Math.min(from, at), Math.max(from, at)].map((one) => clamp(one, left, right));
      chosen.setAttribute("x", low);
      chosen.setAttribute("width", high - low);
      hidePointerBox();
    } else if (at >= left && at <= right) showPointerBox(event, describeMoment(run, x, at, y, hits, lanesEnd));
    else hidePointerBox();
  });
  svg.addEventListener("pointerleave", hidePointerBox);
  svg.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const ends = [from, pixel(event)[0]].map((one) => x.invert(clamp(one, left, right)));
    const isWide = Math.abs(pixel(event)[0] - from) > 4;
    from = null;
    chosen.setAttribute("width", 0);
    if (isWide) view.zoom(Math.min(...ends), Math.max(...ends));
  });
  svg.addEventListener("dblclick", () => view.resetZoom());
  svg.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return; // The page scrolls.
      event.preventDefault();
      view.scaleZoom(event.deltaY > 0 ? 1.3 : 1 / 1.3, x.invert(pixel(event)[0]));
    },
    { passive: false },
  );
  svg.addEventListener("keydown", (event) => {
    const act = {
      "+": () => view.scaleZoom(1 / 1.5),
      "=": () => view.scaleZoom(1 / 1.5),
      "-": () => view.scaleZoom(1.5),
      ArrowLeft: () => view.moveZoom(-0.2),
      ArrowRight: () => view.moveZoom(0.2),
      0: () => view.resetZoom(),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const place = [...svg.closest(".runs").querySelectorAll("svg")].indexOf(svg);
    act();
    view.nodes.runs.querySelectorAll("svg")[place]?.focus();
  });
}

function describeMoment(run, x, at, y, hits, lanesEnd) {
  const time = x.invert(at);
  const lines = [`${formatSeconds(time)} s`];
  const hit = y < lanesEnd && hits.find((one) => y >= one.y1 && y < one.y2);
  if (hit) {
    const near = Math.abs(x.invert(at + 2) - time);
    const distance = (one) => Math.max(one.started - time, time - one.finished, 0);
    const spans = (one) => {
      const from = hit.group.byTask ? (one.due ?? one.submitted) : (one.ready ?? one.started);
      return from - near <= time && time <= (one.received ?? one.finished) + near;
    };
    const found = hit.lane.tasks.filter(spans).sort((a, b) => distance(a) - distance(b))[0];
    if (found) lines.push(...describeTask(run, found));
    else lines.push(`${hit.group.name}: no task`);
  }
  const place = run.memory.ended.findIndex((end) => end >= time);
  if (place >= 0 && run.memory.began[place] <= time) lines.push(describeMemory(run.memory, place));
  return lines;
}

function describeTask(run, one) {
  const worker = one.worker === null ? "" : `, worker ${one.worker}`;
  const attempt = one.attempt > 1 || run.tasks.retried ? `, attempt ${one.attempt}` : "";
  const parts = PARTS.map((part) => [part.name, (one[part.to] ?? NaN) - (one[part.from] ?? NaN)])
    .filter(([, time]) => time > 5e-7)
    .map(([name, time]) => `${name} ${formatSeconds(time)} s`);
  const first = one.first ? "first task of its worker" : "";
  return [`task ${one.task}, ${run.stages[one.stage].name}${worker}${attempt}`, first, ...parts, one.error];
}

function describeMemory(memory, place) {
  if (memory.gap[place]) return "memory: nobody looked";
  const [low, high] = [memory.lower[place], memory.upper[place]];
  if (low === null) return "memory: unknown";
  const text = (value) => (value / 1024).toPrecision(value > 1024000 ? 4 : 3);
  return high === null ? `memory ≥ ${text(low)} MiB` : `memory ${text(low)} – ${text(high)} MiB`;
}

function formatSeconds(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 1 : size >= 1 ? 3 : 6).replace(/(\.\d\d\d)0+$/, "$1");
}

function drawLegend(node, runs) {
  node.replaceChildren();
  const swatch = (looks, words) => {
    const item = element("span", { class: "item" }, node);
    const svg = make("svg", { viewBox: "0 0 22 12", width: 22, height: 12 }, item);
    for (const look of looks) make("rect", { x: 1, y: 1, width: 20, height: 10, class: look }, svg);
    item.append(words);
  };
  const tasks = runs.flatMap((run) => run.tasks);
  const has = (part) => tasks.some((one) => one[part.to] !== null && one[part.to] - one[part.from] > 1e-5);
  swatch(["box c0"], "service");
  if (tasks.some((one) => one.first) && tasks.some((one) => !one.first)) {
    swatch(["box c0", "box outlined"], "first task of a worker");
  }
  if (tasks.some((one) => one.error)) swatch(["box failed ink0"], "not ok");
  if (has(PARTS[2])) swatch(["box under start", "box hatch start"], "start of the worker");
  swatch(["box under send", "box hatch send"], "hand-over");
  swatch(["box pale c0"], "waiting in the queue");
  if (runs.some((run) => isHeldBack(run, run.tasks))) swatch(["box under held", "box hatch held"], "held back by a full queue");
  swatch(["band"], "memory: bounds");
  if (runs.some((run) => run.memory.gap.some(Boolean))) swatch(["gap"], "nobody looked");
}
