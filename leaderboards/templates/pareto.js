"use strict";
/* Top-1 against cost, and the legend that hides and shows methods. */

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
    { name: "parameters", label: "Parameters (millions)", of: (row) => row.params },
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
  const dense = board.rows.filter((row) => row.dense && row.top1).map((row) => ({ x: abscissa.name === "MACs" ? null : abscissa.of(row), y: row.top1[0], label: row.label }));
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
        title: (d) => `${d.label}\n${d.cells[board.columns.findIndex((c) => c.name === "top1")]} % top-1\n${d.macs.toFixed(2)} M MACs, ${d.params.toFixed(3)} M parameters${abscissa.std ? `\n${d.x.toFixed(1)} % of the dense network's time` : ""}` }),
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
