"use strict";
// A table of class "sortable": the heads of its columns become buttons. Cells sort as the numbers they begin with (1,234; 12.2 MiB), else as text.
const units = { "": 1, B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };
const sortKey = (text) => {
  const found = /^([-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)(?: (B|KiB|MiB|GiB))?(?= |$)/.exec(text.trim());
  return found ? Number(found[1].replaceAll(",", "")) * units[found[2] ?? ""] : text.trim();
};
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
      const rows = next === "none" ? given : [...given].sort((a, b) => {
        const [x, y] = [a, b].map((row) => sortKey(row.cells[column].textContent));
        const order = typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? 1 : -1;
        return next === "ascending" ? order : -order;
      });
      body.append(...rows);
    });
  });
}
