"use strict";
for (const board of document.querySelectorAll(".board")) {
  const table = board.querySelector("table");
  const bodies = [...table.tBodies];
  const headings = [...table.tHead.rows[0].cells];
  const value = (body, column) => body.rows[0].cells[column].dataset.value;

  // Empty cells go last in both directions.
  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  };
  headings.forEach((heading, column) => heading.addEventListener("click", () => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    headings.forEach((other) => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    bodies.sort((a, b) => {
      const x = value(a, column), y = value(b, column);
      if (x === "" || y === "") return (x === "") - (y === "");
      return down ? compare(y, x) : compare(x, y);
    });
    table.append(...bodies);
  }));

  const [text, point, long] = ["text", "point", "long"].map((name) => board.querySelector(`[data-filter="${name}"]`));
  const filter = () => {
    let shown = 0;
    for (const body of bodies) {
      const fits = body.dataset.label.toLowerCase().includes(text.value.toLowerCase())
        && (point.value === "" || body.dataset.point === point.value);
      body.hidden = !fits;
      shown += fits;
    }
    table.classList.toggle("all", long.checked);
    board.querySelector("output").textContent = `${shown} of ${bodies.length} rows`;
  };
  for (const control of [text, point, long]) control.addEventListener("input", filter);
  filter();

  for (const body of bodies) {
    const [result, detail] = body.rows;
    const open = () => {
      detail.hidden = !detail.hidden;
      result.setAttribute("aria-expanded", String(!detail.hidden));
    };
    result.addEventListener("click", open);
    result.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  }

  for (const button of board.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      for (const series of board.querySelectorAll(".series")) {
        if (series.dataset.label === button.dataset.label) series.classList.toggle("off", !on);
      }
    });
  }
}
