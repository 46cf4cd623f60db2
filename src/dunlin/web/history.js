(function () {
  "use strict";
  var root = document.documentElement, button = document.getElementById("theme");
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  function now() { return root.dataset.theme || (dark.matches ? "dark" : "light"); }
  function label() { button.textContent = now() === "dark" ? "Light colours" : "Dark colours"; }
  button.hidden = false;
  label();
  dark.addEventListener("change", label);
  button.addEventListener("click", function () { root.dataset.theme = now() === "dark" ? "light" : "dark"; label(); });

  function value(row, at) {
    var cell = row.cells[at], number = cell.dataset.v;
    return number === undefined ? cell.textContent : Number(number);
  }
  function sort(table, at, head) {
    var down = head.getAttribute("aria-sort") !== "descending", body = table.tBodies[0];
    Array.from(body.rows).map(function (row) { return [value(row, at), row]; }).sort(function (a, b) {
      var order = typeof a[0] === "number" && typeof b[0] === "number" ? a[0] - b[0] : String(a[0]).localeCompare(String(b[0]));
      return down ? -order : order;
    }).forEach(function (pair) { body.appendChild(pair[1]); });
    table.querySelectorAll("th").forEach(function (each) { each.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  }
  document.querySelectorAll("table[data-sort]").forEach(function (table) {
    table.querySelectorAll("thead th").forEach(function (head, at) {
      if (!head.textContent) return;
      var knob = document.createElement("button");
      knob.type = "button";
      knob.textContent = head.textContent;
      knob.addEventListener("click", function () { sort(table, at, head); });
      head.replaceChildren(knob);
    });
  });
})();
