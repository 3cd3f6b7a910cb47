/* Try it: a question, a strategy and a budget; the tree grows while the search runs. */
"use strict";
(() => {
  const { h, percent } = rollwise;

  rollwise.views.try = async (holder, app) => {
    const { words, about } = app;
    const value = (name, fallback) => app.query.get(name) ?? fallback;
    const form = h("form", { class: "panel" }, h("div", { class: "fields" },
      h("label", { class: "grow" }, words.question, h("textarea", { name: "question", placeholder: words.question_hint }, value("question", "")))),
      h("div", { class: "fields" },
        h("label", {}, words.strategy, h("select", { name: "strategy" }, about.strategies.map((name) => h("option", { value: name, selected: name === value("strategy", "dora") }, name)))),
        h("label", {}, words.budget_axis, h("input", { name: "budget", type: "number", min: 1, max: 256, value: value("budget", 32) })),
        h("label", {}, words.seed, h("input", { name: "seed", type: "number", min: 0, max: 1000000000, value: value("seed", 2) })),
        h("button", { type: "submit", class: "primary" }, words.start),
        h("button", { type: "button", class: "plain", hidden: true }, words.stop)));
    const state = h("div", { "aria-live": "polite" }), shown = h("div", {});
    holder.replaceChildren(h("h1", {}, words.try), h("p", { class: "help" }, words.try_help), form, state, shown);
    const [start, stop] = form.querySelectorAll("button");
    const alive = app.alive();

    const show = (number, told) => {
      const view = app.keys, at = view && view.trial === number && view.stage < view.data.stages.length - 1 ? [view.stage, -1] : undefined;
      const why = (node) => app.api(`tries/${number}/why?language=${app.language}&path=${told.search.nodes.key[node]}`).then((said) => said.why);
      app.keys = new rollwise.SearchView(shown, told.search, words, { why, at });
      app.keys.trial = number;
    };

    const follow = async (number) => {
      let seen = 0;
      for (;;) {
        const told = await app.api(`tries/${number}?seen=${seen}`);
        if (!alive()) return;
        if (told.search && (told.rounds > seen || told.done)) show(number, told);
        seen = told.rounds;
        if (told.error) { state.replaceChildren(h("p", { class: "error" }, told.error === "stopped" ? words.stopped : told.error)); return; }
        if (told.done) {
          const verdict = told.verdict, right = verdict.right === null ? "" : ` (${verdict.right ? words.right : words.wrong})`;
          state.replaceChildren(...(told.notes || []).map((note) => h("p", { class: "note" }, note)),
            h("p", {}, verdict.answer === null ? words.no_answers : `${words.answer}: ${verdict.answer}${right}, ${words.support} ${percent(verdict.support)}`,
              " · ", h("a", { href: `api/tries/${number}/page?language=${app.language}`, download: "search.html" }, words.download)));
          return;
        }
        state.replaceChildren(h("p", { class: "help" }, seen ? `${words.running} ${words.step} ${seen}` : words.waiting));
        await new Promise((done) => { setTimeout(done, 250); });
      }
    };

    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const fields = new FormData(form);
      const asked = { question: fields.get("question"), strategy: fields.get("strategy"), budget: Number(fields.get("budget")), seed: Number(fields.get("seed")) };
      start.disabled = true;
      shown.replaceChildren();
      app.keys = null;
      try {
        const { number } = await app.api("tries", asked);
        stop.hidden = false;
        stop.onclick = () => app.api(`tries/${number}`, undefined, "DELETE");
        await follow(number);
      } catch (error) { state.replaceChildren(h("p", { class: "error" }, error.message)); }
      start.disabled = false;
      stop.hidden = true;
    });
  };
})();
