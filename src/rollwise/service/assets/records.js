/* The searches of a service: the list with its filters, and one search with its tree, its sentences and its record. */
"use strict";
(() => {
  const { h, fixed, percent } = rollwise;
  const { select, table, pager, SIZE } = rollwise.parts;
  const NAMES = ["route", "rule", "stage", "purpose", "outcome", "client", "strategy"];
  const time = (text) => (text || "").replace("T", " ").slice(0, 19);
  const named = (words, kind, value) => words[`${kind}_${value}`] || value;
  rollwise.within = { ...rollwise.within, record: "records" };

  rollwise.views.records = async (holder, app) => {
    const { words, query } = app;
    const offset = Math.floor(Number(query.get("offset") || 0) / SIZE) * SIZE;
    const wanted = new URLSearchParams([...query].filter(([name, value]) => NAMES.includes(name) && value !== ""));
    const asked = new URLSearchParams(wanted);
    asked.set("page", offset / SIZE);
    asked.set("size", SIZE);
    const [choices, { total, searches }] = await Promise.all([app.api("records/choices"), app.api(`records/list?${asked}`)]);
    const change = (name) => (value) => {
      if (value === "") wanted.delete(name); else wanted.set(name, value);
      app.go(`#/records?${wanted}`);
    };
    const filters = h("div", { class: "fields" }, NAMES.map((name) => select(words[name], name,
      [["", words.all], ...choices[name].map((value) => [value, named(words, name, value)])], query.get(name), change(name))));
    const heads = [words.when, words.search, words.client, words.route, words.rule, words.stage, words.outcome, words.answer, words.support, words.spent, words.seconds, words.tokens];
    const rows = searches.map((one) => [time(one.began), h("a", { href: `#/record/${one.id}` }, one.id.slice(0, 8)), one.client, one.route, one.strategy === one.rule ? one.rule : `${one.rule} (${one.strategy})`,
      one.purpose === "answer" ? named(words, "stage", one.stage) : named(words, "purpose", one.purpose),
      h("span", { title: one.error || "", class: one.outcome === "failed" ? "no" : "" }, named(words, "outcome", one.outcome)), short(words, one.answer), percent(one.support), `${one.spent} / ${one.budget}`, fixed(one.seconds, 2), one.generated.toLocaleString("en")]);
    holder.replaceChildren(h("h1", {}, words.title_records), filters,
      h("section", { class: "panel" }, total ? table(words.title_records, heads, rows, [words.when, words.search, words.client, words.route, words.rule, words.stage, words.outcome, words.answer]) : h("p", { class: "help" }, words.no_searches), pager(app, total, offset, "records")));
  };

  const short = (words, answer) => (answer === null ? "–" : answer.startsWith("sha256:") ? h("span", { title: `${words.only_digest} ${answer}` }, `${answer.slice(0, 15)}…`) : answer);

  const facts = (label, pairs) => h("section", { class: "panel" }, h("h2", {}, label),
    h("dl", { class: "record-facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, typeof value === "number" ? `${value}` : value)))));

  rollwise.views.record = async (holder, app) => {
    const { words } = app, id = app.path[1];
    const told = await app.api(`records/${encodeURIComponent(id)}`);
    const { record, audit, recorded } = told;
    const said = record.feedback.map((one) => `${one.right ? `✓ ${words.right}` : `✗ ${words.wrong}`} (${one.client}, ${time(one.created)})`).join("; ");
    const tree = h("div", {});
    holder.replaceChildren(
      h("p", { class: "eyebrow" }, h("a", { href: "#/records" }, words.title_records), ` · ${id}`,
        ...(recorded ? [" · ", h("a", { href: `api/records/${encodeURIComponent(id)}/page?language=${app.language}`, download: `search-${id}.html` }, words.download)] : [])),
      record.text === null ? h("p", { class: "note" }, words.texts_not_kept) : "",
      tree,
      h("div", { class: "cards about-record" },
        facts(words.record, [
          [words.when, time(record.began)], [words.client, record.client], [words.route, record.route], [words.rule, record.rule],
          [words.stage, named(words, "stage", record.stage)], [words.purpose, named(words, "purpose", record.purpose)], [words.strategy, record.strategy],
          [words.rollouts, `${record.spent} / ${record.budget}`], [words.spared, record.saved || null], [words.seed, record.seed],
          [words.outcome, named(words, "outcome", record.outcome)], [words.error, record.error], [words.answer, short(words, record.answer)],
          [words.support, percent(record.support)], [words.confidence, record.confidence === null ? null : percent(record.confidence)],
          [words.feedback, said || null], [words.agrees, record.agrees === null ? null : record.agrees ? words.yes : words.no],
          [words.beside_search, record.beside ? h("a", { href: `#/record/${record.beside}` }, record.beside) : null],
          [words.seconds, fixed(record.seconds, 3)], [words.tokens, record.generated.toLocaleString("en")], [words.money, record.money ? record.money.toPrecision(3) : null]]),
        facts(words.audit, audit === null ? [[words.state, words.no_entry]] : [
          [words.state, audit.faults.length ? h("span", { class: "no" }, `✗ ${audit.faults.join("; ")}`) : h("span", { class: "yes" }, `✓ ${words.audit_sound}`)],
          [words.process, audit.process], [words.number, audit.number], [words.when, time(audit.created)], [words.digest, audit.digest], [words.before, audit.before], [words.hash, audit.hash],
          [words.versions, Object.entries(record.versions).map(([name, version]) => `${name} ${version}`).join(", ")]])),
      ...(record.text && record.text.reply ? [h("details", { class: "panel" }, h("summary", {}, words.reply), h("pre", {}, record.text.reply))] : []),
      h("details", { class: "panel" }, h("summary", {}, words.config), h("pre", { tabindex: 0 }, JSON.stringify(record.config, null, 1))));
    if (!recorded) {
      tree.replaceChildren(h("h1", {}, record.text ? record.text.question : id.slice(0, 8)), h("p", { class: "note" }, words.no_events_kept));
      return;
    }
    const search = await app.api(`records/${id}/search`);
    const why = (node) => app.api(`records/${id}/why?language=${app.language}&path=${search.nodes.key[node]}`).then((answer) => answer.why);
    const at = app.query.has("step") ? [Number(app.query.get("step")) - 1, Number(app.query.get("node") ?? -1)] : undefined;
    app.keys = new rollwise.SearchView(tree, search, words, { why, at, onshow: (stage, picked) => history.replaceState(null, "", `#/record/${id}?step=${stage + 1}&node=${picked}`) });
  };
})();
