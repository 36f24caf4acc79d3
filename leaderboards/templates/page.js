"use strict";
/* One section for each board; runs last, when the other scripts are there. */

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const boards = JSON.parse(document.getElementById("data").textContent);
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
  const draw = () => plot.replaceChildren(plotAgainst(choices[against.value || 0], board, hidden, plot.clientWidth));
  draw();
  against.addEventListener("input", draw);
  window.addEventListener("resize", draw);
  makeLegend(board, section.querySelector(".legend"), hidden, draw);
  makeTable(board, section);
  makePrinted(board, section);
}

/* #BOARD, or #BOARD/METHOD/POINT with the details of that row. */
function follow(hash) {
  let name, label, point;
  try {
    [name, label, point] = hash.slice(1).split("/").map(decodeURIComponent);
  } catch { return; }  // no link of ours
  const board = boards.find((board) => board.name === name);
  if (!board) return;
  const section = document.getElementById(name), id = board.rows.findIndex((row) => row.label === label && row.point === point);
  section.scrollIntoView();
  if (id >= 0) openDetail(board, section, id);
}
follow(location.hash);
window.addEventListener("hashchange", () => follow(location.hash));
