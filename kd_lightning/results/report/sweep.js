"use strict";
// Adds to the page what needs a script: sorting, filtering, copying, the choice of the heat map, hover.
// Texts reach the page by textContent alone, so nothing that a run wrote can become an element.
(() => {
  const data = JSON.parse(document.getElementById("sweep-data").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  /** An element with attributes and children; texts stay texts. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  // -- numbers, as kd_lightning/report/numbers.py writes them ---------------------------------------------------------

  /** Decimals with ties to even: 3.125 reads 3.12, as Python has it, where toFixed says 3.13. */
  function fixed(value, digits) {
    const long = Math.abs(value).toFixed(Math.min(100, digits + 40));
    const cut = long.length - Math.min(100, digits + 40) + digits;
    const kept = digits ? long.slice(0, cut) : long.slice(0, cut - 1);
    const rest = long.slice(cut);
    const tie = /^5?0*$/.test(rest.replace(".", "")) && rest.replace(".", "").startsWith("5");
    const even = "02468".includes(kept[kept.length - 1]);
    const text = tie && even ? kept : Math.abs(value).toFixed(digits);
    return (value < 0 ? "-" : "") + text;
  }

  const grouped = text => text.replace(/^(-?\d+)/, whole => whole.replace(/\B(?=(\d{3})+$)/g, ","));

  /** Four significant digits. */
  function significant(value) {
    if (value === 0) return "0";
    const exponent = Number(value.toExponential(3).split("e")[1]);
    if (exponent < -5 || exponent >= 9) return value.toExponential(3).replace(/e([+-])(\d)$/, "e$10$2");
    return grouped(fixed(exponent > 3 ? Number(value.toPrecision(4)) : value, Math.max(0, 3 - exponent)));
  }

  /** A share of one as percent, with at most four significant digits. */
  function percent(share) {
    const whole = fixed(Math.abs(100 * share), 2).split(".")[0].length;
    return fixed(100 * share, Math.max(0, Math.min(2, 4 - whole))) + "%";
  }

  const metric = value => (data.share ? percent(value) : significant(value));

  function signed(value) {
    const sign = value > 0 ? "+" : value < 0 ? "\u2212" : "";
    return sign + grouped(fixed(Math.abs((data.share ? 100 : 1) * value), data.places));
  }

  // -- tables ---------------------------------------------------------------------------------------------------------

  /** What a cell is sorted by: a number, a text, or null where it is missing. */
  function sortKey(cell) {
    if (cell.dataset.number !== undefined) return Number(cell.dataset.number);
    return cell.dataset.text ?? null;
  }

  /** Order of two keys: numbers before texts, what is missing last, whichever way the column is sorted. */
  function compare(one, other, direction) {
    if (one === null || other === null) return (one === null) - (other === null);
    if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
    const order = typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });
    return direction * order;
  }

  function sort(table, head) {
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0];
    const keyed = [...body.rows].map(row => [sortKey(row.cells[head.cellIndex]), row]);
    keyed.sort(([one], [other]) => compare(one, other, descending ? -1 : 1));
    body.append(...keyed.map(([, row]) => row));
  }

  /** Headings become buttons: clicks, Enter and Space sort. */
  function sortable(table) {
    for (const head of all("thead th:not([data-fixed])", table)) {
      const button = make("button", { type: "button" }, head.textContent);
      head.replaceChildren(button, make("span", { class: "printed", "aria-hidden": "true" }, head.textContent));
      button.addEventListener("click", () => sort(table, head));
    }
  }

  /** A button in front of each command. */
  function copyable(table) {
    for (const cell of all("td.command", table)) {
      const code = cell.querySelector("code");
      const button = make("button", { type: "button" }, "Copy");
      code.title = code.textContent;
      button.addEventListener("click", () => copy(code, button));
      cell.prepend(button);
    }
  }

  async function copy(code, button) {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch { // no permission, or an old browser: copy the selection
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  /** One of the two tables at a time, and a field that filters both. */
  function tableControls(box) {
    const views = all(".view");
    const field = make("input", { type: "search", placeholder: "e.g. temperature=2 better", spellcheck: "false" });
    const found = make("output", { class: "soft", "aria-live": "polite" });
    const rows = all(".rows tbody tr").map(row => [row, text(row)]);
    const update = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const [row, words_of] of rows) row.hidden = !words.every(word => words_of.includes(word));
      const shown = views.find(view => !view.hidden);
      const [total, left] = [all("tbody tr", shown), all("tbody tr:not([hidden])", shown)].map(list => list.length);
      found.textContent = words.length ? `${left} of ${total} rows` : `${total} rows`;
    };
    if (views.length > 1) box.append(viewChoice(views, box.dataset.first, update));
    box.append(make("label", {}, "Filter", field), found);
    field.addEventListener("input", update);
    update();
  }

  /** All that a row says, as name=value, so that settings can be typed as on the command line. */
  function text(row) {
    const heads = all("thead th", row.closest("table")).map(head => head.querySelector("button")?.textContent ?? "");
    return [...row.cells].map((cell, at) => `${heads[at]}=${cell.textContent}`).join(" ").toLowerCase();
  }

  function viewChoice(views, first, update) {
    const group = make("div", { class: "choice", role: "group", "aria-label": "Rows of the table" });
    const choose = name => {
      for (const view of views) view.hidden = view.dataset.view !== name;
      for (const button of group.children) button.setAttribute("aria-pressed", button.dataset.view === name);
      update();
    };
    for (const view of views) {
      const name = view.dataset.view;
      const button = make("button", { type: "button", "data-view": name }, name[0].toUpperCase() + name.slice(1));
      button.addEventListener("click", () => choose(name));
      group.append(button);
    }
    queueMicrotask(() => choose(first));
    return group;
  }

  // -- heat map, as kd_lightning/report/heat_map.py, ramp.py and heat_table.py make it ---------------------------------

  const STEPS = 9, WIDE = 30;

  /** Mean of a measure over the jobs that share the levels of both parameters. */
  function cellOf(rows, row, columns, column, measure) {
    const jobs = Object.keys(data.jobs).map(Number).sort((one, other) => one - other)
      .filter(job => rows.level[job] === row && columns.level[job] === column);
    const values = jobs.map(job => data.jobs[job][measure]).filter(value => Number.isFinite(value));
    const mean = values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
    return { jobs, counted: values.length, mean };
  }

  /** A function from a mean to a color's class, and the values at the scale's ends, worse first. */
  function scaleOf(means, measure) {
    if (measure === "gain") {
      const size = Math.max(0, ...means.map(Math.abs));
      return { ends: [-size, size], color: value => "g" + step(size ? (value + size) / (2 * size) : 0.5) };
    }
    const low = Math.min(...means), high = Math.max(...means), log = low > 0 && high / low > WIDE;
    const part = value => (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
    const better = value => (high === low ? 0.5 : data.mode === "max" ? part(value) : 1 - part(value));
    return { ends: data.mode === "max" ? [low, high] : [high, low], color: value => "v" + step(better(value)) };
  }

  const step = share => Math.max(0, Math.min(STEPS - 1, Math.floor(share * STEPS)));

  function hint(cell, rows, row, columns, column) {
    const place = `${rows.name}=${rows.levels[row]}, ${columns.name}=${columns.levels[column]}`;
    if (!cell.jobs.length) return `${place}: no job`;
    const of = cell.counted === cell.jobs.length ? `${cell.counted}` : `${cell.counted} of ${cell.jobs.length}`;
    const names = cell.jobs.map(job => data.jobs[job].label).join(", ");
    return `${place}: mean of ${of} job${cell.jobs.length === 1 ? "" : "s"} (${names})`;
  }

  function drawHeat(rows, columns, measure) {
    const grid = rows.levels.map((_, row) => columns.levels.map((_, column) => cellOf(rows, row, columns, column, measure)));
    const means = grid.flat().map(cell => cell.mean).filter(mean => mean !== null);
    const scale = means.length ? scaleOf(means, measure) : null;
    const show = measure === "gain" ? signed : metric;
    const head = all("thead tr", document.querySelector(".heat"));
    head[0].lastChild.textContent = columns.name;
    head[0].lastChild.colSpan = columns.levels.length;
    head[1].replaceChildren(...[rows.name, ...columns.levels].map(name => make("th", { scope: "col" }, name)));
    const lines = grid.map((line, row) => make("tr", {}, make("th", { scope: "row" }, rows.levels[row]),
      ...line.map((cell, column) => heatCell(cell, hint(cell, rows, row, columns, column), scale, show))));
    document.querySelector(".heat tbody").replaceChildren(...lines);
    document.querySelector(".heat caption").textContent = caption(measure);
    legend(scale, show, measure === "gain" ? "g" : "v");
  }

  function heatCell(cell, title, scale, show) {
    const star = cell.jobs.some(job => data.chosen.includes(job)) ? "\u2605 " : "";
    const kind = (cell.mean === null ? "empty" : scale.color(cell.mean)) + (star ? " chosen" : "");
    return make("td", { class: kind, title }, star + (cell.mean === null ? "\u2013" : show(cell.mean)));
  }

  function caption(measure) {
    if (measure === "gain") return `Gain over the student alone, ${data.unit}`;
    return `${measure === "val" ? "Validation" : "Test"} ${data.metric}`;
  }

  function legend(scale, show, letter) {
    const ramp = document.querySelector(".ramp");
    if (!ramp || !scale) return;
    ramp.querySelector(".from").textContent = show(scale.ends[0]);
    ramp.querySelector(".to").textContent = show(scale.ends[1]);
    all(".swatch", ramp).forEach((swatch, at) => { swatch.className = `swatch ${letter}${at}`; });
  }

  /** Selects for both parameters and for the measure. A parameter chosen twice swaps the two. */
  function heatControls(box) {
    const first = document.getElementById("heat-first").dataset;
    const title = document.querySelector("#heat h2");
    const names = data.parameters.map(parameter => parameter.name);
    const rows = select("rows", names, names, first.rows), columns = select("columns", names, names, first.columns);
    const measure = select("measure", data.measures, ["validation", "test", "gain"], "val");
    const before = { rows: rows.value, columns: columns.value };
    const update = () => {
      if (rows.value === columns.value) [rows.value, columns.value] = [before.columns, before.rows];
      Object.assign(before, { rows: rows.value, columns: columns.value });
      const [one, other] = [rows, columns].map(choice => data.parameters[names.indexOf(choice.value)]);
      title.textContent = `${one.name} by ${other.name}`;
      drawHeat(one, other, measure.value);
    };
    for (const [words, choice] of [["Rows", rows], ["Columns", columns], ["Color", measure]]) {
      box.append(make("label", {}, words, choice));
      choice.addEventListener("change", update);
    }
  }

  function select(name, values, texts, chosen) {
    const options = values.map((value, at) => make("option", { value }, texts[at]));
    const element = make("select", { name: `heat-${name}` }, ...options);
    element.value = chosen;
    return element;
  }

  // -- hover ----------------------------------------------------------------------------------------------------------

  const tip = make("div", { class: "tip", role: "status", "aria-live": "polite", hidden: "" });
  const REACH = 28; // pixels between the pointer and the nearest line

  /** Numbers, as texts, of the jobs that a line, a mark or a row stands for. */
  const jobsOf = element => (element.dataset.jobs ?? "").split(" ").filter(Boolean);

  /** Light up some jobs everywhere: lines and rows. */
  function light(jobs) {
    const wanted = new Set(jobs.map(String));
    for (const line of all(".line.job")) line.classList.toggle("hot", jobsOf(line).some(job => wanted.has(job)));
    for (const chart of all("svg.lines")) chart.classList.toggle("some-hot", wanted.size > 0);
    for (const row of all("tr[data-jobs]")) row.classList.toggle("hot", jobsOf(row).some(job => wanted.has(job)));
  }

  function showTip(title, lines, x, y) {
    tip.replaceChildren(make("b", {}, title), ...lines.map(line => make("span", {}, line)));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16;
    const top = y + 16 + box.height > innerHeight ? y - 16 - box.height : y + 16;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, top)}px`;
  }

  function clear() {
    tip.hidden = true;
    light([]);
  }

  const STAR = " \u2605 chosen";

  /** A line in words: a configuration with its seeds at one step where it is a learning curve, else a job. */
  function tell(line, at, x, y) {
    const jobs = jobsOf(line);
    light(jobs);
    if (line.dataset.curve !== undefined) return tellCurve(data.curves[line.dataset.curve], jobs, at, x, y);
    const job = data.jobs[jobs[0]];
    const lines = job.settings.map(([name, value]) => `${name} = ${value}`);
    for (const [name, words] of [["val", "validation"], ["test", "test"]]) {
      if (Number.isFinite(job[name])) lines.push(`${words} ${data.metric} ${metric(job[name])}`);
    }
    return showTip(`job ${job.label}${data.chosen.includes(Number(jobs[0])) ? STAR : ""}`, lines, x, y);
  }

  function tellCurve(curve, jobs, at, x, y) {
    const [step, mean, low, high] = curve.points[Math.min(at, curve.points.length - 1)];
    const range = jobs.length > 1 ? ` (${metric(low)} to ${metric(high)} over ${jobs.length} seeds)` : "";
    const chosen = data.chosen.includes(Number(jobs[0])) ? STAR : "";
    showTip(curve.name + chosen, [`step ${grouped(String(step))}: ${metric(mean)}${range}`, ...curve.words], x, y);
  }

  const points = line => line.getAttribute("points").split(" ").map(point => point.split(",").map(Number));

  /** Squared distance from a point to a stretch of a line, and how far along it lies: 0 to 1. */
  function distance([px, py], [ax, ay], [bx, by]) {
    const [dx, dy] = [bx - ax, by - ay];
    const along = Math.max(0, Math.min(1, ((px - ax) * dx + (py - ay) * dy) / (dx * dx + dy * dy || 1)));
    return [(ax + along * dx - px) ** 2 + (ay + along * dy - py) ** 2, along];
  }

  /** The line nearest to a place in the chart, and which of its points is nearest. */
  function nearest(lines, place) {
    let best = { squared: Infinity };
    for (const { line, path } of lines) {
      for (let at = 1; at < path.length; at++) {
        const [squared, along] = distance(place, path[at - 1], path[at]);
        if (squared < best.squared) best = { squared, line, at: along > 0.5 ? at : at - 1 };
      }
    }
    return best;
  }

  /** Where a pointer is, in the chart's own pixels. */
  function inside(svg, event) {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [place.x, place.y];
  }

  function hoverable(svg) {
    const lines = all(".line.job", svg).map(line => ({ line, path: points(line) }));
    for (const { line } of lines) line.querySelector("title")?.remove(); // the browser's own hint would cover ours
    const point = event => {
      const found = nearest(lines, inside(svg, event));
      const reach = REACH / (svg.getScreenCTM().a || 1);
      if (found.squared > reach * reach) return clear();
      return tell(found.line, found.at, event.clientX, event.clientY);
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", clear);
  }

  /** Arrow keys step through the lines of a chart, best first; Escape ends it. */
  function steppable(figure) {
    const drawn = () => all("svg.lines", figure).find(svg => svg.getBoundingClientRect().width > 0);
    const better = (one, other) => (data.mode === "min" ? 1 : -1) * (one.dataset.value - other.dataset.value);
    let place = -1;
    figure.tabIndex = 0;
    figure.setAttribute("role", "group");
    figure.setAttribute("aria-label", "Chart: arrow keys step through the lines, best first");
    figure.addEventListener("keydown", event => {
      const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") return clear();
      if (!move || event.target !== figure) return undefined;
      event.preventDefault();
      const known = all(".line.job[data-value]", drawn()).sort(better);
      place = (place + move + known.length) % known.length;
      const box = drawn().getBoundingClientRect();
      return tell(known[place], Infinity, box.left + box.width / 2, Math.max(0, box.top) + 40);
    });
    figure.addEventListener("blur", () => { place = -1; clear(); });
  }

  /** Marks of the scatter charts. */
  function markable(mark) {
    mark.querySelector("title")?.remove();
    mark.addEventListener("pointerenter", event => {
      light(jobsOf(mark));
      const [title, ...lines] = mark.dataset.words.split("; ");
      showTip(title, lines, event.clientX, event.clientY);
    });
    mark.addEventListener("pointerleave", clear);
  }

  /** Rows light up their lines. */
  function linked(row) {
    const jobs = jobsOf(row);
    for (const name of ["pointerenter", "focusin"]) row.addEventListener(name, () => light(jobs));
    for (const name of ["pointerleave", "focusout"]) row.addEventListener(name, () => light([]));
  }

  // -- start ----------------------------------------------------------------------------------------------------------

  document.body.append(tip);
  for (const table of all("table.rows")) {
    sortable(table);
    copyable(table);
  }
  for (const box of all('.controls[data-for="tables"]')) tableControls(box);
  for (const box of all('.controls[data-for="heat"]')) heatControls(box);
  for (const svg of all("svg.lines")) hoverable(svg);
  for (const figure of all(".stage")) steppable(figure);
  for (const mark of all("svg.scatter g[data-words]")) markable(mark);
  for (const row of all("tr[data-jobs]")) linked(row);
})();
