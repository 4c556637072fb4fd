// One view for each experiment: what is filtered, sorted and picked, and what is drawn of it.

const read = (id) => JSON.parse(document.getElementById(id).textContent);

class View {
  constructor(panel) {
    this.panel = panel;
    this.number = panel.dataset.experiment;
    this.data = read(`data-${this.number}`);
    this.data.treatments.forEach((one, place) => (one.place = place));
    this.nodes = Object.fromEntries(
      [...panel.querySelectorAll("[data-node]")].map((node) => [node.dataset.node, node]),
    );
    this.levels = new Map(this.data.factors.map((name) => [name, this.levelsOf(name)]));
    this.read = new Map();
    this.state = {
      sort: 1,
      descending: false,
      text: "",
      levels: new Map(),
      chosen: null,
      colour: this.data.factors[0] ?? null,
      first: null,
      second: null,
      byTask: false,
      span: [0, 1],
    };
    this.makeControls();
    this.draw();
    const choice = this.data.treatments.find((one) => one.choice && this.packedOf(one.place));
    const any = this.data.treatments.find((one) => this.packedOf(one.place));
    this.pick((choice ?? any)?.place ?? null, false);
    new ResizeObserver(() => this.resize()).observe(panel);
  }

  levelsOf(name) {
    const found = new Set(this.data.treatments.map((one) => one.factors[name] ?? "–"));
    return [...found].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  }

  levelOf(one) {
    const { colour } = this.state;
    return colour === null ? 0 : this.levels.get(colour).indexOf(one.factors[colour] ?? "–");
  }

  visible() {
    const words = this.state.text.toLowerCase().split(/\s+/).filter(Boolean);
    return this.data.treatments.filter(
      (one) =>
        (this.state.chosen?.has(one.place) ?? true) &&
        [...this.state.levels].every(([name, level]) => (one.factors[name] ?? "–") === level) &&
        words.every((word) => `${one.id} ${one.limit} ${one.against[0]}`.toLowerCase().includes(word)),
    );
  }

  isPicked(one) {
    return one.place === this.state.first || one.place === this.state.second;
  }

  packedOf(place) {
    this.packed ??= read(`runs-${this.number}`);
    return this.packed[place] ?? null;
  }

  runOf(place) {
    if (place === null || !this.packedOf(place)) return null;
    if (!this.read.has(place)) this.read.set(place, readRun(this.packedOf(place)));
    return this.read.get(place);
  }

  makeControls() {
    const { filters, colour, table } = this.nodes;
    const search = element("label", {}, filters, "find ");
    const input = element("input", { type: "search", placeholder: "name, limit …" }, search);
    input.addEventListener("input", () => this.filter(() => (this.state.text = input.value)));
    const choices = [];
    for (const [name, levels] of this.levels) {
      const label = element("label", {}, filters, `${name} `);
      const select = element("select", { "data-factor": name }, label);
      element("option", { value: "" }, select, "any");
      levels.forEach((level, place) => element("option", { value: place }, select, level));
      select.addEventListener("change", () =>
        this.filter(() => {
          if (select.value === "") this.state.levels.delete(name);
          else this.state.levels.set(name, levels[Number(select.value)]);
        }),
      );
      choices.push(select);
    }
    const reset = element("button", { type: "button" }, filters, "show all");
    reset.addEventListener("click", () => {
      input.value = "";
      for (const select of choices) select.value = "";
      this.filter(() => {
        Object.assign(this.state, { text: "", chosen: null });
        this.state.levels.clear();
      });
    });
    this.nodes.count = element("span", { class: "count", role: "status" }, filters);
    if (this.data.factors.length) {
      const label = element("label", {}, colour, "colour by ");
      const select = element("select", {}, label);
      for (const name of this.data.factors) element("option", {}, select, name);
      select.addEventListener("change", () => {
        this.state.colour = this.data.factors[select.selectedIndex];
        this.drawCharts();
      });
      this.nodes.legend = element("span", { class: "legend" }, colour);
    }
    table.addEventListener("keydown", moveInTable);
    this.makeRunControls();
  }

  makeRunControls() {
    const { picks } = this.nodes;
    const choose = (words, key, none) => {
      const label = element("label", {}, picks, `${words} `);
      const select = element("select", {}, label);
      element("option", { value: "" }, select, none);
      for (const one of this.data.treatments) element("option", { value: one.place }, select, one.id);
      select.addEventListener("change", () => {
        const place = select.value === "" ? null : Number(select.value);
        if (key === "first" && place === null) this.state.second = null;
        this.state[key] = place;
        this.afterPick();
      });
      return select;
    };
    this.nodes.first = choose("run of", "first", "none");
    this.nodes.second = choose("beside", "second", "none");
    const button = (words, title, act) => {
      element("button", { type: "button", title }, picks, words).addEventListener("click", act);
    };
    const label = element("label", {}, picks, "rows ");
    const rows = element("select", {}, label);
    for (const words of ["workers", "tasks"]) element("option", {}, rows, words);
    rows.addEventListener("change", () => {
      this.state.byTask = rows.selectedIndex === 1;
      this.drawRuns();
    });
    button("+", "zoom in", () => this.scaleZoom(1 / 1.5));
    button("−", "zoom out", () => this.scaleZoom(1.5));
    button("◂", "earlier", () => this.moveZoom(-0.2));
    button("▸", "later", () => this.moveZoom(0.2));
    button("whole run", "reset the zoom", () => this.resetZoom());
    this.nodes.help = element("span", { class: "help" }, picks, HELP);
  }

  filter(change) {
    change();
    this.draw();
  }

