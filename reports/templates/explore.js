"use strict";
(() => {
  // Numbers are printed as the report prints them: they come with the page, and nothing is averaged here.
  const home = document.getElementById("explore");
  const source = document.getElementById("explore-data");
  if (!home || !source || !window.Plot) { return; }
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "on") { for (const [event, act] of Object.entries(value)) { element.addEventListener(event, act); } }
      else if (value !== false && value !== undefined) { element.setAttribute(name, value === true ? "" : value); }
    }
    element.append(...children);
    return element;
  };
  const unpacked = async (from) => {
    const bytes = Uint8Array.from(atob(from?.textContent.trim() ?? ""), (one) => one.charCodeAt(0));
    if (!bytes.length) { return "{}"; }
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };

  const start = (data, marks) => {
    const state = { task: 0, metric: "", structure: "", group: "", level: "", team: "", versus: "" };
    const task = () => data.tasks[state.task];
    const looks = new Map(data.teams.map((team) => [team.name, team]));
    const unique = (items) => [...new Set(items)];
    const panel = () => {
      const own = task().panels;
      return own.find((one) => one.metric === state.metric && one.structure === state.structure)
        ?? own.find((one) => one.metric === state.metric) ?? own[0];
    };
    const groups = () => task().groups;
    const subset = () => {
      const at = groups().findIndex((one) => one.title === state.group);
      const place = at < 0 ? -1 : groups()[at].levels.indexOf(state.level);
      return place < 0 ? "" : `${at}:${place}`;
    };
    const inside = () => {
      const [at, place] = subset().split(":").map(Number);
      return subset() === "" ? () => true : (item) => groups()[at].of[item] === place;
    };
    const who = (name) => task().order.indexOf(name);
    // Three colours are too dark for a dark page, where the theme has lighter ones.
    const themed = { "#332288": "--indigo", "#117733": "--green", "#882255": "--wine" };
    const colour = (name) => {
      const own = looks.get(name)?.colour ?? "#6a7682";
      return themed[own] ? getComputedStyle(document.documentElement).getPropertyValue(themed[own]).trim() : own;
    };
    const print = (value, digits) => {
      const kept = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 100 ? Math.max(0, digits - 1) : digits;
      return value.toLocaleString("en-US", { minimumFractionDigits: kept, maximumFractionDigits: kept });
    };
    const described = (row, words = task().words) => `${row[4]}, ${row[0].toLocaleString("en-US")} ${row[0] === 1 ? words.case : words.cases}`;

    // What one team, or two, got in each case of the chosen subset; NaN never arrives here.
    const cases = (name, own = panel()) => {
      const at = who(name);
      if (!own.values || at < 0) { return []; }
      const [keep, fined] = [inside(), new Set(own.fined[at])];
      return own.cases.map((item, place) => ({ item, name: task().cases[item], value: own.values[at][place], fined: fined.has(place) }))
        .filter((one) => one.value !== null && keep(one.item));
    };
    const worst = (rows, own = panel()) => rows.sort((a, b) => (own.better === "higher" ? a.value - b.value : b.value - a.value) || a.item - b.item);
    const paired = () => {
      const other = new Map(cases(state.versus).map((one) => [one.item, one]));
      return cases(state.team).filter((one) => other.has(one.item))
        .map((one) => ({ ...one, other: other.get(one.item).value, difference: one.value - other.get(one.item).value }))
        .sort((a, b) => Math.abs(b.difference) - Math.abs(a.difference) || a.item - b.item);
    };

    // ---- controls -------------------------------------------------------------------------------------------------
    const controls = {};
    const control = (key, text) => {
      const select = make("select", { id: `explore-${key}`, on: { change: () => choose({ [key]: key === "task" ? Number(select.value) : select.value }) } });
      controls[key] = select;
      return make("label", { for: select.id }, text, select);
    };
    const fill = (key, choices, value) => {
      const select = controls[key];
      select.replaceChildren(...choices.map(([own, text]) => make("option", { value: own }, text)));
      select.value = String(value);
      select.parentElement.hidden = choices.length < 2;
    };
    const said = make("p", { class: "note", role: "status", "aria-live": "polite" });
    const charts = make("div", { class: "charts" });
    const lists = make("div", {});
    home.append(
      make("p", {}, "Choose a score, a group of cases and one or two names; or click a name or a dot anywhere on this page. Tables and figures follow, and the address keeps the choice."),
      make("div", { class: "controls" }, control("task", "Task"), control("metric", "Score"), control("structure", "Part"), control("group", "Group"),
        control("level", "Level"), control("team", "Follow"), control("versus", "Compare with"),
        make("button", { type: "button", class: "press", on: { click: () => choose({ structure: "", group: "", level: "", team: "", versus: "" }) } }, "Reset")),
      said, charts, lists,
    );

    // ---- charts ---------------------------------------------------------------------------------------------------
    const style = { fontFamily: "inherit", fontSize: "12px", background: "transparent", color: "var(--ink)" };
    const tipped = { fill: "var(--sheet)", stroke: "var(--muted)", fontSize: 12 };
    const width = () => Math.max(280, Math.min(820, charts.clientWidth - 32));
    const framed = (title, alt, options, pick) => {
      const wide = width();
      const drawn = window.Plot.plot({ width: wide, style, ...options(wide) });
      if (Number(drawn.getAttribute("width")) > wide) { drawn.classList.add("scrolled"); }
      drawn.setAttribute("aria-hidden", "true");
      drawn.removeAttribute("aria-label");
      if (pick) {
        drawn.addEventListener("click", () => { if (drawn.value) { pick(drawn.value); } });
        drawn.style.cursor = "pointer";
      }
      const box = make("div", { class: "drawing", role: "img", "aria-label": alt, tabindex: "0" });
      box.append(drawn);
      return make("figure", { class: "chart" }, box, make("figcaption", {}, make("b", {}, title)));
    };
    const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
    const short = (text, length) => text.length <= length ? text : `${text.slice(0, length - 1)}…`;
    const margin = (wide) => Math.min(wide * 0.34, 190);
    // Names are measured, and lose their middle: what tells one from the other often stands at the end.
    const pen = document.createElement("canvas").getContext("2d");
    const long = (text) => pen.measureText(text).width;
    const fitted = (text, room) => {
      pen.font = `12px ${getComputedStyle(home).fontFamily}`;
      let kept = text.length;
      const cut = () => kept === text.length ? text : `${text.slice(0, Math.ceil(kept / 2))}…${text.slice(text.length - Math.floor(kept / 2))}`;
      while (kept > 2 && long(cut()) > room) { kept -= 1; }
      return cut();
    };
    const GAP = 8;
    const named = (wide) => (name) => fitted(name, margin(wide) - GAP);
    const faded = (name) => !state.team || name === state.team || name === state.versus ? 1 : 0.25;
    const rows = () => task().order.map((name, at) => ({ name, at, row: (panel().subsets[subset()] ?? [])[at] })).filter((one) => one.row && one.row[1] !== null);
    const where = () => subset() === "" ? "" : ` (${state.group}: ${state.level})`;

    const means = () => {
      const own = panel();
      const shown = rows();
      if (!shown.length) { return []; }
      const first = shown.reduce((best, one) => (own.better === "higher" ? one.row[1] > best.row[1] : one.row[1] < best.row[1]) ? one : best);
      const alt = `Mean ${own.title}${where()} of ${shown.length} with 95 % intervals; best is ${first.name} with ${first.row[4]}.`;
      return [framed(`${own.title}${where()}: mean and 95 % interval`, alt, (wide) => ({
        marginLeft: margin(wide), marginBottom: 44, height: 70 + 22 * shown.length,
        x: { label: own.axis, labelOffset: 38, grid: true, nice: true }, y: { label: null, domain: shown.map((one) => one.name), tickFormat: named(wide), tickSize: 0 },
        marks: [
          window.Plot.ruleY(shown.filter((one) => one.row[2] !== null), { y: "name", x1: (one) => one.row[2], x2: (one) => one.row[3], stroke: (one) => colour(one.name), strokeWidth: 2, strokeOpacity: (one) => faded(one.name) }),
          window.Plot.dot(shown, {
            y: "name", x: (one) => one.row[1], r: 5, fill: (one) => colour(one.name), fillOpacity: (one) => faded(one.name),
            title: (one) => `${one.name}\n${described(one.row)}\nmedian ${one.row[6]}, SD ${one.row[5]}`, tip: tipped,
          }),
        ],
      }), (one) => follow(one.name))];
    };
    const map = () => {
      const parts = task().panels.filter((one) => one.metric === panel().metric && one.structure);
      if (parts.length < 2) { return []; }
      const cells = parts.flatMap((own) => task().order.map((name, at) => ({ own, name, row: (own.subsets[subset()] ?? [])[at] })))
        .filter((one) => one.row && one.row[1] !== null);
      if (!cells.length) { return []; }
      const alt = `Mean ${panel().metric}${where()} of every ${task().words.structure} as a heat map; the table of scores has the numbers.`;
      const higher = panel().better === "higher";
      return [framed(`${panel().metric}${where()} by ${task().words.structure}`, alt, (given) => {
        // A column is as wide as a line of its name is high, upright where aslant they would lie on each other.
        const wide = Math.max(given, margin(given) + 30 + 17 * parts.length);
        const upright = (wide - margin(given) - 20) / parts.length < 24;
        const names = new Map(parts.map((one) => [one.structure, fitted(one.structure, 110)]));
        const longest = Math.max(...[...names.values()].map(long));
        const below = 26 + (upright ? longest : 14 + 0.64 * longest);
        return {
        width: wide, marginLeft: margin(given), marginBottom: below, height: 30 + below + 20 * task().order.length,
        x: { label: null, domain: parts.map((one) => one.structure), tickRotate: upright ? -90 : -40, tickFormat: (text) => names.get(text), tickSize: 0 },
        y: { label: null, domain: task().order, tickFormat: named(given), tickSize: 0 },
        color: { scheme: "cividis", reverse: !higher },
        marks: [window.Plot.cell(cells, {
          x: (one) => one.own.structure, y: "name", fill: (one) => one.row[1], inset: 0.5, fillOpacity: (one) => faded(one.name),
          title: (one) => `${one.name}, ${one.own.structure}\n${described(one.row)}`, tip: tipped,
        })],
        };
      }, (one) => choose({ team: one.name, structure: one.own.structure }))];
    };
    const single = () => {
      if (!state.team || state.versus) { return []; }
      const own = worst(cases(state.team)).map((one, at) => ({ ...one, at: at + 1 }));
      if (!own.length) { return []; }
      const alt = `${own.length} ${task().words.cases} of ${state.team}${where()}, worst first: from ${print(own[0].value, panel().digits)} to ${print(own.at(-1).value, panel().digits)}.`;
      return [framed(`${state.team}: every ${task().words.case}, worst first${where()}`, alt, () => ({
        height: 300, marginLeft: 56, marginBottom: 44, x: { label: `${task().words.cases}, worst first`, labelOffset: 38, tickFormat: "d" }, y: { label: panel().axis, grid: true, nice: true },
        marks: [window.Plot.dot(own, {
          x: "at", y: "value", r: own.length > 200 ? 2 : 3.5, fill: (one) => one.fined ? "none" : colour(state.team), stroke: colour(state.team), symbol: (one) => one.fined ? "times" : "circle",
          title: (one) => `${one.name}\n${print(one.value, panel().digits)}${one.fined ? " (penalty)" : ""}`, tip: tipped,
        })],
      }))];
    };
    const scatter = () => {
      if (!state.team || !state.versus) { return []; }
      const own = paired();
      if (!own.length) { return []; }
      const [one, two] = [state.team, state.versus];
      const ahead = own.filter((each) => (panel().better === "higher" ? each.difference > 0 : each.difference < 0)).length;
      const even = own.filter((each) => each.difference === 0).length;
      const alt = `${one} against ${two}${where()}: ${one} is better in ${ahead} of ${own.length} ${task().words.cases}, equal in ${even}.`;
      return [framed(alt, alt, (wide) => {
        const ends = [Math.min(...own.map((each) => Math.min(each.value, each.other))), Math.max(...own.map((each) => Math.max(each.value, each.other)))];
        return {
          width: Math.min(wide, 460), height: Math.min(wide, 460), marginLeft: 56, marginBottom: 44,
          x: { label: `${short(two, 30)} →`, labelOffset: 38, domain: ends, nice: true, grid: true }, y: { label: `↑ ${short(one, 30)}`, domain: ends, nice: true, grid: true },
          marks: [
            window.Plot.line([[ends[0], ends[0]], [ends[1], ends[1]]], { stroke: "var(--muted)", strokeDasharray: "4 3" }),
            window.Plot.dot(own, {
              x: "other", y: "value", r: own.length > 200 ? 2.2 : 3.5, fill: colour(one), fillOpacity: 0.65,
              title: (each) => `${each.name}\n${short(one, 24)}: ${print(each.value, panel().digits)}\n${short(two, 24)}: ${print(each.other, panel().digits)}`, tip: tipped,
            }),
          ],
        };
      })];
    };

    // ---- tables ---------------------------------------------------------------------------------------------------
    const table = (id, title, heads, body, more) => make("div", { class: "tablebox", id },
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
        make("table", {}, make("caption", {}, make("b", {}, title), more ?? ""),
          make("thead", {}, make("tr", {}, ...heads.map(([text, kind]) => make("th", { scope: "col", class: kind }, text)))),
          make("tbody", {}, ...body))));
    const picker = (name) => make("button", { type: "button", class: "pick", "aria-pressed": String(name === state.team || name === state.versus), on: { click: () => follow(name) } },
      make("span", { class: "swatch", style: `background:${colour(name)}` }), name);
    const scoresTable = () => {
      const body = rows().map((one) => make("tr", { class: one.name === state.team || one.name === state.versus ? "followed" : false },
        make("th", { scope: "row", class: "team" }, picker(one.name)), make("td", { class: "num" }, one.row[0].toLocaleString("en-US")),
        make("td", { class: "num" }, one.row[4]), make("td", { class: "num" }, one.row[5]), make("td", { class: "num" }, one.row[6])));
      const why = subset() !== "" && panel().structure ? ` Intervals are of all ${task().words.cases} and of groups' means.` : "";
      return table("explore-scores", `${panel().title}${where()}`, [["Name", "team"], [capital(task().words.cases), "num"], ["Mean [95 % interval]", "num"], ["SD", "num"], ["Median", "num"]], body, why);
    };
    const STEP = 25;
    let length = STEP;
    const casesTable = () => {
      if (!state.team) { return []; }
      if (!panel().values) { return [make("p", { class: "note" }, `Scores of single ${task().words.cases} are not on this page.`)]; }
      const two = Boolean(state.versus);
      const own = two ? paired() : worst(cases(state.team));
      const number = (value) => make("td", { class: "num" }, print(value, panel().digits));
      const body = own.slice(0, length).map((one) => make("tr", {}, make("th", { scope: "row" }, one.name, one.fined ? " (penalty)" : ""), number(one.value),
        ...(two ? [number(one.other), number(one.difference)] : [])));
      const heads = [[capital(task().words.case), ""], [two ? state.team : panel().title, "num"], ...(two ? [[state.versus, "num"], ["Difference", "num"]] : [])];
      const title = two ? `Where ${state.team} and ${state.versus} differ most` : `${state.team}: worst first`;
      const more = own.length > length
        ? [make("button", { type: "button", class: "press", on: { click: () => { length += 4 * STEP; draw(); } } }, `More of ${own.length}`)] : [];
      return [table("explore-cases", `${title}${where()}`, heads, body), ...more];
    };
    const told = () => {
      const own = panel();
      const at = who(state.team);
      if (at < 0) { return `${own.title}${where()}: nobody is followed.`; }
      const row = own.subsets[subset()]?.[at];
      const rank = task().ranks[at];
      const words = [`${state.team}${rank ? `, rank ${rank}` : ""}: ${own.title}${where()} ${row ? described(row) : "has no value"}.`];
      const other = who(state.versus);
      if (other >= 0) {
        const pair = subset() === "" ? own.pairs.find(([one, two]) => (one === at && two === other) || (one === other && two === at)) : undefined;
        if (pair) {
          words.push(`${task().order[pair[0]]} minus ${task().order[pair[1]]}: ${pair[2]} on ${pair[3].toLocaleString("en-US")} ${task().words.cases} that both have.`);
        } else {
          const rest = own.subsets[subset()]?.[other];
          words.push(`${state.versus}: ${rest ? described(rest) : "no value"}. No interval of the difference was computed here.`);
        }
      }
      return words.join(" ");
    };

    // ---- marks of the page's figures ------------------------------------------------------------------------------
    const tip = make("p", { class: "tip", hidden: true, "aria-hidden": "true" });
    const spoken = make("p", { class: "unseen", role: "status" });
    document.body.append(tip, spoken);
    const silent = () => { tip.hidden = true; };
    const speak = (text, x, y) => {
      tip.textContent = text;
      tip.hidden = false;
      const [wide, high] = [tip.offsetWidth, tip.offsetHeight];
      tip.style.left = `${Math.max(4, Math.min(x + 14, window.innerWidth - wide - 4))}px`;
      tip.style.top = `${y + 18 + high > window.innerHeight ? Math.max(4, y - high - 10) : y + 18}px`;
    };
    // Which task and scores a figure is of stands in its name.
    const about = new Map();
    const scoresOf = (id) => {
      if (!about.has(id)) {
        const rest = id.slice(id.indexOf("-") + 1);
        const own = [...data.tasks].sort((a, b) => b.id.length - a.id.length).find((one) => rest === one.id || rest.startsWith(`${one.id}-`));
        const of = own ? rest.slice(own.id.length + 1) : "";
        const panels = own ? [...own.panels].sort((a, b) => b.id.length - a.id.length) : [];
        const first = panels.find((one) => of === one.id || of.startsWith(`${one.id}-`));
        const second = first && panels.find((one) => of === `${first.id}-${one.id}`);
        about.set(id, { own, of, panels: [first, second].filter(Boolean) });
      }
      return about.get(id);
    };
    const generally = (name) => {
      const at = who(name);
      const row = panel().subsets[""]?.[at];
      const rank = at < 0 ? "" : task().ranks[at];
      return [`${name}${rank ? `, rank ${rank}` : ""}`, ...(row ? [`${panel().title}: ${described(row)}`] : [])].join("\n");
    };
    const valueOf = (panel, at, item) => {
      const place = panel.cases ? panel.cases.indexOf(item) : -1;
      return place < 0 || at < 0 ? undefined : { value: panel.values[at][place], fined: panel.fined[at].includes(place) };
    };
    const valueSaid = (panel, found) => `${print(found.value, panel.digits)}${found.fined ? " (penalty)" : ""}`;
    const wordsOf = (figure, one, at) => {
      const { own, of, panels } = scoresOf(figure.id);
      const lines = one.team ? [one.team] : [];
      const team = own ? own.order.indexOf(one.team) : -1;
      if (one.at) {
        const name = marks[figure.id].cases[one.at[at]];
        const item = own ? own.cases.indexOf(name) : -1;
        lines.push(name);
        for (const panel of item < 0 ? [] : panels) {
          const seen = (one.team ? [one.team] : [state.team, state.versus].filter(Boolean)).map((who) => [who, valueOf(panel, own.order.indexOf(who), item)]);
          for (const [who, found] of seen) {
            if (found && found.value !== null) { lines.push(`${one.team ? panel.title : who}: ${valueSaid(panel, found)}`); }
          }
        }
      } else if (one.part !== undefined) {
        const panel = own?.panels.find((each) => each.structure === one.part && each.id.endsWith(`-${of}`));
        const row = panel?.subsets[""]?.[team];
        lines.push(row ? `${panel.title}: ${described(row, own.words)}` : one.part);
      } else if (!one.says) {
        for (const panel of panels) {
          const row = panel.subsets[""]?.[team];
          if (row) { lines.push(`${panel.title}: ${described(row, own.words)}`); }
        }
      }
      if (one.says) { lines.push(one.says[at]); }
      return lines.join("\n");
    };
    const nearest = (drawing, x, y) => {
      const told = marks[drawing.closest("figure")?.id];
      const matrix = told && drawing.getScreenCTM();
      if (!matrix) { return undefined; }
      const spot = new DOMPoint(x, y).matrixTransform(matrix.inverse());
      let best;
      for (const one of told.series) {
        const [across, up] = one.near.map((each) => Math.max(each, 2 / matrix.a));
        for (let at = 0; at < one.x.length; at += 1) {
          const far = Math.max(Math.abs(one.x[at] - spot.x) / across, Math.abs(one.y[at] - spot.y) / up);
          if (far <= 1 && (!best || far < best.far)) { best = { one, at, far }; }
        }
      }
      return best;
    };
    // Without a pointer: arrows go from mark to mark and from name to name, Enter follows.
    const places = new WeakMap();
    const step = (box, event) => {
      const figure = box.closest("figure");
      const { series } = marks[figure.id];
      const seen = places.get(box) ?? { row: 0, at: -1 };
      const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
      if (event.key === "Escape") { silent(); return; }
      if (event.key === "Enter" && seen.at >= 0 && series[seen.row].team) { follow(series[seen.row].team); return; }
      if (!moves[event.key]) { return; }
      event.preventDefault();
      const [down, right] = moves[event.key];
      const row = Math.max(0, Math.min(series.length - 1, seen.row + down));
      const at = Math.max(0, Math.min(series[row].x.length - 1, down ? seen.at : seen.at + right));
      places.set(box, { row, at });
      if (at < 0 || at >= series[row].x.length) { return; }
      const where = new DOMPoint(series[row].x[at], series[row].y[at]).matrixTransform(box.querySelector("svg").getScreenCTM());
      const text = wordsOf(figure, series[row], at);
      spoken.textContent = text.replaceAll("\n", ", ");
      speak(text, where.x, where.y);
    };
    // What a figure was drawn of cannot be drawn anew here: cases that are not chosen step back, and the figure says so.
    const OVER = 12000;
    const overlay = (figure, told, chosen, keep) => {
      const drawing = figure.querySelector(".drawing > svg");
      drawing.querySelector(":scope > .over")?.remove();
      const cased = told.series.filter((one) => one.at);
      const sifted = Boolean(keep && cased.length);
      const found = cased.filter((one) => (one.team ? !chosen.size || chosen.has(one.team) : sifted));
      // Clouds of dots are one picture: those of whom is followed are drawn over it.
      const cloud = chosen.size > 0 && found.length > 0 && drawing.querySelector("image");
      drawing.classList.toggle("sifted", Boolean(sifted || cloud));
      if (!drawing.classList.length) { drawing.removeAttribute("class"); }
      if (!sifted && !cloud) { return false; }
      const group = document.createElementNS("http://www.w3.org/2000/svg", "g");
      group.setAttribute("class", "over");
      const { own } = scoresOf(figure.id);
      const items = told.cases.map((name) => own?.cases.indexOf(name) ?? -1);
      let count = 0;
      for (const one of found) {
        for (let at = 0; at < one.x.length && count < OVER; at += 1) {
          if (keep && !keep(items[one.at[at]])) { continue; }
          const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
          for (const [name, value] of [["cx", one.x[at]], ["cy", one.y[at]], ["r", 1.5], ["fill", one.team ? colour(one.team) : "var(--ink)"], ["fill-opacity", 0.8]]) { dot.setAttribute(name, value); }
          group.append(dot);
          count += 1;
        }
      }
      drawing.append(group);
      return sifted;
    };
    const GROUPED = /^(subgroup|along|slope|gap|reliability)-|-groups$/;
    const held = () => {
      const chosen = new Set([state.team, state.versus].filter(Boolean));
      const keep = subset() === "" ? undefined : inside();
      const part = state.structure;
      for (const box of document.querySelectorAll("main figure[id], main .tablebox[id]:not([id^=explore])")) {
        const told = marks[box.id];
        const { own, of, panels } = scoresOf(box.id);
        const here = own === task();
        const sifted = told ? overlay(box, told, here ? chosen : new Set(), here ? keep : undefined) : false;
        box.querySelector(":scope > .held")?.remove();
        const scored = box.tagName === "FIGURE" || /^(leaderboard|scores|pooled)-/.test(box.id);
        const whole = keep && scored && here && !GROUPED.test(box.id);
        const other = part && box.tagName === "FIGURE" && here && panels.length && panels[0].structure !== part && !panels[0].structure;
        if (!whole && !other) { continue; }
        const choice = [other ? part : "", whole ? `${state.group}: ${state.level}` : ""].filter(Boolean).join(", ");
        const words = sifted && !other ? `Dots outside ${choice} are faint; everything else here is of all ${task().words.cases}. `
          : `Does not follow the choice (${choice}): made of ${whole ? `all ${task().words.cases}` : `all ${task().words.structure}s`}. `;
        const note = make("p", { class: "held" }, words, make("button", { type: "button", class: "save", on: { click: () => home.scrollIntoView() } }, "See it under Explore"));
        box.insertBefore(note, box.tagName === "FIGURE" ? box.querySelector("figcaption") : box.querySelector(".scroll"));
      }
    };

    // ---- the rest of the page follows -----------------------------------------------------------------------------
    const near = new Map();
    const drawings = () => {
      // Figures show a submission in its own colour and by its name; what is of others steps back.
      if (near.size) { return near; }
      const probe = make("i", {});
      home.append(probe);
      const seen = (text) => { probe.style.color = ""; probe.style.color = text; return getComputedStyle(probe).color; };
      const owner = new Map(data.teams.map((team) => [seen(colour(team.name)), team.name]));
      const named = new Map(data.teams.flatMap((team) => [[team.label, team.name], [team.name, team.name]]));
      const known = new Map();
      for (const drawing of document.querySelectorAll("main figure[id] .drawing > svg")) {
        const found = [];
        for (const part of drawing.querySelectorAll("path[style], use[style], text, line[style], rect[style]")) {
          if (part.closest("defs, clipPath")) { continue; }
          if (part.tagName === "text") {
            const text = part.textContent.trim();
          // Some axes print a rank behind a name, some lists a number before it.
          const name = named.get(text) ?? named.get(text.replace(/\s{2}[\d.]+$/, "")) ?? named.get(text.replace(/^\d+(:|\s) ?\s*/, ""));
            if (name) { found.push([part, name]); }
            continue;
          }
          const style = part.getAttribute("style");
          if (!known.has(style)) {
            const names = [...style.matchAll(/(?:fill|stroke): ?(#[0-9a-f]{6}|var\([^)]+\))/g)].map((match) => owner.get(seen(match[1]))).filter(Boolean);
            known.set(style, names[0]);
          }
          if (known.get(style)) { found.push([part, known.get(style)]); }
        }
        if (found.length) { near.set(drawing, found); }
      }
      probe.remove();
      return near;
    };
    const elsewhere = () => {
      const chosen = new Set([state.team, state.versus].filter(Boolean));
      if (chosen.size || near.size) {
        for (const [drawing, parts] of drawings()) {
          const any = parts.some(([, name]) => chosen.has(name));
          for (const [part, name] of parts) {
            part.classList.toggle("back", Boolean(any && !chosen.has(name)));
            part.classList.toggle("front", Boolean(any && chosen.has(name)));
          }
        }
      }
      for (const cell of document.querySelectorAll("main [data-team]")) {
        cell.parentElement.classList.toggle("followed", chosen.has(cell.dataset.team));
        cell.querySelector("button.pick")?.setAttribute("aria-pressed", String(chosen.has(cell.dataset.team)));
      }
      const heads = new Set([state.structure].filter(Boolean));
      for (const box of document.querySelectorAll("main .tablebox:not([id^=explore])")) {
        const marks = [...box.querySelectorAll("thead th")].map((head) => {
          const text = head.textContent.trim();
          return heads.has(text) || Boolean(state.level && box.id.startsWith("group-") && text.replace(/ \(\d+\)$/, "") === state.level);
        });
        if (box.dataset.marked !== undefined || marks.some(Boolean)) {
          for (const row of box.querySelectorAll("tr")) { [...row.cells].forEach((cell, at) => cell.classList.toggle("chosen", marks[at] ?? false)); }
          box.dataset.marked = "";
        }
      }
      // Figures of other structures step back while one is looked at.
      const ids = task().panels.map((one) => [one.id, one.structure]).sort((a, b) => b[0].length - a[0].length);
      for (const figure of document.querySelectorAll("main figure[id]")) {
        const [, part] = ids.find(([id]) => figure.id.endsWith(`-${id}`)) ?? ["", ""];
        figure.classList.toggle("elsewhere", Boolean(state.structure && part && part !== state.structure));
      }
      held();
    };
    const follow = (name) => {
      if (name === state.versus) { choose({ versus: "" }); }
      else if (name === state.team) { choose({ team: state.versus, versus: "" }); }
      else { choose({ team: name }); }
    };

    // ---- state ----------------------------------------------------------------------------------------------------
    const MARK = "#explore?";
    const address = () => {
      const kept = new URLSearchParams();
      if (data.tasks.length > 1) { kept.set("task", task().name); }
      for (const key of ["metric", "structure", "group", "level", "team", "versus"]) { if (state[key]) { kept.set(key, state[key]); } }
      return `${MARK}${kept}`;
    };
    const tidy = () => {
      const own = task();
      const metrics = unique(own.panels.map((one) => one.metric));
      if (!metrics.includes(state.metric)) { state.metric = metrics[0]; }
      const parts = own.panels.filter((one) => one.metric === state.metric).map((one) => one.structure);
      if (!parts.includes(state.structure)) { state.structure = parts.includes("") ? "" : parts[0]; }
      const group = own.groups.find((one) => one.title === state.group);
      if (!group) { state.group = ""; }
      if (!group?.levels.includes(state.level)) { state.level = group ? group.levels[0] : ""; }
      if (!own.order.includes(state.team)) { state.team = ""; }
      if (!own.order.includes(state.versus) || state.versus === state.team || !state.team) { state.versus = ""; }
      fill("task", data.tasks.map((one, at) => [at, one.title]), state.task);
      fill("metric", metrics.map((name) => [name, name]), state.metric);
      fill("structure", parts.map((name) => [name, name || "mean of all"]), state.structure);
      fill("group", [["", "none"], ...own.groups.map((one) => [one.title, one.title])], state.group);
      fill("level", (group?.levels ?? []).map((name) => [name, name]), state.level);
      controls.level.parentElement.hidden = !group;
      const names = own.order.map((name) => [name, name]);
      fill("team", [["", "nobody"], ...names], state.team);
      fill("versus", [["", "nobody"], ...names.filter(([name]) => name !== state.team)], state.versus);
      controls.versus.disabled = !state.team;
    };
    const draw = () => {
      said.textContent = told();
      charts.replaceChildren(...means(), ...scatter(), ...single(), ...map());
      lists.replaceChildren(scoresTable(), ...casesTable());
      elsewhere();
    };
    const choose = (change) => {
      Object.assign(state, change);
      length = STEP;
      tidy();
      try { window.history.replaceState(null, "", address()); } catch { /* a file may not be allowed to */ }
      draw();
    };
    const read = () => {
      if (!window.location.hash.startsWith(MARK)) { return false; }
      const kept = new URLSearchParams(window.location.hash.slice(MARK.length));
      const at = data.tasks.findIndex((one) => one.name === kept.get("task"));
      Object.assign(state, { task: Math.max(0, at) });
      for (const key of ["metric", "structure", "group", "level", "team", "versus"]) { state[key] = kept.get(key) ?? ""; }
      return true;
    };

    // Names in the tables of the page can be pressed, and so can names and marks in its figures.
    for (const cell of document.querySelectorAll("main [data-team]")) {
      const name = cell.dataset.team;
      if (!looks.has(name) || cell.querySelector("a")) { continue; }
      const button = make("button", { type: "button", class: "pick", "aria-pressed": "false", on: { click: () => follow(name) } });
      button.append(...cell.childNodes);
      cell.append(button);
    }
    document.querySelector("main").addEventListener("click", (event) => {
      const drawing = event.target.closest?.("figure[id] .drawing > svg");
      const found = drawing && (drawings().get(drawing) ?? []).find(([part]) => part === event.target || part.contains(event.target));
      const name = found?.[1] ?? (drawing && nearest(drawing, event.clientX, event.clientY)?.one.team);
      if (name) { follow(name); }
    });
    document.querySelector("main").addEventListener("pointermove", (event) => {
      const drawing = event.target.closest?.("figure[id] .drawing > svg");
      if (!drawing) { silent(); return; }
      const mark = nearest(drawing, event.clientX, event.clientY);
      const found = mark ? undefined : (drawings().get(drawing) ?? []).find(([part]) => part === event.target || part.contains(event.target));
      drawing.parentElement.classList.toggle("pointed", Boolean(mark?.one.team || found));
      if (mark) { speak(wordsOf(drawing.closest("figure"), mark.one, mark.at), event.clientX, event.clientY); }
      else if (found) { speak(generally(found[1]), event.clientX, event.clientY); }
      else { silent(); }
    });
    document.querySelector("main").addEventListener("pointerleave", () => silent());
    for (const id of Object.keys(marks)) {
      const box = document.getElementById(id)?.querySelector(".drawing");
      box?.addEventListener("keydown", (event) => step(box, event));
      box?.addEventListener("blur", () => { silent(); spoken.textContent = ""; });
    }
    document.querySelector(".theme")?.addEventListener("click", draw);
    window.addEventListener("hashchange", () => { if (read()) { tidy(); draw(); home.scrollIntoView(); } });
    let wide = 0;
    window.addEventListener("resize", () => { if (charts.clientWidth !== wide) { wide = charts.clientWidth; draw(); } });
    home.hidden = false;
    document.querySelectorAll(".explore-link").forEach((one) => { one.hidden = false; });
    const shared = read();
    tidy();
    draw();
    wide = charts.clientWidth;
    if (shared) { home.scrollIntoView(); }
    home.dataset.ready = "";
  };
  Promise.all([source, document.getElementById("marks-data")].map(unpacked)).then((texts) => start(...texts.map((text) => JSON.parse(text))));
})();
