"use strict";
(() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const blue = "#3f90da", orange = "#ffa90e", red = "#bd1f01", ink = "#1b1f23";
  const rowsShown = 100;
  const element = (id) => document.getElementById(id);

  // Names: as they are in the page's own text; for Plotly, which reads some HTML and mathematics between dollars, without any.
  const short = (name) => {
    const line = name.replace(/\s+/g, " ");
    return line.length > 40 ? line.slice(0, 20) + "…" + line.slice(-19) : line; // names often differ at their ends
  };
  const plain = (name) => short(name).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\$/g, "&#36;");
  const many = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
  const number = (value, digits = 4) => (value === null || !Number.isFinite(value) ? "–" : Number(value.toPrecision(digits)).toString());
  const withError = (value, error) => {
    if (value === null) return "undefined";
    if (error === null || !(error > 0)) return number(value, error === null ? 4 : 6);
    const largest = Math.max(Math.abs(value), error);
    const digitsOf = (scaled) => Math.min(20, Math.max(0, 1 - Math.floor(Math.log10(scaled))));
    if (largest >= 1e7 || error < 1e-5) {
      const power = Math.floor(Math.log10(largest));
      const [scaled, left] = [value / 10 ** power, error / 10 ** power];
      return `(${scaled.toFixed(digitsOf(left))} ± ${left.toFixed(digitsOf(left))})e${power}`;
    }
    const digits = digitsOf(error);
    return `${value.toFixed(digits)} ± ${error.toFixed(digits)}`;
  };

  const unpacked = (text, kind) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new kind(bytes.buffer);
  };
  for (const item of content.ensembles) {
    item.index = unpacked(item.index, Int32Array);
    item.certifiedToys = unpacked(item.certifiedToys, Int32Array);
    for (const key of ["t", "estimates", "pulls"]) item[key] = item[key].map((text) => unpacked(text, Float32Array));
  }

  const state = { ensemble: 0, test: 0, parameter: 0, x: 0, y: Math.min(1, content.parameters.length - 1), toy: null };
  let list = { title: "", note: "", rows: [], mark: null };
  const ensemble = () => content.ensembles[state.ensemble];
  const test = () => ensemble().tests[state.test];

  // 68.27 % intervals of Poisson means, in the approximation of Gehrels (1986).
  const below = (n) => (n > 0 ? n - n * Math.max(0, 1 - 1 / (9 * n) - 1 / (3 * Math.sqrt(n))) ** 3 : 0);
  const above = (n) => 1 + Math.sqrt(n + 0.75);

  const layout = (x, y, more) => ({
    margin: { l: 62, r: 14, t: 30, b: 46 },
    font: { family: "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif", size: 13, color: ink },
    xaxis: { title: { text: x }, zeroline: false, linecolor: ink, ticks: "outside", mirror: true, ...more.xaxis },
    yaxis: { title: { text: y }, zeroline: false, linecolor: ink, ticks: "outside", mirror: true, ...more.yaxis },
    legend: { orientation: "h", x: 1, xanchor: "right", y: 1.01, yanchor: "bottom", bgcolor: "rgba(255,255,255,0)" },
    showlegend: true,
    bargap: 0,
    hovermode: more.hovermode || "closest",
    hoverdistance: more.hovermode ? -1 : 20,
    dragmode: more.dragmode || false,
    plot_bgcolor: "#fff",
  });
  const config = { displaylogo: false, responsive: true, displayModeBar: false };

  // Bars of counts with their errors, and the expected counts as steps.
  const histogram = (edges, counts, expected, label, expectation, marked) => {
    const middle = counts.map((_, i) => (edges[i] + edges[i + 1]) / 2);
    const colors = counts.map((_, i) => (marked === i ? red : "#a9cdf0"));
    const traces = [{
      type: "bar", name: label, x: middle, y: counts, width: counts.map((_, i) => edges[i + 1] - edges[i]),
      marker: { color: colors, line: { width: 0 } },
      error_y: { type: "data", symmetric: false, array: counts.map((n) => (n ? above(n) : 0)), arrayminus: counts.map(below), color: ink, thickness: 1, width: 0 },
      customdata: counts, hovertemplate: "%{customdata} toys<extra></extra>",
    }];
    if (expected) traces.push({
      type: "scatter", mode: "lines", name: expectation, x: [...edges], y: [...expected, expected[expected.length - 1]],
      line: { shape: "hv", color: orange, width: 2 }, hoverinfo: "skip",
    });
    return traces;
  };

  const inBin = (values, edges, bin) => {
    const found = [];
    for (let i = 0; i < values.length; i++) if (values[i] >= edges[bin] && (values[i] < edges[bin + 1] || (bin === edges.length - 2 && values[i] === edges[bin + 1]))) found.push(i);
    return found;
  };

  const mu = () => plain(content.poi);
  const drawT = () => {
    const now = test();
    const marked = list.mark && list.mark.figure === "t" ? list.mark.bin : null;
    const top = Math.log10(Math.max(1, ...now.counts, ...(now.asymptotic || [])) * 4);
    Plotly.react("t", histogram(now.edges, now.counts, now.asymptotic, "all certified toys", "asymptotic", marked),
      layout(`t at ${mu()} = ${number(now.poi)}`, "toys", { xaxis: { range: [now.edges[0], now.edges.at(-1)] }, yaxis: { type: "log", range: [Math.log10(0.5), top], dtick: 1 }, hovermode: "x" }), config);
    const out = now.underflow + now.overflow;
    element("t-caption").textContent = `${many(ensemble().certified, "certified toy")}, ${out ? many(out, "toy") + " outside of the figure" : "none outside of the figure"}. ${now.sentence} Click a bin to list toys in it.`;
  };

  const pullCounts = () => {
    const item = ensemble(), edges = content.pullEdges;
    if (item.pullCounts) return { all: true, counts: item.pullCounts[state.parameter].slice(1, -1), out: item.pullCounts[state.parameter][0] + item.pullCounts[state.parameter].at(-1) };
    const counts = new Array(edges.length - 1).fill(0), step = edges[1] - edges[0];
    let out = 0;
    for (const pull of item.pulls[state.parameter].subarray(0, item.sample)) {
      if (!Number.isFinite(pull)) continue;
      const bin = Math.floor((pull - edges[0]) / step);
      if (bin < 0 || bin >= counts.length) out++; else counts[bin]++;
    }
    return { all: false, counts, out };
  };
  const drawPull = () => {
    const item = ensemble(), found = pullCounts();
    const total = found.counts.reduce((sum, n) => sum + n, 0) + found.out;
    const marked = list.mark && list.mark.figure === "pull" ? list.mark.bin : null;
    const name = content.parameters[state.parameter];
    Plotly.react("pull", histogram(content.pullEdges, found.counts, content.normal.map((p) => p * total), found.all ? "all certified toys" : "toys of this page", "unit normal", marked),
      layout(`pull of ${plain(name)}`, "toys", { xaxis: { range: [content.pullEdges[0], content.pullEdges.at(-1)] }, yaxis: { rangemode: "tozero" }, hovermode: "x" }), config);
    const [mean, meanError, width, widthError, share] = item.pullStatistics[state.parameter];
    const bound = share ? `; ${number(100 * share, 3)} % of all toys are at a bound and have no pull` : "";
    element("pull-caption").textContent = total
      ? `(estimate − truth) / error of ${many(total, "toy")}. Over all toys: mean ${withError(mean, meanError)}, width ${withError(width, widthError)}${bound}. Click a bin to list toys in it.`
      : `There are no pulls: ${item.truths[state.parameter] === null ? "this parameter has no truth" : item.keep === "all" ? "no toy has an error of this parameter" : `the study says keep: ${item.keep}`}. Over all toys: mean ${withError(mean, meanError)}, width ${withError(width, widthError)}${bound}.`;
  };

  const drawPair = () => {
    const item = ensemble(), x = item.estimates[state.x], y = item.estimates[state.y];
    const names = [content.parameters[state.x], content.parameters[state.y]];
    const points = (rows, more) => ({
      type: "scatter", mode: "markers", x: rows.map((i) => x[i]), y: rows.map((i) => y[i]), customdata: rows,
      text: rows.map((i) => `toy ${item.index[i]}`), hovertemplate: "%{text}<extra></extra>", ...more,
    });
    const usable = (i) => Number.isFinite(x[i]) && Number.isFinite(y[i]);
    const every = Array.from(item.index.keys()).filter(usable);
    const traces = [];
    if (item.sample) traces.push(points(every.filter((i) => i < item.sample), { name: "toys of this page", marker: { color: blue, size: 4, opacity: 0.5 } }));
    traces.push(points(every.filter((i) => i >= item.sample), { name: item.sample ? "further toys of large t" : "toys of large t", marker: { color: red, size: 7, symbol: "x-thin-open" } }));
    if (list.rows.length) traces.push(points(list.rows.filter(usable), { name: "listed toys", marker: { color: "rgba(0,0,0,0)", size: 9, line: { color: orange, width: 2 } } }));
    const truth = [item.truths[state.x], item.truths[state.y]];
    if (truth.every((value) => value !== null)) traces.push({ type: "scatter", mode: "markers", x: [truth[0]], y: [truth[1]], name: "truth", marker: { color: ink, size: 12, symbol: "cross-thin-open", line: { width: 2 } }, hoverinfo: "skip" });
    Plotly.react("pair", traces, layout(plain(names[0]), plain(names[1]), { dragmode: "select" }), config);
    const rho = item.correlation[state.x][state.y];
    const error = rho === null || item.certified < 2 ? null : (1 - rho * rho) / Math.sqrt(item.certified);
    const missing = every.length ? "Click a toy, or draw a box about some, to list them." : `No toy of this page has both estimates${item.keep === "all" ? "" : `: the study says keep: ${item.keep}`}.`;
    element("pair-caption").textContent = `Correlation of the estimates over all ${many(item.certified, "certified toy")}: ${withError(rho, error)}. ${missing}`;
  };

  const drawList = () => {
    const item = ensemble();
    element("list-title").textContent = list.title;
    element("list-note").textContent = list.note + (list.rows.length > rowsShown ? ` The first ${rowsShown} are shown.` : "");
    const columns = [...new Set([0, state.parameter, state.x, state.y])].filter((i) => i < content.parameters.length);
    const heads = ["toy", `t at ${short(content.poi)} = ${number(test().poi)}`, ...columns.map((i) => short(content.parameters[i])), `pull of ${short(content.parameters[state.parameter] || "")}`];
    element("list-head").replaceChildren(...heads.map((text) => {
      const cell = document.createElement("th");
      cell.textContent = cell.title = text;
      return cell;
    }));
    const shown = list.rows.slice(0, rowsShown);
    if (!shown.includes(state.toy)) state.toy = shown.length ? shown[0] : null;
    element("list").replaceChildren(...shown.map((row) => {
      const line = document.createElement("tr");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = item.index[row];
      const values = [number(item.t[state.test][row]), ...columns.map((i) => number(item.estimates[i][row])), number(state.parameter < item.pulls.length ? item.pulls[state.parameter][row] : NaN, 3)];
      const cells = [button, ...values].map((inside) => {
        const cell = document.createElement("td");
        cell.append(inside);
        return cell;
      });
      line.append(...cells);
      line.classList.toggle("chosen", row === state.toy);
      line.addEventListener("click", () => { state.toy = row; drawList(); });
      return line;
    }));
    element("command").textContent = state.toy === null ? "" : `${content.replay} ${item.name}/${item.index[state.toy]}`;
    element("command").parentElement.hidden = element("replay-note").hidden = state.toy === null;
  };

  const show = (title, note, rows, mark = null) => {
    list = { title, note, rows, mark };
    state.toy = rows.length ? rows[0] : null;
    drawT();
    drawPull();
    drawPair();
    drawList();
  };
  const byT = (rows) => {
    const t = ensemble().t[state.test];
    return rows.sort((a, b) => t[b] - t[a]);
  };
  const listLargest = () => {
    const item = ensemble(), t = item.t[item.atTruth];
    const rows = Array.from(item.index.keys()).filter((i) => Number.isFinite(t[i])).sort((a, b) => t[b] - t[a]).slice(0, 10);
    const which = item.sample < item.index.length || item.keep !== "all" ? "" : " of this page's toys";
    show(`Toys of the largest t at the truth`, rows.length ? `The ${rows.length} largest${which}.` : "This page has no certified toy.", rows);
  };
  const listFailed = () => {
    const item = ensemble();
    const rows = Array.from(item.index.keys()).filter((i) => !item.certifiedToys[i]);
    show("Failed toys", `${rows.length} of the ${many(item.failed, "toy")} that failed: a fit of theirs is not certified.`, rows);
  };
  const listBin = (figure, bin) => {
    const item = ensemble();
    const ofT = figure === "t";
    const edges = ofT ? test().edges : content.pullEdges;
    const rows = inBin(ofT ? item.t[state.test] : item.pulls[state.parameter], edges, bin);
    const all = ofT ? test().counts[bin] : pullCounts().all ? pullCounts().counts[bin] : null;
    const what = ofT ? `t at ${short(content.poi)} = ${number(test().poi)}` : `pull of ${short(content.parameters[state.parameter])}`;
    const others = all === null || all <= rows.length ? "" : item.keep === "summary" ? " The study does not keep the others." : " The others are not on this page.";
    const of = `${many(rows.length, "toy")} of this page${all === null ? "" : `, of ${many(all, "toy")} in the bin`}.${others}`;
    show(`Toys with ${what} from ${number(edges[bin])} to ${number(edges[bin + 1])}`, of, ofT ? byT(rows) : rows, { figure, bin });
  };

  const options = (select, texts, chosen) => {
    select.replaceChildren(...texts.map((text, i) => new Option(text, i, false, i === chosen)));
    select.value = chosen;
  };
  const chooseEnsemble = () => {
    const item = ensemble();
    state.test = Math.min(state.test, item.tests.length - 1);
    options(element("test"), item.tests.map((one) => number(one.poi)), state.test);
    element("failed").hidden = !item.failed;
    element("failed").textContent = `failed toys (${item.failed.toLocaleString("en")})`;
    const some = content.parameters.length < content.free
      ? `${content.parameters.length} of ${content.free} parameters: ${short(content.poi)}, and those whose estimates are most correlated with its.` : `All ${content.free} free parameters.`;
    const further = item.index.length - item.sample;
    const kept = item.keep === "all" ? `Single toys: ${item.sample === item.toys ? "all" : `the first ${item.sample.toLocaleString("en")}${further ? `, and ${further} more of large t or failed` : ""}, of`} ${item.toys.toLocaleString("en")}.`
      : item.keep === "poi" ? `The study says keep: poi. Single toys have the estimate of ${short(content.poi)} alone: the first ${item.sample.toLocaleString("en")} of ${item.toys.toLocaleString("en")}.`
      : `The study says keep: summary. Single toys are not stored, save ${many(item.index.length, "toy")} of large t or failed; histograms and correlations are of all ${item.toys.toLocaleString("en")}.`;
    element("about").textContent = `${some} ${kept}`;
  };

  const names = content.parameters.map((name, i) => short(name) + (name === content.poi ? " (of interest)" : ""));
  options(element("ensemble"), content.ensembles.map((item) => `${item.name}, at ${number(item.truth)}`), 0);
  for (const key of ["parameter", "x", "y"]) options(element(key), names, state[key]);
  for (const key of ["ensemble", "test", "parameter", "x", "y"]) {
    element(key).addEventListener("change", (event) => {
      state[key] = Number(event.target.value);
      if (key === "ensemble") state.test = ensemble().atTruth;
      chooseEnsemble();
      listLargest();
    });
  }
  element("controls").addEventListener("submit", (event) => event.preventDefault());
  element("largest").addEventListener("click", listLargest);
  element("failed").addEventListener("click", listFailed);
  element("copy").addEventListener("click", () => {
    const range = document.createRange();
    range.selectNodeContents(element("command"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    if (navigator.clipboard) navigator.clipboard.writeText(element("command").textContent).catch(() => {});
  });

  // CLs against the tested value: observed, as expected without a signal, and by the asymptotic formulae; and the limits.
  const drawLimit = () => {
    const found = content.limit;
    const name = { CLs: "CLs", CLsb: "CLs+b" }[found.method];
    const seen = found.points.filter((point) => point[1] > 0);
    const column = (k) => seen.map((point) => point[k]);
    const every = found.points.map((point) => point[0]);
    const level = 1 - found.level;
    const errors = (rows) => ({
      type: "data", symmetric: false, color: ink, thickness: 1, width: 0,
      array: rows.map(([value, , high]) => (high === null ? 0 : high - value)), arrayminus: rows.map(([value, low]) => (low === null ? 0 : value - low)),
    });
    const clicked = { customdata: every, hovertemplate: "%{customdata}<extra></extra>" };
    const line = (label, y, style, more) => (y.some((value) => value !== null) ? [{ type: "scatter", mode: "lines", name: label, x: every, y, line: style, hoverinfo: "skip", ...more }] : []);
    const values = (sigma) => found.bands[sigma].map((row) => row[0]);
    const lowest = (sigma) => values(sigma).map((value) => value || 1e-9); // an edge that no toy with signal reaches lies below the figure
    const known = every.some((_, k) => found.bands["0"][k][0] !== null);
    const edge = (sigma, more) => ({ type: "scatter", mode: "lines", x: every, y: lowest(sigma), error_y: errors(found.bands[sigma]), line: { width: 0 }, hoverinfo: "skip", showlegend: false, ...more });
    const band = (low, high, label, color) => (known ? [edge(low, {}), edge(high, { name: label, fill: "tonexty", fillcolor: color, showlegend: true })] : []);
    const limits = ["-2", "-1", "0", "1", "2"].map((sigma) => found.expected[sigma] ?? null).filter((value) => value !== null);
    const formula = (sigma) => line("expected, asymptotic", found.asymptoticBands[sigma], { color: red, width: 1, dash: "dot" }, { showlegend: sigma === "0" });
    const traces = [
      ...band("-2", "2", "expected, ±2 σ", "#fbe3b9"), ...band("-1", "1", "expected, ±1 σ", "#b5bf9e"),
      ...["-2", "-1", "0", "1", "2"].flatMap(formula), ...line("observed, asymptotic", found.asymptotic, { color: red, width: 1.5 }),
      ...(known ? line("expected, median", values("0"), { color: ink, width: 1.5, dash: "dash" }, { error_y: errors(found.bands["0"]), hoverinfo: "all", ...clicked }) : []),
      {
        type: "scatter", mode: "markers", name: `observed ${name}`, x: column(0), y: column(1), marker: { color: ink, size: 7 },
        error_y: errors(seen.map((point) => point.slice(1))), ...clicked, customdata: column(0),
      },
      { type: "scatter", mode: "markers", name: "expected limits", x: limits, y: limits.map(() => level), marker: { color: ink, size: 11, symbol: "line-ns-open", line: { width: 2 } }, hoverinfo: "skip" },
    ];
    const low = Math.min(level, ...column(1), ...values("0").filter((value) => value > 0)) / 2;
    const ends = [Math.min(...every), Math.max(...every)], room = 0.03 * (ends[1] - ends[0] || 1);
    element("limit-figure").hidden = false;
    element("limit-title").textContent = `Upper limit at ${number(100 * found.level)} %`;
    const drawn = layout(`tested ${mu()}`, name, { xaxis: { range: [ends[0] - room, ends[1] + room] }, yaxis: { type: "log", range: [Math.log10(Math.max(low, 1e-5)), Math.log10(1.5)], dtick: 1, exponentformat: "none" } });
    const across = { type: "line", xref: "paper", x0: 0, x1: 1, y0: level, y1: level, line: { color: ink, width: 1, dash: "dashdot" } };
    const upright = { type: "line", yref: "paper", x0: found.observed, x1: found.observed, y0: 0, y1: 1, line: { color: blue, width: 1.5 } };
    drawn.shapes = found.observed === null ? [across] : [across, upright];
    Plotly.react("limit", traces, drawn, config);
    const hidden = found.points.length - seen.length;
    const bands = known ? ` Bands and their dashed median: ${name} of toys without a signal, with Monte Carlo errors.` : "";
    element("limit-caption").textContent = `${found.sentence} Blue: the observed limit. Level line: ${number(level)}, with the limits expected at -2 σ to 2 σ.${bands}${hidden ? ` ${many(hidden, "tested value")} without an observed value, or with 0, ${hidden === 1 ? "has" : "have"} no point.` : ""} Click a tested value to choose the toys that were thrown there.`;
    element("limit").on("plotly_click", (event) => {
      const poi = event.points[0].customdata;
      const near = (value) => Math.abs(value - poi) <= 1e-9 * Math.max(1, Math.abs(poi));
      const at = content.ensembles.findIndex((item) => near(item.truth));
      state.ensemble = at >= 0 ? at : Math.max(0, content.ensembles.findIndex((item) => item.tests.some((one) => near(one.poi))));
      state.test = Math.max(0, ensemble().tests.findIndex((one) => near(one.poi)));
      element("ensemble").value = state.ensemble;
      chooseEnsemble();
      listLargest();
    });
  };

  state.test = ensemble().atTruth;
  chooseEnsemble();
  listLargest();
  if (content.limit) drawLimit();
  for (const figure of ["t", "pull"]) {
    element(figure).on("plotly_click", (event) => {
      const edges = figure === "t" ? test().edges : content.pullEdges;
      const box = element(figure).querySelector(".nsewdrag").getBoundingClientRect();
      const x = edges[0] + ((event.event.clientX - box.left) / box.width) * (edges.at(-1) - edges[0]);
      listBin(figure, Math.max(0, Math.min(edges.length - 2, edges.findIndex((edge) => edge > x) - 1)));
    });
  }
  const listPoints = (points) => {
    const rows = [...new Set(points.filter((one) => one.customdata !== undefined).map((one) => one.customdata))];
    if (rows.length) show(`${many(rows.length, "chosen toy")}`, "", byT(rows), { figure: "pair" });
  };
  element("pair").on("plotly_click", (event) => listPoints(event.points));
  element("pair").on("plotly_selected", (event) => event && listPoints(event.points));
})();
