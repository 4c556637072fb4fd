// The table of treatments: sorted by any column, filtered, one row of it picked.

const RUNS = {
  title: "runs ok",
  text: (one) => (one.ok < one.n ? `${one.ok} of ${one.n}` : String(one.n)),
  order: (one) => one.ok,
  number: true,
};

const FAILED = {
  title: "tasks not ok",
  text: (one) => String(one.failed),
  order: (one) => one.failed,
  number: true,
};

const COLUMNS = [
  { title: "treatment", text: (one) => one.id, order: (one) => one.place },
  {
    title: "makespan s",
    text: (one) => one.makespan[0],
    order: (one) => one.makespan[1],
    number: true,
  },
  {
    title: "against the baseline",
    text: (one) => one.against[0],
    order: (one) => one.against[1],
    words: true,
  },
  { title: "peak MiB", text: (one) => one.peak[0], order: (one) => one.peak[1], number: true },
  { title: "limited by", text: (one) => one.limit, order: (one) => one.limit, words: true },
  { title: "CPU s", text: (one) => one.cpu[0], order: (one) => one.cpu[1], number: true },
  RUNS,
  FAILED,
];

function listColumns(data) {
  const factors = data.factors.map((name) => ({
    title: name,
    text: (one) => one.factors[name] ?? "–",
    order: (one) => one.factors[name] ?? null,
    factor: true,
  }));
  const all = data.treatments;
  const said = new Set(COLUMNS);
  if (!all.some((one) => one.failed)) said.delete(FAILED);
  if (all.every((one) => one.ok === one.n && one.n === all[0].n)) said.delete(RUNS);
  return [...said, ...factors];
}

// Missing values are last in either direction; numbers in texts count as numbers.
function compareBy(column, descending) {
  const sign = descending ? -1 : 1;
  return (first, second) => {
    const [a, b] = [column.order(first), column.order(second)];
    if (a === null || b === null) return (a === null) - (b === null) || first.place - second.place;
    const order =
      typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return sign * order || first.place - second.place;
  };
}

function drawTable(view) {
  const { data, state } = view;
  const columns = listColumns(data);
  const sorted = columns[state.sort] ?? columns[0];
  const rows = view.visible().sort(compareBy(sorted, state.descending));
  const table = view.nodes.table;
  const focused = table.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  table.replaceChildren();
  const head = element("tr", {}, element("thead", {}, table));
  columns.forEach((column, place) => {
    const direction = state.descending ? "descending" : "ascending";
    const cell = element("th", { scope: "col", class: classOf(column) }, head);
    if (place === state.sort) cell.setAttribute("aria-sort", direction);
    const title = column.title.replace("the baseline", data.baseline || "the baseline");
    const button = element("button", { type: "button", "data-key": `sort ${place}` }, cell, title);
    // A heading that is repeated on the next sheet of paper has no buttons.
    element("span", { class: "on-paper" }, cell, title);
    button.addEventListener("click", () => {
      state.descending = place === state.sort && !state.descending;
      state.sort = place;
      drawTable(view);
    });
  });
  const body = element("tbody", {}, table);
  rows.forEach((one) => {
    const row = element("tr", { "data-place": one.place }, body);
    if (one.place === state.first) row.classList.add("first");
    if (one.place === state.second) row.classList.add("second");
    if (!one.ok) row.classList.add("failed");
    columns.forEach((column, place) => {
      if (place) {
        const cell = element("td", { class: classOf(column) }, row, column.text(one));
        if ((column === FAILED && one.failed) || (column === RUNS && one.ok < one.n)) cell.classList.add("bad");
        return;
      }
      const cell = element("th", { scope: "row", class: one.id.length <= 24 ? "short" : "" }, row);
      const button = element("button", { type: "button", "data-key": `row ${one.place}` }, cell, one.id);
      button.title = "Enter or a click shows its run; with Shift, beside the one shown";
      button.setAttribute("aria-pressed", one.place === state.first || one.place === state.second);
      // One stop of the Tab key for all rows; arrows go from row to row.
      button.tabIndex = one.place === (state.first ?? rows[0].place) ? 0 : -1;
      if (one.choice) element("span", { class: "badge", title: "what to use" }, cell, "use");
      else if (one.front) {
        element("span", { class: "badge", title: "no other is surely faster and smaller" }, cell, "front");
      }
    });
    row.addEventListener("click", (event) => view.pick(one.place, event.shiftKey));
    row.addEventListener("pointerenter", () => view.point(one.place));
    row.addEventListener("pointerleave", () => view.point(null));
  });
  const buttons = [...body.querySelectorAll("button")];
  if (buttons.length && !buttons.some((one) => one.tabIndex === 0)) buttons[0].tabIndex = 0;
  if (!rows.length) {
    const row = element("tr", {}, body);
    element("td", { colspan: columns.length }, row, "No treatment has all that is filtered by.");
  }
  if (focused) table.querySelector(`[data-key="${focused}"]`)?.focus();
}

function classOf(column) {
  return [column.number && "number", column.factor && "factor", column.words && "words"].filter(Boolean).join(" ");
}

function moveInTable(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const row = event.target.closest("tbody tr");
  if (!step || !row) return;
  const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
  const button = next?.querySelector("button");
  if (!button) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  button.tabIndex = 0;
  button.focus();
}
