"use strict";
/* What opens when a row is chosen: its runs, their curves and the widths of its networks. */
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

async function openDetail(board, section, id) {
  const panel = section.querySelector(".detail"), from = window.scrollY, opener = document.activeElement;
  panel.hidden = false;
  panel.replaceChildren(element("h3", `${board.rows[id].label}, ${board.rows[id].point}`));
  const close = element("button", "close", { type: "button" });
  close.addEventListener("click", () => {
    panel.hidden = true;
    history.replaceState(null, "", `#${board.name}`);
    window.scrollTo(0, from);
    opener.focus({ preventScroll: true });
  });
  panel.append(close);
  history.replaceState(null, "", `#${[board.name, board.rows[id].label, board.rows[id].point].map(encodeURIComponent).join("/")}`);
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
  panel.focus({ preventScroll: true });
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
