"use strict";
/* Tables: a click on a head sorts by its column, once more the other way; rows are filtered by their names. */
for (const block of document.querySelectorAll(".table")) {
  const body = block.querySelector("tbody");
  const rows = Array.from(body.rows);
  const heads = Array.from(block.querySelectorAll("thead th"));
  const names = heads.flatMap((head, column) => (head.classList.contains("name") ? [column] : []));
  const tools = block.querySelector(".tools");
  const search = tools.querySelector("input");
  const choice = tools.querySelector("select");
  const count = tools.querySelector(".count");
  const texts = new Map(rows.map((row) => [row, (names.length ? names.map((k) => row.cells[k].textContent) : [row.textContent]).join("\n").toLowerCase()]));

  const filter = () => {
    const wanted = search.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const chosen = !choice || choice.selectedIndex === 0 || row.cells[0].textContent === choice.value;
      row.hidden = !(chosen && texts.get(row).includes(wanted));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = shown + " of " + rows.length + " rows";
  };

  const sort = (column) => {
    const head = heads[column];
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const key = (row) => {
      const cell = row.cells[column];
      return head.classList.contains("number") ? parseFloat(cell.dataset.order ?? "nan") : cell.textContent;
    };
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (typeof x === "string") return sign * x.localeCompare(y, "en", { numeric: true });
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return x === y ? 0 : sign * (x < y ? -1 : 1);
    };
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    body.append(...rows.slice().sort(compare));
  };

  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(column)));
  search.addEventListener("input", filter);
  if (choice) choice.addEventListener("change", filter);
  tools.hidden = rows.length < 6;
  filter();
}
