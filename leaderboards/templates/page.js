"use strict";
const boards = JSON.parse(document.getElementById("data").textContent);
const waiting = {};

/* Called by data/NAME.js, which is loaded when a row of the board is first opened. */
function details(name, rows) {
  waiting[name].resolve(rows);
}

function fetchDetails(name) {
  if (!waiting[name]) {
    waiting[name] = {};
    waiting[name].rows = new Promise((resolve, reject) => Object.assign(waiting[name], { resolve, reject }));
    const script = document.createElement("script");
    script.src = `data/${name}.js`;
    script.onerror = () => waiting[name].reject(new Error(`data/${name}.js is not beside this page`));
    document.head.append(script);
  }
  return waiting[name].rows;
}

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/* Numbers by value, texts by alphabet, empty cells last in both directions. */
function compare(a, b, direction) {
  const empty = (x) => x === null || x === undefined || x === "";
  if (empty(a) || empty(b)) return (empty(a) - empty(b)) * (direction === "desc" ? -1 : 1);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function marker(style) {
  const symbol = d3.symbol(d3[`symbol${style[1][0].toUpperCase()}${style[1].slice(1)}`], 70)();
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "-8 -8 16 16");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", symbol);
  path.setAttribute("fill", style[0]);
  svg.append(path);
  return svg;
}

/* What top-1 can be plotted against: a name for the choice, the axis and a row's value on it. */
function abscissas(board) {
  const byShare = board.rows.some((row) => row.kept !== null);
  const batches = [...new Set(board.rows.flatMap((row) => Object.keys(row.speeds)))];
  return [
    { name: "MACs", label: byShare ? "MACs kept (%)" : "MACs (millions)", of: (row) => byShare ? row.kept : row.macs },
    ...batches.map((batch) => ({
      name: `latency at batch ${batch}`,
      label: `${batch === "1" ? "Latency" : `Latency of a batch of ${batch}`} (% of the dense network's), on ${board.machine}`,
      of: (row) => row.speeds[batch]?.[0] ?? null,
      std: (row) => row.speeds[batch]?.[1] ?? 0,
    })),
  ];
}

/* The extent of the values, at least `least` wide: two rows a hair apart must not fill the plot. */
function span(values, least) {
  const [low, high] = d3.extent(values), pad = Math.max(0, least - (high - low)) / 2;
  return [low - pad, high + pad];
}

