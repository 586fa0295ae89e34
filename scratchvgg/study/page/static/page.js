"use strict";
// A table of class "sortable": the heads of its columns become buttons. Cells sort by data-value where they have one, else by their text.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], given = [...body.rows];
  [...table.tHead.rows[table.tHead.rows.length - 1].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.className = "sort";
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = { none: "descending", descending: "ascending", ascending: "none" }[head.getAttribute("aria-sort") || "none"];
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      if (next !== "none") head.setAttribute("aria-sort", next);
      const key = (row) => {
        const text = row.cells[column].dataset.value ?? row.cells[column].textContent.trim(), number = Number(text);
        return text !== "" && !Number.isNaN(number) ? number : text;
      };
      const rows = next === "none" ? given : [...given].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        const order = typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? 1 : -1;
        return next === "ascending" ? order : -order;
      });
      body.append(...rows);
    });
  });
}
