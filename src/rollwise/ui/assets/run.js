/* A run: its figures with intervals, the list of its searches, and two strategies beside each other. */
"use strict";
(() => {
  const { h, fill, fixed, percent } = rollwise;
  const views = (rollwise.views = rollwise.views || {});
  const SIZE = 50;

  const select = (label, name, options, chosen, change) =>
    h("label", {}, label, h("select", { name, onchange: (event) => change(event.target.value) },
      options.map(([value, text]) => h("option", { value, selected: String(value) === String(chosen ?? "") }, text))));

  /* A table; the columns named in `left` hold text. */
  const table = (label, heads, rows, left = []) =>
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
      h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col", class: left.includes(head) ? "text" : null }, head)))),
        h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, at) => h(at ? "td" : "th", { scope: at ? null : "row", class: left.includes(heads[at]) ? "text" : null }, typeof cell === "number" ? `${cell}` : cell)))))));

  const within = (measure) => (measure ? `${percent(measure.mean)} (${fixed(100 * measure.low, 1)} – ${fixed(100 * measure.high, 1)})` : "–");
  const spent = (cost, text) => (cost ? `${text(cost.mean)}${cost.low === null ? "" : ` (${text(cost.low)} – ${text(cost.high)})`}` : "–");
  const signed = (value) => `${value < 0 ? "−" : "+"}${fixed(Math.abs(100 * value), 1)}`;
  const whole = (value) => Math.round(value).toLocaleString("en");
  const COSTS = { tokens: whole, flops: (value) => value.toExponential(1).replace("+", ""), seconds: (value) => fixed(value, 2) };
  const MEASURES = ["accuracy", "coverage", "pass_rate"];

  /* The lines of a measure: against the budget, or against what the searches cost. */
  const seriesOf = (rows, measure, against) => {
    const series = {};
    for (const row of rows) {
      const found = row.measures[measure], cost = against === "budget" ? { mean: row.budget, low: null, high: null } : row.costs[against];
      const points = (series[row.strategy] = series[row.strategy] || []);
      if (!found || !cost || !cost.mean) continue;
      const price = against === "budget" ? "" : `, ${spent(cost, COSTS[against])}`;
      points.push({ at: cost.mean, from: cost.low, to: cost.high, ...found, said: `${row.strategy}, N ${row.budget}${price}: ${within(found)}` });
    }
    return series;
  };

  /* --- the figures of the run --- */
  views.run = async (holder, app) => {
    const { words, query } = app;
    const level = query.get("level") ?? "", against = ["tokens", "flops", "seconds"].find((name) => name === query.get("against")) || "budget";
    const head = h("div", {}), fields = h("div", { class: "fields" }), figures = h("div", {});
    holder.replaceChildren(head, fields, figures);
    const change = (name) => (value) => {
      if (value === "") query.delete(name); else query.set(name, value);
      app.go(`#/run?${query}`);
    };

    const drawHead = (run) => {
      const { planned } = run, left = planned - run.results;
      head.replaceChildren(h("p", { class: "eyebrow" }, `${run.world} · ${run.begun.replace("T", " ").slice(0, 16)}`),
        h("h1", {}, `${words.run} ${run.folder}`),
        h("p", { class: "help" }, [fill(words.results_of, { held: run.results.toLocaleString("en"), planned: planned.toLocaleString("en") }), run.errors ? fill(words.errors_of, { n: run.errors }) : "", left > 0 ? words.under_way : "", run.events ? "" : words.no_events].filter(Boolean).join(words.gap)),
        left > 0 ? h("div", { class: "progress", role: "progressbar", "aria-label": words.results, "aria-valuenow": run.results, "aria-valuemin": 0, "aria-valuemax": planned }, h("i", { style: `width:${(100 * run.results / planned).toFixed(1)}%` })) : "");
    };

    const drawFields = (summary) => {
      const levels = [...new Set(summary.by_level.map((row) => row.level))];
      fields.replaceChildren(
        levels.length > 1 ? select(words.level, "level", [["", words.all], ...levels.map((one) => [one, one])], level, change("level")) : "",
        select(words.against, "against", [["", words.budget_axis], ["tokens", words.tokens], ["flops", "FLOPs"], ["seconds", words.seconds]], against === "budget" ? "" : against, change("against")));
    };

    const drawFigures = (summary) => {
      const rows = level === "" ? summary.rows : summary.by_level.filter((row) => String(row.level) === level);
      if (!rows.length) { figures.replaceChildren(h("p", { class: "help" }, words.nothing_yet)); return; }
      const budgets = [...new Set(rows.map((row) => row.budget))].sort((a, b) => a - b);
      const axis = { budget: words.budget_axis, tokens: words.tokens, flops: "FLOPs", seconds: words.seconds }[against];
      const charts = MEASURES.map((measure) => {
        const series = seriesOf(rows, measure, against);
        const known = Object.values(series).some((points) => points.length);
        return h("section", { class: "panel" }, h("h2", {}, words[measure]),
          known ? rollwise.charts.lines(series, against === "budget" ? budgets : null, `${words[measure]}, ${axis}`, axis) : h("p", { class: "help" }, summary.pending ? words.pending : words.unknown),
          rollwise.charts.legend(Object.keys(series)));
      });
      const compared = new Map(summary.differences.filter((one) => String(one.level ?? "") === level).map((one) => [`${one.budget} ${one.strategy}`, one]));
      const difference = (row) => {
        const found = compared.get(`${row.budget} ${row.strategy}`);
        if (!found) return "–";
        return h("span", { class: found.told_apart ? "apart" : "" }, `${signed(found.mean)} (${signed(found.joint_low)} – ${signed(found.joint_high)})`,
          found.told_apart ? ` ${found.mean > 0 ? "▲" : "▼"} ${words.told_apart}` : "");
      };
      const heads = [words.strategy, "N", words.questions, words.accuracy, words.difference, words.coverage, words.pass_rate, words.tokens, "FLOPs", words.seconds, words.errors];
      const cells = rows.map((row) => [
        h("a", { href: `#/searches?${new URLSearchParams({ strategy: row.strategy, budget: row.budget, ...(level === "" ? {} : { level }) })}` }, row.strategy), row.budget, row.questions,
        within(row.measures.accuracy), difference(row), within(row.measures.coverage), within(row.measures.pass_rate),
        ...["tokens", "flops", "seconds"].map((name) => spent(row.costs[name], COSTS[name])), row.errors]);
      figures.replaceChildren(h("div", { class: "cards three" }, charts), h("section", { class: "panel" }, h("h2", {}, words.figures),
        h("p", { class: "help" }, summary.pending && !summary.rows[0].costs.tokens ? words.pending : fill(words.figures_help, { baseline: summary.baseline })), table(words.figures, heads, cells)));
    };

    /* While the bench is under way, a part is drawn anew only if what it shows changed: the focus stays where it is. */
    const seen = {};
    const put = (name, shown, draw) => {
      const text = JSON.stringify(shown);
      if (seen[name] === text) return;
      seen[name] = text;
      draw(...shown);
    };
    const draw = async () => {
      const asked = app.api("summary"); /* the head does not wait for it */
      const { run } = await app.api(`about?language=${app.language}`);
      put("head", [run], drawHead);
      const summary = await asked;
      put("fields", [{ by_level: summary.by_level.map(({ level: one }) => ({ level: one })) }], drawFields);
      const focus = figures.contains(document.activeElement) && document.activeElement.getAttribute("href");
      put("figures", [summary], drawFigures);
      if (focus) [...figures.querySelectorAll("a")].find((link) => link.getAttribute("href") === focus)?.focus();
      return run.results < run.planned || summary.pending;
    };
    figures.replaceChildren(h("p", { class: "help" }, words.computing));
    if (await draw()) app.every(2000, draw);
  };

  /* --- the list of searches --- */
  const pager = (app, total, offset, name) => {
    const go = (at) => { app.query.set("offset", at); app.go(`#/${name}?${app.query}`); };
    return h("div", { class: "pager" },
      h("button", { type: "button", class: "plain", disabled: offset <= 0, onclick: () => go(Math.max(0, offset - SIZE)) }, `‹ ${app.words.earlier}`),
      h("span", {}, total ? `${offset + 1} – ${Math.min(total, offset + SIZE)} / ${total.toLocaleString("en")}` : "0"),
      h("button", { type: "button", class: "plain", disabled: offset + SIZE >= total, onclick: () => go(offset + SIZE) }, `${app.words.later} ›`));
  };

  const mark = (app, right) => h("span", { class: right ? "yes" : "" }, right ? `✓ ${app.words.right}` : `✗ ${app.words.wrong}`);

  views.searches = async (holder, app) => {
    const { words, about, query } = app;
    const offset = Number(query.get("offset") || 0);
    const change = (name) => (value) => {
      if (value === "") query.delete(name); else query.set(name, value);
      query.delete("offset");
      app.go(`#/searches?${query}`);
    };
    const wanted = new URLSearchParams([...query].filter(([, value]) => value !== ""));
    wanted.set("limit", SIZE);
    const { total, searches } = await app.api(`searches?${wanted}`);
    const any = ["", words.all], run = about.run;
    const filters = h("div", { class: "fields" },
      select(words.strategy, "strategy", [any, ...run.strategies.map((one) => [one, one])], query.get("strategy"), change("strategy")),
      select("N", "budget", [any, ...run.budgets.map((one) => [one, one])], query.get("budget"), change("budget")),
      select(words.level, "level", [any, ...run.levels.map((one) => [one, one])], query.get("level"), change("level")),
      select(words.outcome, "right", [any, ["true", words.right], ["false", words.wrong]], query.get("right"), change("right")),
      h("label", { class: "grow" }, words.question, h("input", { type: "search", name: "text", value: query.get("text") || "", onchange: (event) => change("text")(event.target.value) })));
    const rows = searches.map((one) => [
      one.recorded ? h("a", { href: `#/search/${one.id}` }, `${one.id}`) : `${one.id}`, h("div", { class: "question" }, one.question), one.level ?? "–", one.strategy, one.budget, one.seed,
      one.error ? h("span", { title: one.error }, words.error) : mark(app, one.right), one.answer ?? "–", percent(one.support), one.rounds, fixed(one.seconds, 2)]);
    const heads = [words.number, words.question, words.level, words.strategy, "N", words.seed, words.outcome, words.answer, words.support, words.rounds, words.seconds];
    holder.replaceChildren(h("h1", {}, words.searches), filters, h("section", { class: "panel" }, table(words.searches, heads, rows, [words.question, words.strategy, words.outcome, words.answer]), pager(app, total, offset, "searches")));
  };

  /* --- one search, and two beside each other --- */
  const open = async (holder, app, number, options = {}) => {
    const search = await app.api(`searches/${number}`);
    const why = (node) => app.api(`searches/${number}/why?language=${app.language}&path=${search.nodes.key[node]}`).then((told) => told.why);
    return new rollwise.SearchView(holder, search, app.words, { why, ...options });
  };

  views.search = async (holder, app) => {
    const number = app.path[1];
    const inside = h("div", {});
    holder.replaceChildren(h("p", { class: "eyebrow" }, `${app.words.search} ${number} · `, h("a", { href: `api/searches/${number}/page?language=${app.language}`, download: `search-${number}.html` }, app.words.download)), inside);
    const query = app.query;
    const at = query.has("step") ? [Number(query.get("step")) - 1, Number(query.get("node") ?? -1)] : undefined;
    app.keys = await open(inside, app, number, { at, onshow: (stage, picked) => history.replaceState(null, "", `#/search/${number}?step=${stage + 1}&node=${picked}`) });
  };

  views.beside = async (holder, app) => {
    const halves = [h("div", { class: "half" }), h("div", { class: "half" })];
    holder.replaceChildren(h("p", { class: "help" }, app.words.beside_help), h("div", { class: "two" }, halves));
    const shown = await Promise.all(halves.map((half, at) => open(half, app, app.path[at + 1], { title: `${app.words.search} ${app.path[at + 1]}` })));
    app.keys = { key: (event) => { shown.forEach((view) => view.key(event)); } };
  };

  views.compare = async (holder, app) => {
    const { words, about, query } = app;
    const names = about.run.strategies;
    const one = query.get("one") || about.run.baseline || names[0], other = query.get("other") || names.find((name) => name !== one) || one;
    const budget = query.get("budget") || about.run.budgets[about.run.budgets.length - 1], only = query.get("only") || "";
    const offset = Number(query.get("offset") || 0);
    const asked = new URLSearchParams({ one, other, budget, offset, limit: SIZE, ...(only ? { only } : {}) });
    const { totals, pairs } = await app.api(`pairs?${asked}`);
    const go = (changes) => app.go(`#/compare?${new URLSearchParams({ one, other, budget, ...(only ? { only } : {}), ...changes })}`);
    const labels = { both: words.both_right, one: fill(words.only, { name: one }), other: fill(words.only, { name: other }), neither: words.neither_right };
    const total = only ? totals[only] : Object.values(totals).reduce((sum, count) => sum + count, 0);
    app.query = new URLSearchParams({ one, other, budget, ...(only ? { only } : {}) });
    const recorded = about.run.events;
    const link = (number, right) => (recorded ? h("a", { href: `#/search/${number}` }, mark(app, right)) : mark(app, right));
    holder.replaceChildren(h("h1", {}, words.compare),
      h("div", { class: "fields" },
        select(words.strategy, "one", names.map((name) => [name, name]), one, (value) => go({ one: value })),
        select(words.with, "other", names.map((name) => [name, name]), other, (value) => go({ other: value })),
        select("N", "budget", about.run.budgets.map((count) => [count, count]), budget, (value) => go({ budget: value }))),
      h("div", { class: "totals", role: "group", "aria-label": words.outcome }, Object.entries(labels).map(([name, label]) =>
        h("button", { type: "button", "aria-pressed": String(only === name), onclick: () => go({ only: only === name ? "" : name }) }, `${label}: ${totals[name]}`))),
      h("section", { class: "panel" }, table(words.compare, [words.question, words.level, words.seed, one, other, words.side_by_side], pairs.map((pair) => [
        h("div", { class: "question" }, pair.question), pair.level ?? "–", pair.seed, link(pair.one, pair.one_right), link(pair.other, pair.other_right),
        recorded ? h("a", { href: `#/beside/${pair.one}/${pair.other}` }, words.open) : "–"]), [one, other]), pager(app, total, offset, "compare")));
  };
  rollwise.parts = { select, table, pager, SIZE };
})();
