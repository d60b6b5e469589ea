"use strict";
// Sort tables by a column, and show the value of the nearest point of a chart. The page does not depend on it otherwise.

// A cell as [rank, value]: numbers first, by the number it starts with, then other text, then missing values.
function keyOf(text) {
  const number = /^[-+]?\d+(\.\d+)?(e[-+]?\d+)?(?=$|[\s%])/i.exec(text.replace("\u2212", "-"));
  return text === "" || text === "\u2013" ? [2, 0] : number ? [0, Number(number[0])] : [1, text];
}

// Negative if cell a comes before cell b. Missing values are last in both directions.
function compareCells(a, b, descending) {
  const [[rank, x], [otherRank, y]] = [keyOf(a), keyOf(b)];
  if (rank !== otherRank) return rank - otherRank;
  const order = rank === 1 ? x.localeCompare(y, "en", { numeric: true }) : x - y;
  return descending ? -order : order;
}

function makeSortable(table) {
  const [body, headers] = [table.tBodies[0], [...table.tHead.rows[0].cells]];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "sort by this column";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const descending = header.getAttribute("aria-sort") === "ascending";
      headers.forEach((each) => each.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent.trim();
      body.append(...[...body.rows].sort((a, b) => compareCells(text(a), text(b), descending)));
    });
  });
}

function showNearest(chart) {
  const [svg, marks, value] = [chart.querySelector("svg"), [...chart.querySelectorAll("circle")], document.createElement("p")];
  value.className = "value";
  svg.after(value);
  const show = (event) => {
    let [nearest, least] = [null, Infinity];
    for (const mark of marks) {
      const { left, top, width, height } = mark.getBoundingClientRect();
      const distance = Math.hypot(left + width / 2 - event.clientX, top + height / 2 - event.clientY);
      if (distance < least) [nearest, least] = [mark, distance];
    }
    marks.forEach((mark) => mark.classList.toggle("near", mark === nearest));
    value.textContent = nearest ? nearest.textContent : "";
  };
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerdown", show);
}

if (typeof document !== "undefined") {
  for (const table of document.querySelectorAll("table")) if (table.tHead && table.tBodies[0].rows.length > 1) makeSortable(table);
  for (const chart of document.querySelectorAll(".chart")) showNearest(chart);
}
