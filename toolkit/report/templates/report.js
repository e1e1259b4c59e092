"use strict";
// Searches, filters and pages the row table. Cells become text, never markup.
(() => {
  const find = (id) => document.getElementById(id);
  const { count, columns } = JSON.parse(find("row-data").textContent);
  const [search, status, found, body] = ["row-search", "row-status", "row-found", "row-body"].map(find);
  const [earlier, later] = ["row-earlier", "row-later"].map(find);
  const page = Number(body.dataset.page);
  const statuses = columns.find((column) => column.heading === "Status");
  const cell = (column, row) => column.values[column.at ? column.at[row] : row];
  const every = Array.from({ length: count }, (_, row) => row);
  let texts = null; // what is searched, made when first asked for
  let rows = every;
  let first = 0;

  const search_text = (row) => columns.map((column) => cell(column, row)).join("\n").toLowerCase();

  const line = (row) => {
    const element = document.createElement("tr");
    columns.forEach((column, place) => {
      const made = document.createElement(place ? "td" : "th");
      if (!place) made.scope = "row";
      made.textContent = cell(column, row);
      element.append(made);
    });
    return element;
  };

  const show = () => {
    const shown = rows.slice(first, first + page);
    body.replaceChildren(...shown.map(line));
    found.textContent = shown.length
      ? `Rows ${(first + 1).toLocaleString("en")} to ${(first + shown.length).toLocaleString("en")} of ` +
        `${rows.length.toLocaleString("en")} found.`
      : "No row found.";
    earlier.disabled = first === 0;
    later.disabled = first + page >= rows.length;
    find("row-pages").hidden = rows.length <= page;
  };

  const choose = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length) texts ??= every.map(search_text);
    rows = every.filter(
      (row) =>
        (!status.value || cell(statuses, row) === status.value) &&
        words.every((word) => texts[row].includes(word)),
    );
    first = 0;
    show();
  };

  const turn = (step) => () => {
    first += step;
    show();
    find("row-table").scrollIntoView({ block: "nearest" });
  };

  search.addEventListener("input", choose);
  status.addEventListener("change", choose);
  earlier.addEventListener("click", turn(-page));
  later.addEventListener("click", turn(page));
  find("row-controls").hidden = false;
  show();
})();
