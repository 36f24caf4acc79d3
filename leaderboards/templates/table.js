"use strict";
/* The sortable tables: of a board's rows, and of what papers print. */

/* Numbers by value, texts by alphabet, empty cells last in both directions. */
function compare(a, b, direction) {
  const empty = (x) => x === null || x === undefined || x === "";
  if (empty(a) || empty(b)) return (empty(a) - empty(b)) * (direction === "desc" ? -1 : 1);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

/* Enter and Space do what a click does. */
function pressable(node, act) {
  node.tabIndex = 0;
  node.onkeydown = (event) => {
    if (event.target !== node || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    act();
  };
}

function makeTable(board, section) {
  const narrow = window.innerWidth < 640;
  const table = new Tabulator(section.querySelector(".table"), {
    data: board.rows.map((row, id) => ({ id, row })),
    layout: "fitDataTable",
    height: board.rows.length > 60 ? "80vh" : undefined,
    placeholder: "No row fits the filter.",
    columnDefaults: { resizable: false },
    autoResize: false,  // it also renders anew on scrolling into view, and a row chosen by keyboard would lose the focus
    columns: board.columns.map((column, i) => ({
      title: narrow && column.name === "keep" ? "Kept" : column.header, field: column.name, visible: column.usual, frozen: i === 0,
      ...(i === 0 ? { [narrow ? "width" : "maxWidth"]: narrow ? 118 : 300, variableHeight: true, cssClass: "wraps" } : {}),
      hozAlign: column.numeric ? "right" : "left", headerHozAlign: column.numeric ? "right" : "left",
      mutator: (value, data) => data.row.values[i],
      sorter: (a, b, rowA, rowB, col, direction) => compare(a, b, direction),
      headerSortStartingDir: column.numeric ? "desc" : "asc",
      formatter: (cell) => {
        const { row } = cell.getData();
        return element("span", row.cells[i], column.name === "top1" && row.mark ? { class: row.mark, title: `${row.mark} of its point` } : {});
      },
    })),
    rowFormatter: (row) => {
      const shown = row.getElement();
      shown.classList.toggle("dense", row.getData().row.dense);
      shown.classList.toggle("pending", !row.getData().row.top1);
      pressable(shown, () => openDetail(board, section, row.getData().id));
    },
  });
  window.addEventListener("resize", () => table.redraw());
  table.on("tableBuilt", () => {
    section.querySelector(".table").setAttribute("aria-label", board.title);
    for (const column of table.getColumns()) pressable(column.getElement(), () => column.getElement().click());
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
    layout: "fitDataTable", height: board.printed.length > 20 ? "60vh" : undefined,
    columns: names.map((name) => ({
      title: name, field: name, resizable: false, ...(name === "Source" ? { width: 420, variableHeight: true, cssClass: "wraps" } : {}), sorter: (a, b, rowA, rowB, col, direction) => compare(a, b, direction),
      formatter: (cell) => element("span", name === "Suspect" ? (cell.getValue() ? "its own arithmetic fails" : "") : cell.getValue() ?? ""),
    })),
  }), { once: true });
}
