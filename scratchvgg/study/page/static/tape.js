// The tape: step through backward. The table says everything without this.
for (const walk of document.querySelectorAll(".tape-walk")) {
  const controls = walk.querySelector(".tape-controls");
  if (!controls) continue;
  const rows = [...walk.querySelectorAll("tbody tr[data-node]")];
  const boxes = new Map([...walk.querySelectorAll(".tape-node")].map((box) => [box.dataset.node, box]));
  const status = controls.querySelector("output"), heads = [...walk.querySelectorAll("thead th")].map((head) => head.textContent);
  let at = -1; // step that is shown; -1: before backward
  const bring = (item) => { // into the view of its own box; the page stays where it is
    const box = item.closest(".tape-scroll"), [outer, inner] = [box.getBoundingClientRect(), item.getBoundingClientRect()];
    box.scrollTop += inner.top + inner.height / 2 - outer.top - outer.height / 2;
  };
  const show = (step) => {
    at = Math.max(-1, Math.min(rows.length - 1, step));
    rows.forEach((row, i) => {
      for (const item of [row, boxes.get(row.dataset.node)]) {
        item?.classList.toggle("now", i === at);
        item?.classList.toggle("done", i < at);
      }
    });
    if (at < 0) {
      status.textContent = "Before backward: everything is kept.";
      if (rows.length) bring(boxes.get(rows[0].dataset.node));
      return;
    }
    const cells = [...rows[at].cells].map((cell) => cell.textContent.trim());
    status.textContent = `Step ${cells[0]} of ${rows.length}: ${cells[1]} ${cells[2]}, ${heads[3]} ${cells[3]}, frees ${cells[5]}, ${cells[6]} still kept`
      + (cells[7] ? `; gradients of ${cells[7]}` : "");
    bring(rows[at]);
    bring(boxes.get(rows[at].dataset.node));
  };
  const moves = { first: () => -1, back: () => at - 1, on: () => at + 1, last: () => rows.length - 1 };
  const keys = { ArrowRight: "on", ArrowLeft: "back", Home: "first", End: "last" };
  for (const button of controls.querySelectorAll("button")) button.addEventListener("click", () => show(moves[button.dataset.go]()));
  walk.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.altKey || event.ctrlKey || event.metaKey || event.target.closest("details")) return;
    event.preventDefault();
    show(moves[keys[event.key]]());
  });
  rows.forEach((row, i) => boxes.get(row.dataset.node)?.addEventListener("click", () => show(i)));
  walk.classList.add("walking");
  controls.hidden = false;
}
