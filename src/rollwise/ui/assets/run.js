/* A run: its figures with intervals, the list of its searches, and two strategies beside each other. */
"use strict";
(() => {
  const { h, fixed, percent } = rollwise;
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

  const within = (measure) => (measure ? `${percent(measure.mean)} (${percent(measure.low)} – ${percent(measure.high)})` : "–");

  /* --- the figures of the run --- */
  views.run = async (holder, app) => {
    const { words } = app;
    const draw = async () => {
      const [about, summary] = await Promise.all([app.api(`about?language=${app.language}`), app.api("summary")]);
      const run = about.run;
      const level = app.query.get("level") ?? "";
      const rows = level === "" ? summary.rows : summary.by_level.filter((row) => String(row.level) === level);
      const names = [...new Set(rows.map((row) => row.strategy))], budgets = [...new Set(rows.map((row) => row.budget))].sort((a, b) => a - b);
      const series = (measure) => Object.fromEntries(names.map((name) => [name, budgets.map((at) => {
        const row = rows.find((one) => one.strategy === name && one.budget === at);
        const found = row && row.measures[measure];
        return { at, mean: found ? found.mean : null, low: found ? found.low : 0, high: found ? found.high : 0 };
      })]));
      const chart = (measure) => h("section", { class: "panel" }, h("h2", {}, words[measure]),
        rollwise.charts.lines(series(measure), budgets, words[measure], words.budget_axis), rollwise.charts.legend(names));
      const levels = [...new Set(summary.by_level.map((row) => row.level))];
      const heads = [words.strategy, "N", words.accuracy, words.coverage, words.pass_rate, words.difference, words.tokens, "FLOPs", words.seconds, words.errors];
      const figures = rows.map((row) => {
        const change = row.measures.accuracy && row.measures.accuracy.difference;
        const usages = Object.values(row.tokens);
        const tokens = usages.length ? Math.round(usages.reduce((sum, usage) => sum + usage.generated + usage.prefilled, 0)).toLocaleString("en") : "–";
        return [h("a", { href: `#/searches?strategy=${encodeURIComponent(row.strategy)}&budget=${row.budget}` }, row.strategy), row.budget,
          within(row.measures.accuracy), within(row.measures.coverage), within(row.measures.pass_rate),
          change ? `${change.mean >= 0 ? "+" : ""}${fixed(100 * change.mean, 1)} (${fixed(100 * change.low, 1)} – ${fixed(100 * change.high, 1)})` : "–",
          tokens, row.flops ? row.flops.toExponential(1) : "–", fixed(row.seconds, 2), row.errors];
      });
      const planned = summary.planned || run.results;
      holder.replaceChildren(h("p", { class: "eyebrow" }, `${run.world} · ${run.begun.replace("T", " ").slice(0, 16)}`),
        h("h1", {}, `${words.run} ${run.folder}`),
        h("p", { class: "help" }, `${words.results} ${run.results} / ${planned}. ${run.events ? "" : words.no_events}`),
        run.results < planned ? h("div", { class: "progress", role: "progressbar", "aria-label": words.results, "aria-valuenow": run.results, "aria-valuemin": 0, "aria-valuemax": planned }, h("i", { style: `width:${(100 * run.results / planned).toFixed(1)}%` })) : null ?? "",
        h("div", { class: "fields" }, levels.length > 1 ? select(words.level, "level", [["", words.all], ...levels.map((one) => [one, one])], level, (value) => app.go(`#/run?level=${value}`)) : ""),
        rows.length ? h("div", { class: "cards" }, chart("accuracy"), chart("coverage")) : h("p", { class: "help" }, words.nothing_yet),
        rows.length ? h("section", { class: "panel" }, h("h2", {}, words.figures), h("p", { class: "help" }, summary.pending ? words.pending : words.figures_help.replace("{baseline}", summary.baseline)), table(words.figures, heads, figures)) : "");
      return run.results < planned || summary.pending;
    };
    if (await draw()) app.every(4000, draw);
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
    const labels = { both: words.both_right, one: `${words.only} ${one}`, other: `${words.only} ${other}`, neither: words.neither_right };
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
