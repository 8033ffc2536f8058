"use strict";
(() => {
  const root = document.documentElement;
  const button = document.querySelector(".theme");
  const dark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : window.matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-pressed", String(dark())); };
  let stored = null;
  try { stored = window.localStorage.getItem("medpodium-theme"); } catch { /* storage may be denied for files */ }
  if (stored === "dark" || stored === "light") { root.dataset.theme = stored; }
  if (button) {
    name();
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      try { window.localStorage.setItem("medpodium-theme", root.dataset.theme); } catch { /* not remembered */ }
      name();
    });
  }

  const contents = document.querySelector(".contents details");
  if (contents && window.matchMedia("(min-width: 68rem)").matches) { contents.open = true; }

  // Paper has no folds to open: they are opened for printing and closed again after it.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.fold:not([open])")];
    for (const fold of opened) { fold.open = true; }
  });
  window.addEventListener("afterprint", () => {
    for (const fold of opened) { fold.open = false; }
    opened = [];
  });

  // A saved figure carries its own colours: variables of the page mean nothing outside it.
  const light = { "--ink": "#1d2733", "--sheet": "#ffffff", "--rule": "#d9dee3", "--muted": "#6a7682", "--indigo": "#332288", "--green": "#117733", "--wine": "#882255", "--indigo-other": "#332289", "--green-other": "#117734", "--wine-other": "#882256" };
  for (const save of document.querySelectorAll("button.save")) {
    save.addEventListener("click", () => {
      const drawing = document.getElementById(save.dataset.figure).querySelector("svg").cloneNode(true);
      drawing.removeAttribute("style");
      drawing.removeAttribute("aria-hidden");
      for (const extra of drawing.querySelectorAll(".over, [class~=back], [class~=front]")) {
        if (extra.classList.contains("over")) { extra.remove(); } else { extra.removeAttribute("class"); }
      }
      let text = new XMLSerializer().serializeToString(drawing);
      for (const [variable, colour] of Object.entries(light)) { text = text.replaceAll(`var(${variable})`, colour); }
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
      link.download = `${save.dataset.figure}.svg`;
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }

  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const compare = (a, b, numeric) => {
    if (!numeric) { return a.localeCompare(b, undefined, { numeric: true }); }
    const [left, right] = [parseFloat(a), parseFloat(b)];
    if (Number.isNaN(left) || Number.isNaN(right)) { return Number(Number.isNaN(left)) - Number(Number.isNaN(right)); }
    return left - right;
  };
  for (const box of document.querySelectorAll(".tablebox")) {
    const body = box.querySelector("tbody");
    if (!body) { continue; }
    for (const head of box.querySelectorAll("thead th")) {
      const press = head.querySelector("button");
      if (!press) { continue; }
      press.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        const column = head.cellIndex;
        const numeric = head.classList.contains("num");
        const rows = [...body.rows];
        const sorted = rows.slice().sort((a, b) => {
          const [left, right] = [value(a, column), value(b, column)];
          const empty = numeric ? Number(Number.isNaN(parseFloat(left))) - Number(Number.isNaN(parseFloat(right))) : 0;
          return empty || (down ? -1 : 1) * compare(left, right, numeric);
        });
        for (const other of head.parentElement.cells) { other.setAttribute("aria-sort", "none"); }
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        body.append(...sorted);
      });
    }
    const field = box.querySelector(".filter input");
    const count = box.querySelector(".filter output");
    if (field) {
      const apply = () => {
        const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
        let shown = 0;
        for (const row of body.rows) {
          const text = row.textContent.toLowerCase();
          row.hidden = !words.every((word) => text.includes(word));
          shown += row.hidden ? 0 : 1;
        }
        count.textContent = words.length ? `${shown} of ${body.rows.length}` : "";
      };
      field.addEventListener("input", apply);
    }
  }
})();
