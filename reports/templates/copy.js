"use strict";
(() => {
  // A table is copied as it stands: its order, without the rows that a filter hides, numbers as printed.
  const shown = (box) => {
    const text = (cell) => {
      const kept = cell.cloneNode(true);
      for (const extra of kept.querySelectorAll(".bar, .swatch")) { extra.remove(); }
      return (cell.dataset.team ?? kept.textContent).replace(/\s+/g, " ").trim();
    };
    const table = box.querySelector("table");
    const heads = [...table.tHead.rows[0].cells];
    return {
      title: (box.querySelector(".caption b") ?? table.caption).textContent.replace(/\s+/g, " ").trim(),
      id: box.id,
      numeric: heads.map((head) => head.classList.contains("num") && !head.classList.contains("left")),
      heads: heads.map(text),
      rows: [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => [...row.cells].map(text)),
      best: [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => [...row.cells].map((cell) => cell.classList.contains("best"))),
    };
  };
  // No spreadsheet takes what somebody is called for a formula; numbers may well be negative.
  const harmless = (text) => (/^[\s\u00a0\ufeff]*[=+\-@|%\t\r\n]/.test(text) && !/^-?\d[\d,]*(\.\d+)?( \[.*)?$/.test(text) ? `'${text}` : text);
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const plain = (text, numeric) => (numeric && /^-?\d{1,3}(,\d{3})+(\.\d+)?$/.test(text) ? text.replaceAll(",", "") : text);
  const asCsv = ({ heads, rows, numeric }) => [heads, ...rows]
    .map((row) => row.map((cell, at) => quoted(harmless(plain(cell, numeric[at])))).join(",")).join("\n");

  const LATEX = {
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "%": "\\%", "#": "\\#", _: "\\_", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}",
    "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", '"': "\\textquotedbl{}", "–": "--", "−": "$-$", "±": "$\\pm$", "≤": "$\\leq$", "≥": "$\\geq$", "∞": "$\\infty$", "\u00a0": "~",
  };
  const tex = (text) => [...text].map((one) => LATEX[one] ?? one).join("").replace(/^\[/, "{[}");
  const asLatex = ({ title, id, heads, rows, numeric, best }) => [
    "% needs \\usepackage{booktabs}", "\\begin{table}[htbp]", "\\centering", `\\caption{${tex(title)}}`, `\\label{tab:${id}}`,
    `\\begin{tabular}{${numeric.map((one) => (one ? "r" : "l")).join("")}}`, "\\toprule", `${heads.map(tex).join(" & ")} \\\\`, "\\midrule",
    ...rows.map((row, at) => `${row.map((cell, spot) => (best[at][spot] ? `\\textbf{${tex(cell)}}` : tex(cell))).join(" & ")} \\\\`),
    "\\bottomrule", "\\end{tabular}", "\\end{table}",
  ].join("\n");

  const marked = (text) => text.replace(/[\\`*_{}[\]#|~$@^]/g, "\\$&").replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replace(/\b(https?|ftp|mailto|xmpp|www)([:.])/gi, "$1\\$2");
  const asMarkdown = ({ title, heads, rows, numeric, best }) => [
    `**${marked(title)}**`, "", `| ${heads.map(marked).join(" | ")} |`, `| ${numeric.map((one) => (one ? "---:" : "---")).join(" | ")} |`,
    ...rows.map((row, at) => `| ${row.map((cell, spot) => (best[at][spot] ? `**${marked(cell)}**` : marked(cell))).join(" | ")} |`),
  ].join("\n");
  const WAYS = { CSV: asCsv, LaTeX: asLatex, Markdown: asMarkdown };

  // Browsers differ in what they let a page do that was opened as a file: the last resort is a text to be copied by hand.
  const put = async (text) => {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* not allowed, or not there */ }
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "unseen";
    document.body.append(field);
    field.select();
    let done = false;
    try { done = document.execCommand("copy"); } catch { /* neither */ }
    field.remove();
    return done;
  };
  const offer = (box, text) => {
    box.querySelector("textarea.copied")?.remove();
    const field = document.createElement("textarea");
    field.className = "copied";
    field.readOnly = true;
    field.rows = 8;
    field.setAttribute("aria-label", "Text of the table, to be copied");
    field.value = text;
    box.append(field);
    field.focus();
    field.select();
  };
  const status = document.createElement("p");
  status.className = "unseen";
  status.setAttribute("role", "status");
  document.body.append(status);

  const equip = (box) => {
    const home = box.querySelector(".downloads") ?? box.insertBefore(Object.assign(document.createElement("p"), { className: "downloads" }), box.firstChild);
    if (home.querySelector(".copies") || !box.querySelector("tbody")) { return; }
    const group = document.createElement("span");
    group.className = "copies";
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", "Copy this table");
    group.append("Copy as ");
    for (const way of Object.keys(WAYS)) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "save copy";
      button.dataset.as = way;
      button.textContent = way;
      group.append(button);
    }
    home.append(group);
  };
  const all = (root) => { for (const box of root.querySelectorAll(".tablebox")) { equip(box); } };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button.copy");
    if (!button) { return; }
    const box = button.closest(".tablebox");
    const text = WAYS[button.dataset.as](shown(box));
    const done = await put(`${text}\n`);
    if (!done) { offer(box, text); }
    status.textContent = done ? `Copied as ${button.dataset.as}.` : "The text of the table is selected: copy it.";
    button.classList.toggle("done", done);
    window.setTimeout(() => button.classList.remove("done"), 1600);
  });
  all(document);
  // Tables that are made anew while somebody explores can be copied, too.
  const home = document.getElementById("explore");
  if (home) { new MutationObserver(() => all(home)).observe(home, { childList: true, subtree: true }); }
})();