  // Show a treatment's run; with `beside`, below the one that is shown.
  pick(place, beside) {
    if (beside && this.state.first !== null && place !== this.state.first) {
      this.state.second = place === this.state.second ? null : place;
    } else {
      if (place === this.state.second) this.state.second = null;
      this.state.first = place;
    }
    this.afterPick();
  }

  afterPick() {
    const { first, second } = this.state;
    if (first === second) this.state.second = null;
    this.nodes.first.value = first ?? "";
    this.nodes.second.value = this.state.second ?? "";
    this.draw();
    this.resetZoom();
  }

  // Mark the treatment at which somebody points, wherever it is drawn.
  point(place) {
    for (const node of this.panel.querySelectorAll(".pointed")) node.classList.remove("pointed");
    if (place === null) return;
    for (const node of this.panel.querySelectorAll(`[data-place="${place}"]`)) {
      node.classList.add("pointed");
    }
  }

  shownRuns() {
    return [this.state.first, this.state.second].map((place) => [place, this.runOf(place)]);
  }

  wholeSpan() {
    const runs = this.shownRuns().map(([, run]) => run).filter(Boolean);
    return [0, Math.max(...runs.map((run) => run.last), 0) * 1.01 || 1];
  }

  zoom(start, end) {
    const [low, high] = this.wholeSpan();
    const wide = clamp(end - start, (high - low) / 1e5, high - low);
    const from = clamp(start, low, high - wide);
    this.state.span = [from, from + wide];
    this.drawRuns();
  }

  scaleZoom(factor, around = null) {
    const [start, end] = this.state.span;
    const middle = around ?? (start + end) / 2;
    this.zoom(middle - (middle - start) * factor, middle + (end - middle) * factor);
  }

  moveZoom(share) {
    const [start, end] = this.state.span;
    const step = (end - start) * share;
    this.zoom(start + step, end + step);
  }

  resetZoom() {
    this.state.span = this.wholeSpan();
    this.drawRuns();
  }

  resize() {
    const width = this.panel.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    this.drawCharts();
    this.drawRuns();
  }

  draw() {
    const [shown, all] = [this.visible().length, this.data.treatments.length];
    this.nodes.count.textContent = shown === all ? `all ${all}` : `${shown} of ${all}`;
    drawTable(this);
    this.drawCharts();
  }

  drawCharts() {
    this.drawColours();
    drawScatter(this);
    drawDots(this);
  }

  drawColours() {
    const { legend } = this.nodes;
    legend?.replaceChildren();
    if (!legend) return;
    this.levels.get(this.state.colour).forEach((level, place) => {
      const item = element("span", { class: "item" }, legend);
      const svg = make("svg", { viewBox: "-7 -7 14 14", width: 14, height: 14 }, item);
      make("path", { d: markShape(place, 5), class: markClass(place) }, svg);
      item.append(level);
    });
  }

  drawRuns() {
    const { runs, key } = this.nodes;
    runs.replaceChildren();
    const shown = this.shownRuns();
    const found = shown.map(([, run]) => run).filter(Boolean);
    const bounds = found.flatMap((run) => [...run.memory.lower, ...run.memory.upper]);
    const highest = bounds.reduce((most, value) => Math.max(most, value ?? 0), 0) / 1024;
    for (const [place, run] of shown) {
      if (place === null) continue;
      const one = this.data.treatments[place];
      const figure = element("figure", { class: "run" }, runs);
      const caption = element("figcaption", {}, figure);
      element("strong", {}, caption, one.id);
      if (!run) {
        caption.append(`: no run succeeded, so none is shown (${one.limit})`);
        continue;
      }
      const which = one.ok > 1 ? `run ${run.replicate}, the median of ${one.ok}` : "its only ok run";
      const against = one.against[0] === "–" ? "" : `; ${one.against[0]}`;
      caption.append(`: ${which}; makespan ${one.makespan[0]} s${against}; peak ${one.peak[0]} MiB. ${one.why}.`);
      const command = element("div", { class: "command" }, figure, "Timeline for Perfetto: ");
      element("code", {}, command, run.command);
      if (!run.tasks.length) element("p", { class: "missing" }, figure, "No task left a record.");
      drawRun(this, element("div", {}, figure), run, highest);
    }
    if (found.length) drawLegend(key, found);
    else {
      key.replaceChildren();
      if (shown[0][0] === null) element("p", { class: "missing" }, runs, "Pick a treatment to see its run.");
    }
  }
}

const views = new Map();

function showPanel(panel) {
  if (!views.has(panel)) views.set(panel, new View(panel));
  views.get(panel).resize();
}

function openTab(tab, tabs) {
  for (const one of tabs) {
    const isOpen = one === tab;
    one.setAttribute("aria-selected", isOpen);
    one.tabIndex = isOpen ? 0 : -1;
    const panel = document.getElementById(one.getAttribute("aria-controls"));
    panel.classList.toggle("closed", !isOpen);
    if (isOpen) showPanel(panel);
  }
}

function start() {
  const panels = [...document.querySelectorAll(".experiment")];
  const tabs = [...document.querySelectorAll("[role=tab]")];
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => openTab(tab, tabs));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(place + step + tabs.length) % tabs.length];
      next.focus();
      openTab(next, tabs);
    });
  });
  if (tabs.length) openTab(tabs[0], tabs);
  else panels.forEach(showPanel);
  // On paper, all experiments are there, and all that is folded away.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const one of closed) one.open = true;
    document.documentElement.classList.add("printed");
    panels.forEach(showPanel);
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printed");
    for (const one of closed) one.open = false;
    views.forEach((view) => view.resize());
  });
  performance.mark("drawn");
  document.documentElement.dataset.ready = "yes";
}

const theme = document.getElementById("theme");
theme.addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
});

// The answer, which is text, is on the screen before anything is drawn.
requestAnimationFrame(() => setTimeout(start));
