/* The laboratory: sliders describe directions and beliefs; every strategy and the exact optimum answer at once. */
"use strict";
(() => {
  const { h, fixed } = rollwise;
  const chance = (value) => (value >= 0.001 ? `${(100 * value).toPrecision(3)} %` : value ? `${(100 * value).toExponential(1)} %` : "0 %");
  const START = [[0.34, 12], [0.3, 4], [0.26, 2], [0.18, 1], [0.06, 6]];

  rollwise.views.lab = async (holder, app) => {
    const { words } = app;
    const setting = {
      groups: START.map(([score, size]) => ({ score, size })),
      width: 16, concentration: 3, correlation: 1, reward_temperature: 0.1, similarity_temperature: 0.01, likeness: 0.5,
    };
    const power = (value) => 10 ** value, log = Math.log10;
    const sliders = [
      ["width", words.lab_width, 1, 256, 1, (v) => v, (v) => v, 0], ["concentration", words.lab_concentration, -1, 3, 0.02, power, log, 2],
      ["correlation", words.lab_correlation, 0, 1, 0.01, (v) => v, (v) => v, 2], ["reward_temperature", words.lab_score_temperature, -2, 1, 0.02, power, log, 3],
      ["similarity_temperature", words.lab_similarity_temperature, -4, 0.5, 0.02, power, log, 4], ["likeness", words.likeness, 0, 0.999, 0.001, (v) => v, (v) => v, 3],
    ];
    const slider = (label, min, max, step, value, digits, read, write) => {
      const output = h("output", {}, fixed(read(), digits));
      return h("label", {}, label, output, h("input", { type: "range", min, max, step, value, "aria-label": label, oninput: (event) => { write(Number(event.target.value)); output.textContent = fixed(read(), digits); ask(); } }));
    };
    const results = h("section", { class: "panel", "aria-live": "polite" });
    const groups = h("section", { class: "panel" });
    const drawGroups = () => groups.replaceChildren(h("h2", {}, words.directions_lab), h("div", { class: "sliders" }, setting.groups.flatMap((group, at) => [
      slider(`${words.direction} ${at + 1}: ${words.score}`, 0, 1, 0.01, group.score, 2, () => group.score, (v) => { group.score = v; }),
      slider(`${words.direction} ${at + 1}: ${words.paths_head}`, 1, 32, 1, group.size, 0, () => group.size, (v) => { group.size = v; })])),
      h("p", {}, h("button", { type: "button", class: "plain", disabled: setting.groups.length >= 8, onclick: () => { setting.groups.push({ score: 0.4, size: 2 }); drawGroups(); ask(); } }, words.add_direction), " ",
        h("button", { type: "button", class: "plain", disabled: setting.groups.length <= 1, onclick: () => { setting.groups.pop(); drawGroups(); ask(); } }, words.remove_direction)));
    const draw = (found) => {
      const least = Math.min(...found.strategies.map((one) => one.failure));
      const row = (name, totals, failure, regret, best) => h("tr", { class: best ? "best" : "" }, h("th", { scope: "row" }, name),
        h("td", {}, chance(failure)), h("td", {}, regret === null ? "∞" : fixed(regret, 3)),
        h("td", { class: "wide" }, totals ? h("div", { class: "stack", role: "img", "aria-label": totals.map((count, at) => `${words.direction} ${at + 1}: ${count}`).join(", ") },
          totals.map((count, at) => h("i", { class: `d${at % rollwise.COLOURS}`, style: `flex:${count} 0 0` }, count && count / setting.width > 0.05 ? `${count}` : ""))) : ""));
      results.replaceChildren(h("h2", {}, words.lab_results), h("p", { class: "help" }, words.lab_help),
        h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": words.lab_results }, h("table", {}, h("thead", {}, h("tr", {}, [words.strategy, words.failure, words.regret, words.rollouts_by_direction].map((head) => h("th", { scope: "col", class: head === words.rollouts_by_direction ? "text" : null }, head)))),
          h("tbody", {}, found.strategies.map((one) => row(one.strategy, one.totals, one.failure, one.regret, one.failure <= least * (1 + 1e-9))), row(words.least, null, found.least, 0, false)))));
    };
    let asked = 0, timer = 0;
    const ask = () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        const mine = ++asked;
        try {
          const found = await app.api("lab", setting);
          if (mine === asked) draw(found);
        } catch (error) { results.replaceChildren(h("p", { class: "error" }, error.message)); }
      }, 60);
    };
    holder.replaceChildren(h("h1", {}, words.lab), h("p", { class: "help" }, words.lab_intro),
      h("section", { class: "panel" }, h("h2", {}, words.settings), h("div", { class: "sliders" }, sliders.map(([name, label, min, max, step, out, into, digits]) =>
        slider(label, min, max, step, into(setting[name]), digits, () => setting[name], (v) => { setting[name] = out(v); })))),
      groups, results);
    drawGroups();
    draw(await app.api("lab", setting));
  };
})();