/* Rows below the board's floor stand at the edge with their figure: one ruined network must not flatten the others. */
function plotAgainst(abscissa, board, hidden, width) {
  const points = board.rows.filter((row) => row.top1 && !row.dense && !hidden.has(row.label))
    .map((row) => ({ ...row, x: abscissa.of(row), xStd: abscissa.std?.(row) ?? 0, y: row.top1[0], std: row.top1[1] ?? 0 }))
    .filter((row) => row.x !== null)
    .map((row) => row.y < (board.floor ?? -Infinity) ? { ...row, below: row.y, y: board.floor, std: 0, xStd: 0 } : row);
  const within = points.filter((row) => row.below === undefined), below = points.filter((row) => row.below !== undefined);
  if (!points.length) return element("p", "No results to plot.");
  const labels = [...new Set(points.map((row) => row.label))];
  const style = (label) => points.find((row) => row.label === label).style;
  const dense = board.rows.filter((row) => row.dense && row.top1).map((row) => ({ x: abscissa.std ? abscissa.of(row) : null, y: row.top1[0], label: row.label }));
  const front = points.toSorted((a, b) => a.x - b.x || b.y - a.y)
    .reduce((best, point) => best.length && point.y <= best.at(-1).y ? best : [...best, point], []);
  const bars = points.filter((row) => row.std > 0), barsAcross = points.filter((row) => row.xStd > 0);
  return Plot.plot({
    width, height: Math.min(420, Math.max(300, width * 0.5)), marginLeft: 52, marginBottom: 42, grid: true,
    x: { label: abscissa.label, nice: true, inset: 8, domain: span(points.flatMap((row) => [row.x - row.xStd, row.x + row.xStd]), 0.1 * points[0].x) },
    y: { label: "Top-1 (%)", nice: true, domain: span([...points.flatMap((row) => [row.y - row.std, row.y + row.std]), ...dense.map((row) => row.y)], 1), tickFormat: (v) => String(+v.toFixed(2)) },
    color: { domain: labels, range: labels.map((label) => style(label)[0]) },
    symbol: { domain: labels, range: labels.map((label) => style(label)[1]) },
    marks: [
      Plot.ruleY(dense, { y: "y", strokeDasharray: "6 4" }),
      Plot.ruleX(dense.filter((row) => row.x !== null), { x: "x", strokeDasharray: "6 4" }),
      Plot.text(dense, { y: "y", text: "label", frameAnchor: "left", dx: 24, dy: -8, textAnchor: "start" }),
      Plot.line(front, { x: "x", y: "y", curve: "step-after", stroke: "currentColor", strokeOpacity: 0.16, strokeWidth: 6 }),
      Plot.line(within, { x: "x", y: "y", z: "label", stroke: "label", strokeOpacity: 0.5, sort: "x" }),
      Plot.ruleX(bars, { x: "x", y1: (d) => d.y - d.std, y2: (d) => d.y + d.std, stroke: "label", strokeWidth: 1.3, marker: "tick-x" }),
      Plot.ruleY(barsAcross, { y: "y", x1: (d) => d.x - d.xStd, x2: (d) => d.x + d.xStd, stroke: "label", strokeWidth: 1.3, marker: "tick-y" }),
      Plot.text(below, { x: "x", y: "y", text: (d) => `${d.below.toFixed(2)} ↓`, fill: "label", dx: 10, textAnchor: "start" }),
      Plot.dot(points, { x: "x", y: "y", fill: "label", symbol: "label", r: 4.5, tip: true,
        channels: { method: "label", "top-1": (d) => d.cells[board.columns.findIndex((c) => c.name === "top1")], point: "point" },
        title: (d) => `${d.label}\n${d.cells[board.columns.findIndex((c) => c.name === "top1")]} % top-1\n${d.macs.toFixed(2)} M MACs${abscissa.std ? `\n${d.x.toFixed(1)} % of the dense network's time` : ""}` }),
    ],
  });
}

function makeLegend(board, legend, hidden, draw) {
  const shown = new Map(board.rows.filter((row) => row.style && row.top1).map((row) => [row.label, row.style]));
  for (const [label, style] of shown) {
    const button = element("button", "", { type: "button", "aria-pressed": "true" });
    button.append(marker(style), label);
    button.addEventListener("click", () => {
      hidden.has(label) ? hidden.delete(label) : hidden.add(label);
      button.setAttribute("aria-pressed", String(!hidden.has(label)));
      draw();
    });
    legend.append(button);
  }
  if (shown.size) legend.append(element("span", "Pareto front", { class: "front" }));
}

function makeTable(board, section) {
  const narrow = window.innerWidth < 640;
  const table = new Tabulator(section.querySelector(".table"), {
    data: board.rows.map((row, id) => ({ id, row })),
    layout: "fitDataFill",
    height: board.rows.length > 60 ? "80vh" : undefined,
    placeholder: "No row fits the filter.",
    columnDefaults: { resizable: false },
    columns: board.columns.map((column, i) => ({
      title: narrow && column.name === "keep" ? "Kept" : column.header, field: column.name, visible: column.usual, frozen: i === 0,
      ...(i === 0 ? { [narrow ? "width" : "maxWidth"]: narrow ? 118 : 300, variableHeight: true, cssClass: "wraps" } : {}),
      hozAlign: column.numeric ? "right" : "left", headerHozAlign: column.numeric ? "right" : "left",
      mutator: (value, data) => data.row.values[i],
      sorter: (a, b, rowA, rowB, col, direction) => compare(a, b, direction),
      headerSortStartingDir: column.numeric ? "desc" : "asc",
      formatter: (cell) => {
        const { row } = cell.getData();
        return element("span", row.cells[i], column.name === "top1" && row.mark ? { class: row.mark } : {});
      },
    })),
    rowFormatter: (row) => {
      const shown = row.getElement();
      shown.classList.toggle("dense", row.getData().row.dense);
      shown.classList.toggle("pending", !row.getData().row.top1);
      shown.tabIndex = 0;
      shown.onkeydown = (event) => { if (event.key === "Enter") openDetail(board, section, row.getData().id); };
    },
  });
  table.on("rowClick", (event, row) => openDetail(board, section, row.getData().id));
  const [text, point, long] = ["text", "point", "long"].map((name) => section.querySelector(`[data-filter="${name}"]`));
  for (const value of new Set(board.rows.map((row) => row.point))) point.append(element("option", value, { value }));
  const filter = () => table.setFilter(({ row }) => row.label.toLowerCase().includes(text.value.toLowerCase())
    && (point.value === "" || row.point === point.value));
  text.addEventListener("input", filter);
  point.addEventListener("input", filter);
  long.addEventListener("input", () => {
    for (const column of board.columns) if (!column.usual) table[long.checked ? "showColumn" : "hideColumn"](column.name);
    table.redraw(true);
  });
  const count = (n) => { section.querySelector("output").textContent = `${n} of ${board.rows.length} rows`; };
  table.on("dataFiltered", (filters, rows) => count(rows.length));
  count(board.rows.length);
}

async function openDetail(board, section, id) {
  const panel = section.querySelector(".detail");
  panel.hidden = false;
  panel.replaceChildren(element("h3", `${board.rows[id].label}, ${board.rows[id].point}`));
  const close = element("button", "close", { type: "button" });
  close.addEventListener("click", () => { panel.hidden = true; });
  panel.append(close);
  let row;
  try {
    row = (await fetchDetails(board.name))[id];
  } catch (error) {
    panel.append(element("p", error.message, { class: "failed" }));
    return;
  }
  const runs = element("ul");
  for (const run of row.runs) {
    const item = element("li", `seed ${run.seed}: ${run.top1.toFixed(2)} %, record `);
    const link = element("a", "", { href: run.href });
    link.append(element("code", run.key));
    item.append(link, `, suite ${run.suite}, ${run.hours} h on ${run.machine}; ${run.versions}; commit ${run.commit}. Again: `, element("code", run.command));
    for (const speed of run.speeds) item.append(element("div", `Speed-up ${speed}`));
    runs.append(item);
  }
  for (const [seed, state, reason] of row.unfinished) runs.append(element("li", `seed ${seed}: ${state} (${reason})`, { class: state }));
  const { text, line, href } = row.asked;
  panel.append(runs, element("p", href ? "Asked for in " : "In a suite:"));
  if (href) panel.lastChild.append(element("a", `suite.yaml, line ${line}`, { href: `${href}#L${line}`, class: "suite" }), ":");
  panel.append(element("pre", text));
  const values = element("div", "", { class: "values" });
  for (const [name, value] of Object.entries(row.detail)) {
    const pair = element("span");
    pair.append(element("span", `${name} `), value);
    values.append(pair);
  }
  panel.append(values);
  const charts = element("div", "", { class: "charts" });
  panel.append(charts);
  drawCharts(charts, row, board.rows[id].style?.[0] ?? "#888888");
  panel.scrollIntoView({ block: "nearest" });
}

/* In the method's colour, as in the plot above; its seeds in shades of it. */
function drawCharts(charts, row, colour) {
  const planned = [];  // drawn when all are there, and so as wide as they will be
  const chart = (title, make) => {
    const box = element("div", "", { class: "chart" });
    box.append(element("h3", title));
    charts.append(box);
    planned.push([box, make]);
  };
  const points = row.runs.flatMap((run) => run.curve.epochs.map((epoch, i) => ({
    epoch, seed: `seed ${run.seed}`, loss: run.curve.loss[i], top1: run.curve.top1[i],
  })));
  const seeds = [...new Set(points.map((point) => point.seed))];
  const shade = d3.interpolateLab(colour, getComputedStyle(charts).color);
  const curve = (y, label) => (width) => Plot.plot({
    width, height: 220, marginLeft: 50, grid: true, x: { label: "Epoch" }, y: { label, nice: true, tickFormat: (v) => String(+v.toFixed(4)) },
    color: { legend: true, domain: seeds, range: seeds.map((_, i) => shade(0.8 * i / seeds.length)) },
    marks: [Plot.line(points, { x: "epoch", y, stroke: "seed" }), Plot.dot(points, { x: "epoch", y, fill: "seed", r: 1.5, tip: true })],
  });
  if (points.length) {
    const onTest = row.runs.some((run) => run.curve.on_test);
    chart(onTest ? "Test top-1 by epoch (%)" : "Training top-1 by epoch (%)", curve("top1", "Top-1 (%)"));
    chart("Training loss by epoch", curve("loss", "Loss"));
  }
  const widths = row.widths.map(([layer, dense, kept]) => ({ layer, dense, kept }));
  if (widths.length) {
    chart("Filters kept per layer (mean over seeds; pale: dense)", (width) => Plot.plot({
      width, height: 220, marginLeft: 50, marginBottom: 24,
      x: { domain: widths.map((d) => d.layer), ticks: [], label: "Layer, from the input on" }, y: { label: "Filters", grid: true },
      marks: [
        Plot.barY(widths, { x: "layer", y: "dense", fill: "#88888855" }),
        Plot.barY(widths, { x: "layer", y: "kept", fill: colour, tip: true, title: (d) => `${d.layer}\n${d.kept} of ${d.dense}` }),
        Plot.ruleY([0]),
      ],
    }));
  }
  for (const [box, make] of planned) box.append(make(Math.min(560, Math.max(260, box.clientWidth))));
}

function makePrinted(board, section) {
  const box = section.querySelector(".printed");
  if (!board.printed.length) {
    box.remove();
    return;
  }
  box.querySelector("summary").textContent = `Figures that papers report for this network and data set (${board.printed.length})`;
  const names = ["Method", "Year", "Dense (%)", "Pruned (%)", "Drop", "MACs (M)", "MACs cut (%)", "Params (M)", "Kind", "Suspect", "Source"];
  box.addEventListener("toggle", () => new Tabulator(box.querySelector(".table"), {
    data: board.printed.map((values) => Object.fromEntries(values.map((value, i) => [names[i], value]))),
    layout: "fitDataFill", height: board.printed.length > 20 ? "60vh" : undefined,
    columns: names.map((name) => ({
      title: name, field: name, resizable: false, sorter: (a, b, rowA, rowB, col, direction) => compare(a, b, direction),
      formatter: (cell) => element("span", name === "Suspect" ? (cell.getValue() ? "its own arithmetic fails" : "") : cell.getValue() ?? ""),
    })),
  }), { once: true });
}

for (const board of boards) {
  const section = document.getElementById("board").content.firstElementChild.cloneNode(true);
  section.id = board.name;
  section.classList.toggle("smoke", board.smoke);
  section.querySelector("h2").textContent = board.title;
  for (const note of board.incomplete) section.querySelector(".tools").before(element("p", note, { class: "incomplete" }));
  for (const note of board.notes) section.querySelector(".notes ul").append(element("li", note));
  document.querySelector("main").append(section);
  const hidden = new Set();
  const plot = section.querySelector(".plot");
  const choices = abscissas(board), against = section.querySelector(".against select");
  choices.forEach((choice, i) => against.append(element("option", choice.name, { value: i })));
  if (choices.length < 2) against.parentElement.remove();
  const draw = () => plot.replaceChildren(plotAgainst(choices[against.value || 0], board, hidden, Math.min(860, plot.clientWidth)));
  draw();
  against.addEventListener("input", draw);
  window.addEventListener("resize", draw);
  makeLegend(board, section.querySelector(".legend"), hidden, draw);
  makeTable(board, section);
  makePrinted(board, section);
}
if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
